"""Factors that a person has and loses, in a real browser: a passkey, and an authenticator app."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings as django_settings
from django.test import override_settings
from pytest_django.live_server_helper import LiveServer

from recovery_backend.models import RecoveryCode
from tests.conftest import PASSWORD
from tests.csp import POLICY
from tests.journeys.conftest import SCHEMES, WIDTHS
from tests.with_allauth.conftest import ASKS_AGAIN, AUTHENTICATE, add_totp, step, totp_now
from tests.with_allauth.test_panel import STATES

pytestmark = pytest.mark.browser

INDEX = "/accounts/2fa/"
LOGIN = "/accounts/login/"
OFFER = "/auth/recovery-codes/offer/"
DASHBOARD = "/auth/recovery-codes/dashboard/"
ADMIN = "/admin/password_change/?from=start"
WAY_ON = "Continue to where you were going"
# As a phone or a laptop has it: built in, and it knows its owner.
BUILT_IN = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class PolicyOfAllauth:
    """The strictest policy under which allauth's own pages work: its QR code is an inline image."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        response = self.get_response(request)
        response["Content-Security-Policy"] = POLICY.replace("img-src", "img-src data:")
        return response


@pytest.fixture(scope="module")
def site(chromium, django_db_setup):
    """The address of a live server; browsers take "localhost" for secure, as passkeys need it."""
    middleware = [f"{__name__}.PolicyOfAllauth", *django_settings.MIDDLEWARE]
    with override_settings(MIDDLEWARE=middleware):
        server = LiveServer("localhost")
    yield server.url
    server.stop()


@pytest.fixture
def staff(make_user):
    return make_user(email="staff@example.com", username="staff", is_staff=True, is_superuser=True)


@contextmanager
def device(page):
    """A device with passkeys; it is lost at the end."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    added = session.send("WebAuthn.addVirtualAuthenticator", {"options": BUILT_IN})
    yield
    session.send("WebAuthn.removeVirtualAuthenticator", added)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def follow(page, name):
    page.get_by_role("link", name=name, exact=True).click()


def is_at(page, path):
    page.wait_for_url(re.compile(f"^http://localhost:[0-9]+{re.escape(path)}(#.*)?$"))


def give_password(page, user, path=LOGIN):
    page.goto(path)
    page.locator("input[name=login]").fill(user.email)
    page.locator("input[name=password]").fill(PASSWORD)
    press(page, "Sign In")


def confirm(page):
    """allauth asks for the password again before it adds a factor."""
    if not ASKS_AGAIN:
        return
    is_at(page, f"/accounts/reauthenticate/?next={page.url.partition('next=')[2]}")
    page.locator("input[name=password]").fill(PASSWORD)
    press(page, "Confirm")


def add_passkey(page):
    page.goto("/accounts/2fa/webauthn/add/")
    confirm(page)
    page.locator("input[name=name]").fill("Phone")
    press(page, "Add")


def add_app(page):
    """The secret of the app, as the page shows it."""
    page.goto("/accounts/2fa/totp/activate/")
    confirm(page)
    secret = page.locator("#authenticator_secret").input_value()
    page.locator("input[name=code]").fill(totp_now(secret))
    press(page, "Activate")
    return secret


def take_codes(page):
    """The codes that the offer leads to, saved."""
    is_at(page, OFFER)
    press(page, "Generate codes")
    is_at(page, DASHBOARD)
    codes = page.locator("ol.codes code").all_inner_texts()
    press(page, "I have saved them")
    page.get_by_text("of 10 codes left").wait_for()
    return codes


def is_signed_in(page):
    page.goto(DASHBOARD)
    return page.locator(".account").get_by_text("Signed in as").is_visible()


def numbers_used(user):
    return RecoveryCode.objects.filter(user=user, status="used").count()


@pytest.mark.parametrize("has_passkey", [True, False], ids=["passkey", "app"])
def test_a_lost_factor_keeps_nobody_out(open_page, user, has_passkey):
    """Enrolled at allauth's page, led to codes, lost; and in by password and code."""
    page = open_page("/")
    give_password(page, user)
    is_at(page, "/")
    with device(page):
        add_passkey(page) if has_passkey else add_app(page)
        codes = take_codes(page)
    assert len(codes) == 10
    kinds = Authenticator.objects.filter(user=user).values_list("type", flat=True)
    assert set(kinds) == {"webauthn" if has_passkey else "totp", "recovery_codes"}

    other = open_page("/")
    give_password(other, user, f"{LOGIN}?next=/%3Fwanted%3D1")
    is_at(other, AUTHENTICATE)
    other.get_by_text("also takes one of your recovery codes").wait_for()
    other.locator("input[name=code]").fill(codes[3])
    press(other, "Sign In")
    is_at(other, "/?wanted=1")
    assert is_signed_in(other)
    assert numbers_used(user) == 1

    third = open_page("/")
    give_password(third, user)
    is_at(third, AUTHENTICATE)
    third.locator("input[name=code]").fill(codes[3])
    press(third, "Sign In")
    third.get_by_text("Incorrect code.").wait_for()
    assert numbers_used(user) == 1


