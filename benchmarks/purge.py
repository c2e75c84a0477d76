"""The purge of codes, in terms of a loop of DELETE statements on the same table."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import curve, database, dead_codes, race, report, waits
from benchmarks.dead_codes import Dead
from benchmarks.race import COUNTED, OURS, RAW, Page, Race
from benchmarks.report import Row, note
from benchmarks.waits import Waits, percentile

MARK = "Purging"
CURVE = report.DOCUMENT.parent / "images" / "purge.svg"
# A file of SQLite is purged within seconds, and filled in as many.
ROWS_OF_SQLITE = 0.1


def run(rows: int, *, writes_curve: bool) -> tuple[list[Row], str]:
    """Measure; the promises with what was measured, and the text that shows them."""
    start = time.monotonic()
    with database.temporary_databases(), tempfile.TemporaryDirectory() as folder:
        database.create("seed")
        database.migrate("seed")
        known = waits.known_codes()
        dead = dead_codes.fill(rows)
        note(f"{dead.codes:,} of {rows:,} codes are dead: {time.monotonic() - start:.0f} s")
        raced = race.run()
        _tell(raced)
        sign_ins = waits.of_sign_ins(known)
        _tell_waits("sign-ins", sign_ins)
        writers = waits.of_sqlite_writers(Path(folder), int(rows * ROWS_OF_SQLITE))
        _tell_waits("SQLite", writers)
    if writes_curve:
        CURVE.write_text(curve.draw(raced, sign_ins), encoding="utf-8")
    table = promises(raced, dead, sign_ins, writers)
    sizes = f"{dead.codes:,} dead codes among {rows:,}; on SQLite a tenth of both."
    return table, f"{report.markdown(table)}\n{sizes} {report.versions()}\n"


def promises(raced: Race, dead: Dead, sign_ins: Waits, writers: Waits) -> list[Row]:
    pages = _pages_of_retired(raced, dead)
    tenth = len(pages) // 10
    memory = raced.resident_bytes
    during = percentile(sign_ins.during, 99)
    return [
        Row("Rate of the purge / of a loop in SQL", raced.rate_in_terms_of(RAW), least=0.7),
        Row("… of a loop that keeps the same counters", raced.rate_in_terms_of(COUNTED)),
        Row(
            "Last tenth of the pages / first",
            _median(pages[-tenth:]) / _median(pages[:tenth]),
            1.2,
        ),
        Row("Memory at the end / after a tenth", memory[-1] / memory[len(memory) // 10], 1.05),
        Row("Sign-ins, p99 during a purge / without", during / percentile(sign_ins.quiet, 99), 2),
        Row("SQLite: longest wait of another writer", writers.during[-1] * 1000, 50, " ms"),
        Row("… p99", percentile(writers.during, 99) * 1000, unit=" ms"),
        Row("… longest without a purge", writers.quiet[-1] * 1000, unit=" ms"),
    ]


def _pages_of_retired(raced: Race, dead: Dead) -> list[Page]:
    """Without the pages of expired codes, whose batches lie together: they are quicker."""
    pages = []
    rows = 0
    for page in raced.pages[OURS]:
        rows += page.rows
        if rows > dead.retired:
            break
        pages.append(page)
    return pages


def _median(pages: list[Page]) -> float:
    return statistics.median(page.seconds for page in pages)


def _tell(raced: Race) -> None:
    for name in (OURS, RAW, COUNTED):
        milliseconds = _median(raced.pages[name]) * 1000
        note(f"{name:8} {raced.rate(name):9,.0f} rows/s {milliseconds:8.1f} ms a page")
    note(f"ours / raw in all: {raced.rate(OURS) / raced.rate(RAW):.2f}")


def _tell_waits(what: str, waits: Waits) -> None:
    for moment, seconds in (("without", waits.quiet), ("during", waits.during)):
        shown = ", ".join(f"p{p} {percentile(seconds, p) * 1000:.1f}" for p in (50, 90, 99))
        note(f"{what} {moment} a purge: {len(seconds)}, {shown}, most {seconds[-1] * 1000:.1f} ms")
