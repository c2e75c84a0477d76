"""Short transactions that are tried again when another one was in the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, OperationalError, transaction

Result = TypeVar("Result")

# A raced first INSERT, a deadlock, or SQLite's "database is locked" is gone within milliseconds.
PAUSES_SECONDS = (0.01, 0.03, 0.09, 0.27, 0.81)


_ours = threading.local()


def in_transaction(work: Callable[[], Result]) -> Result:
    """The result of `work`, run in one transaction; all of it happened, or none of it.

    Inside another `in_transaction` it joins that one. Raises `IntegrityError` or
    `OperationalError` when it still fails after the last try.
    """
    if getattr(_ours, "is_open", False):
        return work()
    for pause in PAUSES_SECONDS:
        try:
            return _run(work)
        except OperationalError:
            # Inside the caller's transaction the snapshot, or the whole transaction, is lost.
            if transaction.get_connection().in_atomic_block:
                raise
        except IntegrityError:
            pass
        time.sleep(pause)
    return _run(work)


def _run(work: Callable[[], Result]) -> Result:
    with transaction.atomic():
        _ours.is_open = True
        try:
            return work()
        finally:
            # Before the commit: what runs on it starts transactions of its own.
            _ours.is_open = False
