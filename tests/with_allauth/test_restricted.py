"""Sessions that began with e-mail and code alone, and may only repair the account (R-38)."""

from __future__ import annotations

import json
import re

import pytest
from allauth.headless.contrib.rest_framework.authentication import (
    JWTTokenAuthentication,
    XSessionTokenAuthentication,
)
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.views import LoginView, LogoutView
from django.contrib.sessions.models import Session
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import URLPattern, URLResolver, get_resolver, include, path, re_path, reverse
from django.views.static import serve
from recovery_backend_allauth import restricted
from rest_framework.authentication import SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes
from rest_framework.response import Response

from recovery_backend.models import RecoveryCodeAudit, RecoveryCodeSetup
from tests.conftest import DASHBOARD, JSON, LOGIN, PASSWORD, Browser
from tests.with_allauth.conftest import REAUTHENTICATE, add_passkey, add_totp, totp_now

PAGE = "/auth/recovery-codes/restricted/"
NEW_SECRET = "KRSXG5CTMVRXEZLU"
APP = "/_allauth/app/v1/"
SESSION_TOKENS = "allauth.headless.tokens.strategies.sessions.SessionTokenStrategy"
JWT = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"


def ordinary(request, *args, **kwargs):
    return HttpResponse("opened")


async def asynchronous(request):
    return HttpResponse("opened")


@api_view(["GET", "POST", "PUT"])
@authentication_classes(
    [SessionAuthentication, XSessionTokenAuthentication, JWTTokenAuthentication]
)
def api(request):
    return Response({"user": request.user.pk})


class Leave(LogoutView):
    """A site's own way out, which takes the account along."""

    def post(self, request):
        request.user.delete()
        return HttpResponse("gone")


urlpatterns = [
    path("", include("tests.with_allauth.urls")),
    path("ordinary/", ordinary, name="ordinary"),
    path("unnamed/", ordinary),
    path("called/logout/", ordinary, name="account_logout"),
    path("static/app.css", ordinary),
    path("accounts/2fa/looks-open/", ordinary, name="mfa_look"),
    path("accounts//2fa/", ordinary),
    re_path(r"^ordinary%2F$", ordinary),
    path("asynchronous/", asynchronous),
    path("api/", api, name="api"),
    path("password/", LoginView.as_view()),
    path("leave/", Leave.as_view(), name="leave"),
    path("media/<path:path>", serve, {"document_root": "/srv/media"}),
]


@pytest.fixture(autouse=True)
def site(settings, db):
    settings.ROOT_URLCONF = __name__
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"


@pytest.fixture
def by_code():
    """A browser in which this user has signed in with e-mail and this code."""

    def sign_in(user, code, browser=None):
        browser = browser or Browser()
        answer = browser.post(LOGIN, {"email": user.email, "recovery_code": code})
        assert answer.status_code == 302, answer.content
        assert browser.session[SESSION_KEY] == str(user.pk)
        return browser

    return sign_in


@pytest.fixture
def held(totp_user, by_code):
    """The restricted browser of a user with TOTP; they are `held.user` and `held.codes`."""
    user, codes = totp_user
    browser = by_code(user, codes[0])
    browser.user, browser.codes = user, codes
    return browser


def is_held(browser, url="/ordinary/", **extra):
    answer = browser.get(url, **extra)
    assert answer.status_code in (200, 302)
    return answer.status_code == 302 and answer["Location"] == PAGE


def prove(browser, secret=None):
    code = totp_now(secret) if secret else totp_now()
    return browser.post(REAUTHENTICATE, {"code": code, "next": "/ordinary/"})


def add_factor(browser):
    """Activate TOTP at allauth's page, after confirming with a code of the list."""
    activate = reverse("mfa_activate_totp")
    secret = browser.get(activate).context["form"].secret
    return browser.post(activate, {"code": totp_now(secret)})


