"""How a run ends: recorded, told, and the row given back with its next run."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.utils import timezone
from django.utils.translation import override

from recovery_backend import audit, emails, seals
from recovery_backend.audit import Event, Reason, logger
from recovery_backend.clients import printable
from recovery_backend.models import RecoveryCodePurgeHistory
from recovery_backend.runs.edits import named
from recovery_backend.runs.progress import LeaseLost, Progress
from recovery_backend.schedules import Scheduled, queue
from recovery_backend.transactions import in_transaction

# After these a run that failed is tried again; then it waits for its next period.
PAUSES = (timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=20))
# Where its timetable is none, there is no next period.
WITHOUT_TIMETABLE = timedelta(days=1)
# As many as the column holds on every database.
MOST_FAILURES = 32_000


def go_on(progress: Progress) -> None:
    """Let go of the row, which is still due, and have the queue call again at once."""
    progress.record.has_more = True
    in_transaction(partial(_let_go, progress))


def finish(progress: Progress, *, has_more: bool) -> datetime | None:
    """Close a run that did what it could; the next run."""
    record = progress.record
    record.has_more, record.finished_at = has_more, timezone.now()
    return in_transaction(partial(_close, progress, failures=0))


def tell(progress: Progress, next_run: datetime | None) -> None:
    """Say what a closed run did."""
    row = progress.row
    if row.use_with_logger:
        _log(progress)
    if row.failures or any(progress.counts.values()):
        _report(progress, next_run)


def fail(progress: Progress, error: str) -> None:
    """Close a run that broke off, and have it tried again."""
    failures = min(progress.row.failures + 1, MOST_FAILURES)
    record = progress.record
    record.has_more, record.finished_at, record.error = False, timezone.now(), error[:100]
    next_run = in_transaction(partial(_close, progress, failures=failures))
    # The first failure, and then one for each period that is given up.
    if failures == 1 or _pause_after(failures) is None:
        _report(progress, next_run)


def stop(progress: Progress) -> None:
    """Leave the run to whoever has the lease now; where nobody may go on, that was all."""
    row, record = progress.row, progress.record
    logger.warning("run stopped kind=%s schedule=%s", row.kind, row.pk)
    if not type(row)._default_manager.filter(pk=row.pk, is_enabled=True).exists():
        record.has_more, record.finished_at = True, timezone.now()
        record.save()
    row.give_lease_back()


def _pause_after(failures: int) -> timedelta | None:
    number = (failures - 1) % (len(PAUSES) + 1)
    return PAUSES[number] if number < len(PAUSES) else None


def _let_go(progress: Progress) -> None:
    stored = _held(progress)
    progress.record.save()
    stored.give_lease_back(last_run=progress.record)
    queue.call_again(stored, timezone.now())


def _close(progress: Progress, *, failures: int) -> datetime | None:
    """Write the record and give the row back; when it is due again."""
    stored = _held(progress)
    record = progress.record
    record.save()
    next_run = _next_run(stored, failures)
    retry_at = _retry_at(next_run, failures) if failures else None
    stored.give_lease_back(
        last_run=record, next_run=next_run, also_due_at=retry_at, failures=failures
    )
    queue.sync(stored)
    counts = {name: number for name, number in progress.counts.items() if number}
    entry = audit.entry(
        Event.SCHEDULER_FAILED if record.error else Event.SCHEDULER_RUN,
        reason=Reason.ERROR if record.error else None,
        data={**named(stored), **counts, **_error(record), **seals.note()},
    )
    audit.record(entry)
    return stored.due_at()


def _held(progress: Progress) -> Scheduled:
    """The row as it is now, locked: it may have been edited during the run."""
    try:
        stored = progress.row.lock()
    except ObjectDoesNotExist:
        raise LeaseLost from None
    if stored.lease_token != progress.row.lease_token:
        raise LeaseLost
    return stored


def _error(record: RecoveryCodePurgeHistory) -> dict[str, str]:
    return {"error": record.error} if record.error else {}


def _next_run(stored: Scheduled, failures: int) -> datetime | None:
    """The planned one, where this run was beside it; else the next moment of the timetable."""
    now = timezone.now()
    try:
        following = stored.following()
    except (ValueError, OverflowError):  # altered by others than forms
        if not failures:
            raise
        following = now + WITHOUT_TIMETABLE
    is_beside = stored.next_run is not None and stored.next_run > now
    return stored.next_run if is_beside else following


def _retry_at(next_run: datetime | None, failures: int) -> datetime | None:
    """When it is tried again before its next run."""
    if (pause := _pause_after(failures)) is None:
        return None
    retry_at = timezone.now() + pause
    return retry_at if next_run is None or retry_at < next_run else None


def _log(progress: Progress) -> None:
    row, counts = progress.row, progress.counts
    told = " ".join(f"{name}={number}" for name, number in counts.items() if number)
    name = printable(row.name, 100)
    logger.info("run done kind=%s schedule=%s name=%s %s", row.kind, row.pk, name, told or "-")


def _report(progress: Progress, next_run: datetime | None) -> None:
    if not progress.row.sends_report:
        return
    try:
        with override(settings.LANGUAGE_CODE):
            emails.send_report(progress.record, next_run)
    except Exception as error:  # mail libraries raise what they like
        logger.error("report not sent run=%s: %s", progress.record.pk, type(error).__name__)
