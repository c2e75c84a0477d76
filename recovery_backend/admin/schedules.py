"""Schedules in the admin: what is removed or sent, and when. What runs is not for editing (R-107)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import display_for_value
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _

from recovery_backend import runs
from recovery_backend.admin.lists import TableAdmin
from recovery_backend.admin.moments import MomentField
from recovery_backend.admin.records import result_of
from recovery_backend.clients import client_of
from recovery_backend.models import (
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.schedules import Scheduled, queue

# Sooner than somebody who is told of an edit can do anything about it.
SOON = timedelta(minutes=10)


class ScheduledForm(ModelForm):  # type: ignore[type-arg]
    """A schedule, edited by somebody who may have it run at once or may not."""

    may_run: ClassVar[bool] = False
    instance: Scheduled

    def clean_next_run(self) -> datetime | None:
        """What was set. A page that was open during a run still shows the one before it."""
        if self.instance._state.adding or "next_run" in self.changed_data:
            return cast("datetime | None", self.cleaned_data["next_run"])
        return self.instance.next_run

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors and not self.may_run and _is_soon(self.instance.planned()):
            text = _(
                "Only those who may run it now may have it run within %(minutes)d minutes: "
                "choose a later moment, or disable it."
            )
            params = {"minutes": SOON // timedelta(minutes=1)}
            self.add_error("next_run", ValidationError(text, code="soon", params=params))


class ScheduledAdmin(TableAdmin):
    """A schedule and how its runs went."""

    form = ScheduledForm
    list_display = (
        "name",
        "is_enabled",
        "schedule_type",
        "last_start",
        "last_result",
        "due",
        "state",
    )
    sortable_by = ("name",)
    joined = ("last_run",)
    ordering = ("name",)
    readonly_fields = ("last_start", "last_result", "state")
    actions = ("run_now",)
    what: ClassVar[tuple[str, ...]]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        when = ("schedule_type", "run_at", "next_run")
        sets: list[tuple[Any, dict[str, Any]]] = [
            (None, {"fields": ("name", "is_enabled", *self.what)}),
            (_("When"), {"fields": when}),
            (_("Record"), {"fields": ("use_with_logger", "sends_report")}),
        ]
        if obj is not None:
            sets.append((_("Last run"), {"fields": self.readonly_fields}))
        return sets

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        form: Any = super().get_form(request, *args, **kwargs)
        form.may_run = self.has_run_permission(request)  # a class of this request's own
        return form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "next_run":
            kwargs |= {"form_class": MomentField, "show_hidden_initial": True}
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"run_at": next_hour(), **super().get_changeform_initial_data(request)}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(
            request,
            {"problems": [problem.text for problem in queue.problems()]} | (extra_context or {}),
        )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, _signed(obj, request), form, change)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, _signed(obj, request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            _signed(row, request).delete()

    def has_run_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"recovery_backend.run_{self.opts.model_name}")

    @admin.action(description=_("Run now"), permissions=["run"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        asked = {row: runs.request_run(_signed(row, request)) for row in queryset}
        if started := sum(asked.values()):
            text = ngettext("%d run was asked for.", "%d runs were asked for.", started)
            self.message_user(request, text % started, messages.SUCCESS)
        for row in (row for row, is_asked in asked.items() if not is_asked):
            text = gettext("%(name)s does not run now: it is disabled, or runs already.")
            self.message_user(request, text % {"name": row}, messages.WARNING)

    @admin.display(description=_("last run"))
    def last_start(self, row: Scheduled) -> str | None:
        if row.last_run is None:
            return None
        # In words: on the page of a row, Django shows a moment as Python does.
        return str(display_for_value(row.last_run.started_at, ""))

    @admin.display(description=_("result"))
    def last_result(self, row: Scheduled) -> str | None:
        if row.last_run is None:
            return None
        return row.last_run.error or result_of(row.last_run)

    @admin.display(description=_("next run"))
    def due(self, row: Scheduled) -> datetime | None:
        return row.due_at()

    @admin.display(description=_("state"))
    def state(self, row: Scheduled) -> str:
        return state_of(row)


@admin.register(RecoveryCodeCleanUpScheduler)
class RecoveryCodeCleanUpSchedulerAdmin(ScheduledAdmin):
    """When ended codes are removed."""

    what = ("retention_days", "delete_empty_batch")


@admin.register(RecoveryCodeAuditScheduler)
class RecoveryCodeAuditSchedulerAdmin(ScheduledAdmin):
    """When old events are removed."""

    what = ("retention_days",)


@admin.register(RecoveryCodeReminderScheduler)
class RecoveryCodeReminderSchedulerAdmin(ScheduledAdmin):
    """When owners are reminded of their codes."""

    what = ("days_before_expiry", "reminds_of_few_left", "asks_yearly")


def _signed(row: Scheduled, request: HttpRequest) -> Scheduled:
    """The row, which says to the audit who changes it."""
    row.actor = cast(AbstractBaseUser, request.user)
    row.client = client_of(request)
    return row


def next_hour() -> datetime:
    """The next full hour that is not soon."""
    moment = timezone.now() + SOON + timedelta(hours=1)
    return moment.replace(minute=0, second=0, microsecond=0)


def _is_soon(moment: datetime | None) -> bool:
    return moment is not None and moment < timezone.now() + SOON


def state_of(row: Scheduled) -> str:
    """How a schedule stands, in words."""
    now = timezone.now()
    if row.lease_until is not None and row.lease_until > now:
        return pgettext("state of a schedule", "running")
    if not row.is_enabled:
        return pgettext("state of a schedule", "disabled")
    due = row.due_at()
    is_overdue = due is not None and due < now - queue.PATIENCE
    states = [_failures_of(row)] if row.failures else []
    states += [pgettext("state of a schedule", "overdue")] if is_overdue else []
    if states:
        return ", ".join(states)
    if due is None:
        return pgettext("state of a schedule", "finished")
    return pgettext("state of a schedule", "fine")


def _failures_of(row: Scheduled) -> str:
    text = ngettext("failed once", "failed %(number)d times in a row", row.failures)
    return text % {"number": row.failures}
