"""What allauth's own pages say of recovery codes, in the site's own theme."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from django.utils import timezone
from django.utils.formats import date_format

from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeSetup
from tests.conftest import PASSWORD, Browser
from tests.with_allauth.conftest import AUTHENTICATE, REAUTHENTICATE, add_totp, step

pytestmark = pytest.mark.django_db

INDEX = "/accounts/2fa/"
LOGIN = "/accounts/login/"
DASHBOARD = "/auth/recovery-codes/dashboard/"
RECOVERY_LOGIN = "/auth/recovery-codes/login/"
MODE = "DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE"
CODES_ALONE = "Recovery codes are no second factor by themselves."
THEMES = Path(__file__).parent / "themes"


def as_read(response):
    """What a person reads of a page."""
    text = unescape(re.sub(r"<[^>]+>", " ", response.content.decode()))
    return " ".join(text.split())


def links(response, text):
    """Where the links with this text lead to."""
    found = re.findall(r'<a [^>]*?href="([^"]*)"[^>]*>(.*?)</a>', response.content.decode(), re.S)
    return [unescape(url) for url, inner in found if inner.strip() == text]


def spend(user, number):
    for code in RecoveryCode.objects.of_user(user)[:number]:
        assert code.spend()


def none_yet(user, make_codes):
    pass


def all_there(user, make_codes):
    make_codes(user, number_of_codes=10)


def until_next_year(user, make_codes):
    make_codes(user, number_of_codes=10, days_to_expire=365)


def one_left(user, make_codes):
    make_codes(user, number_of_codes=10)
    spend(user, 9)


def none_left(user, make_codes):
    make_codes(user, number_of_codes=10)
    spend(user, 10)


def expired(user, make_codes):
    make_codes(user, number_of_codes=10, days_to_expire=1)
    past = timezone.now() - timedelta(days=1)
    RecoveryCodeBatch.objects.filter(user=user).update(expires_at=past)
    RecoveryCode.objects.of_user(user).update(expires_at=past)


def expired_but_short(user, make_codes):
    expired(user, make_codes)
    ids = list(RecoveryCode.objects.of_user(user).values_list("pk", flat=True)[:2])
    RecoveryCode.objects.filter(pk__in=ids).update(kind="short", expires_at=None)


def required(user, make_codes):
    make_codes(user, number_of_codes=10)
    assert RecoveryCodeSetup.require_new_batch(user)


def emergency(user, make_codes):
    make_codes(user, number_of_codes=1)
    RecoveryCodeBatch.objects.filter(user=user).update(is_emergency=True)


STATES = [
    (none_yet, ["You have no recovery codes."], "Generate codes"),
    (all_there, ["10 of 10 codes left.", "No end date"], "Manage codes"),
    (until_next_year, ["10 of 10 codes left.", "Valid until"], "Manage codes"),
    (one_left, ["1 of 10 codes left.", "You are running low."], "Manage codes"),
    (none_left, ["0 of 10 codes left.", "You have no codes left."], "Generate codes"),
    (expired, ["0 of 10 codes left.", "Your codes have expired.", "Expired on"], "Generate codes"),
    (
        expired_but_short,
        ["2 of 10 codes left.", "Only those that you had before still work."],
        "Manage codes",
    ),
    (required, ["10 of 10 codes left.", "Please generate new codes."], "Generate codes"),
    (emergency, ["You have an emergency code", "Please generate new codes."], "Generate codes"),
]


@pytest.mark.parametrize(
    ("state", "sentences", "action"), STATES, ids=lambda it: getattr(it, "__name__", str(it)[:30])
)
def test_the_panel_says_how_it_stands(browser, user, make_codes, state, sentences, action):
    state(user, make_codes)
    page = browser.get(INDEX)
    for sentence in sentences:
        assert sentence in as_read(page)
    assert links(page, action) == [DASHBOARD]


@pytest.mark.parametrize("state", [all_there, none_left])
def test_the_panel_says_when_codes_were_generated(browser, user, make_codes, state):
    state(user, make_codes)
    issued_at = RecoveryCodeBatch.objects.get(user=user).issued_at
    assert f"Generated on {date_format(issued_at)} ·" in as_read(browser.get(INDEX))


def test_a_list_can_be_tested_until_it_was(browser, user, make_codes):
    all_there(user, make_codes)
    assert links(browser.get(INDEX), "Test a code") == [f"{DASHBOARD}#verify"]
    RecoveryCodeSetup.objects.create(user=user, verified_at=timezone.now())
    assert links(browser.get(INDEX), "Test a code") == []


def test_short_codes_cannot_be_tested(browser, user, make_codes):
    all_there(user, make_codes)
    RecoveryCode.objects.of_user(user).update(kind="short")
    assert links(browser.get(INDEX), "Test a code") == []


def test_codes_alone_are_said_to_be_no_second_factor(browser, user, make_codes):
    all_there(user, make_codes)
    assert CODES_ALONE in as_read(browser.get(INDEX))
    add_totp(user)
    assert CODES_ALONE not in as_read(browser.get(INDEX))


def test_allauths_own_panels_stay(browser):
    page = as_read(browser.get(INDEX))
    assert page.count("Authenticator App") == 1 and page.count("Security Keys") == 1


def test_the_panel_shows_no_code(browser, user, make_codes):
    codes = make_codes(user)
    page = browser.get(INDEX).content.decode()
    assert not [code for code in codes if code in page or code[:6] in page]


def test_nothing_is_said_while_codes_are_turned_off(browser, totp_user, before_step, settings):
    setattr(settings, MODE, "off")
    assert "recovery code" not in as_read(browser.get(INDEX)).lower()
    assert "recovery code" not in as_read(Browser().get(LOGIN)).lower()
    assert "recovery code" not in as_read(before_step(totp_user[0]).get(AUTHENTICATE)).lower()


def test_a_theme_of_the_site_draws_the_panel(browser, user, make_codes, themed):
    """A site that overrides allauth's elements needs to do nothing more."""
    one_left(user, make_codes)
    page = browser.get(INDEX).content.decode()
    panel = page[page.index('<article class="theme-panel">', page.index("Security Keys")) :]
    assert '<h3 class="theme-title">' in panel and "Recovery codes" in panel
    assert '<p class="theme-alert theme-warning">' in panel
    assert panel.count('<a class="theme-button"') == 2
    assert "<ul>" not in panel


