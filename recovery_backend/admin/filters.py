"""Filters of the admin's lists: a user, a period or a day. Each stands on an index."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import ModelAdmin
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR
from django.contrib.admin.widgets import AutocompleteSelect
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from recovery_backend.admin.names import name_of

# More are no 64-bit number.
MAX_DIGITS = 18
# Beyond them a midnight of some time zone is no moment, or none that a database knows.
FIRST_DAY = date(1900, 1, 1)
LAST_DAY = date(2999, 12, 31)


class FormFilter(SimpleListFilter):
    """A filter with a small form below its choices."""

    template = "admin/recovery_backend/filter.html"
    parameter_name: str

    def __init__(
        self,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[Model],
        model_admin: ModelAdmin[Any],
    ) -> None:
        super().__init__(request, params, model, model_admin)
        mine = {self.parameter_name, PAGE_VAR, ERROR_FLAG}
        self.other_parameters = [
            (name, value)
            for name, values in request.GET.lists()
            for value in values
            if name not in mine
        ]

    def value(self) -> str | None:
        return super().value() or None


class UserFilter(FormFilter):
    """One user: chosen by typing, for administrators who may look at users; else by links."""

    title = _("user")
    parameter_name = "user"

    def __init__(
        self,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[Model],
        model_admin: ModelAdmin[Any],
    ) -> None:
        super().__init__(request, params, model, model_admin)
        site = model_admin.admin_site
        may_choose = may_choose_users(request, site)
        self.form = user_form(model, site, self.user) if may_choose else None

    @cached_property
    def user(self) -> Any:
        """The user who is asked for, or None."""
        users = get_user_model()
        try:
            key = users._meta.pk.to_python(self.value())
        except ValidationError:
            return None
        return users._base_manager.filter(pk=key).first()

    def has_output(self) -> bool:
        return self.value() is not None or self.form is not None

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        value = self.value()
        if value is None:
            return []
        return [(value, name_of(request, self.user) if self.user else value)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        return queryset.none() if self.user is None else queryset.filter(user=self.user)


class BatchFilter(SimpleListFilter):
    """The batch that a link asks for."""

    title = _("batch")
    parameter_name = "batch"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        value = self.value()
        return [(value, f"#{value}")] if value else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value() or ""
        is_key = value.isdecimal() and len(value) <= MAX_DIGITS
        return queryset.filter(batch=int(value)) if is_key else queryset.none()


class PeriodFilter(FormFilter):
    """The last days up to today, or one day, in the current time zone."""

    title = _("period")
    parameter_name = "period"
    field_name: str

    CHOICES: Sequence[tuple[str, Any]] = (
        ("1", _("Today")),
        ("7", _("7 days")),
        ("30", _("30 days")),
        ("90", _("90 days")),
    )

    @property
    def form(self) -> forms.Form:
        return day_form(self.day)

    @property
    def day(self) -> date | None:
        """The one day that is asked for."""
        try:
            day = parse_date(self.value() or "")
        except ValueError:
            return None
        return day if day and FIRST_DAY <= day <= LAST_DAY else None

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, Any]]:
        choices = list(self.CHOICES)
        if day := self.day:
            choices.append((day.isoformat(), date_format(day)))
        return choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if day := self.day:
            until = {f"{self.field_name}__lt": _midnight(day + timedelta(days=1))}
            return queryset.filter(**self._since(day), **until)
        value = self.value()
        if value not in dict(self.CHOICES):
            return queryset
        return queryset.filter(**self._since(_today() - timedelta(days=int(value) - 1)))

    def _since(self, day: date) -> dict[str, datetime]:
        return {f"{self.field_name}__gte": _midnight(day)}


def may_choose_users(request: HttpRequest, site: admin.AdminSite) -> bool:
    """Whether the admin's own autocomplete would answer this administrator."""
    model = get_user_model()
    if not site.is_registered(model):
        return False
    users = site.get_model_admin(model)
    return users.has_view_permission(request) and bool(users.get_search_fields(request))


def user_form(model: type[Model], site: admin.AdminSite, user: Any) -> forms.Form:
    """A form with one user, found by typing."""
    field: Any = model._meta.get_field("user")
    chosen = forms.ModelChoiceField(
        get_user_model()._base_manager.all(),
        widget=AutocompleteSelect(field, site),
        required=False,
        label=_("User"),
    )
    return _form(UserFilter.parameter_name, chosen, user)


def day_form(day: date | None) -> forms.Form:
    """A form with one day."""
    widget = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    chosen = forms.DateField(widget=widget, required=False, label=_("One day"))
    return _form(PeriodFilter.parameter_name, chosen, day)


def _form(name: str, field: forms.Field, value: object) -> forms.Form:
    form = forms.Form(initial={name: value}, auto_id="filter_%s")
    form.fields[name] = field
    return form


def _today() -> date:
    return timezone.localdate() if settings.USE_TZ else timezone.now().date()


def _midnight(day: date) -> datetime:
    moment = datetime.combine(day, time.min)
    return timezone.make_aware(moment) if settings.USE_TZ else moment
