"""What all tables of ours have in common in the admin: bounded, indexed, and without secrets."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.apps import apps
from django.contrib import admin
from django.contrib.admin import ShowFacets
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet, Value
from django.forms import Media
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from recovery_backend.addresses import masked_email
from recovery_backend.admin.filters import UserFilter
from recovery_backend.admin.names import may_view_users
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeDesk,
    RecoveryCodeEmailLog,
    users_of_email,
)

if TYPE_CHECKING or not apps.is_installed("unfold"):
    from django.contrib.admin import ModelAdmin
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.admin import ModelAdmin
    from unfold.views import ChangeList

# What a person pages through; older rows are found by search and filters.
MAX_LISTED = 10_000
# Each takes `?user=` with the primary key of a user.
PAGES_OF_A_USER: tuple[type[Model], ...] = (
    RecoveryCodeDesk,
    RecoveryCodeBatch,
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeEmailLog,
)


class Link(NamedTuple):
    url: str
    text: str


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts and pages no further than MAX_LISTED rows, so that no table is too large for it."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows[:MAX_LISTED].count()

    @property
    def is_cut(self) -> bool:
        """Whether there may be rows that no page shows."""
        return self.count == MAX_LISTED


class IndexedChangeList(ChangeList):
    """Sorts by what has an index, whatever the address asks for (R-104)."""

    def get_ordering_field(self, field_name: Any) -> Any:
        is_sortable = field_name in (self.sortable_by or ())
        return super().get_ordering_field(field_name) if is_sortable else None


class TableAdmin(ModelAdmin):  # type: ignore[type-arg]
    """A table of ours: each page of it is read by indexes, and filtered by what is listed here."""

    paginator = BoundedPaginator
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    sortable_by: ClassVar[tuple[str, ...]] = ()
    # Not even read: fields that no page needs and nobody may see.
    unread: ClassVar[tuple[str, ...]] = ()
    joined: ClassVar[tuple[str, ...]] = ()

    @property
    def media(self) -> Media:
        media = super().media + Media(css={"all": ["recovery_backend/admin.css"]})
        if UserFilter not in self.list_filter:
            return media
        field: Any = self.opts.get_field("user")
        return media + AutocompleteSelect(field, self.admin_site).media

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return IndexedChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).defer(*self.unread)
        # Columns are not told who looks, but rows are.
        rows = rows.annotate(is_named_whole=Value(may_view_users(request)))
        return rows.select_related(*self.joined) if self.joined else rows

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only the filters: Django allows any look-up of a field, so that `?digest__startswith=`
        would tell a digest letter by letter."""
        return lookup in self._lookups() and "\0" not in str(value)

    def _lookups(self) -> Iterator[str]:
        for item in self.list_filter:
            yield item.parameter_name if isinstance(item, type) else f"{item}__exact"  # type: ignore[attr-defined]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip() if self.search_fields else ""
        return (queryset.filter(self.found(term)) if term else queryset), False

    def found(self, term: str) -> Q:
        """The rows that a person means who types this: those of a user."""
        return Q(user__in=users_named(term))

    @admin.display(description=_("user"))
    def owner(self, row: Any) -> str | None:
        """The row's user, as a link to their other rows in this table."""
        if row.user is None:
            return None
        page = self._url_of(self.model, row.user)
        name = self.shown(row, row.user.get_username())
        return format_html('<a class="recovery-link" href="{}">{}</a>', page, name)

    def shown(self, row: Any, name: str) -> str:
        """A name or an address, as far as it may be seen by whoever asked for the row."""
        return name if row.is_named_whole else masked_email(name)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        row = kwargs.get("obj")
        context["links"] = list(self.links(request, row)) if row is not None else []
        return super().render_change_form(request, context, *args, **kwargs)

    def links(self, request: HttpRequest, row: Any) -> Iterator[Link]:
        """Where else to look, as far as this administrator may."""
        user = getattr(row, "user", None)
        if user is None:
            return
        if self.may_view(request, type(user)):
            yield Link(self._page("change", type(user), user.pk), str(_("Account")))
        for model in PAGES_OF_A_USER:
            if self.may_view(request, model):
                yield Link(
                    self._url_of(model, user), capfirst(str(model._meta.verbose_name_plural))
                )

    def may_view(self, request: HttpRequest, model: type[Model]) -> bool:
        """Whether this administrator may look at the table of a model here."""
        if not self.admin_site.is_registered(model):
            return False
        return self.admin_site.get_model_admin(model).has_view_permission(request)

    def _url_of(self, model: type[Model], user: Any) -> str:
        return f"{self._page('changelist', model)}?user={user.pk}"

    def _page(self, name: str, model: type[Model], *arguments: Any) -> str:
        meta = model._meta
        return reverse(
            f"{self.admin_site.name}:{meta.app_label}_{meta.model_name}_{name}", args=arguments
        )


class ReadOnlyAdmin(TableAdmin):
    """A table to look at: rows come by what users do, and go by the purge (R-105)."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return obj is not None and _is_asked_elsewhere(request)


def _is_asked_elsewhere(request: HttpRequest) -> bool:
    """Whether the page of a foreign table asks: Django does, for each row that goes with a user.

    Who may delete the user is for that page to say.
    """
    page = getattr(getattr(request.resolver_match, "func", None), "model_admin", None)
    return page is not None and not isinstance(page, TableAdmin)


def users_named(term: str) -> list[Any]:
    """Primary keys of the users with exactly this user name or whole e-mail address."""
    users = get_user_model()
    named = users._default_manager.filter(**{users.USERNAME_FIELD: term})
    found = list(named.values_list("pk", flat=True)[:10])
    if "@" in term:
        found += [user.pk for user in users_of_email(term)]
    return found


def uuid_of(term: str) -> uuid.UUID | None:
    """The id of a batch that somebody typed or pasted."""
    try:
        return uuid.UUID(term)
    except ValueError:
        return None
