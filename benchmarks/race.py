"""The purge and the loops it is compared with, each on a copy of one database, in turn."""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from django.db import connection
from django.utils import timezone

from benchmarks import database, raw_purge
from benchmarks.dead_codes import RETENTION_DAYS
from recovery_backend import purge
from recovery_backend.conf import conf
from recovery_backend.purge import Purged

OURS, RAW, COUNTED = "ours", "raw", "counted"
# Pages that one of them removes before it is the turn of the next.
TURN = 20


@dataclass(frozen=True, slots=True)
class Page:
    rows: int
    seconds: float


@dataclass
class Race:
    """What each of them did, page by page, and the memory of this process after each of ours."""

    pages: dict[str, list[Page]] = field(
        default_factory=lambda: {name: [] for name in (OURS, RAW, COUNTED)}
    )
    resident_bytes: list[int] = field(default_factory=list)

    def rate_in_terms_of(self, other: str) -> float:
        """How many rows ours removes while the other removes one: the median over all turns."""
        pairs = zip(self._turns(OURS), self._turns(other), strict=False)
        return statistics.median(_rate(mine) / _rate(theirs) for mine, theirs in pairs)

    def rate(self, name: str) -> float:
        """Rows in a second, from the first page to the last."""
        return _rate(self.pages[name])

    def rows(self, name: str) -> int:
        return sum(page.rows for page in self.pages[name])

    def _turns(self, name: str) -> Iterator[list[Page]]:
        pages = iter(self.pages[name])
        while len(turn := list(itertools.islice(pages, TURN))) == TURN:
            yield turn


def run() -> Race:
    """Purge one copy of the database "seed" with each of them, and compare what is left."""
    for name in (OURS, RAW, COUNTED):
        database.create(name, copy_of="seed")
    race = Race()
    cutoff = timezone.now() - timedelta(days=RETENTION_DAYS)
    page_size = conf.BATCH_DELETE_SIZE
    loops = {
        RAW: raw_purge.delete(RAW, cutoff, page_size),
        COUNTED: raw_purge.delete_and_count(COUNTED, cutoff, page_size),
    }
    _warm_up()
    _purge(race, loops)
    for name, loop in loops.items():
        race.pages[name] += _timed(loop)
    _compare(race)
    for name in (OURS, RAW, COUNTED):
        database.drop(name)
    return race


def _purge(race: Race, loops: dict[str, Iterator[int]]) -> None:
    """Our purge; whenever it has done its turn, it stands still between two pages."""
    mine = race.pages[OURS]
    removed = 0
    start = 0.0

    def on_page(total: Purged) -> None:
        nonlocal start, removed
        if total.codes > removed:
            mine.append(Page(total.codes - removed, time.perf_counter() - start))
            removed = total.codes
            race.resident_bytes.append(resident_bytes())
            if len(mine) % TURN == 0:
                for name, loop in loops.items():
                    race.pages[name] += itertools.islice(_timed(loop), TURN)
        start = time.perf_counter()

    database.use(OURS)
    start = time.perf_counter()
    purge.purge_codes(RETENTION_DAYS, on_page=on_page)


def _timed(loop: Iterator[int]) -> Iterator[Page]:
    while True:
        start = time.perf_counter()
        rows = next(loop, None)
        if rows is None:
            return
        yield Page(rows, time.perf_counter() - start)


def _warm_up() -> None:
    """Connect, and read each table once, so that nobody finds it in the cache by another's work."""
    for name in (OURS, RAW, COUNTED):
        database.use(name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT sum(length(bind)) FROM recovery_backend_recoverycode")


def _compare(race: Race) -> None:
    """Raise unless all removed the same rows, and counted them alike where they count."""
    left = {}
    for name in (OURS, RAW, COUNTED):
        database.use(name)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*), sum(id) FROM recovery_backend_recoverycode")
            left[name] = cursor.fetchone()
    if len(set(left.values())) > 1 or race.rows(OURS) != race.rows(RAW):
        raise RuntimeError(f"they did not remove the same rows: {left}")
    counters = {}
    for name in (OURS, COUNTED):
        database.use(name)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sum(id * purged_used), sum(id * purged_invalidated),"
                " sum(id * purged_deleted), sum(id * purged_expired)"
                " FROM recovery_backend_recoverycodebatch"
            )
            counters[name] = cursor.fetchone()
    if len(set(counters.values())) > 1:
        raise RuntimeError(f"they did not count the same: {counters}")


def resident_bytes() -> int:
    """The memory of this process that is really in use (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _rate(pages: list[Page]) -> float:
    return sum(page.rows for page in pages) / sum(page.seconds for page in pages)
