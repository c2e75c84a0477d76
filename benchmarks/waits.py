"""What users wait while a purge runs, and while none does, by turns."""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import database, dead_codes
from benchmarks.dead_codes import RETENTION_DAYS
from benchmarks.traffic import Sample, Traffic, sign_ins, small_writes
from recovery_backend import purge

SIGN_INS_PER_SECOND = 30
SIGN_IN_TURN_SECONDS = 1.5
SIGN_IN_TURNS = 30
WRITES_PER_SECOND = 50
WRITE_TURN_SECONDS = 0.5
WRITE_TURNS = 10
# How many copies of the file are purged, since one is soon done.
FILES = 5


@dataclass(frozen=True, slots=True)
class Turn:
    start: float
    end: float
    is_purging: bool

    def overlaps(self, sample: Sample) -> bool:
        return sample.start < self.end and sample.end > self.start


@dataclass
class Waits:
    """Seconds, in order of length."""

    quiet: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)

    def add(self, samples: list[Sample], turns: list[Turn]) -> None:
        """Sort them by whether any of the wait was during a purge."""
        for sample in samples:
            if any(turn.overlaps(sample) for turn in turns if turn.is_purging):
                self.during.append(sample.seconds)
            elif any(turn.overlaps(sample) for turn in turns):
                self.quiet.append(sample.seconds)
        self.quiet.sort()
        self.during.sort()


def percentile(ordered: list[float], percent: int) -> float:
    return statistics.quantiles(ordered, n=100, method="inclusive")[percent - 1]


def known_codes() -> list[tuple[int, str, str]]:
    """Codes for all sign-ins that are right, issued in the database in use."""
    sign_ins_at_most = 2 * SIGN_IN_TURNS * SIGN_IN_TURN_SECONDS * SIGN_INS_PER_SECOND
    count = int(sign_ins_at_most / 2) // database.CODES_IN_BATCH + 5
    owners = map(database.issue, database.make_users("owner", count))
    return [(user.pk, user.email, code) for user, codes in owners for code in codes]


def of_sign_ins(known: list[tuple[int, str, str]]) -> Waits:
    """Sign-ins during the purge of a copy of the database "seed"."""
    waits = Waits()
    database.create("busy", copy_of="seed")
    database.use("busy")
    name = database.server_name("busy")
    with Traffic(sign_ins, name, known, per_second=SIGN_INS_PER_SECOND) as traffic:
        turns = _by_turns(SIGN_IN_TURN_SECONDS, at_most=SIGN_IN_TURNS)
    waits.add(traffic.samples, turns)
    database.drop("busy")
    return waits


def of_sqlite_writers(folder: Path, codes: int) -> Waits:
    """Other writers' transactions during the purge of a file of SQLite."""
    seed = folder / "seed.sqlite3"
    _fill(seed, codes)
    waits = Waits()
    for number in range(FILES):
        path = folder / f"{number}.sqlite3"
        shutil.copy(seed, path)
        database.open_file("file", path)
        database.use("file")
        timeout = database.SQLITE_OPTIONS["timeout"]
        with Traffic(small_writes, str(path), timeout, per_second=WRITES_PER_SECOND) as traffic:
            turns = _by_turns(WRITE_TURN_SECONDS, at_most=WRITE_TURNS)
        waits.add(traffic.samples, turns)
        database.drop("file")
    return waits


def _fill(path: Path, codes: int) -> None:
    database.open_file("file", path)
    database.migrate("file")
    dead_codes.fill(codes)
    with database.opened["file"].cursor() as cursor:
        cursor.execute("CREATE TABLE elsewhere (written integer)")
        cursor.execute("INSERT INTO elsewhere VALUES (0)")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.drop("file")


def _by_turns(seconds: float, *, at_most: int) -> list[Turn]:
    """Do nothing and purge, in turn, until nothing is left or the turns are over."""
    turns = []
    for _ in range(at_most):
        start = time.monotonic()
        time.sleep(seconds)
        begin = time.monotonic()
        turns.append(Turn(start, begin, is_purging=False))
        purged = purge.purge_codes(RETENTION_DAYS, max_seconds=seconds)
        turns.append(Turn(begin, time.monotonic(), is_purging=True))
        if not purged.has_more:
            break
    return turns
