"""Signing in, generating and showing, in units of one password hash of the same Django."""

from __future__ import annotations

import time

import django
from django.contrib.auth.hashers import PBKDF2PasswordHasher

from benchmarks import cases, clock, database, report
from benchmarks.clock import Result
from benchmarks.report import Row, note

COUNTED_ROUNDS = 3
# One table for each Django, since H is its own.
MARK = f"Django {django.VERSION[0]}.{django.VERSION[1]}"


def run(rounds: int) -> tuple[list[Row], str]:
    """Measure; the promises with what was measured, and the text that shows them."""
    start = time.monotonic()
    with database.temporary_databases():
        known = {
            size: database.build(size, owners=(COUNTED_ROUNDS + rounds) * cases.OWNERS[size])
            for size in database.SIZES
        }
        note(f"tables filled in {time.monotonic() - start:.0f} s")
        results = clock.measure(
            cases.all_cases(known), counted_rounds=COUNTED_ROUNDS, timed_rounds=rounds
        )
    for name, result in results.items():
        note(f"{name:12} {result.seconds * 1000:8.2f} ms")
    table = promises(results)
    hashes = f"H: PBKDF2-SHA-256, {PBKDF2PasswordHasher.iterations:,} iterations."
    return table, f"{report.markdown(table)}\n{report.versions()} {hashes}\n"


def promises(results: dict[str, Result]) -> list[Row]:
    hash_seconds = results["hash"].seconds

    def in_hashes(
        what: str, name: str, target: float | None = None, most: int | None = None
    ) -> Row:
        result = results[name]
        queries = result.queries if most else result.queries + result.queue_queries
        return Row(what, result.seconds / hash_seconds, target, " H", queries, most)

    last = results["last"].compared_with(results["first"])
    large = results["large"].compared_with(results["small"])
    return [
        in_hashes("Wrong code, first failure", "wrong", 0.01, 4),
        in_hashes("Wrong code, after a failure", "wrong again", 0.01, 4),
        in_hashes("Right code, up to `login()`", "right", 0.02, 6),
        in_hashes("Right code, after a failure", "right again", 0.02, 6),
        in_hashes("… in both: owner's notice to the queue", "queue"),
        in_hashes("Generate 10 codes", "generate", 0.02, 6),
        in_hashes("Generate 10 codes in place of others", "replace", 0.02, 6),
        in_hashes("Generate on the page, to the first byte", "generate page", 0.05),
        in_hashes("Dashboard of 20 batches", "page", most=6),
        in_hashes("Dashboard of 20 batches, cached", "page, cached", most=3),
        Row("PDF of ten codes", results["pdf"].seconds * 1000, 20, " ms"),
        Row("Last code of a batch / first", last, 1.1),
        Row("Sign-in, 1,000,000 codes / 10,000", max(large, 1 / large), 1.3),
    ]
