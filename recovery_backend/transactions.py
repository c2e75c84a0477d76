"""Short transactions that are tried again when another one was in the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, OperationalError, transaction

Result = TypeVar("Result")

# A raced first INSERT, a deadlock, or SQLite's "database is locked" is gone within milliseconds.
PAUSES_SECONDS = (0.01, 0.03, 0.09, 0.27, 0.81)


def in_transaction(work: Callable[[], Result]) -> Result:
    """The result of `work`, run in one transaction; all of it happened, or none of it.

    Raises `IntegrityError` or `OperationalError` when it still fails after the last try.
    """

    def whole() -> Result:
        with transaction.atomic():
            return work()

    return retried(whole)


def retried(statement: Callable[[], Result]) -> Result:
    """The result of one statement that needs no transaction of its own, tried again likewise."""
    for pause in PAUSES_SECONDS:
        try:
            return statement()
        except OperationalError:
            # Inside the caller's transaction the snapshot, or the whole transaction, is lost.
            if transaction.get_connection().in_atomic_block:
                raise
        except IntegrityError:
            pass
        time.sleep(pause)
    return statement()
