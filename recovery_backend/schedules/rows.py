"""The policies that an administrator edits, and the record of their runs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinLengthValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from recovery_backend.clients import NOBODY, Client
from recovery_backend.conf import conf
from recovery_backend.schedules.timetable import ScheduleType, next_after

MAX_RETENTION_DAYS = 36_500
# A run renews its lease with every page, and a page takes milliseconds.
LEASE = timedelta(seconds=90)
# For whoever fills in a form slowly.
TOLERANCE = timedelta(minutes=5)
# Forms know no smaller parts of a second.
SAME = timedelta(seconds=1)
# What a run keeps in a row; whoever edits the row leaves it alone.
HELD_BY_RUNS = {
    *("last_run", "failures", "lease_token", "lease_until", "searched_to"),
    "also_due_at",
}


def default_retention_days() -> int:
    return conf.PURGE_DELETE_RETENTION_DAYS


def default_audit_retention_days() -> int:
    return conf.AUDIT_RETENTION_DAYS


def default_use_with_logger() -> bool:
    return conf.PURGE_DELETE_SCHEDULER_USE_LOGGER


class RunKind(models.TextChoices):
    CODES = "codes", _("purge of codes")
    AUDIT = "audit", _("purge of audit events")
    REMINDERS = "reminders", _("reminders")


class RecoveryCodePurgeHistory(models.Model):
    """What one run did: counts only."""

    class Trigger(models.TextChoices):
        SCHEDULE = "schedule", pgettext_lazy("started by", "schedule")
        COMMAND = "command", pgettext_lazy("started by", "command line")

    kind = models.CharField(
        _("what"), max_length=10, choices=RunKind.choices, default=RunKind.CODES
    )
    trigger = models.CharField(
        _("started by"), max_length=10, choices=Trigger.choices, default=Trigger.SCHEDULE
    )
    policy_name = models.CharField(_("policy"), max_length=100, blank=True)
    started_at = models.DateTimeField(_("started"), default=timezone.now, db_index=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    retention_days = models.PositiveIntegerField(_("retention in days"), null=True, blank=True)
    codes_removed = models.PositiveIntegerField(_("codes removed"), default=0)
    batches_removed = models.PositiveIntegerField(_("batches removed"), default=0)
    audit_rows_removed = models.PositiveIntegerField(_("audit events removed"), default=0)
    other_rows_removed = models.PositiveIntegerField(
        _("other rows removed"),
        default=0,
        help_text=_("Counters of failures, e-mail log, records of runs."),
    )
    messages_sent = models.PositiveIntegerField(_("messages sent"), default=0)
    has_more = models.BooleanField(_("has more to do"), default=False)
    error = models.CharField(_("error"), max_length=100, blank=True)

    class Meta:
        verbose_name = _("run")
        verbose_name_plural = _("runs")

    def __str__(self) -> str:
        return f"{self.policy_name} {self.started_at:%Y-%m-%d %H:%M}".strip()


class Scheduled(models.Model):
    """Something that an administrator has done again and again. Validated by `full_clean`.

    `next_run` is the next one of its timetable; None once it ran for the last time.
    """

    kind: ClassVar[RunKind]
    actor: AbstractBaseUser | None = None
    """Who changes it, for the audit: set before `save` and `delete`."""
    client: Client = NOBODY
    """From where, likewise."""
    changes: dict[str, list[str]] | None = None
    """What the last `save` of this instance changed: the old value and the new one."""
    _next_run_as_read: datetime | None = None

    name = models.CharField(
        _("name"), max_length=100, unique=True, validators=[MinLengthValidator(1)]
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    run_at = models.DateTimeField(
        _("run at"),
        default=timezone.now,
        help_text=_("The first run; the later ones are counted from it, in the site's time zone."),
    )
    next_run = models.DateTimeField(
        _("next run"), null=True, blank=True, help_text=_("Leave empty to begin with the first.")
    )
    schedule_type = models.CharField(
        _("schedule"), max_length=10, choices=ScheduleType.choices, default=ScheduleType.DAILY
    )
    use_with_logger = models.BooleanField(_("log each run"), default=default_use_with_logger)
    sends_report = models.BooleanField(
        _("report by e-mail"),
        default=True,
        help_text=_("Counts only, to the address of the setting ADMIN_EMAIL, if there is one."),
    )
    last_run = models.ForeignKey(
        RecoveryCodePurgeHistory,
        verbose_name=_("last run"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    failures = models.PositiveSmallIntegerField(_("failures in a row"), default=0, editable=False)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    also_due_at = models.DateTimeField(null=True, editable=False)
    """When it is due beside its timetable: asked for, to be tried again, or not finished."""

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save what was decided, and the next run that follows from it.

        What a run keeps in the row stays as it is there. Raises `DoesNotExist` for a row that
        was deleted meanwhile.
        """
        with transaction.atomic():
            if self._state.adding:
                ScheduleType(self.schedule_type)  # one that exists, or ValueError
                self.next_run = self.next_run or self.run_at
            else:
                kwargs["update_fields"] = self._plan(kwargs.get("update_fields"))
            super().save(*args, **kwargs)
        self._note_next_run()

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        row = super().from_db(*args, **kwargs)
        row._note_next_run()
        return row

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        super().refresh_from_db(*args, **kwargs)
        self._note_next_run()

    def clean(self) -> None:
        stored = type(self)._default_manager.filter(pk=self.pk).first()
        errors = {}
        is_first_new = stored is None or _differ(self.run_at, stored.run_at)
        if is_first_new and self.run_at < timezone.now() - TOLERANCE:
            errors["run_at"] = ValidationError(
                _("The first run cannot be in the past."), code="past"
            )
        if self.next_run is not None and (stored is None or self._says_next_run(stored)):
            errors |= self._errors_of_next_run(self.next_run)
        if errors:
            raise ValidationError(errors)

    def _errors_of_next_run(self, next_run: datetime) -> dict[str, ValidationError]:
        if next_run < self.run_at:
            text, code = _("The next run cannot be before the first one."), "order"
        elif next_run < timezone.now() - TOLERANCE:
            text, code = _("The next run cannot be in the past."), "past"
        else:
            return {}
        return {"next_run": ValidationError(text, code=code)}

    def _plan(self, update_fields: Iterable[str] | None) -> set[str]:
        """Set the next run to what follows from the changes; the names of the fields to save."""
        stored = self.lock()
        names = {field.name for field in self._meta.fields} - HELD_BY_RUNS - {"id"}
        to_save = names if update_fields is None else names & set(update_fields)
        for name in names - to_save:
            setattr(self, name, getattr(stored, name))
        self.next_run = self._planned(stored)
        self.also_due_at = stored.also_due_at if self._stays_enabled(stored) else None
        old_and_new = {name: (getattr(stored, name), getattr(self, name)) for name in names}
        self.changes = {
            name: [str(old), str(new)]
            for name, (old, new) in old_and_new.items()
            if _differ(old, new)
        }
        return to_save | {"next_run", "also_due_at"}

    def _planned(self, stored: Self) -> datetime | None:
        next_run = self.next_run if (is_said := self._says_next_run(stored)) else stored.next_run
        if is_said and next_run is not None:
            return next_run
        is_retimed = _differ(self.run_at, stored.run_at)
        if is_retimed and self.run_at > timezone.now():
            return self.run_at
        is_retimed |= self.schedule_type != stored.schedule_type
        if is_retimed or next_run is None or self._missed_its_time(stored):
            return self.following() or stored.next_run
        return next_run

    def _says_next_run(self, stored: Self) -> bool:
        """Whether its next run was set; where a run moved the stored one meanwhile, it was not."""
        is_other = _differ(self.next_run, stored.next_run)
        return is_other and _differ(self.next_run, self._next_run_as_read)

    def _note_next_run(self) -> None:
        self._next_run_as_read = self.__dict__.get("next_run")  # a deferred one is not read

    def _missed_its_time(self, stored: Self) -> bool:
        """Whether it was due while it was disabled, and is enabled now."""
        is_enabled_now = self.is_enabled and not stored.is_enabled
        return is_enabled_now and bool(stored.next_run and stored.next_run <= timezone.now())

    def _stays_enabled(self, stored: Self) -> bool:
        """Disabling takes back what was asked for: nothing runs because it is enabled again."""
        return self.is_enabled and stored.is_enabled

    def lock(self) -> Self:
        """The stored row, held until the transaction ends. Raises `DoesNotExist`."""
        stored = type(self)._default_manager.filter(pk=self.pk)
        # Not SELECT FOR UPDATE: SQLite refuses a transaction that reads before it writes.
        stored.update(failures=F("failures"))
        return stored.get()

    def due_at(self) -> datetime | None:
        """When the next run is due; None when it is disabled, or ran for the last time."""
        return self._first(self.next_run, self.also_due_at)

    def _first(self, *moments: datetime | None) -> datetime | None:
        return min(filter(None, moments), default=None) if self.is_enabled else None

    def planned(self) -> datetime | None:
        """When it would be due, were it saved as it is."""
        stored = type(self)._default_manager.filter(pk=self.pk).first()
        if stored is None:
            return self._first(self.next_run or self.run_at)
        also_due_at = stored.also_due_at if self._stays_enabled(stored) else None
        return self._first(self._planned(stored), also_due_at)

    def following(self) -> datetime | None:
        """The first moment after now at which it is due by its timetable."""
        return next_after(self.run_at, self.schedule_type, timezone.now())

    # One conditional UPDATE each; True for one of any number of callers.

    def take_lease(self) -> bool:
        """Claim the run that is due: nobody else runs this row until the lease ends.

        One that never ran may be run before its time: only code calls a task before the queue
        does, and the first call of a new row is meant.
        """
        now = timezone.now()
        is_due = Q(next_run__lte=now) | Q(also_due_at__lte=now)
        is_due |= Q(next_run__isnull=False, last_run__isnull=True)
        return self._change(
            _is_free(now),
            is_due,
            Q(is_enabled=True),
            lease_token=uuid.uuid4(),
            lease_until=now + LEASE,
        )

    def renew_lease(self, **fields: Any) -> bool:
        """Hold on to the lease, and set these fields. False when somebody else took it after its
        end, or an administrator has disabled or deleted the row.
        """
        is_ours = Q(lease_token=self.lease_token, is_enabled=True)
        return self._change(is_ours, lease_until=timezone.now() + LEASE, **fields)

    def make_due(self) -> bool:
        """Let it be due now, beside its timetable. False when it is disabled, or runs."""
        now = timezone.now()
        return self._change(_is_free(now), Q(is_enabled=True), also_due_at=now)

    def give_lease_back(self, **fields: Any) -> bool:
        """Let others run it, and set these fields. False when somebody else has the lease."""
        return self._change(
            Q(lease_token=self.lease_token), lease_token=None, lease_until=None, **fields
        )

    def _change(self, *conditions: Q, **fields: Any) -> bool:
        rows = type(self)._default_manager.filter(*conditions, pk=self.pk)
        changed = rows.update(**fields)
        for name, value in fields.items() if changed else ():
            setattr(self, name, value)
        return changed == 1


