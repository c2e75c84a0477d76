"""The table: what was promised, what was measured, and whether the promise is kept."""

from __future__ import annotations

import platform
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

import django
import psycopg

from benchmarks import database

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
HEAD = ("", "target", "measured", "queries, target", "queries", "")
END = "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """One promise. `unit` is H for times in hashes, and nothing for two times compared.

    `target` is the most that may be measured, `least` the least.
    """

    what: str
    measured: float
    target: float | None = None
    unit: str = ""
    queries: int | None = None
    most_queries: int | None = None
    least: float | None = None

    @property
    def is_met(self) -> bool:
        return (
            (self.target is None or self.measured <= self.target)
            and (self.least is None or self.measured >= self.least)
            and (
                self.most_queries is None
                or self.queries is None
                or self.queries <= self.most_queries
            )
        )

    def cells(self) -> tuple[str, ...]:
        digits = 4 if self.unit == " H" else 2
        return (
            self.what,
            self._promise(),
            f"{self.measured:.{digits}f}{self.unit}",
            "" if self.most_queries is None else f"≤ {self.most_queries}",
            "" if self.queries is None else str(self.queries),
            ("met" if self.is_met else "**missed**") if self._promise() else "",
        )

    def _promise(self) -> str:
        if self.least is not None:
            return f"≥ {self.least:g}{self.unit}"
        return "" if self.target is None else f"≤ {self.target:g}{self.unit}"


def markdown(table: list[Row]) -> str:
    """The table, without the columns that are empty in each row."""
    rows = [row.cells() for row in table]
    shown = [n for n, column in enumerate(zip(*rows, strict=True)) if any(column)]
    head, *lines = (" | ".join(row[n] for n in shown) for row in [HEAD, *rows])
    return "".join([f"| {head} |\n{'|---' * len(shown)}|\n", *(f"| {line} |\n" for line in lines)])


def versions() -> str:
    """The software that was measured, in one line."""
    with database.connect("postgres") as server:
        postgresql = (server.info.parameter_status("server_version") or "").split()[0]
    return (
        f"Python {platform.python_version()}, Django {django.__version__}, PostgreSQL {postgresql}, "
        f"psycopg {psycopg.__version__} ({psycopg.pq.__impl__}), {ssl.OPENSSL_VERSION}."
    )


def note(line: str) -> None:
    """Tell whoever waits, without getting into the table."""
    print(line, file=sys.stderr, flush=True)


def write(mark: str, text: str) -> None:
    """Put the text between these marks in docs/performance.md."""
    begin = f"<!-- {mark} -->\n"
    before, found, rest = DOCUMENT.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise LookupError(f"{DOCUMENT} has no line {begin.strip()}")
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{begin}{text}{END}{after}", encoding="utf-8")