class TestWhoIsHeld:
    def test_a_user_with_totp_who_came_by_code(self, held, events):
        assert is_held(held)
        assert ("session.restricted", "") in events()
        assert events().count(("session.restricted", "")) == 1

    def test_a_user_with_a_passkey_who_came_by_code(self, passkey_user, by_code):
        user, codes = passkey_user
        assert is_held(by_code(user, codes[0]))

    def test_nobody_without_a_factor(self, user, codes, by_code, events):
        assert not is_held(by_code(user, codes[0]))
        assert ("session.restricted", "") not in events()

    def test_nobody_who_used_password_and_code(self, totp_user, before_step):
        user, codes = totp_user
        browser = before_step(user)
        browser.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_two_codes_are_one_factor(self, totp_user):
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        browser.post("/accounts/2fa/reauthenticate/", {"code": codes[1]})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert is_held(browser)

    def test_nobody_who_proves_totp_at_the_second_step(self, settings, totp_user):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        browser.post("/accounts/2fa/authenticate/", {"code": totp_now()})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_an_abandoned_try_by_code_does_not_restrict_a_later_sign_in(self, settings, totp_user):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        login = {"username": user.username, "password": PASSWORD}
        browser.post("/_allauth/browser/v1/auth/login", login, content_type="application/json")
        browser.post("/accounts/2fa/authenticate/", {"code": codes[1]})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_nor_one_by_the_sign_in_of_django_which_records_no_step(self, settings, totp_user):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        browser.post("/password/", {"username": user.username, "password": PASSWORD})
        assert browser.session[SESSION_KEY] == str(user.pk)
        assert not is_held(browser)

    def test_nobody_while_sessions_are_full(self, settings, totp_user, by_code):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        user, codes = totp_user
        browser = by_code(user, codes[0])
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
        assert not is_held(browser)

    def test_nobody_any_more_once_the_site_turns_to_full(self, settings, held):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        assert not is_held(held)

    def test_another_user_inherits_nothing(self, held, make_user, make_codes, by_code):
        other = make_user()
        [code, *_] = make_codes(other)
        assert not is_held(by_code(other, code, browser=held))

    def test_another_user_put_into_the_session_is_not_held(self, held, make_user):
        held.force_login(make_user(username="other"))
        assert not is_held(held)

    def test_a_session_after_signing_out_is_not_held(self, held):
        held.post(reverse("recovery_logout"))
        assert held.get("/ordinary/").content == b"opened"


CLOSED = [
    "/",
    "/ordinary/",
    "/unnamed/",
    "/called/logout/",
    "/static/app.css",
    "/media/secret.txt",
    "/accounts/2fa/looks-open/",
    "/accounts//2fa/",
    "/ordinary%2F",
    "/%6Frdinary/",
    "/asynchronous/",
    "/api/",
    "/admin/",
    "/admin/login/",
    "/admin/jsi18n/",
    "/accounts/email/",
    "/accounts/signup/",
    "/_allauth/browser/v1/account/email",
    "/_allauth/browser/v1/auth/sessions",
]

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")


