"""One purge: its steps, how far it may go, and what it has removed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from django.db.models import QuerySet

from recovery_backend.purge import limits, pages
from recovery_backend.purge.pages import Cursor, Page
from recovery_backend.transactions import in_transaction

Counted = Literal["codes", "batches", "audit_rows", "other_rows"]


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows a purge removed, and why it stopped before the end, if it did."""

    codes: int = 0
    batches: int = 0
    audit_rows: int = 0
    other_rows: int = 0
    stopped: Literal["", "time", "rows"] = ""

    @property
    def has_more(self) -> bool:
        """Whether another run would find more to do at once."""
        return self.stopped != ""

    @property
    def rows(self) -> int:
        """Removed rows of all kinds."""
        return self.codes + self.batches + self.audit_rows + self.other_rows


@dataclass(frozen=True, slots=True)
class Step:
    """Rows of one kind, and how a page of them is removed."""

    counted: Counted | None
    """None where no row goes, but something in it: that counts against no limit of rows."""
    rows: QuerySet[Any]
    remove_page: Callable[[Cursor | None, int], Page]
    foreseen: QuerySet[Any] | None = None
    """What the rows will be after the steps before, where that is more than they are now."""


class Run:
    """The limits of one purge, and what it has removed so far."""

    def __init__(
        self,
        batch_size: int | None,
        max_rows: int | None,
        max_seconds: float | None,
        on_page: Callable[[Purged], None] | None,
    ) -> None:
        self.done = Purged()
        self._page_size = limits.page_size(batch_size)
        if pages.has_one_writer():
            self._page_size = min(self._page_size, pages.ROWS_OF_THE_ONE_WRITER)
        self._max_rows = limits.most_rows(max_rows)
        self._ends_at = time.monotonic() + limits.most_seconds(max_seconds)
        self._on_page = on_page
        self._is_begun = False

    def remove(self, *steps: Step) -> None:
        """Remove these rows, as far as the limits allow."""
        for step in steps:
            self._remove(step)

    def _remove(self, step: Step) -> None:
        cursor = None
        while size := self._room(step):
            began_at = time.monotonic()
            removed, cursor = in_transaction(partial(step.remove_page, cursor, size))
            pages.give_way(time.monotonic() - began_at)
            # However little time there is, each run gets one page further.
            self._is_begun = self._is_begun or bool(step.counted)
            self._add(step, removed)
            if self._on_page:
                self._on_page(self.done)
            if cursor is None:
                return
        if not self.done.has_more and step.rows.exists():
            self._stop()

    def count(self, *steps: Step) -> None:
        """Count what `remove` would remove with all time, and remove nothing."""
        for step in steps:
            if step.counted:
                self._count(step)

    def _count(self, step: Step) -> None:
        rows = step.rows if step.foreseen is None else step.foreseen
        left = self._rows_left()
        found = rows.count() if left == math.inf else rows[: int(left) + 1].count()
        self._add(step, int(min(found, left)))
        if found > left:
            self._stop()

    def _room(self, step: Step) -> int:
        if self._is_begun and time.monotonic() >= self._ends_at:
            return 0
        return int(min(self._page_size, self._rows_left())) if step.counted else self._page_size

    def _rows_left(self) -> float:
        return self._max_rows - self.done.rows

    def _add(self, step: Step, number: int) -> None:
        if name := step.counted:
            self.done = replace(self.done, **{name: getattr(self.done, name) + number})

    def _stop(self) -> None:
        self.done = replace(self.done, stopped="time" if self._rows_left() else "rows")
