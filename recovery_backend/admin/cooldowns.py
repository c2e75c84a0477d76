"""Cooldowns in the admin: found by e-mail address, though the table names nobody."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from recovery_backend import cooldown, flows
from recovery_backend.admin.measures import MeasuresAdmin
from recovery_backend.admin.remedies import REMEDIES, Remedy
from recovery_backend.models import RecoveryCodeCooldown

CLEAR = REMEDIES["clear"]


@admin.register(RecoveryCodeCooldown)
class RecoveryCodeCooldownAdmin(MeasuresAdmin):
    """Read-only, but for clearing: a locked-out owner may then try again at once."""

    list_display = ("updated_at", "is_account_wide", "failures", "refused", "blocked_until")
    sortable_by = ("updated_at",)
    subject = "account"
    ordering = ("-updated_at", "-pk")
    search_fields = ("account",)
    search_help_text = _("A whole e-mail address.")
    fields = ("is_account_wide", "failures", "refused", "blocked_until", "updated_at")
    readonly_fields = ("is_account_wide",)
    actions = ("clear",)

    def found(self, term: str) -> Q:
        return Q(account=cooldown.account_key(term))

    def has_clear_permission(self, request: HttpRequest) -> bool:
        return CLEAR.is_permitted(request)

    @admin.display(boolean=True, description=_("account-wide"))
    def is_account_wide(self, row: RecoveryCodeCooldown) -> bool:
        return row.is_account_wide

    @admin.action(description=_("Clear: let the account try again"), permissions=["clear"])
    def clear(
        self, request: HttpRequest, queryset: QuerySet[RecoveryCodeCooldown]
    ) -> HttpResponse | None:
        return self.ask_or_apply(CLEAR, request, queryset)

    def apply(self, remedy: Remedy, request: HttpRequest, row: RecoveryCodeCooldown) -> None:
        flows.clear_cooldown(row.account, actor=request.user, request=request)  # type: ignore[arg-type]

    def told(self, request: HttpRequest, row: RecoveryCodeCooldown) -> str:
        text = gettext("account %(account)s, last counted %(moment)s")
        moment = display_for_value(row.updated_at, "")
        return text % {"account": row.account[:12], "moment": moment}

    def done_text(self, remedy: Remedy, number: int) -> str:
        text = ngettext("%d account may try again.", "%d accounts may try again.", number)
        return text % number
