"""The queue and the audit follow what becomes of a schedule, whoever edits it."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from recovery_backend import audit
from recovery_backend.audit import Event
from recovery_backend.clients import printable
from recovery_backend.schedules import Scheduled, queue

MAX_LENGTH = 100
POLICY = (
    *("is_enabled", "schedule_type", "retention_days", "delete_empty_batch"),
    *("days_before_expiry", "reminds_of_few_left", "asks_yearly"),
)


def note_saved(sender: Any, instance: Scheduled, created: bool, raw: bool, **kwargs: Any) -> None:
    """Receiver: have the queue follow a saved schedule, and record what changed and by whom."""
    if raw:  # a fixture, whose user may not be there yet
        return
    queue.sync(instance)
    if created:
        policy = {name: getattr(instance, name) for name in POLICY if hasattr(instance, name)}
        _record(Event.SCHEDULER_CREATED, instance, policy=policy)
    elif instance.changes:
        changes = {
            name: [printable(value, MAX_LENGTH) for value in old_and_new]
            for name, old_and_new in instance.changes.items()
        }
        _record(Event.SCHEDULER_CHANGED, instance, changes=changes)


def note_deleted(sender: Any, instance: Scheduled, **kwargs: Any) -> None:
    """Receiver: have the queue forget a deleted schedule, and record by whom."""
    queue.remove(instance)
    _record(Event.SCHEDULER_DELETED, instance)


def request_run(row: Scheduled) -> bool:
    """Have a schedule run now, and record who asked. False when it is disabled, or running."""
    before = row.due_at()
    with transaction.atomic():
        is_asked = queue.hand_over_now(row)
        if is_asked:
            _record(Event.SCHEDULER_CHANGED, row, changes={"next_run": [str(before), "now"]})
    return is_asked


def named(row: Scheduled) -> dict[str, Any]:
    """How the audit names a schedule."""
    return {"kind": str(row.kind), "schedule": row.pk, "name": printable(row.name, MAX_LENGTH)}


def _record(event: Event, row: Scheduled, **details: Any) -> None:
    data = {**named(row), **details}
    audit.record(audit.entry(event, client=row.client, actor=row.actor, data=data))
