"""The table: what was promised, what was measured, and whether the promise is kept."""

from __future__ import annotations

import platform
import ssl
from dataclasses import dataclass
from pathlib import Path

import django
import psycopg
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection

from benchmarks.clock import Result

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
# One table for each Django, since H is its own.
BEGIN = f"<!-- Django {django.VERSION[0]}.{django.VERSION[1]} -->\n"
END = "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """One promise. `unit` is H for times in hashes, and nothing for two times compared."""

    what: str
    measured: float
    target: float | None = None
    unit: str = ""
    queries: int | None = None
    most_queries: int | None = None

    @property
    def is_met(self) -> bool:
        return (self.target is None or self.measured <= self.target) and (
            self.most_queries is None or self.queries is None or self.queries <= self.most_queries
        )

    def markdown(self) -> str:
        verdict = ("met" if self.is_met else "**missed**") if self.target is not None else ""
        digits = 4 if self.unit == " H" else 2
        cells = (
            self.what,
            "" if self.target is None else f"≤ {self.target:g}{self.unit}",
            f"{self.measured:.{digits}f}{self.unit}",
            "" if self.most_queries is None else f"≤ {self.most_queries}",
            "" if self.queries is None else str(self.queries),
            verdict,
        )
        return f"| {' | '.join(cells)} |"


def rows(results: dict[str, Result]) -> list[Row]:
    """The promises, with what was measured."""
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


def versions() -> str:
    """The software that was measured, in one line."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        server = cursor.fetchone()[0].split()[0]
    return (
        f"Python {platform.python_version()}, Django {django.__version__}, PostgreSQL {server}, "
        f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__}), {ssl.OPENSSL_VERSION}. "
        f"H: PBKDF2-SHA-256, {PBKDF2PasswordHasher.iterations:,} iterations."
    )


def markdown(table: list[Row]) -> str:
    head = "| | target | measured | queries, target | queries | |\n|---|---|---|---|---|---|"
    return "\n".join([head, *(row.markdown() for row in table), "", versions(), ""])


def write(text: str) -> None:
    """Put the text between this Django's marks in docs/performance.md."""
    before, mark, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    if not mark:
        raise LookupError(f"{DOCUMENT} has no line {BEGIN.strip()}")
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")
