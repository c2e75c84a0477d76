"""`python -m benchmarks [purge] [--write]`: measure, print the table, exit 1 for a missed target."""

from __future__ import annotations

import argparse
import os
import sys
import time

import django


def main() -> int:
    options = parser().parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    from benchmarks import purge, report, sign_in  # they need the settings

    start = time.monotonic()
    if options.subject == "purge":
        mark = purge.MARK
        table, text = purge.run(options.rows, writes_curve=options.write)
    else:
        mark = sign_in.MARK
        table, text = sign_in.run(options.rounds)
    report.note(f"done in {time.monotonic() - start:.0f} s")
    print(text)
    if options.write:
        report.write(mark, text)
    return 0 if all(row.is_met for row in table) else 1


def parser() -> argparse.ArgumentParser:
    """Signing in is what is measured when nothing else is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="update docs/performance.md")
    parser.add_argument("--rounds", type=int, default=60, help="timed rounds (default: 60)")
    purge = parser.add_subparsers(dest="subject").add_parser("purge", help="the purge of codes")
    purge.add_argument(
        "--write",
        action="store_true",
        default=argparse.SUPPRESS,  # or it would undo a --write before the word
        help="update docs/performance.md and its curve",
    )
    purge.add_argument(
        "--rows", type=int, default=3_000_000, help="codes in the table (default: 3,000,000)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