class TestWhatIsClosed:
    """TM-15"""

    @pytest.mark.parametrize("url", CLOSED)
    def test_whatever_does_not_repair(self, held, url):
        held.user.is_staff = held.user.is_superuser = True
        held.user.save()
        for method in METHODS:
            answer = held.generic(method, url, headers=JSON)
            assert answer.status_code == 403, method
            assert method == "HEAD" or answer.json()["code"] == "restricted_session"
            assert "no-store" in answer["Cache-Control"]

    def test_people_are_led_to_the_page_that_says_what_to_do(self, held):
        for method in (held.get, held.head, held.post, held.put, held.options):
            answer = method("/ordinary/")
            assert (answer.status_code, answer["Location"]) == (302, PAGE)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Accept": "application/json"},
            {"X-Requested-With": "XMLHttpRequest"},
            {"Content-Type": "application/json"},
            {"Authorization": "Bearer nothing"},
        ],
    )
    def test_programs_are_told_why(self, held, headers):
        answer = held.get("/ordinary/", headers=headers)
        assert answer.status_code == 403
        assert answer.json()["code"] == "restricted_session" and answer.json()["detail"]

    def test_headless_endpoints_answer_programs_only(self, held):
        answer = held.get("/_allauth/browser/v1/account/email")
        assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")

    def test_every_url_of_the_site_that_does_not_repair(self, held, settings):
        """Of all views, those pass that the list of repair names, and no other."""
        passed = {name for name, url in crawl(get_resolver()) if not refused(held, url)}
        assert passed == REPAIRS, passed ^ REPAIRS

    def test_the_same_under_asgi(self, held):
        client = AsyncClient()
        client.cookies = held.cookies
        for url in ("/asynchronous/", "/ordinary/"):
            answer = async_to_sync(client.get)(url, headers=JSON)
            assert answer.status_code == 403


# By name, what the crawl may pass; each was looked at.
REPAIRS = {
    "account_change_password",
    "account_confirm_login_code",
    "account_inactive",
    "account_login",
    "account_logout",
    "account_reauthenticate",
    "account_request_login_code",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_set_password",
    "admin:logout",
    "headless:app:tokens:refresh",
    "leave",  # it inherits from a way out
    "login_user",
    "mfa_activate_totp",
    "mfa_add_webauthn",
    "mfa_authenticate",
    "mfa_deactivate_totp",
    "mfa_edit_webauthn",
    "mfa_index",
    "mfa_list_webauthn",
    "mfa_login_webauthn",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "mfa_remove_webauthn",
    "recovery_continue",
    "recovery_dashboard",
    "recovery_delete",
    "recovery_delete_all",
    "recovery_download",
    "recovery_email",
    "recovery_email_status",
    "recovery_events",
    "recovery_generate",
    "recovery_invalidate",
    "recovery_logout",
    "recovery_offer",
    "recovery_restricted",
    "recovery_saved",
    "recovery_verify_setup",
    *(
        f"headless:{client}:{name}"
        for client in ("app", "browser")
        for name in (
            "config",
            "account:change_password",
            "account:confirm_login_code",
            "account:current_session",
            "account:login",
            "account:reauthenticate",
            "account:request_login_code",
            "account:request_password_reset",
            "account:resend_login_code",
            "account:reset_password",
            "mfa:authenticate",
            "mfa:authenticate_webauthn",
            "mfa:authenticators",
            "mfa:login_webauthn",
            "mfa:manage_totp",
            "mfa:manage_webauthn",
            "mfa:reauthenticate",
            "mfa:reauthenticate_webauthn",
        )
    ),
}
VALUES = {"pk": "1", "object_id": "1", "app_label": "auth", "content_type_id": "1"}


def crawl(resolver, prefix="", namespace=""):
    """The name and a path of each view below a resolver."""
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern).lstrip("^")
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from crawl(pattern, route, inner)
        elif isinstance(pattern, URLPattern):
            yield namespace + (pattern.name or route), "/" + filled(route)


def filled(route):
    """A path that matches a route."""
    route = re.sub(r"<(?:\w+:)?(\w+)>", lambda match: VALUES.get(match[1], "1"), route)
    route = re.sub(r"\(\?P1(?:[^()]|\([^()]*\))*\)", "1", route)
    return route.replace("$", "").replace("\\Z", "")


def refused(browser, url):
    answer = browser.generic("OPTIONS", url, headers=JSON)
    return answer.status_code == 403 and b"restricted_session" in answer.content


