"""What a run has done so far: in its record, for whoever goes on with it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import cast

from django.utils import timezone

from recovery_backend.models import RecoveryCodePurgeHistory
from recovery_backend.purge import Purged
from recovery_backend.schedules import Scheduled, queue
from recovery_backend.transactions import in_transaction

# Written with every page it would slow down a purge on SQLite.
NOTE_SECONDS = 1.0
REMOVED = ("codes_removed", "batches_removed", "audit_rows_removed", "other_rows_removed")
COUNTS = (*REMOVED, "messages_sent")


class LeaseLost(Exception):
    """Raised between two pages: somebody else runs it now, or nobody may any more."""


@dataclass
class Tally:
    """What a run has done so far: in its record, there a second old at most."""

    record: RecoveryCodePurgeHistory
    before: dict[str, int] = field(init=False)
    has_moved: bool = False
    """Whether it came further in a way that no count tells."""
    noted_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.before = self.counts

    @property
    def counts(self) -> dict[str, int]:
        return {name: getattr(self.record, name) for name in COUNTS}

    @property
    def has_done_something(self) -> bool:
        return self.has_moved or self.counts != self.before

    def note(self, counts: Mapping[str, int]) -> None:
        """Keep what this process has done so far."""
        for name, number in counts.items():
            setattr(self.record, name, self.before[name] + number)
        if time.monotonic() - self.noted_at >= NOTE_SECONDS:
            in_transaction(self._write)
            self.noted_at = time.monotonic()

    def _write(self) -> None:
        # Not `save`: a purge of old records may have removed this one.
        RecoveryCodePurgeHistory.objects.filter(pk=self.record.pk).update(**self.counts)


@dataclass
class Progress(Tally):
    """A row that is being run under a lease; to note something renews it, or raises `LeaseLost`."""

    row: Scheduled = field(kw_only=True)

    def open(self) -> None:
        """Tie the record to the row. Raises `LeaseLost`."""
        in_transaction(self._open)

    def _open(self) -> None:
        self.record.save()
        # Due until it is finished, also when it was called before its time.
        if not self.row.renew_lease(last_run=self.record, also_due_at=timezone.now()):
            raise LeaseLost
        # If this process dies, and the queue lost the task, this one finds the row.
        queue.call_again(self.row, after_lease(self.row))

    def _write(self) -> None:
        if not self.row.renew_lease():
            raise LeaseLost
        super()._write()


def progress_of(row: Scheduled) -> Progress:
    """A run that begins, or the one that was begun and not finished."""
    record = row.last_run
    if record is None or record.finished_at is not None:
        record = RecoveryCodePurgeHistory(
            kind=row.kind,
            policy_name=row.name,
            retention_days=getattr(row, "retention_days", None),
        )
    return Progress(record, row=row)


def counts_of(purged: Purged) -> dict[str, int]:
    """What a purge removed, as a record names it."""
    numbers = (purged.codes, purged.batches, purged.audit_rows, purged.other_rows)
    return dict(zip(REMOVED, numbers, strict=True))


def after_lease(row: Scheduled) -> datetime:
    """When somebody else may take the lease of a row that is being run."""
    return cast("datetime", row.lease_until) + timedelta(seconds=1)
