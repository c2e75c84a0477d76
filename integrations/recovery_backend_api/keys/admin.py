"""API keys in the admin: whose, since when, last used; to look at, and to revoke."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from recovery_backend.admin.filters import PeriodFilter, UserFilter
from recovery_backend.admin.measures import MeasuresAdmin
from recovery_backend.admin.names import name_of
from recovery_backend.admin.remedies import Remedy
from recovery_backend.conf import conf
from recovery_backend_api.keys import flows
from recovery_backend_api.keys.models import ApiKey


class KeyRemedy(Remedy):
    """Something done to keys, with a permission of this app."""

    def is_permitted(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{ApiKey._meta.app_label}.{self.permission}")


REVOKE = KeyRemedy(
    name="revoke",
    permission="revoke_apikey",
    title=_("Revoke API keys"),
    purpose=_("When somebody else may have a key."),
    done=_("The key was revoked."),
    consequences=lambda case: iter(()),
    apply=flows.revoke_for_owner,
    is_destructive=True,
)


class CreatedFilter(PeriodFilter):
    field_name = "created_at"


@admin.register(ApiKey)
class ApiKeyAdmin(MeasuresAdmin):
    """Hidden while API_KEYS_ENABLED is off. What a key is made of is not even read."""

    list_display = ("prefix", "owner", "name", "state", "created_at", "expires_at", "last_used_at")
    sortable_by = ("created_at",)
    list_filter = (CreatedFilter, UserFilter)
    joined = ("user",)
    subject = "pk"
    ordering = ("-created_at", "-pk")
    search_fields = ("prefix",)
    search_help_text = _("A user name, a whole e-mail address, or the prefix of a key.")
    unread = ("digest", "key_id")
    fields = (
        "prefix",
        "owner",
        "name",
        "state",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    )
    readonly_fields = fields
    actions = ("revoke",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return conf.API_KEYS_ENABLED and super().has_view_permission(request, obj)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return conf.API_KEYS_ENABLED and super().has_module_permission(request)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return REVOKE.is_permitted(request)

    def found(self, term: str) -> Q:
        return super().found(term) | Q(prefix=term)

    @admin.display(description=_("state"))
    def state(self, key: ApiKey) -> str:
        return str(key.state.label)

    @admin.action(description=REVOKE.title, permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> HttpResponse | None:
        in_service = queryset.filter(revoked_at__isnull=True)
        if not in_service.exists():
            self.message_user(request, _("These keys were revoked before."), messages.WARNING)
            return None
        return self.ask_or_apply(REVOKE, request, in_service)

    def apply(self, remedy: Remedy, request: HttpRequest, row: ApiKey) -> None:
        remedy.apply(request, row)

    def question(self, remedy: Remedy) -> str:
        return str(
            _("These keys stop working at once, for good. Their owners are told by e-mail.")
        )

    def told(self, request: HttpRequest, row: ApiKey) -> str:
        return f"{row.prefix}, {name_of(request, row.user)}"

    def done_text(self, remedy: Remedy, number: int) -> str:
        text = ngettext(
            "%(number)d API key was revoked.", "%(number)d API keys were revoked.", number
        )
        return text % {"number": number}