def test_a_theme_of_the_site_draws_the_offer(browser, themed):
    page = browser.get("/auth/recovery-codes/offer/").content.decode()
    assert page.count('<button class="theme-button"') == 2
    assert 'id="theme-layout"' in page


@pytest.fixture
def themed(settings):
    [engine] = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [THEMES]}]


def test_the_login_page_leads_to_the_page_for_codes():
    [url] = links(Browser().get(LOGIN), "Use a recovery code")
    assert url == RECOVERY_LOGIN
    assert Browser().get(url).status_code == 200


def test_the_link_keeps_what_was_wanted():
    wanted = "/?a=1&b=ä"
    [url] = links(Browser().get(LOGIN, {"next": wanted}), "Use a recovery code")
    assert urlsplit(url).path == RECOVERY_LOGIN
    assert parse_qs(urlsplit(url).query) == {"next": [wanted]}


def test_the_link_keeps_what_was_wanted_after_a_wrong_password(user):
    data = {"login": user.email, "password": "wrong", "next": "/?a=1"}
    [url] = links(Browser().post(LOGIN, data), "Use a recovery code")
    assert parse_qs(urlsplit(url).query) == {"next": ["/?a=1"]}


def test_a_hostile_next_leads_nobody_away(make_codes, user):
    [code, *_] = make_codes(user)
    page = Browser().get(LOGIN, {"next": 'https://evil.example/"><script>'})
    assert "<script>" not in page.content.decode().split("</form>")[-1]
    [url] = links(page, "Use a recovery code")
    answer = Browser().post(url, {"email": user.email, "recovery_code": code})
    assert answer.status_code == 302 and "evil" not in answer["Location"]


@pytest.mark.parametrize("mode", ["second_factor", "off"])
def test_no_link_leads_where_a_code_is_not_enough(totp_user, before_step, settings, mode):
    setattr(settings, MODE, mode)
    assert links(Browser().get(LOGIN), "Use a recovery code") == []
    assert links(before_step(totp_user[0]).get(AUTHENTICATE), "Use a recovery code") == []


def test_the_second_step_says_that_it_takes_a_code(totp_user, before_step):
    user, codes = totp_user
    browser = before_step(user)
    page = browser.get(AUTHENTICATE)
    assert "The field for the code also takes one of your recovery codes." in as_read(page)
    assert browser.post(AUTHENTICATE, {"code": codes[0]}).status_code == 302


def test_the_second_step_says_so_in_second_factor_too(totp_user, before_step, settings):
    setattr(settings, MODE, "second_factor")
    assert "also takes one of your" in as_read(before_step(totp_user[0]).get(AUTHENTICATE))


def test_the_second_step_leads_to_the_page_for_codes_with_what_was_wanted(totp_user):
    browser = Browser()
    data = {"login": totp_user[0].email, "password": PASSWORD, "next": "/?a=1"}
    browser.post(LOGIN, data)
    [url] = links(browser.get(AUTHENTICATE), "Use a recovery code")
    assert url == f"{RECOVERY_LOGIN}?next=%2F%3Fa%3D1"


def test_whoever_confirms_may_use_a_code_too(totp_user, browser_with):
    user, codes = totp_user
    browser = browser_with(user, step("password"))
    page = browser.get(REAUTHENTICATE)
    assert "also takes one of your" in as_read(page)
    assert links(page, "Use a recovery code") == []
    assert browser.post(REAUTHENTICATE, {"code": codes[0]}).status_code == 302


def test_who_came_by_code_is_not_told_to_use_another(totp_user, browser_with):
    """R-37: it would prove nothing."""
    browser = browser_with(totp_user[0], step("mfa", "recovery_codes", passwordless=True))
    assert "also takes one of your" not in as_read(browser.get(REAUTHENTICATE))


def test_the_dashboard_leads_who_came_by_code_to_what_is_next(totp_user, browser_with):
    """R-42"""
    user, _codes = totp_user
    by_code = step("mfa", "recovery_codes", passwordless=True)
    browser = browser_with(user, by_code)
    [url] = links(browser.get(DASHBOARD), "See what to do next")
    assert "Nothing is closed to you." in as_read(browser.get(url))
    for others in ([step("password")], [by_code, step("mfa", "totp")]):
        assert links(browser_with(user, *others).get(DASHBOARD), "See what to do next") == []


def test_no_link_leads_in_a_circle(totp_user, before_step, settings):
    """Where a code does not satisfy MFA, its page would only lead back to the second step."""
    settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
    assert links(before_step(totp_user[0]).get(AUTHENTICATE), "Use a recovery code") == []
    assert links(Browser().get(LOGIN), "Use a recovery code") != []
