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

from recovery_backend.models import RecoveryCodeAudit
from tests.conftest import DASHBOARD, JSON, LOGIN, PASSWORD, Browser
from tests.with_allauth.conftest import REAUTHENTICATE, add_passkey, add_totp, totp_now

PAGE = "/auth/recovery-codes/restricted/"
NEW_SECRET = "KRSXG5CTMVRXEZLU"
APP = "/_allauth/app/v1/"
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

    def test_two_codes_are_one_factor(self, settings, totp_user):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        browser = Browser()
        browser.post(LOGIN, {"email": user.email, "recovery_code": codes[0]})
        browser.post("/accounts/2fa/authenticate/", {"code": codes[1]})
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

    def test_a_session_after_signing_out_is_not_held(self, held, before_step):
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
        assert passed <= REPAIRS, passed - REPAIRS
        assert {"mfa_index", "recovery_dashboard", "recovery_restricted"} <= passed

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
            "tokens:refresh",
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
    if answer.status_code == 404 and answer.headers["Content-Type"].startswith("text/html"):
        return True  # not of this test: the path matches nothing
    is_refusal = answer.status_code == 403 and b"restricted_session" in answer.content
    return is_refusal


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

    def test_not_with_a_factor_that_is_added_elsewhere(self, held, committed, by_code):
        Authenticator.objects.filter(user=held.user, type="totp").delete()
        elsewhere = Browser()
        elsewhere.post("/accounts/login/", {"login": held.user.username, "password": PASSWORD})
        elsewhere.post("/accounts/reauthenticate/", {"password": PASSWORD})
        with committed():
            assert add_factor(elsewhere).status_code == 302
        assert Authenticator.objects.filter(user=held.user, type="totp").exists()
        assert is_held(held)

    def test_not_when_the_factor_is_rolled_back(self, held, committed):
        held.post(REAUTHENTICATE, {"code": held.codes[1]})
        Authenticator.objects.filter(user=held.user).delete()
        add_factor(held)  # never committed here
        assert is_held(held)

    def test_not_with_a_change_of_the_password(self, held, events):
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


class TestTokens:
    def test_a_session_token_is_held(self, totp_user, events):
        user, codes = totp_user
        client, meta = sign_in_app(user, codes[0])
        headers = {"X-Session-Token": meta["session_token"]}
        for url in ("/api/", f"{APP}account/email", f"{APP}auth/sessions"):
            answer = client.get(url, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "restricted_session")
        assert client.get(f"{APP}account/authenticators", headers=headers).status_code == 200
        assert events().count(("session.restricted", "")) == 1

    def test_totp_frees_it(self, totp_user, events):
        user, codes = totp_user
        client, meta = sign_in_app(user, codes[0])
        headers = {"X-Session-Token": meta["session_token"]}
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
        client, meta = sign_in_app(user, codes[0])
        headers = {"X-Session-Token": meta["session_token"]}

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