def test_a_passkey_works_until_it_is_lost(open_page, user):
    page = open_page("/")
    give_password(page, user)
    is_at(page, "/")
    with device(page):
        add_passkey(page)
        take_codes(page)
        page.context.clear_cookies()
        give_password(page, user)
        is_at(page, AUTHENTICATE)
        press(page, "Use a security key")
        is_at(page, "/")
        assert is_signed_in(page)
    assert numbers_used(user) == 0


@pytest.mark.parametrize("has_javascript", [True, False], ids=["script", "no script"])
def test_first_time_staff_come_back_to_the_admin_page_that_they_wanted(
    open_page, staff, settings, has_javascript
):
    """Admin page, list of factors, app, codes, and the admin page; also without JavaScript."""
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_PATHS = ["/admin"]
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = "staff"
    page = open_page("/", has_javascript=has_javascript)
    give_password(page, staff)
    is_at(page, "/")
    page.goto(ADMIN)
    is_at(page, INDEX)
    secret = add_app(page)
    take_codes(page)
    follow(page, WAY_ON)
    page.locator("input[name=code]").fill(totp_now(secret))
    press(page, "Confirm")
    is_at(page, ADMIN)
    assert page.get_by_role("heading", name="Password change").is_visible()


def test_whoever_wants_no_codes_is_not_asked_again(open_page, user):
    page = open_page("/")
    give_password(page, user)
    is_at(page, "/")
    add_app(page)
    is_at(page, OFFER)
    press(page, "Not now")
    is_at(page, INDEX)
    assert page.get_by_text("You have no recovery codes.").is_visible()
    page.reload()
    is_at(page, INDEX)


def test_the_login_page_leads_to_the_page_for_codes_and_on(open_page, user, make_codes):
    [code, *_] = make_codes(user)
    page = open_page(f"{LOGIN}?next=/%3Fwanted%3D1")
    follow(page, "Use a recovery code")
    page.get_by_label("E-mail address").fill(user.email)
    page.get_by_label("Recovery code").fill(code)
    press(page, "Sign in")
    is_at(page, "/?wanted=1")


@pytest.fixture
def look_at(axe):
    """Look at our parts of an allauth page, narrow and wide, light and dark."""

    def look_at_(page, name, *parts):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                if folder := os.environ.get("SCREENSHOTS"):
                    picture = Path(folder) / f"allauth-{name}-{width}-{scheme}.png"
                    page.screenshot(path=picture, full_page=True)
                result = axe.run(page, context={"include": [[part] for part in parts]})
                assert result.violations_count == 0, result.generate_report()

    return look_at_


@pytest.mark.parametrize("state", [row[0] for row in STATES], ids=lambda it: it.__name__)
def test_the_panel_is_accessible_and_fits(open_page, client, user, make_codes, look_at, state):
    state(user, make_codes)
    client.force_login(user)
    page = open_page(INDEX, client=client)
    panel = page.locator("section").last
    assert "Recovery codes" in panel.inner_text()
    look_at(page, f"panel-{state.__name__}", "section:last-of-type")


def test_the_offer_is_accessible_and_fits(open_page, client, user, look_at):
    client.force_login(user)
    page = open_page(OFFER, client=client)
    assert page.locator("h1").count() == 1
    look_at(page, "offer", "h1", "form", "form ~ p", "h1 + p")


def test_the_links_are_accessible_and_fit(open_page, user, look_at):
    page = open_page(LOGIN)
    assert page.get_by_role("link", name="Use a recovery code").is_visible()
    look_at(page, "login", "a[href*='recovery-codes']")
    add_totp(user)
    give_password(page, user)
    is_at(page, AUTHENTICATE)
    look_at(page, "second-step", "p:has(a[href*='recovery-codes'])")


def test_the_dashboard_shows_the_way_on_and_stays_accessible(
    open_page, browser_with, user, inspect
):
    add_totp(user)
    client = browser_with(user, step("password"), step("mfa", "totp"))
    session = client.session
    session["recovery_backend_wanted"] = "/?wanted=1"
    session.save()
    page = open_page(DASHBOARD, client=client)
    assert page.get_by_role("link", name=WAY_ON).is_visible()
    inspect(page, "way-on")
    press(page, "Generate codes")
    page.get_by_text("Save your codes first.").wait_for()
    inspect(page, "way-on-with-codes")
    follow(page, WAY_ON)
    is_at(page, "/?wanted=1")
