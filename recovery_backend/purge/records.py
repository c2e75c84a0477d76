"""Audit events, and the records of e-mails and runs, that are old enough to go (R-123)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from recovery_backend import audit, seals
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.conf import conf
from recovery_backend.models import RecoveryCodeEmailLog
from recovery_backend.purge import limits
from recovery_backend.purge.pages import Cursor, Page, remove_page
from recovery_backend.purge.run import Purged, Run, Step
from recovery_backend.schedules import SCHEDULERS, RecoveryCodePurgeHistory

# Rows are numbered nearly in the order of their moments: of parallel transactions, and of servers
# whose clocks differ, only neighbours are swapped.
NEIGHBOURS = 1000
# Longer than any run: one that has not finished by then was killed.
LONGEST_RUN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Announced:
    """What a purge says of the events that it removes."""

    last_row: int
    days: int
    extent: seals.Extent

    def data(self) -> dict[str, Any]:
        """Up to which row they go, with a receipt for sealed ones, and the head of the chain."""
        return {"last_row": self.last_row, **seals.receipt(self.extent), **seals.note()}


def purge_audit(
    retention_days: int | None = None,
    *,
    is_dry_run: bool = False,
    batch_size: int | None = None,
    max_rows: int | None = None,
    max_seconds: float | None = None,
    on_page: Callable[[Purged], None] | None = None,
) -> Purged:
    """Remove audit events, and records of e-mails and runs, older than the retention.

    `None` means AUDIT_RETENTION_DAYS; the rest is as in `purge_codes`.
    """
    days = limits.retention(retention_days, conf.AUDIT_RETENTION_DAYS)
    run = Run(batch_size, max_rows, max_seconds, on_page)
    remove(run, days, is_dry_run=is_dry_run)
    return run.done


def remove(run: Run, days: int, *, is_dry_run: bool) -> None:
    """Remove, or only count, what is older than that within the limits of a run."""
    now = timezone.now()
    moment = now - timedelta(days=days)
    # The trail of what shortened the audit outlives a purge with a shorter retention.
    trail_moment = now - timedelta(days=max(days, conf.AUDIT_RETENTION_DAYS))
    aged = seals.aged(moment, trail_moment)
    announced = Announced(_last_row(moment, aged), days, aged.extent)
    events = _events(moment, trail_moment, announced.last_row, aged.last_trail_row)
    mails = RecoveryCodeEmailLog.objects.filter(queued_at__lte=moment)
    runs = _runs(now, moment)
    steps = [
        Step("audit_rows", events, partial(_remove_events, events, announced)),
        Step("other_rows", mails, partial(remove_page, mails, "queued_at")),
        Step("other_rows", runs, partial(remove_page, runs, "started_at")),
    ]
    if is_dry_run:
        run.count(*steps)
        return
    before = run.done
    with audit.recorded(lambda: _record(before, run.done, announced)):
        run.remove(*steps)


def _events(
    moment: datetime, trail_moment: datetime, last: int, last_of_trail: int | None
) -> QuerySet[RecoveryCodeAudit]:
    rows = RecoveryCodeAudit.objects.filter(at__lte=moment, pk__lte=last)
    if moment == trail_moment:
        return rows
    stays = Q(at__gt=trail_moment)
    if last_of_trail is not None:
        stays |= Q(pk__gt=last_of_trail)
    return rows.exclude(stays, event__in=seals.TRAIL)


def _last_row(moment: datetime, aged: seals.Aged) -> int:
    """The highest number of a row to be removed; 0 when there is none.

    A row that a wrong clock made look old keeps its place until its neighbours go.
    """
    old = RecoveryCodeAudit.objects.filter(at__lte=moment).order_by("-at", "-pk")
    last = max(old.values_list("pk", flat=True)[:NEIGHBOURS], default=0)
    return last if aged.last_row is None else min(last, aged.last_row)


def _runs(now: datetime, moment: datetime) -> QuerySet[RecoveryCodePurgeHistory]:
    """Old runs, without those that go on, and those that a schedule still names as its last."""
    rows = RecoveryCodePurgeHistory.objects.filter(started_at__lte=moment)
    rows = rows.filter(Q(finished_at__isnull=False) | Q(started_at__lte=now - LONGEST_RUN))
    for scheduler in SCHEDULERS.values():
        # A schedule without a last run is one that never ran.
        rows = rows.exclude(Exists(scheduler._default_manager.filter(last_run=OuterRef("pk"))))
    return rows


def _remove_events(
    rows: QuerySet[RecoveryCodeAudit], announced: Announced, cursor: Cursor | None, size: int
) -> Page:
    if cursor is None and rows.exists():
        # Before the first row goes, in case that the purge is killed: rows that are missing and not
        # announced are what the seals of the audit are there to find.
        data = {"retention_days": announced.days, **announced.data()}
        audit.record(audit.entry(Event.AUDIT_PURGED, data=data))
    return remove_page(rows, "at", cursor, size)


def _record(before: Purged, done: Purged, announced: Announced) -> None:
    events = done.audit_rows - before.audit_rows
    others = done.other_rows - before.other_rows
    if not events + others:
        return
    data = {"audit_rows": events, "other_rows": others, "retention_days": announced.days}
    if events:
        data |= announced.data()
    audit.record(audit.entry(Event.AUDIT_PURGED, data=data))
    seals.forget()
