"""What a schedule of each kind does, by the policy of its row and in a limited time."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from django.apps import apps

from recovery_backend import purge, reminders
from recovery_backend.conf import conf
from recovery_backend.models import (
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.runs.progress import REMOVED, Progress, counts_of
from recovery_backend.schedules import RunKind

LONGEST_SECONDS = 300.0


def budget_seconds() -> float:
    """Half the time after which the queue would end the task."""
    if not apps.is_installed("django_q"):
        return LONGEST_SECONDS
    from django_q.conf import Conf

    return min(LONGEST_SECONDS, Conf.TIMEOUT / 2) if Conf.TIMEOUT else LONGEST_SECONDS


def _purge_codes(progress: Progress) -> str:
    row = cast(RecoveryCodeCleanUpScheduler, progress.row)
    purged = purge.purge_codes(
        row.retention_days,
        delete_empty_batches=row.delete_empty_batch,
        max_rows=_rows_left(progress),
        max_seconds=budget_seconds(),
        on_page=lambda done: progress.note(counts_of(done)),
    )
    progress.note(counts_of(purged))
    return purged.stopped


def _purge_audit(progress: Progress) -> str:
    row = cast(RecoveryCodeAuditScheduler, progress.row)
    purged = purge.purge_audit(
        row.retention_days,
        max_rows=_rows_left(progress),
        max_seconds=budget_seconds(),
        on_page=lambda done: progress.note(counts_of(done)),
    )
    progress.note(counts_of(purged))
    return purged.stopped


def _remind(progress: Progress) -> str:
    row = cast(RecoveryCodeReminderScheduler, progress.row)
    place = row.searched_to
    reminded = reminders.send_due(
        row,
        max_seconds=budget_seconds(),
        on_page=lambda sent: progress.note({"messages_sent": sent}),
    )
    progress.note({"messages_sent": reminded.sent})
    progress.has_moved = row.searched_to != place or reminded.expired > 0
    return reminded.stopped


# Each says why it stopped before the end: "time", "rows", or "" when it did not.
WORK: dict[RunKind, Callable[[Progress], str]] = {
    RunKind.CODES: _purge_codes,
    RunKind.AUDIT: _purge_audit,
    RunKind.REMINDERS: _remind,
}


def _rows_left(progress: Progress) -> int:
    """What MAX_DELETIONS_PER_RUN still allows: a run that goes on is one run."""
    limit = conf.MAX_DELETIONS_PER_RUN
    return limit if limit < 0 else max(0, limit - sum(progress.before[it] for it in REMOVED))