class TestHowItEnds:
    def test_with_totp_that_is_proven_in_this_session(self, held, events):
        assert prove(held)["Location"] == "/ordinary/"
        assert not is_held(held)
        assert events().count(("session.lifted", "")) == 1

    def test_not_with_password_and_another_code(self, held):
        """R-37: both were known before, or are of the list that was found."""
        held.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert held.post(REAUTHENTICATE, {"code": held.codes[1]}).status_code == 302
        assert is_held(held)

    def test_with_a_factor_that_is_added_in_this_session(self, held, committed, events):
        held.post(REAUTHENTICATE, {"code": held.codes[1]})
        with committed():
            held.post(reverse("mfa_deactivate_totp"))
        assert not Authenticator.objects.filter(user=held.user).exists()
        assert is_held(held), "removing all factors lifts nothing"
        with committed():
            assert add_factor(held).status_code == 302
        assert not is_held(held)
        assert events().count(("session.lifted", "")) == 1

    def test_not_with_a_factor_that_is_added_elsewhere(self, held, committed):
        Authenticator.objects.filter(user=held.user, type="totp").delete()
        elsewhere = Browser()
        elsewhere.post("/accounts/login/", {"login": held.user.username, "password": PASSWORD})
        elsewhere.post("/accounts/reauthenticate/", {"password": PASSWORD})
        with committed():
            assert add_factor(elsewhere).status_code == 302
        assert Authenticator.objects.filter(user=held.user, type="totp").exists()
        assert is_held(held)

    def test_not_when_the_factor_is_rolled_back(self, held):
        held.post(REAUTHENTICATE, {"code": held.codes[1]})
        Authenticator.objects.filter(user=held.user).delete()
        add_factor(held)  # never committed here
        assert is_held(held)

    def test_not_with_a_change_of_the_password(self, held):
        new = "another good passphrase"
        fields = {"oldpassword": PASSWORD, "password1": new, "password2": new}
        assert held.post(reverse("account_change_password"), fields).status_code == 302
        held.user.refresh_from_db()
        assert held.user.check_password(new)
        assert is_held(held)

    def test_not_with_another_code(self, held, by_code, clock, events):
        """Its time is absolute: a further code does not prolong it."""
        clock.shift(3000)
        by_code(held.user, held.codes[1], browser=held)
        assert is_held(held)
        clock.shift(601)
        assert held.get(DASHBOARD)["Location"].startswith("/accounts/login/")
        assert events().count(("session.restricted", "")) == 1


def remove(browser):
    """Remove TOTP at allauth's page, confirmed with the second code of the list."""
    browser.post(REAUTHENTICATE, {"code": browser.codes[1]})
    browser.post(reverse("mfa_deactivate_totp"))
    assert not Authenticator.objects.filter(type="totp").exists()
    return browser


def is_due(user):
    return RecoveryCodeSetup.objects.filter(user=user, factor_due_at__isnull=False).exists()


@pytest.fixture
def by_password():
    """A browser in which this user, who has no factor, has signed in and confirmed by password."""

    def sign_in(user):
        browser = Browser()
        browser.post("/accounts/login/", {"login": user.username, "password": PASSWORD})
        browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert browser.session[SESSION_KEY] == str(user.pk)
        return browser

    return sign_in


