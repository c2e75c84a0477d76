"""Our rows as django-q2 knows them: one `Schedule` for each that is enabled, which carries no policy.

The row is the truth. django-q2 only says when to look at it, by its primary key.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from django.apps import apps
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from recovery_backend.clients import printable
from recovery_backend.schedules.defects import defect_of
from recovery_backend.schedules.rows import SCHEDULERS, RunKind, Scheduled
from recovery_backend.schedules.timetable import ScheduleType

logger = logging.getLogger("recovery_backend")

# The only functions that a schedule of ours ever names.
FUNCTIONS = {
    RunKind.CODES: "recovery_backend.tasks.run_cleanup",
    RunKind.AUDIT: "recovery_backend.tasks.run_audit_cleanup",
    RunKind.REMINDERS: "recovery_backend.tasks.run_reminders",
}
# What django-q2 does when nobody tells it the next moment: a net below our own timetable.
TYPES: dict[str, str] = {
    ScheduleType.ONCE: "O",
    ScheduleType.HOURLY: "H",
    ScheduleType.DAILY: "D",
    ScheduleType.WEEKLY: "W",
    ScheduleType.MONTHLY: "M",
    ScheduleType.QUARTERLY: "Q",
    ScheduleType.YEARLY: "Y",
}
# django-q2 looks every 30 seconds, and its workers may be busy.
PATIENCE = timedelta(minutes=10)
MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something will not run, in words for an administrator."""

    what: Literal["not_installed", "missing", "altered", "overdue", "malformed"]
    text: str


def is_installed() -> bool:
    return apps.is_installed("django_q")


def name_of(row: Scheduled) -> str:
    """The name of the row's `Schedule`."""
    return f"recovery_backend:{row.kind}:{row.pk}"


def sync(row: Scheduled) -> None:
    """Have the queue know what the stored row says."""
    with transaction.atomic():
        stored = row.lock()
        if moment := stored.due_at():
            _call_at(stored, moment)
        else:
            remove(stored)


def call_again(row: Scheduled, moment: datetime) -> None:
    """Have the queue look at an enabled row at this moment, whatever the row says."""
    with transaction.atomic():
        stored = row.lock()
        if stored.due_at():
            _call_at(stored, moment)


def remove(row: Scheduled) -> None:
    """Have the queue forget the row."""
    if is_installed():
        _schedules().filter(name=name_of(row)).delete()


def hand_over_now(row: Scheduled) -> bool:
    """Have a worker run the row now, and tell no audit. False when it is disabled, or running."""
    with transaction.atomic():
        if not row.make_due():
            return False
        sync(row)
        transaction.on_commit(partial(_hand_over, row.kind, row.pk), robust=True)
    return True


def problems() -> list[Problem]:
    """Everything that keeps schedules from running, the broken ones of other apps included."""
    rows = [row for kind in SCHEDULERS for row in _enabled(kind)]
    if not is_installed():
        text = _("django_q is not installed, so no schedule runs.")
        return [Problem("not_installed", text)] if rows else []
    return [*_malformed(), *_not_in_step(rows), *_overdue(rows)]


def _schedules() -> Any:
    from django_q.models import Schedule  # a model: importable only when installed

    return Schedule.objects


def _call_at(row: Scheduled, moment: datetime) -> None:
    """Write the row's one `Schedule`. The caller holds the row, so nobody else does."""
    if not is_installed():
        return
    fields = {**_constants(row), "next_run": moment}
    ours = _schedules().filter(name=name_of(row))
    first = ours.order_by("pk").values_list("pk", flat=True).first()
    # The scheduler deletes one that is called once, whenever it likes.
    if first is None or not _schedules().filter(pk=first).update(**fields):
        _schedules().create(name=name_of(row), **fields)
    elif ours.count() > 1:
        ours.exclude(pk=first).delete()


def _constants(row: Scheduled) -> dict[str, Any]:
    return {
        "func": FUNCTIONS[row.kind],
        "args": f"({row.pk},)",
        "kwargs": None,
        "hook": None,
        "schedule_type": TYPES.get(row.schedule_type, "D"),
        "minutes": None,
        "cron": None,
        "repeats": -1,
        "cluster": None,
        "intended_date_kwarg": None,
    }


def _hand_over(kind: RunKind, pk: int) -> None:
    if not is_installed():
        return
    from django_q.tasks import async_task

    try:
        with transaction.atomic():
            async_task(FUNCTIONS[kind], pk, save=False)
    except Exception as error:  # brokers raise what they like; its `Schedule` is due anyway
        logger.error("run not queued kind=%s schedule=%s: %s", kind, pk, type(error).__name__)


def _enabled(kind: RunKind) -> Iterator[Scheduled]:
    rows = SCHEDULERS[kind]._default_manager.filter(is_enabled=True)
    is_over = Q(schedule_type=ScheduleType.ONCE, next_run=None, also_due_at=None)
    return rows.exclude(is_over).order_by("pk")[:MOST_ROWS].iterator()


def _malformed() -> Iterator[Problem]:
    """One of these stops all schedules, of every app: django-q2 rolls back the whole pass."""
    for schedule in _schedules().exclude(repeats=0).order_by("pk").iterator():
        defect = defect_of(schedule)
        if defect == "arguments":
            text = _("Schedule %(pk)s (%(name)s) has arguments that stop every schedule.")
        elif defect == "timetable":
            text = _("Schedule %(pk)s (%(name)s) has a timetable that stops every schedule.")
        else:
            continue
        about = {"pk": schedule.pk, "name": printable(schedule.name, 100)}
        yield Problem("malformed", text % about)


def _not_in_step(rows: list[Scheduled]) -> Iterator[Problem]:
    names = [name_of(row) for row in rows]
    found = {schedule.name: schedule for schedule in _schedules().filter(name__in=names)}
    for row in rows:
        schedule = found.get(name_of(row))
        if row.schedule_type not in TYPES:
            text = _("“%(name)s” was given a timetable that does not exist: choose one.")
            yield _problem("altered", text, row)
        elif schedule is None:
            # One that is called once is deleted by the scheduler, and is running or overdue.
            due_at = row.due_at()
            if due_at is None or due_at > timezone.now():
                text = _("“%(name)s” is not in the queue's schedules: save it again.")
                yield _problem("missing", text, row)
        elif any(
            (getattr(schedule, name) or None) != value for name, value in _constants(row).items()
        ):
            text = _("“%(name)s” was altered in the queue's schedules: save it again.")
            yield _problem("altered", text, row)


def _overdue(rows: list[Scheduled]) -> Iterator[Problem]:
    now = timezone.now()
    for row in rows:
        is_running = row.lease_until is not None and row.lease_until > now
        due_at = row.due_at()
        if due_at and due_at < now - PATIENCE and not is_running:
            yield _problem("overdue", _("“%(name)s” is overdue: is a worker running?"), row)


def _problem(what: Literal["missing", "altered", "overdue"], text: str, row: Scheduled) -> Problem:
    return Problem(what, text % {"name": printable(row.name, 100)})