def _is_free(now: datetime) -> Q:
    return Q(lease_until__isnull=True) | Q(lease_until__lte=now)


def _differ(one: object, other: object) -> bool:
    if isinstance(one, datetime) and isinstance(other, datetime):
        return abs(one - other) >= SAME
    return one != other


class RetentionPolicy(Scheduled):
    """What to remove, and when."""

    retention_days = models.PositiveIntegerField(
        _("retention in days"),
        default=default_retention_days,
        validators=[MinValueValidator(0), MaxValueValidator(MAX_RETENTION_DAYS)],
        help_text=_("Counted from the moment something ended, never from when it was made."),
    )

    class Meta:
        abstract = True


class RecoveryCodeCleanUpScheduler(RetentionPolicy):
    """Removes codes that were used, invalidated, deleted or expired longer ago than retention."""

    kind = RunKind.CODES

    delete_empty_batch = models.BooleanField(_("delete empty batches"), default=False)

    class Meta:
        verbose_name = _("code purge schedule")
        verbose_name_plural = _("code purge schedules")
        permissions = [("run_recoverycodecleanupscheduler", _("Can run a code purge now"))]


class RecoveryCodeAuditScheduler(RetentionPolicy):
    """Removes audit events, and records of e-mails and runs, older than the retention."""

    kind = RunKind.AUDIT

    retention_days = models.PositiveIntegerField(
        _("retention in days"),
        default=default_audit_retention_days,
        validators=[MinValueValidator(0), MaxValueValidator(MAX_RETENTION_DAYS)],
        help_text=_("Counted from the moment of the event."),
    )

    class Meta:
        verbose_name = _("audit purge schedule")
        verbose_name_plural = _("audit purge schedules")
        permissions = [("run_recoverycodeauditscheduler", _("Can run an audit purge now"))]


