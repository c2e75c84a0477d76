"""Batches: what became of them, and how an administrator ends codes on behalf of their owners."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from recovery_backend import history
from recovery_backend.admin.filters import PeriodFilter, UserFilter
from recovery_backend.admin.lists import Link, uuid_of
from recovery_backend.admin.measures import MeasuresAdmin
from recovery_backend.admin.remedies import REMEDIES
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch

REVOKE = REMEDIES["revoke"]
REQUIRE = REMEDIES["require"]


class IssuedFilter(PeriodFilter):
    field_name = "issued_at"


@admin.register(RecoveryCodeBatch)
class RecoveryCodeBatchAdmin(MeasuresAdmin):
    """Batches and what became of their codes."""

    list_display = ("issued_at", "owner", "status", "left", "expires_at", "is_emergency")
    sortable_by = ("issued_at",)
    list_filter = (IssuedFilter, UserFilter, "status")
    joined = ("user",)
    ordering = ("-issued_at", "-pk")
    search_fields = ("public_id",)
    search_help_text = _("A user name, a whole e-mail address, or the id of a batch.")
    unread = ("sealed",)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "public_id",
                    "owner",
                    "status",
                    "is_emergency",
                    "issued_at",
                    "modified_at",
                    "expires_at",
                    "retired_at",
                )
            },
        ),
        (
            _("Codes"),
            {
                "fields": (
                    "number_issued",
                    "number_left",
                    "number_used",
                    "number_deactivated",
                    "number_removed",
                )
            },
        ),
        (
            _("Delivery"),
            {"fields": ("has_viewed", "has_downloaded", "email_state_shown", "email_queued_at")},
        ),
    )
    readonly_fields = (
        "public_id",
        "owner",
        "modified_at",
        "number_left",
        "number_used",
        "number_deactivated",
        "number_removed",
        "email_state_shown",
    )
    actions = ("revoke", "require")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Counted for the rows of a page only: the database evaluates it after the LIMIT.
        usable = RecoveryCode.objects.usable().filter(batch=OuterRef("pk"))
        number = usable.order_by().values("batch").annotate(number=Count("pk")).values("number")
        counted = Coalesce(Subquery(number), 0, output_field=IntegerField())
        batches: QuerySet[Any] = super().get_queryset(request).annotate(number_usable=counted)
        return batches

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        batch: Any = super().get_object(request, object_id, from_field)
        if batch is not None:
            batch.card = history.card_of(batch)
        return batch

    def found(self, term: str) -> Q:
        batch = uuid_of(term)
        return super().found(term) if batch is None else Q(public_id=batch)

    def links(self, request: HttpRequest, row: Any) -> Iterator[Link]:
        if self.may_view(request, RecoveryCode):
            page = self._page("changelist", RecoveryCode)
            yield Link(f"{page}?batch={row.pk}", str(_("Codes of this batch")))
        yield from super().links(request, row)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return REVOKE.is_permitted(request)

    def has_require_permission(self, request: HttpRequest) -> bool:
        return REQUIRE.is_permitted(request)

    @admin.display(description=_("codes left"))
    def left(self, batch: Any) -> str:
        counts = {"left": batch.number_usable, "issued": batch.number_issued}
        return gettext("%(left)d of %(issued)d") % counts

    @admin.display(description=_("left"))
    def number_left(self, batch: Any) -> int:
        return int(batch.card.number_left)

    @admin.display(description=_("used"))
    def number_used(self, batch: Any) -> int:
        return int(batch.card.number_used)

    @admin.display(description=_("invalidated"))
    def number_deactivated(self, batch: Any) -> int:
        return int(batch.card.number_deactivated)

    @admin.display(description=_("deleted"))
    def number_removed(self, batch: Any) -> int:
        return int(batch.card.number_removed)

    @admin.display(description=_("e-mail"))
    def email_state_shown(self, batch: RecoveryCodeBatch) -> str:
        return str(batch.EmailState(batch.shown_email_state).label)

    @admin.action(description=REVOKE.title, permissions=["revoke"])
    def revoke(
        self, request: HttpRequest, queryset: QuerySet[RecoveryCodeBatch]
    ) -> HttpResponse | None:
        return self.ask_or_apply(REVOKE, request, queryset)

    @admin.action(description=REQUIRE.title, permissions=["require"])
    def require(
        self, request: HttpRequest, queryset: QuerySet[RecoveryCodeBatch]
    ) -> HttpResponse | None:
        return self.ask_or_apply(REQUIRE, request, queryset)
