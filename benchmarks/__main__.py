"""`python -m benchmarks [--write]`: measure, print the table, exit with 1 when a target is missed."""

from __future__ import annotations

import argparse
import os
import sys
import time

import django


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    parser.add_argument("--rounds", type=int, default=60, help="timed rounds (default: 60)")
    options = parser.parse_args()

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    from benchmarks import cases, clock, database, report  # they need the settings

    counted_rounds = 3
    rounds = counted_rounds + options.rounds
    start = time.monotonic()
    with database.temporary_databases():
        known = {
            size: database.build(size, owners=rounds * cases.OWNERS[size])
            for size in database.SIZES
        }
        print(f"tables filled in {time.monotonic() - start:.0f} s", file=sys.stderr)
        results = clock.measure(
            cases.all_cases(known), counted_rounds=counted_rounds, timed_rounds=options.rounds
        )
        table = report.rows(results)
        text = report.markdown(table)
    print(f"done in {time.monotonic() - start:.0f} s", file=sys.stderr)
    for name, result in results.items():
        print(f"{name:12} {result.seconds * 1000:8.2f} ms", file=sys.stderr)
    print(text)
    if options.write:
        report.write(text)
    return 0 if all(row.is_met for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
