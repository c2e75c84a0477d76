"""Codes as rows, and the set-up of users: to look at only."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from recovery_backend.admin.filters import BatchFilter, PeriodFilter, UserFilter
from recovery_backend.admin.lists import ReadOnlyAdmin, uuid_of
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeSetup


class RetiredFilter(PeriodFilter):
    title = _("time of their end")
    field_name = "retired_at"


@admin.register(RecoveryCode)
class RecoveryCodeAdmin(ReadOnlyAdmin):
    """Codes as rows; what they are made of is not even read."""

    list_display = (
        "__str__",
        "batch_link",
        "owner",
        "status",
        "kind",
        "expires_at",
        "retired_at",
    )
    list_filter = (RetiredFilter, UserFilter, BatchFilter)
    joined = ("user", "batch")
    ordering = ("-pk",)
    search_fields = ("batch",)
    search_help_text = _("A user name, a whole e-mail address, or the id of a batch.")
    fields = ("batch_link", "owner", "status", "kind", "expires_at", "retired_at")
    readonly_fields = fields
    unread = ("digest", "bind", "key_id", "batch__sealed")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        is_by_period = bool(request.GET.get(RetiredFilter.parameter_name))
        return ("-retired_at", "-pk") if is_by_period else self.ordering

    def found(self, term: str) -> Q:
        batch = uuid_of(term)
        if batch is None:
            return super().found(term)
        found = RecoveryCodeBatch.objects.filter(public_id=batch)
        return Q(batch__in=list(found.values_list("pk", flat=True)))

    @admin.display(description=_("batch"))
    def batch_link(self, code: RecoveryCode) -> str:
        page = self._page("change", RecoveryCodeBatch, code.batch_id)
        return format_html('<a class="recovery-link" href="{}">{}</a>', page, code.batch)


@admin.register(RecoveryCodeSetup)
class RecoveryCodeSetupAdmin(ReadOnlyAdmin):
    """Who has tested a code, and who has to get new ones."""

    list_display = ("__str__", "owner", "verified_at", "new_batch_required_at")
    list_filter = (UserFilter,)
    joined = ("user",)
    ordering = ("-pk",)
    search_fields = ("user",)
    search_help_text = _("A user name or a whole e-mail address.")
    fields = ("owner", "verified_at", "new_batch_required_at", "factor_due_at")
    readonly_fields = fields
