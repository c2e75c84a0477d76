"""Transactions of another process, begun at a constant rate: what its users wait."""

from __future__ import annotations

import itertools
import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import django

# Sign-ins before the first that counts: they connect, and have their statements prepared.
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """That somebody waited, by `time.monotonic()`, which is the same in all processes."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


# Does one transaction, given the moment at which it was due.
Transaction = Callable[[float], Sample]


class Traffic:
    """While the block runs, another process does transactions; then their `samples` are here.

    `begin(*args)` makes the transaction over there.
    """

    def __init__(self, begin: Callable[..., Transaction], *args: Any, per_second: int) -> None:
        self.samples: list[Sample] = []
        self._args = args
        # A fork would share the connections of this process.
        spawned = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = spawned.Pipe()
        self._process = spawned.Process(target=_run, args=(self._theirs, per_second, begin))

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()  # so that this end hears when that process dies
        self._pipe.send(self._args)
        self._pipe.recv()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._pipe.send("stop")
            self.samples = self._pipe.recv()
        else:
            self._process.terminate()
        self._process.join()


def _run(pipe: Connection, per_second: int, begin: Callable[..., Transaction]) -> None:
    transact = begin(*pipe.recv())
    pipe.send("ready")
    start = time.monotonic()
    samples = []
    for number in itertools.count():
        # Due is due, however late the one before has ended: who comes then has to wait as well.
        due = start + number / per_second
        if pipe.poll(max(0, due - time.monotonic())):
            break
        samples.append(transact(due))
    pipe.send(samples)


def sign_ins(database_name: str, known: list[tuple[int, str, str]]) -> Transaction:
    """Sign-ins with right and wrong codes in turn, as long as there are right ones."""
    django.setup()
    from django.contrib.auth.models import User
    from django.db import connection

    from benchmarks import cases  # they need the settings

    connection.settings_dict["NAME"] = database_name
    is_right = itertools.cycle((True, False))
    owners = iter(known)

    def sign_in(due: float) -> Sample:
        if next(is_right) and (owner := next(owners, None)):
            key, address, code = owner
            attempt = cases.attempt(User(pk=key), address, code)
        else:
            attempt = cases.attempt(*cases.stranger())
        if not attempt():
            raise RuntimeError("a sign-in did not end as it should")
        return Sample(due, time.monotonic())

    for _ in range(WARM_UP):
        sign_in(0)
    return sign_in


def small_writes(path: str, timeout: float) -> Transaction:
    """Single-row transactions in a file of SQLite; the wait is until one may write."""
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)

    def write(due: float) -> Sample:
        with closing(connection.cursor()) as cursor:
            start = time.monotonic()
            cursor.execute("BEGIN IMMEDIATE")
            end = time.monotonic()
            cursor.execute("UPDATE elsewhere SET written = written + 1")
            cursor.execute("COMMIT")
        return Sample(start, end)

    return write
