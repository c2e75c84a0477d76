"""Runs the cases in turn, so that a busy moment of the machine falls on all of them."""

from __future__ import annotations

import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db import connection

from benchmarks import database
from benchmarks.cases import Case

NOT_COUNTED = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK")
QUEUE_TABLE = "django_q_ormq"


@dataclass(frozen=True)
class Result:
    """What each run took, in the order of the rounds, and the most queries that one run made."""

    runs: list[float]
    queries: int
    queue_queries: int

    @property
    def seconds(self) -> float:
        return statistics.median(self.runs)

    def compared_with(self, other: Result) -> float:
        """How many times longer this takes, as the median over runs of the same round."""
        pairs = zip(self.runs, other.runs, strict=True)
        return statistics.median(one / another for one, another in pairs)


def measure(cases: list[Case], *, counted_rounds: int, timed_rounds: int) -> dict[str, Result]:
    """What each case takes, by name. Queries are counted in rounds that are not timed."""
    queries = defaultdict(list)
    for case in turns(cases, counted_rounds):
        queries[case.name].append(queries_of(case))
    seconds = defaultdict(list)
    for case in turns(cases, timed_rounds):
        seconds[case.name].append(seconds_of(case))
    return {case.name: Result(seconds[case.name], *max(queries[case.name])) for case in cases}


def turns(cases: list[Case], rounds: int) -> Iterable[Case]:
    for _ in range(rounds):
        turn = [case for case in cases for _ in range(case.repeats)]
        random.shuffle(turn)
        yield from turn


def seconds_of(case: Case) -> float:
    database.use(case.size)
    run = case.set_up()
    start = time.perf_counter()
    ended_well = run()
    seconds = time.perf_counter() - start
    if not ended_well:
        raise RuntimeError(f"{case.name} did not end as it should")
    return seconds


def queries_of(case: Case) -> tuple[int, int]:
    """How many queries the package makes, and how many more the queue makes."""
    statements: list[str] = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    database.use(case.size)
    run = case.set_up()
    with connection.execute_wrapper(note):
        if not run():
            raise RuntimeError(f"{case.name} did not end as it should")
    counted = [sql for sql in statements if not sql.startswith(NOT_COUNTED)]
    queue = sum(QUEUE_TABLE in sql for sql in counted)
    return len(counted) - queue, queue
