"""Cooldowns in the admin: found by e-mail address, though the table names nobody."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from recovery_backend import cooldown, flows
from recovery_backend.models import RecoveryCodeCooldown


@admin.register(RecoveryCodeCooldown)
class RecoveryCodeCooldownAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Read-only, but for clearing: a locked-out owner may then try again at once."""

    list_display = ("updated_at", "is_account_wide", "failures", "refused", "blocked_until")
    ordering = ("-updated_at",)
    search_fields = ("account",)
    search_help_text = _("A whole e-mail address.")
    show_full_result_count = False
    actions = ("clear",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[RecoveryCodeCooldown], search_term: str
    ) -> tuple[QuerySet[RecoveryCodeCooldown], bool]:
        if not search_term:
            return queryset, False
        return queryset.filter(account=cooldown.account_key(search_term)), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_clear_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery_backend.clear_recoverycodecooldown")

    @admin.display(boolean=True, description=_("account-wide"))
    def is_account_wide(self, row: RecoveryCodeCooldown) -> bool:
        return row.is_account_wide

    @admin.action(description=_("Clear: let the account try again"), permissions=["clear"])
    def clear(self, request: HttpRequest, queryset: QuerySet[RecoveryCodeCooldown]) -> None:
        accounts = set(queryset.values_list("account", flat=True))
        for account in accounts:
            flows.clear_cooldown(account, actor=request.user, request=request)  # type: ignore[arg-type]
        text = ngettext("%d account may try again.", "%d accounts may try again.", len(accounts))
        self.message_user(request, text % len(accounts), messages.SUCCESS)
