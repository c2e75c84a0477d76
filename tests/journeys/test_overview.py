"""An administrator looks at the security overview, on a phone and on a desk."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from recovery_backend.audit import Event, Outcome, Reason, RecoveryCodeAudit
from recovery_backend.models import RecoveryCodeCleanUpScheduler, RecoveryCodePurgeHistory
from tests.journeys.conftest import SCHEMES, WIDTHS

pytestmark = pytest.mark.browser

OVERVIEW = "/admin/recovery_backend/recoverycodeoverview/"
KINDS = (
    (Event.LOGIN_SUCCESS, ""),
    (Event.LOGIN_FAIL, Reason.UNKNOWN),
    (Event.LOGIN_FAIL, Reason.MALFORMED),
    (Event.LOGIN_THROTTLED, Reason.COOLDOWN),
    (Event.BATCH_GENERATED, ""),
)
TABLES = ("recoverycodeaudit", "recoverycodebatch", "recoverycodepurgehistory")
TEXT_SIZES = """() => [...document.querySelectorAll(".recovery-chart text")].map((text) =>
    parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)"""
# Contrast of what is drawn against what lies behind the page (WCAG 1.4.11).
CONTRASTS = """() => {
    const light = ([red, green, blue]) => [red, green, blue]
        .map((one) => one / 255)
        .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, place) => sum + one * [0.2126, 0.7152, 0.0722][place], 0);
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const behind = light(numbers(getComputedStyle(document.body).backgroundColor));
    return [["rect.recovery-series-0", "fill"], ["rect.recovery-series-1", "stroke"],
            [".recovery-hatch", "stroke"]].map(([selector, property]) => {
        const element = document.querySelector(selector);
        const drawn = light(numbers(getComputedStyle(element)[property]));
        const [low, high] = [drawn, behind].sort((one, other) => one - other);
        return (high + 0.05) / (low + 0.05);
    });
}"""


@pytest.fixture
def month(db):
    """Thirty days with more and more events, two runs, and a schedule that is overdue."""
    now = timezone.now()
    RecoveryCodeAudit.objects.bulk_create(
        RecoveryCodeAudit(
            at=now - timedelta(days=29 - day),
            event=event,
            reason=reason,
            outcome=Outcome.REFUSED if reason else Outcome.DONE,
        )
        for day in range(30)
        for place, (event, reason) in enumerate(KINDS)
        for _ in range((day * (place + 3)) % 23)
    )
    RecoveryCodePurgeHistory.objects.create(codes_removed=12, batches_removed=3, has_more=True)
    RecoveryCodePurgeHistory.objects.create(kind="audit", error="OperationalError")
    past = now - timedelta(days=2)
    RecoveryCodeCleanUpScheduler.objects.create(name="Nightly", run_at=past, next_run=past)


@pytest.fixture
def open_overview(open_page, make_user, client):
    """Open the overview as an administrator who may look at the tables behind it, too."""

    def open_overview_(**options):
        user = make_user(is_staff=True)
        names = [f"view_{name}" for name in ("recoverycodeoverview", *TABLES)]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return open_page(OVERVIEW, client=client, **options)

    return open_overview_


def test_it_is_readable_and_fits_everywhere(open_overview, inspect, codes, month):
    """R-135, R-136, R-139: also with the figures opened."""
    page = open_overview()
    inspect(page, "overview", "#content")
    for summary in page.locator(".recovery-figures summary").all():
        summary.click()
    inspect(page, "overview-figures", "#content")


def test_without_anything_to_show_it_fits_too(open_overview, inspect):
    inspect(open_overview(), "overview-empty", "#content")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_labels_of_charts_can_be_read(open_overview, codes, month, width):
    """R-136"""
    page = open_overview(width=width)
    sizes = page.evaluate(TEXT_SIZES)
    assert sizes and min(sizes) >= 10 and max(sizes) <= 18


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_drawn_stands_out(open_overview, codes, month, scheme):
    """R-135"""
    page = open_overview()
    page.emulate_media(color_scheme=scheme)
    assert min(page.evaluate(CONTRASTS)) >= 3


@pytest.mark.parametrize("has_javascript", [True, False], ids=["script", "no script"])
def test_from_the_index_to_the_rows_behind_a_number(open_overview, codes, month, has_javascript):
    page = open_overview(has_javascript=has_javascript)
    page.goto("/admin/")
    page.locator("#content").get_by_role("link", name="Security overview").click()
    page.get_by_role("link", name="7 days").click()
    page.wait_for_url("**/?days=7")
    assert page.get_by_role("img", name="Failures and cooldowns").is_visible()
    page.get_by_role("link", name="All refusals of this period").click()
    page.wait_for_url("**period=7*")
    expected = RecoveryCodeAudit.objects.filter(
        outcome=Outcome.REFUSED, at__gte=timezone.now() - timedelta(days=6, hours=12)
    ).count()
    assert expected
    assert page.get_by_text(f"{expected} audit events").is_visible()
