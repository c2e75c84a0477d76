"""Rows page by page: one short transaction each, which waits for nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import F, Q, QuerySet
from django.db.models.lookups import In

from recovery_backend.models import RecoveryCodeBatch

Rows = TypeVar("Rows", bound=QuerySet[Any])
# Where a page ended: a moment and a primary key. None: there is nothing behind it.
Cursor = tuple[datetime, Any]
Page = tuple[int, Cursor | None]

# PostgreSQL takes 65,535 parameters; these leave room for those of the condition.
MAX_PARAMETERS = 10_000
OTHER_PARAMETERS = 20
# SQLite has one writer at a time. A page of a thousand rows keeps the others out for 30 ms, and
# who found it locked looks again only now and then.
ROWS_OF_THE_ONE_WRITER = 100
LONGEST_PAUSE_SECONDS = 0.05


def has_one_writer() -> bool:
    """Whether the whole database is locked while somebody writes: SQLite."""
    return not connection.features.has_select_for_update


def give_way(seconds: float) -> None:
    """Leave a database with one writer to others for twice as long as a page has kept them out."""
    if has_one_writer() and not connection.in_atomic_block:
        time.sleep(min(2 * seconds, LONGEST_PAUSE_SECONDS))


def page_of(
    rows: QuerySet[Any], moment: str, cursor: Cursor | None, size: int, *fields: str
) -> list[tuple[Any, ...]]:
    """The primary keys, and these fields, of the next rows by this moment; the rows are locked.

    Rows that somebody else has locked are left to the next run. So a purge never waits for a row
    while it holds others, and cannot be part of a deadlock.
    """
    if has_one_writer():
        # A first write makes us it before anything is read.
        RecoveryCodeBatch.objects.filter(pk=0).update(number_issued=0)
    return list(next_rows(rows, moment, cursor, size).values_list("pk", *fields))


def next_rows(rows: Rows, moment: str, cursor: Cursor | None, size: int) -> Rows:
    """The next rows by this moment, which reading them locks."""
    return _locked(_behind(rows, moment, cursor)).order_by(moment, "pk")[:size]


def _behind(rows: Rows, moment: str, cursor: Cursor | None) -> Rows:
    if cursor is None:
        return rows
    last, pk = cursor
    # The first condition is where the index is entered; the second one alone would read all of it,
    # with what is removed but still seen by an old snapshot, on each page.
    return rows.filter(**{f"{moment}__gte": last}).filter(
        Q(**{f"{moment}__gt": last}) | Q(pk__gt=pk)
    )


def _locked(rows: Rows) -> Rows:
    """These rows, without those that somebody else has locked, and locked by us."""
    if has_one_writer():
        return rows
    features = connection.features
    return rows.select_for_update(
        skip_locked=features.has_select_for_update_skip_locked,
        no_key=features.has_select_for_no_key_update,
    )


def cursor_after(
    rows: QuerySet[Any], moment: str, page: Sequence[tuple[Any, ...]], size: int
) -> Cursor | None:
    """Where the next page begins; None when there is none. To be asked before the page goes."""
    if len(page) < size:
        return None
    # The moments of all rows would be the most expensive thing to read of them.
    cursor: Cursor = rows.values_list(moment, "pk").get(pk=page[-1][0])
    return cursor


class Among(In):
    """`IN`, as one parameter where the database takes an array: a third less work for a page."""

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", [*parameters, list(self.rhs)]


def among(rows: Rows, keys: Sequence[Any]) -> Iterator[Rows]:
    """The rows with these keys, in as many parts as the database takes in one statement."""
    most = connection.features.max_query_params or MAX_PARAMETERS
    size = min(most, MAX_PARAMETERS) - OTHER_PARAMETERS
    for start in range(0, len(keys), size):
        yield rows.filter(Among(F("pk"), keys[start : start + size]))


def delete(rows: QuerySet[Any], keys: Sequence[Any]) -> int:
    """Delete these of the rows, if they still belong to them; how many.

    Without a look for what points to them: for tables only to which nothing does.
    """
    # MariaDB may read a small table whole for this, and wait for rows that others have locked. A
    # deadlock of two that do so is tried again, by whichever of them had to give way.
    return sum(part._raw_delete(DEFAULT_DB_ALIAS) for part in among(rows, keys))


def remove_page(rows: QuerySet[Any], moment: str, cursor: Cursor | None, size: int) -> Page:
    """Delete the next rows by this moment."""
    page = page_of(rows, moment, cursor, size)
    following = cursor_after(rows, moment, page, size)
    return delete(rows, [pk for (pk,) in page]), following