class RecoveryCodeReminderScheduler(Scheduled):
    """Tells owners, once each, that their codes end soon or are few, and asks once a year."""

    kind = RunKind.REMINDERS

    days_before_expiry = models.PositiveSmallIntegerField(
        _("days before the end"),
        default=14,
        validators=[MaxValueValidator(365)],
        help_text=_("How long before they expire owners are told. 0: never."),
    )
    reminds_of_few_left = models.BooleanField(_("remind of few codes left"), default=True)
    asks_yearly = models.BooleanField(
        _("ask once a year"),
        default=False,
        help_text=_("Whether the owner still has the codes."),
    )
    searched_to = models.BigIntegerField(null=True, editable=False)
    """The last batch that was looked at; None between two searches."""

    class Meta:
        verbose_name = _("reminder schedule")
        verbose_name_plural = _("reminder schedules")
        permissions = [("run_recoverycodereminderscheduler", _("Can send reminders now"))]

    def keep_place(self, searched_to: int | None) -> None:
        """Let the next run go on behind this batch, unless somebody else has the lease."""
        self.searched_to = searched_to
        self._change(Q(lease_token=self.lease_token), searched_to=searched_to)


SCHEDULERS: dict[RunKind, type[Scheduled]] = {
    RunKind.CODES: RecoveryCodeCleanUpScheduler,
    RunKind.AUDIT: RecoveryCodeAuditScheduler,
    RunKind.REMINDERS: RecoveryCodeReminderScheduler,
}
