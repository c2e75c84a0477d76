"""What happened: the audit and its seals, runs of schedules, e-mails of codes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Max, Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from recovery_backend import audit
from recovery_backend.admin.filters import PeriodFilter, UserFilter
from recovery_backend.admin.lists import ReadOnlyAdmin, users_named, uuid_of
from recovery_backend.models import (
    RecoveryCodeAudit,
    RecoveryCodeAuditSeal,
    RecoveryCodeEmailLog,
    RecoveryCodePurgeHistory,
)

# An address that was typed has no index, which every sign-in would have to keep: it is looked for
# among the newest rows, and so many of them are listed.
NEWEST = 100_000
MOST = 1_000


class AtFilter(PeriodFilter):
    field_name = "at"


class StartedFilter(PeriodFilter):
    field_name = "started_at"


class QueuedFilter(PeriodFilter):
    field_name = "queued_at"


@admin.register(RecoveryCodeAudit)
class RecoveryCodeAuditAdmin(ReadOnlyAdmin):
    """Every event, newest first."""

    list_display = ("at", "event", "reason", "owner", "done_by", "address")
    sortable_by = ("at",)
    list_filter = (AtFilter, UserFilter, "outcome", "event")
    joined = ("user", "actor")
    ordering = ("-at", "-pk")
    search_fields = ("user",)
    search_help_text = _(
        "A user name or a whole e-mail address. Also finds what the user did to others, and the "
        "newest tries with that address."
    )
    fields = (
        "at",
        "event",
        "outcome",
        "reason",
        "owner",
        "done_by",
        "account",
        "batch",
        "code",
        "address",
        "user_agent",
        "request_id",
        "path",
        "data",
    )
    readonly_fields = ("owner", "done_by")

    def found(self, term: str) -> Q:
        users = users_named(term)
        found = Q(user__in=users) | Q(actor__in=users)
        return found | Q(pk__in=_tries_with(term)) if "@" in term else found

    @admin.display(description=_("done by"))
    def done_by(self, row: Any) -> str | None:
        return self.shown(row, row.actor.get_username()) if row.actor else None


@admin.register(RecoveryCodeAuditSeal)
class RecoveryCodeAuditSealAdmin(ReadOnlyAdmin):
    """Which rows of the audit each seal covers."""

    list_display = ("number", "first_row", "last_row", "sealed_at")
    sortable_by = ("number",)
    ordering = ("-number",)
    fields = list_display
    readonly_fields = list_display
    unread = ("previous", "row_digests", "digest", "key_id")


@admin.register(RecoveryCodePurgeHistory)
class RecoveryCodePurgeHistoryAdmin(ReadOnlyAdmin):
    """What each run of a schedule or a command did."""

    list_display = (
        "started_at",
        "kind",
        "policy_name",
        "trigger",
        "duration",
        "result",
        "has_more",
        "error",
    )
    sortable_by = ("started_at",)
    list_filter = (StartedFilter,)
    ordering = ("-started_at", "-pk")
    fields = (
        "kind",
        "policy_name",
        "trigger",
        "started_at",
        "finished_at",
        "duration",
        "retention_days",
        "codes_removed",
        "batches_removed",
        "audit_rows_removed",
        "other_rows_removed",
        "messages_sent",
        "has_more",
        "error",
    )
    readonly_fields = ("duration",)

    @admin.display(description=_("duration"))
    def duration(self, run: RecoveryCodePurgeHistory) -> str | None:
        if run.finished_at is None:
            return None
        return str(_in_tenths(run.finished_at - run.started_at))

    @admin.display(description=_("result"))
    def result(self, run: RecoveryCodePurgeHistory) -> str:
        return result_of(run)


@admin.register(RecoveryCodeEmailLog)
class RecoveryCodeEmailLogAdmin(ReadOnlyAdmin):
    """E-mails of codes, where the site keeps a record of them (STORE_EMAIL_LOG)."""

    list_display = ("queued_at", "owner", "sent_to", "state", "sent_at")
    sortable_by = ("queued_at",)
    list_filter = (QueuedFilter, UserFilter, "state")
    joined = ("user",)
    ordering = ("-queued_at", "-pk")
    search_fields = ("batch",)
    search_help_text = _("A user name, a whole e-mail address, or the id of a batch.")
    fields = ("owner", "batch", "sent_to", "state", "queued_at", "sent_at")
    readonly_fields = ("owner", "sent_to")

    def found(self, term: str) -> Q:
        batch = uuid_of(term)
        return super().found(term) if batch is None else Q(batch=batch)

    @admin.display(description=_("recipient"))
    def sent_to(self, row: Any) -> str:
        return self.shown(row, row.recipient)


def result_of(run: RecoveryCodePurgeHistory) -> str:
    """What a run did, in words."""
    counts = [
        (run.codes_removed, ngettext("%d code removed", "%d codes removed", run.codes_removed)),
        (
            run.batches_removed,
            ngettext("%d batch removed", "%d batches removed", run.batches_removed),
        ),
        (
            run.audit_rows_removed,
            ngettext("%d event removed", "%d events removed", run.audit_rows_removed),
        ),
        (
            run.other_rows_removed,
            ngettext("%d other row removed", "%d other rows removed", run.other_rows_removed),
        ),
        (run.messages_sent, ngettext("%d message sent", "%d messages sent", run.messages_sent)),
    ]
    words = [text % count for count, text in counts if count]
    return ", ".join(words) or str(_("nothing to do"))


def _tries_with(address: str) -> list[int]:
    """The newest rows of tries with this address, whether or not it is anybody's."""
    newest = RecoveryCodeAudit.objects.aggregate(pk=Max("pk"))["pk"] or 0
    rows = RecoveryCodeAudit.objects.filter(
        pk__gt=newest - NEWEST, account=audit.account_of(address)
    )
    return list(rows.order_by("-pk").values_list("pk", flat=True)[:MOST])


def _in_tenths(duration: timedelta) -> timedelta:
    return timedelta(seconds=round(duration.total_seconds(), 1))
