"""How much one purge may do, and what it refuses to be told (R-110)."""

from __future__ import annotations

import math

from recovery_backend.conf import conf
from recovery_backend.schedules import MAX_RETENTION_DAYS

MAX_PAGE = 100_000
MAX_ROWS = 1_000_000_000
MAX_SECONDS = 86_400


class OutOfBounds(ValueError):
    """Raised for an argument of a purge that is no such number; its text names the argument."""


def check(
    retention_days: int | None = None,
    *,
    batch_size: int | None = None,
    max_rows: int | None = None,
    max_seconds: float | None = None,
) -> None:
    """Raise `OutOfBounds` for what a purge refuses to be told."""
    retention(retention_days, 0)
    page_size(batch_size)
    most_rows(max_rows)
    most_seconds(max_seconds)


def retention(days: int | None, default: int) -> int:
    """The days that rows are kept."""
    return _whole("retention_days", days, default, 0, MAX_RETENTION_DAYS)


def page_size(rows: int | None) -> int:
    """How many rows are removed in one transaction."""
    return _whole("batch_size", rows, conf.BATCH_DELETE_SIZE, 1, MAX_PAGE)


def most_rows(rows: int | None) -> float:
    """How many rows one run removes at most."""
    limit = _whole("max_rows", rows, conf.MAX_DELETIONS_PER_RUN, -1, MAX_ROWS)
    return math.inf if limit == -1 else limit


def most_seconds(seconds: float | None) -> float:
    """For how long one run begins new pages."""
    if seconds is None:
        return math.inf
    is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds <= MAX_SECONDS:
        raise OutOfBounds(f"max_seconds must be None or a number from 0 to {MAX_SECONDS}.")
    return seconds


def _whole(name: str, value: int | None, default: int, minimum: int, maximum: int) -> int:
    if value is None:
        return default
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not minimum <= value <= maximum:
        raise OutOfBounds(f"{name} must be None or a whole number from {minimum} to {maximum}.")
    return value
