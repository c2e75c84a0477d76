"""How the site's recovery codes stand, on one page of the admin: counts, and nobody's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext, pgettext
from django.views.decorators.http import require_safe

from recovery_backend import statistics
from recovery_backend.admin import charts
from recovery_backend.admin.lists import Link, ReadOnlyAdmin
from recovery_backend.admin.records import result_of
from recovery_backend.audit import Outcome, Reason
from recovery_backend.conf import conf
from recovery_backend.models import (
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeOverview,
    RecoveryCodePurgeHistory,
)
from recovery_backend.schedules import queue

PERIODS = (7, 30, 90)
DEFAULT_PERIOD = 30
NUMBER_OF_REASONS = 10


class Bar(NamedTuple):
    """A number with its name, and how long its bar is."""

    label: str
    number: int
    width: float


class Run(NamedTuple):
    """A record of a run, and what it did in words."""

    row: RecoveryCodePurgeHistory
    result: str


@admin.register(RecoveryCodeOverview)
class RecoveryCodeOverviewAdmin(ReadOnlyAdmin):
    """One page, which is in the admin's index as if it were a table."""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [
            path("", self.admin_site.admin_view(require_safe(self.changelist_view)), name=name)
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        days = chosen_period(request)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": capfirst(str(self.opts.verbose_name_plural)),
            "opts": self.opts,
            "media": self.media,
            "days": days,
            "periods": PERIODS,
            "problems": queue.problems(),
            "runs": [Run(run, result_of(run)) for run in statistics.latest_runs()],
            "links": self.tables(request, days),
            **page_of(statistics.overview(days)),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/recovery_backend/overview.html", context)

    def tables(self, request: HttpRequest, days: int) -> dict[str, Link]:
        """Where the rows behind the numbers are, as far as this administrator may look."""
        period = str(days)
        pages = {
            "refusals": (
                _("All refusals of this period"),
                RecoveryCodeAudit,
                {"outcome__exact": Outcome.REFUSED.value, "period": period},
            ),
            "events": (_("All events of this period"), RecoveryCodeAudit, {"period": period}),
            "batches": (
                _("All active batches"),
                RecoveryCodeBatch,
                {"status__exact": RecoveryCodeBatch.Status.ACTIVE.value},
            ),
            "runs": (_("All runs"), RecoveryCodePurgeHistory, {}),
        }
        return {
            name: Link(self._filtered(model, filters), text)
            for name, (text, model, filters) in pages.items()
            if self.may_view(request, model)
        }

    def _filtered(self, model: type[Model], filters: dict[str, str]) -> str:
        query = f"?{urlencode(filters)}" if filters else ""
        return f"{self._page('changelist', model)}{query}"


def chosen_period(request: HttpRequest) -> int:
    """The number of days that the address asks for, if it is one of those on offer."""
    chosen = request.GET.get("days", "")
    return next((days for days in PERIODS if str(days) == chosen), DEFAULT_PERIOD)


def page_of(overview: statistics.Overview) -> dict[str, Any]:
    """The overview in words and pictures."""
    activity, adoption = overview.activity, overview.adoption
    return {
        "computed_at": overview.computed_at,
        "adoption": adoption,
        "adoption_bars": adoption_bars(adoption),
        "activity": activity,
        "is_empty": not activity.total and adoption.without == adoption.users,
        "charts": charts_of(activity.days),
        "reasons": reason_bars(activity.reasons[:NUMBER_OF_REASONS]),
    }


def adoption_bars(adoption: statistics.Adoption) -> list[Bar]:
    low = conf.LOW_CODES_WARNING
    few = ngettext("at most %(number)d code left", "at most %(number)d codes left", low)
    rows = [
        (_("enough codes"), adoption.enough),
        (few % {"number": low}, adoption.few_left),
        (_("all codes used"), adoption.none_left),
        (_("codes expired"), adoption.expired),
        (_("no codes"), adoption.without),
    ]
    return [Bar(text, number, charts.bar_width(number, adoption.users)) for text, number in rows]


def reason_bars(reasons: Sequence[statistics.Count]) -> list[Bar]:
    largest = max((reason.number for reason in reasons), default=0)
    return [
        Bar(statistics.label(Reason, name), number, charts.bar_width(number, largest))
        for name, number in reasons
    ]


def charts_of(days: Sequence[statistics.Day]) -> list[charts.ColumnChart]:
    dates = [day.date for day in days]
    sign_ins = charts.Series(_("sign-ins"), [day.sign_ins for day in days])
    failures = charts.Series(pgettext("counts", "failures"), [day.failures for day in days])
    cooldowns = charts.Series(_("refused while waiting"), [day.cooldowns for day in days])
    generated = charts.Series(_("codes generated"), [day.generated for day in days])
    return [
        charts.column_chart("sign-ins", _("Sign-ins with a code"), dates, [sign_ins]),
        charts.column_chart("failures", _("Failures and cooldowns"), dates, [failures, cooldowns]),
        charts.column_chart("generated", _("Codes generated"), dates, [generated]),
    ]
