"""Codes that ended, and what they leave behind (R-19, R-109)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import F, OuterRef, Q, Subquery
from django.utils import timezone

from recovery_backend import audit, cooldown, keyed_rows, signals
from recovery_backend.audit import Event
from recovery_backend.conf import conf
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeQuerySet
from recovery_backend.models.batches import COUNTERS, RecoveryCodeBatchQuerySet
from recovery_backend.purge import limits, records, statement
from recovery_backend.purge.pages import (
    Cursor,
    Page,
    among,
    cursor_after,
    delete,
    page_of,
    remove_page,
)
from recovery_backend.purge.run import Purged, Run, Step

# A server whose clock is behind takes a code for a while after it expired here.
CLOCK_SKEW = timedelta(minutes=5)

# A code that was used changes its own row only, and what the row said would be lost with it.
LAST_CHANGE = (
    RecoveryCode.objects.filter(batch=OuterRef("pk"), retired_at__isnull=False)
    .order_by("-retired_at")
    .values("retired_at")[:1]
)


def purge_codes(
    retention_days: int | None = None,
    *,
    delete_empty_batches: bool = False,
    is_dry_run: bool = False,
    batch_size: int | None = None,
    max_rows: int | None = None,
    max_seconds: float | None = None,
    on_page: Callable[[Purged], None] | None = None,
) -> Purged:
    """Remove the codes that ended longer ago than the retention; what was removed.

    `None` means the settings PURGE_DELETE_RETENTION_DAYS, BATCH_DELETE_SIZE and
    MAX_DELETIONS_PER_RUN, and no limit of time. `on_page` is called with the sum after each
    committed page; what it raises ends the purge. Safe to run twice, at once, and to kill: a page
    is removed and counted in one transaction, or not at all. Raises `OutOfBounds`.
    """
    days = limits.retention(retention_days, conf.PURGE_DELETE_RETENTION_DAYS)
    run = Run(batch_size, max_rows, max_seconds, on_page)
    steps = _steps(timezone.now(), timedelta(days=days), delete_empty_batches)
    if is_dry_run:
        run.count(*steps)
    else:
        with audit.recorded(lambda: _record(run.done, days)):
            run.remove(*steps)
    if conf.AUDIT_ENABLE_AUTO_CLEANUP:
        records.remove(run, conf.AUDIT_RETENTION_DAYS, is_dry_run=is_dry_run)
    return run.done


def _steps(now: datetime, retention: timedelta, delete_empty_batches: bool) -> list[Step]:
    rows, batches = RecoveryCode.objects.all(), RecoveryCodeBatch.objects.all()
    sealed = batches.sealed_before(now - timedelta(seconds=conf.STASH_TTL))
    ended = rows.ended_before(now - retention)
    expired = rows.expired_before(now - retention - CLOCK_SKEW)
    empty = batches.left_empty()
    stale = cooldown.stale(now, retention)
    steps = [
        # First, since it is short, and nobody's plaintext waits for a long purge.
        Step(None, sealed, partial(_forget_page, sealed)),
        Step("codes", ended, partial(_remove_codes, ended, "retired_at")),
        Step("codes", expired, partial(_remove_codes, expired, "expires_at")),
    ]
    if delete_empty_batches:
        foreseen = batches.left_empty(without=ended | expired)
        steps.append(Step("batches", empty, partial(remove_page, empty, "issued_at"), foreseen))
    steps.append(Step("other_rows", stale, partial(remove_page, stale, "updated_at")))
    for kind in keyed_rows.registered():
        over = kind.ended_before(now - retention)
        steps.append(Step("other_rows", over, partial(remove_page, over, "created_at")))
    return steps


def _forget_page(rows: RecoveryCodeBatchQuerySet, cursor: Cursor | None, size: int) -> Page:
    page = page_of(rows, "issued_at", cursor, size)
    following = cursor_after(rows, "issued_at", page, size)
    for part in among(rows, [pk for (pk,) in page]):
        part.forget_sealed()
    return 0, following


def _remove_codes(
    rows: RecoveryCodeQuerySet, moment: str, cursor: Cursor | None, size: int
) -> Page:
    """Remove a page of codes, and count each in its batch, so that the batch's card stays right."""
    if connection.vendor == "postgresql":
        return statement.remove_codes(rows, moment, cursor, size, COUNTERS)
    with_change = rows.annotate(is_last_change=Q(retired_at__gt=F("batch__modified_at")))
    page = page_of(with_change, moment, cursor, size, "batch_id", "status", "is_last_change")
    following = cursor_after(rows, moment, page, size)
    # Before they go: the newest of them may say when their batch was last changed.
    _count_in_batches(page)
    return delete(rows, [row[0] for row in page]), following


def _count_in_batches(page: Sequence[tuple[Any, ...]]) -> None:
    """Add these codes to the counters of their batches, with one statement for each sum."""
    changed = {batch for _pk, batch, _status, is_last_change in page if is_last_change}
    numbers = Counter((batch, status) for _pk, batch, status, _is_last_change in page)
    alike: defaultdict[tuple[str, int, bool], list[int]] = defaultdict(list)
    for (batch, status), number in numbers.items():
        alike[status, number, batch in changed].append(batch)
    for (status, number, has_changed), batches in alike.items():
        counter = COUNTERS[RecoveryCode.Status(status)]
        values: dict[str, Any] = {counter: F(counter) + number}
        if has_changed:
            values["modified_at"] = Subquery(LAST_CHANGE)
        for part in among(RecoveryCodeBatch.objects.all(), batches):
            part.update(**values)


def _record(done: Purged, days: int) -> None:
    if not done.rows:
        return
    data = {
        "codes": done.codes,
        "batches": done.batches,
        "other_rows": done.other_rows,
        "retention_days": days,
    }
    audit.record(audit.entry(Event.PURGE_DONE, data=data))
    tell = partial(
        signals.codes_purged.send_robust,
        RecoveryCode,
        user=None,
        number_of_codes=done.codes,
        number_of_batches=done.batches,
    )
    transaction.on_commit(tell, robust=True)
