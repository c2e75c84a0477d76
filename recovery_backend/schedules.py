"""The policies that an administrator edits, and the record of their runs."""

from __future__ import annotations

from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import MinLengthValidator
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class ScheduleType(models.TextChoices):
    ONCE = "once", _("once")
    HOURLY = "hourly", _("hourly")
    DAILY = "daily", _("daily")
    WEEKLY = "weekly", _("weekly")
    MONTHLY = "monthly", _("monthly")
    QUARTERLY = "quarterly", _("quarterly")
    YEARLY = "yearly", _("yearly")


class Policy(models.Model):
    """What to remove, and when. Validated as a whole by `full_clean`."""

    name = models.CharField(
        _("name"), max_length=100, unique=True, validators=[MinLengthValidator(1)]
    )
    is_enabled = models.BooleanField(_("enabled"), default=True)
    retention_days = models.PositiveIntegerField(_("retention in days"), default=30)
    run_at = models.DateTimeField(_("run at"), default=timezone.now)
    next_run = models.DateTimeField(_("next run"), null=True, blank=True)
    schedule_type = models.CharField(
        _("schedule"), max_length=10, choices=ScheduleType.choices, default=ScheduleType.DAILY
    )
    use_with_logger = models.BooleanField(_("log each run"), default=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        next_run: datetime | None = self.next_run
        if next_run is not None and next_run < self.run_at:
            raise ValidationError(
                {"next_run": _("The next run cannot be before the first one.")}, code="order"
            )


class RecoveryCodeCleanUpScheduler(Policy):
    """Removes codes that were used, invalidated, deleted or expired longer ago than retention."""

    delete_empty_batch = models.BooleanField(_("delete empty batches"), default=False)

    class Meta:
        verbose_name = _("code purge schedule")
        verbose_name_plural = _("code purge schedules")


class RecoveryCodeAuditScheduler(Policy):
    """Removes audit events older than the retention."""

    class Meta:
        verbose_name = _("audit purge schedule")
        verbose_name_plural = _("audit purge schedules")


class RecoveryCodePurgeHistory(models.Model):
    """What one purge removed: counts only."""

    policy_name = models.CharField(_("policy"), max_length=100, blank=True)
    started_at = models.DateTimeField(_("started"), default=timezone.now, db_index=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    retention_days = models.PositiveIntegerField(_("retention in days"))
    codes_removed = models.PositiveIntegerField(_("codes removed"), default=0)
    batches_removed = models.PositiveIntegerField(_("batches removed"), default=0)
    audit_rows_removed = models.PositiveIntegerField(_("audit events removed"), default=0)
    error = models.CharField(_("error"), max_length=100, blank=True)

    class Meta:
        verbose_name = _("purge")
        verbose_name_plural = _("purges")

    def __str__(self) -> str:
        return f"{self.policy_name} {self.started_at:%Y-%m-%d %H:%M}".strip()