class TestTheNextSignIn:
    """R-38: whoever holds the list cannot remove the factor, and come back without it."""

    @pytest.fixture(params=[False, True])
    def is_atomic(self, request, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", request.param)

    def test_is_restricted_after_the_factor_was_removed_at_the_page(
        self, held, by_code, is_atomic
    ):
        remove(held).post(reverse("recovery_logout"))
        again = by_code(held.user, held.codes[2])
        assert is_held(again)
        page = again.get(PAGE).content.decode()
        assert "Add a second factor" in page and "Once you have added one" in page
        assert "Confirm that it is you" not in page

    def test_after_a_passkey_was(self, passkey_user, by_code):
        user, codes = passkey_user
        browser = by_code(user, codes[0])
        browser.codes = codes
        key = Authenticator.objects.get(user=user, type="webauthn").pk
        browser.post(REAUTHENTICATE, {"code": codes[1]})
        assert browser.post(reverse("mfa_remove_webauthn", args=[key])).status_code == 302
        assert not Authenticator.objects.filter(user=user, type="webauthn").exists()
        assert is_held(by_code(user, codes[2]))

    def test_after_a_browser_removed_it_by_the_api(self, held, by_code, is_atomic):
        held.post(REAUTHENTICATE, {"code": held.codes[1]})
        url = "/_allauth/browser/v1/account/authenticators/totp"
        assert held.delete(url).status_code == 200
        held.delete("/_allauth/browser/v1/auth/session")
        assert is_held(by_code(held.user, held.codes[2]))

    @pytest.mark.parametrize("strategy", [SESSION_TOKENS, JWT])
    def test_after_an_app_did(self, totp_user, by_code, settings, is_atomic, strategy):
        settings.HEADLESS_TOKEN_STRATEGY = strategy
        user, codes = totp_user
        client, headers = app_of(user, codes[0])
        body = json.dumps({"code": codes[1]})
        url = f"{APP}auth/2fa/reauthenticate"
        client.post(url, body, content_type="application/json", headers=headers)
        answer = client.delete(f"{APP}account/authenticators/totp", headers=headers)
        assert answer.status_code == 200
        client.delete(f"{APP}auth/session", headers=headers)
        client, headers = app_of(user, codes[2])
        assert client.get("/api/", headers=headers).json()["code"] == "restricted_session"

    def test_is_free_with_the_password(self, held, by_password):
        remove(held)
        assert not is_held(by_password(held.user))

    def test_is_free_once_the_owner_has_had_a_factor_again(
        self, held, by_code, by_password, committed
    ):
        remove(held)
        owner = by_password(held.user)
        with committed():
            assert add_factor(owner).status_code == 302
        assert not is_due(held.user)
        owner.post(reverse("mfa_deactivate_totp"))
        assert not Authenticator.objects.filter(type="totp").exists()
        assert not is_held(by_code(held.user, held.codes[2]))

    def test_needs_no_more_than_a_factor_that_the_same_session_adds(self, held, committed):
        remove(held)
        with committed():
            add_factor(held)
        assert not is_held(held) and not is_due(held.user)

    def test_is_free_where_a_program_or_an_administrator_removed_it(
        self, totp_user, by_code, make_user
    ):
        user, codes = totp_user
        admin = Browser()
        admin.force_login(make_user(is_staff=True, is_superuser=True))
        factor = Authenticator.objects.get(user=user, type="totp")
        url = reverse("admin:mfa_authenticator_delete", args=[factor.pk])
        assert admin.post(url, {"post": "yes"}).status_code == 302
        assert not Authenticator.objects.filter(user=user, type="totp").exists()
        assert not is_held(by_code(user, codes[0]))

    def test_is_free_where_a_free_session_removed_it(self, totp_user, before_step, by_code):
        user, codes = totp_user
        browser = before_step(user)
        browser.post("/accounts/2fa/authenticate/", {"code": totp_now()})
        browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
        browser.post(reverse("mfa_deactivate_totp"))
        assert not Authenticator.objects.filter(user=user, type="totp").exists()
        assert not is_held(by_code(user, codes[0]))

    def test_is_free_where_sessions_were_full(self, settings, totp_user, by_code):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        user, codes = totp_user
        browser = by_code(user, codes[0])
        browser.codes = codes
        remove(browser)
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
        assert not is_held(by_code(user, codes[2]))

    @pytest.mark.parametrize("is_last_one_removed_here", [True, False])
    def test_the_last_of_two_factors_decides(self, held, by_code, is_last_one_removed_here):
        key = add_passkey(held.user)
        remove(held)
        if is_last_one_removed_here:
            assert held.post(reverse("mfa_remove_webauthn", args=[key.pk])).status_code == 302
        else:
            key.delete()
        assert is_held(by_code(held.user, held.codes[2])) == is_last_one_removed_here

    def test_an_account_that_goes_with_its_factor_is_not_held_up(self, held):
        assert held.post("/leave/").content == b"gone"
        assert not RecoveryCodeSetup.objects.exists()


FIRST = "a first good passphrase"


class TestAFirstPassword:
    """R-38: whoever holds the list must not give themself a second way in."""

    @pytest.fixture
    def without(self, totp_user):
        """A user with TOTP and codes, and no password."""
        user, codes = totp_user
        user.set_unusable_password()
        user.save()
        return user, codes

    def test_is_not_set_at_the_page(self, without, by_code):
        user, codes = without
        browser = by_code(user, codes[0])
        url = reverse("account_set_password")
        assert is_held(browser, url)
        answer = browser.post(url, {"password1": FIRST, "password2": FIRST})
        assert answer["Location"] == PAGE
        user.refresh_from_db()
        assert not user.has_usable_password()
        assert "Change your password" not in browser.get(PAGE).content.decode()

    def test_is_not_set_by_a_browser_or_an_app(self, without, by_code):
        user, codes = without
        client, headers = app_of(user, codes[0])
        body = json.dumps({"new_password": FIRST})
        tries = [(by_code(user, codes[1]), "browser", {}), (client, "app", headers)]
        for client, kind, headers in tries:
            url = f"/_allauth/{kind}/v1/account/password/change"
            answer = client.post(url, body, content_type="application/json", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")
        user.refresh_from_db()
        assert not user.has_usable_password()

    def test_is_set_once_the_session_is_free(self, without, by_code):
        user, codes = without
        browser = by_code(user, codes[0])
        prove(browser)
        url, fields = reverse("account_set_password"), {"password1": FIRST, "password2": FIRST}
        assert browser.post(url, fields).status_code == 302
        user.refresh_from_db()
        assert user.check_password(FIRST)

    def test_a_password_is_changed_by_who_knows_it(self, held):
        url = "/_allauth/browser/v1/account/password/change"
        for current, status in (("not it", 400), (PASSWORD, 200)):
            body = json.dumps({"current_password": current, "new_password": FIRST})
            assert held.post(url, body, content_type="application/json").status_code == status
        held.user.refresh_from_db()
        assert held.user.check_password(FIRST)
        assert "Change your password" in held.get(PAGE).content.decode()

    def test_signing_out_of_the_admin_stays_open(self, without, by_code):
        user, codes = without
        user.is_staff = True
        user.save()
        browser = by_code(user, codes[0])
        browser.post(reverse("admin:logout"))
        assert SESSION_KEY not in browser.session


class TestItsTime:
    def test_it_ends_after_its_age_whatever_is_opened(self, held, clock, settings, events):
        settings.DJANGO_AUTH_RECOVERY_CODES_RESTRICTED_SESSION_AGE = 600
        clock.shift(598)
        assert held.get(DASHBOARD).status_code == 200
        clock.shift(2)
        answer = held.get(DASHBOARD, follow=True)
        assert "Your session has ended." in answer.content.decode()
        assert SESSION_KEY not in held.session
        assert held.get("/ordinary/").content == b"opened"  # as nobody
        assert events().count(("session.expired", "")) == 1

    def test_programs_get_401(self, held, clock):
        clock.shift(3601)
        answer = held.get("/ordinary/", headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_expired")

    def test_a_second_request_of_the_same_moment_records_nothing_more(self, held, clock, events):
        twin = Browser()
        twin.cookies = held.cookies.copy()
        row = Session.objects.get(pk=held.session.session_key)
        clock.shift(3601)
        held.get(DASHBOARD)
        row.save()  # as if it had been read before
        twin.get(DASHBOARD)
        assert events().count(("session.expired", "")) == 1


class TestThePage:
    def test_it_says_what_is_left_to_do_and_leads_back(self, held):
        held.get("/ordinary/?page=2")
        page = held.get(PAGE).content.decode()
        assert "You have 60 minutes for this." in page
        assert "A recovery code is not enough here." in page
        assert "/accounts/2fa/reauthenticate/?next=%2Fordinary%2F%3Fpage%3D2" in page
        assert "You have 2 codes left." in page

    def test_it_asks_for_a_new_factor_where_there_is_none(self, held):
        Authenticator.objects.filter(user=held.user).delete()
        page = held.get(PAGE).content.decode()
        assert "Add a second factor" in page and "Confirm that it is you" not in page

    def test_afterwards_it_leads_on(self, held):
        held.get("/ordinary/?page=2")
        prove(held)
        page = held.get(PAGE).content.decode()
        assert "Nothing is closed to you." in page and "You have 60 minutes" not in page
        assert held.get(reverse("recovery_continue"))["Location"] == "/ordinary/?page=2"

    def test_a_picture_that_is_refused_is_not_where_one_wanted_to_go(self, held):
        held.get("/ordinary/?page=2")
        held.get("/static/app.css", headers={"Sec-Fetch-Dest": "style"})
        assert "page%3D2" in held.get(PAGE).content.decode()

    def test_whoever_came_otherwise_is_led_away(self, user, make_browser):
        assert make_browser(user).get(PAGE)["Location"] == DASHBOARD

    def test_strangers_sign_in_first(self, client):
        assert client.get(PAGE)["Location"].startswith("/accounts/login/")

    def test_other_sessions_end_on_request(self, totp_user, before_step, by_code):
        """R-42"""
        user, codes = totp_user
        thief = before_step(user)
        thief.post("/accounts/2fa/authenticate/", {"code": totp_now()})
        assert UserSession.objects.filter(user=user).count() == 1
        held = by_code(user, codes[0])
        assert "signed in in 1 other place" in held.get(PAGE).content.decode()
        answer = held.post(PAGE, follow=True)
        assert "You are signed out everywhere else." in answer.content.decode()
        assert SESSION_KEY not in thief.session
        assert SESSION_KEY in held.session and is_held(held)

    def test_ending_other_sessions_needs_a_token(self, totp_user, by_code):
        user, codes = totp_user
        browser = by_code(user, codes[0], browser=Browser(enforce_csrf_checks=False))
        browser.handler.enforce_csrf_checks = True
        assert browser.post(PAGE).status_code == 403


def sign_in_app(user, code):
    """An app that has signed in with e-mail and code: the client, and what it was given."""
    client = Client()
    answer = client.post(
        f"{APP}auth/recovery-code/login",
        json.dumps({"email": user.email, "recovery_code": code}),
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.content
    return client, answer.json()["meta"]


def app_of(user, code):
    """The same: the client, and the headers by which it shows its session."""
    client, meta = sign_in_app(user, code)
    return client, {"X-Session-Token": meta["session_token"]}


class TestTokens:
    def test_a_session_token_is_held(self, totp_user, events):
        user, codes = totp_user
        client, headers = app_of(user, codes[0])
        for url in ("/api/", f"{APP}account/email", f"{APP}auth/sessions"):
            answer = client.get(url, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")
        assert client.get(f"{APP}account/authenticators", headers=headers).status_code == 200
        assert events().count(("session.restricted", "")) == 1

    def test_totp_frees_it(self, totp_user, events):
        user, codes = totp_user
        client, headers = app_of(user, codes[0])
        url, data = f"{APP}auth/2fa/reauthenticate", json.dumps({"code": totp_now()})
        answer = client.post(url, data, content_type="application/json", headers=headers)
        assert answer.status_code == 200
        assert client.get("/api/", headers=headers).json() == {"user": user.pk}
        assert events().count(("session.lifted", "")) == 1

    @pytest.mark.parametrize("is_atomic", [False, True])
    def test_a_factor_that_is_added_frees_it(
        self, totp_user, committed, is_atomic, monkeypatch, events
    ):
        """With ATOMIC_REQUESTS the commit comes when the session is no longer the request's."""
        user, codes = totp_user
        client, headers = app_of(user, codes[0])

        def post(path, **data):
            body = json.dumps(data)
            return client.post(APP + path, body, content_type="application/json", headers=headers)

        post("auth/2fa/reauthenticate", code=codes[1])
        Authenticator.objects.filter(user=user, type="totp").delete()
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", is_atomic)
        url = f"{APP}account/authenticators/totp"
        secret = client.get(url, headers=headers).json()["meta"]["secret"]
        with committed():
            answer = post("account/authenticators/totp", code=totp_now(secret))
        assert answer.status_code == 200, answer.content
        assert client.get("/api/", headers=headers).status_code == 200
        assert events().count(("session.lifted", "")) == 1

    def test_its_time_ends_it(self, totp_user, clock, events):
        user, codes = totp_user
        client, meta = sign_in_app(user, codes[0])
        headers = {"X-Session-Token": meta["session_token"]}
        clock.shift(3601)
        answer = client.get(f"{APP}account/authenticators", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_expired")
        assert not Session.objects.filter(pk=meta["session_token"]).exists()
        assert events().count(("session.expired", "")) == 1

    def test_an_access_token_is_held_and_does_not_outlive_its_session(self, settings, totp_user):
        settings.HEADLESS_TOKEN_STRATEGY = JWT
        settings.HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED = False
        user, codes = totp_user
        client, meta = sign_in_app(user, codes[0])
        headers = {"Authorization": f"Bearer {meta['access_token']}"}
        answer = client.get("/api/", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")
        assert client.delete(f"{APP}auth/session", headers=headers).status_code == 401
        answer = client.get("/api/", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")

    def test_a_better_cookie_does_not_free_a_token(self, totp_user, before_step):
        user, codes = totp_user
        _, meta = sign_in_app(user, codes[0])
        browser = before_step(user)
        browser.post("/accounts/2fa/authenticate/", {"code": totp_now()})
        assert browser.get("/api/").status_code == 200
        answer = browser.get("/api/", headers={"X-Session-Token": meta["session_token"]})
        assert answer.status_code == 403


class TestCosts:
    """R-150"""

    def test_nothing_while_sessions_are_full(self, settings, rf, django_assert_num_queries):
        settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"
        with django_assert_num_queries(0):
            assert restricted.answer(rf.get("/")) is None  # which has no session at all

    def test_no_user_is_loaded_for_a_session_that_is_not_restricted(
        self, user, make_browser, statements
    ):
        browser = make_browser(user)
        with statements() as sql:
            browser.get("/unnamed/")
        assert len(sql) == 1 and "django_session" in sql[0]

    def test_nothing_for_a_stranger(self, client, django_assert_num_queries):
        with django_assert_num_queries(0):
            client.get("/unnamed/")


def test_rows_name_the_owner_and_the_client(held):
    row = RecoveryCodeAudit.objects.get(event="recovery.session.restricted")
    assert (row.user, row.actor, row.address) == (held.user, held.user, "127.0.0.1")


def test_whether_a_request_is_restricted_can_be_asked(held, rf, make_user):
    request = rf.get("/")
    request.session, request.user = held.session, held.user
    assert restricted.holds(request)
    request.user = make_user()
    assert not restricted.holds(request)


def test_the_admin_stays_closed_for_a_superuser(held):
    held.user.is_staff = held.user.is_superuser = True
    held.user.save()
    assert is_held(held, "/admin/")
    assert is_held(held, reverse("admin:auth_user_changelist"))


def test_a_factor_of_another_user_frees_nobody(held, make_user, committed):
    with committed():
        add_passkey(make_user())
        add_totp(make_user(), NEW_SECRET)
    assert is_held(held)
