"""MFA_REQUIRED_PATHS: which paths, which people, which clients; and never a way around or a loop."""

from __future__ import annotations

import asyncio
import base64
from datetime import timedelta
from importlib import import_module
from urllib.parse import unquote

import pytest
from allauth.account.views import EmailView, PasswordChangeView
from allauth.mfa.base.views import IndexView
from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth.decorators import login_not_required, login_required
from django.http import HttpResponse
from django.test import AsyncClient, RequestFactory
from django.test.utils import override_script_prefix
from django.urls import path, re_path, resolve
from django.utils import timezone
from django.views import View
from django.views.static import serve
from recovery_backend_allauth import repair
from recovery_backend_allauth.middleware import MFARequiredMiddleware
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from tests.conftest import JSON, PASSWORD, Browser
from tests.with_allauth import urls
from tests.with_allauth.conftest import (
    INDEX,
    REAUTHENTICATE,
    SIGN_IN,
    add_passkey,
    add_totp,
    next_of,
    target,
    totp_now,
)

# Time stands still, or a code of six digits could change while a request runs.
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.urls(__name__),
    pytest.mark.usefixtures("clock"),
]


def page(request, **kwargs):
    return HttpResponse(f"for {request.user}")


@login_not_required
def welcome(request):
    return HttpResponse("welcome")


async def later_page(request):
    user = await request.auser()
    return HttpResponse(f"for {user}")


class Form(View):
    sent = []

    def post(self, request):
        self.sent.append(request.POST["amount"])
        return HttpResponse("sent")


@api_view(["GET"])
@authentication_classes([BasicAuthentication, SessionAuthentication])
@permission_classes([IsAuthenticated])
def api(request):
    return Response({"user": str(request.user)})


class Things(ViewSet):
    authentication_classes = [BasicAuthentication]
    permission_classes = [IsAuthenticated]

    def get_authenticators(self):
        assert self.kwargs == {"number": 7} and self.request.path == "/app/things/7/"
        return super().get_authenticators()

    def list(self, request, number):
        return Response({"user": str(request.user)})


class OwnIndex(IndexView):
    """A site's own page of factors."""


class ForeignIndex(View):
    def get(self, request):
        return HttpResponse("secret")


urlpatterns = [
    path("app", page),
    path("app/", page),
    path("app/form/", Form.as_view()),
    path("app/deep/<int:number>/", page),
    path("app/later/", later_page),
    path("app/members/", login_required(page)),
    path("app/welcome/", welcome),
    path("app/api/", api),
    path("app/things/<int:number>/", Things.as_view({"get": "list"})),
    path("apple/", page),
    path("static/<path:path>", serve, {"document_root": "/srv/static"}),
    path("media/<path:path>", serve, {"document_root": "/srv/media"}),
    path("own/index/", OwnIndex.as_view(), name="own_index"),
    *i18n_patterns(path("app/", page), path("other/", page)),
    *urls.urlpatterns,
    re_path(r"^files(?P<name>.*)$", page),
    re_path(r"^/+(?P<name>.*)$", page),
]


@pytest.fixture(autouse=True)
def required(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_PATHS = ["/app"]
    settings.STATIC_ROOT = "/srv/static"


def basic(user):
    value = base64.b64encode(f"{user.username}:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {value}"}


# Who


def test_a_proven_session_gets_the_page(proven):
    assert proven.get("/app/").status_code == 200


def test_a_user_without_a_factor_is_led_to_enrol_and_the_page_is_remembered(by_password):
    browser = by_password()
    assert target(browser.get("/app/deep/3/?q=1")) == INDEX
    assert browser.session["recovery_backend_wanted"] == "/app/deep/3/?q=1"


def test_a_user_with_a_factor_is_led_to_prove_it_and_back(unproven):
    answer = unproven.get("/app/deep/3/?q=1")
    assert target(answer) == REAUTHENTICATE and next_of(answer) == "/app/deep/3/?q=1"
    answer = unproven.post(answer["Location"], {"code": totp_now()})
    assert answer["Location"] == "/app/deep/3/?q=1"
    assert unproven.get(answer["Location"]).status_code == 200


def test_a_passkey_user_is_led_to_the_passkey(by_password, settings):
    browser = by_password()
    add_passkey(browser.user)
    assert target(browser.get("/app/")) == "/accounts/2fa/webauthn/reauthenticate/"


def test_the_password_again_is_no_second_factor(unproven):
    answer = unproven.post("/accounts/reauthenticate/?next=/app/", {"password": PASSWORD})
    assert answer["Location"] == "/app/"
    assert target(unproven.get("/app/")) == REAUTHENTICATE


def test_an_address_and_a_code_alone_do_not_open_it(totp_user, by_code):
    """R-37: also not with the next code of the same list."""
    user, codes = totp_user
    browser = by_code(user, codes[0])
    assert browser.get("/app/").status_code == 302
    browser.post(f"{REAUTHENTICATE}?next=/app/", {"code": codes[1]})
    assert browser.get("/app/").status_code == 302


def test_strangers_go_to_the_sign_in_page(client):
    answer = client.get("/app/deep/3/")
    assert answer["Location"] == f"{SIGN_IN}?next=/app/deep/3/"


def test_strangers_may_see_what_is_marked_as_public(client, by_password):
    assert client.get("/app/welcome/").status_code == 200
    assert by_password().get("/app/welcome/").status_code == 302


def test_staff_alone_may_be_asked(settings, client, by_password):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = "staff"
    assert by_password().get("/app/").status_code == 200
    assert target(by_password(is_staff=True).get("/app/")) == INDEX
    assert client.get("/app/").status_code == 200
    assert target(client.get("/app/members/")) == SIGN_IN


def test_a_function_may_say_who_is_asked(settings, clock, client, by_password):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = f"{__name__}.has_joined_long_ago"
    browser = by_password()
    assert browser.get("/app/").status_code == 200
    clock.shift(timedelta(days=8))
    assert target(browser.get("/app/")) == INDEX
    assert by_password().get("/app/").status_code == 200
    assert client.get("/app/").status_code == 200


def has_joined_long_ago(user):
    return timezone.now() - user.date_joined > timedelta(days=7)


# Which paths


@pytest.mark.parametrize("prefix", ["/app", "/app/"])
@pytest.mark.parametrize(
    ("url", "is_closed"),
    [
        ("/app", True),
        ("/app/", True),
        ("/app/?x=/apple/", True),
        ("/app/deep/3/", True),
        ("/%61pp/", True),
        ("/apple/", False),
        ("/", False),
        ("/en/app/", True),
        ("/en/other/", False),
        ("//app/", True),
        ("///app//deep", True),
        ("/files/../app/deep", True),
        ("/files/x/%2e%2e/../app", True),
        ("/files/app/", False),
        ("/files/../apple/", False),
    ],
)
def test_a_prefix_covers_whole_segments_however_they_are_spelled(
    settings, by_password, prefix, url, is_closed
):
    """TM-15."""
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_PATHS = [prefix]
    # As a server hands it over: the test client would tidy `//`.
    answer = by_password().generic("GET", "/", PATH_INFO=unquoted(url), QUERY_STRING="")
    assert answer.status_code == (302 if is_closed else 200), answer


def unquoted(url):
    return unquote(url.partition("?")[0])


def test_a_script_prefix_is_not_part_of_the_path(by_password):
    browser = by_password()
    with override_script_prefix("/shop/"):
        answer = browser.get("/", SCRIPT_NAME="/shop", PATH_INFO="/app/")
    assert target(answer) == f"/shop{INDEX}"
    assert browser.session["recovery_backend_wanted"] == "/shop/app/"
    assert browser.get("/", SCRIPT_NAME="/app", PATH_INFO="/apple/").status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "POST"])
def test_no_method_gets_around_it(by_password, method):
    """TM-15."""
    assert by_password().generic(method, "/app/").status_code == 302


def test_a_form_that_was_sent_does_nothing(unproven):
    Form.sent.clear()
    answer = unproven.post(
        "/app/form/", {"amount": "5"}, headers={"Referer": "http://testserver/app/deep/1/"}
    )
    assert next_of(answer) == "/app/deep/1/"
    answer = unproven.post(answer["Location"], {"code": totp_now()})
    assert answer["Location"] == "/app/deep/1/"
    assert Form.sent == []
    assert unproven.post("/app/form/", {"amount": "6"}).content == b"sent"
    assert Form.sent == ["6"]


def test_a_picture_is_refused_and_not_what_people_come_back_to(by_password):
    browser = by_password()
    browser.get("/app/")
    answer = browser.get("/app/deep/1/", headers={"Sec-Fetch-Dest": "image"})
    assert answer.status_code == 403
    assert browser.session["recovery_backend_wanted"] == "/app/"


def test_async_views_are_held(by_password, proven):
    assert by_password().get("/app/later/").status_code == 302
    assert proven.get("/app/later/").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_it_holds_under_asgi(by_password, proven):
    outside = by_password()

    async def status(browser, url):
        client = AsyncClient()
        client.cookies = browser.cookies
        return (await client.get(url)).status_code

    for url in ("/app/later/", "/app/"):
        assert asyncio.run(status(proven, url)) == 200
        assert asyncio.run(status(outside, url)) == 302


# Programs


def test_programs_are_told_why(client, by_password, unproven):
    for browser, status, code in (
        (client, 401, "not_authenticated"),
        (by_password(), 403, "mfa_enrolment_required"),
        (unproven, 403, "mfa_required"),
    ):
        answer = browser.get("/app/", headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "no-store" in answer["Cache-Control"]
        assert "recovery_backend_wanted" not in browser.session


def app_session(user, *codes):
    """The session token of an app that has signed in."""
    browser = Browser()
    data = {"username": user.username, "password": PASSWORD}
    url = "/_allauth/app/v1/auth/"
    answer = browser.post(f"{url}login", data, content_type="application/json")
    token = answer.json()["meta"]["session_token"]
    for code in codes:
        answer = browser.post(
            f"{url}2fa/authenticate",
            {"code": code},
            content_type="application/json",
            headers={"X-Session-Token": token},
        )
        token = answer.json()["meta"].get("session_token", token)
    assert answer.status_code == 200
    return token


def test_a_session_token_is_judged_by_its_own_steps(client, totp_user, make_user):
    user, codes = totp_user
    token = app_session(user, codes[0])
    assert client.get("/app/", headers={"X-Session-Token": token}).status_code == 200
    weak = app_session(make_user())
    answer = client.get("/app/", headers={"X-Session-Token": weak})
    assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrolment_required")
    answer = client.get("/app/", headers={"X-Session-Token": "nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("is_proven", [True, False])
def test_an_access_token_is_judged_by_its_session(settings, client, make_user, is_proven):
    settings.HEADLESS_TOKEN_STRATEGY = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"
    user = make_user()
    if is_proven:
        add_totp(user)
    browser = Browser()
    url = "/_allauth/app/v1/auth/"
    data = {"username": user.username, "password": PASSWORD}
    answer = browser.post(f"{url}login", data, content_type="application/json")
    if is_proven:
        answer = browser.post(
            f"{url}2fa/authenticate",
            {"code": totp_now()},
            content_type="application/json",
            headers={"X-Session-Token": answer.json()["meta"]["session_token"]},
        )
    token = answer.json()["meta"]["access_token"]
    answer = client.get("/app/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == (200 if is_proven else 403)


def test_two_users_in_one_request_get_nothing(proven, make_user):
    token = app_session(make_user())
    assert proven.get("/app/", headers={"X-Session-Token": token}).status_code == 403


@pytest.mark.parametrize("url", ["/app/api/", "/app/things/7/"])
@pytest.mark.parametrize("audience", ["everyone", "staff"])
def test_the_frameworks_own_ways_of_signing_in_prove_nothing(
    settings, client, proven, make_user, url, audience
):
    """The proof of A's cookie does not open what the view shows to B."""
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = audience
    user = make_user(is_staff=True)
    for browser in (client, proven):
        answer = browser.get(url, headers={**basic(user), **JSON})
        assert (answer.status_code, answer.json()["code"]) == (403, "mfa_enrolment_required")
    add_totp(user)
    answer = client.get(url, headers={**basic(user), **JSON})
    assert answer.json()["code"] == "mfa_required"


def test_views_of_the_framework_know_their_cookie(client, proven, unproven):
    answer = proven.get("/app/api/")
    assert answer.json() == {"user": str(answer.wsgi_request.user)}
    assert unproven.get("/app/api/", headers=JSON).status_code == 403
    assert client.get("/app/api/", headers=JSON).status_code == 401
    wrong = {"Authorization": "Basic !", **JSON}
    assert client.get("/app/api/", headers=wrong).status_code == 401


def test_a_framework_that_refuses_words_it_itself(settings, client, make_user):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = "staff"
    answer = client.get("/app/api/", headers={"Authorization": "Basic !", **JSON})
    assert answer.json() == {
        "detail": "Invalid basic header. Credentials not correctly base64 encoded."
    }


# Everything closed, and no loop


@pytest.fixture
def everything(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_PATHS = ["/"]
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "full"


REPAIR = [
    INDEX,
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/webauthn/",
    "/accounts/2fa/webauthn/add/",
    "/accounts/2fa/reauthenticate/",
    "/accounts/reauthenticate/",
    "/accounts/password/change/",
    "/accounts/password/set/",
    "/accounts/logout/",
    "/auth/recovery-codes/dashboard/",
    "/auth/recovery-codes/offer/",
    "/auth/recovery-codes/email/status/",
    "/own/index/",
    "/_allauth/browser/v1/auth/session",
    "/_allauth/browser/v1/account/authenticators",
    "/_allauth/browser/v1/account/authenticators/totp",
    "/_allauth/browser/v1/config",
]


# By allauth's own rules, which ask for the password and never for the second factor.
CONFIRM = "/accounts/reauthenticate/"
LEADS_ON = {
    "/accounts/2fa/totp/activate/": {CONFIRM, "/accounts/2fa/totp/deactivate/"},
    "/accounts/2fa/webauthn/add/": {CONFIRM},
    "/accounts/2fa/reauthenticate/": {CONFIRM},
    "/accounts/password/set/": {"/accounts/password/change/"},
}


@pytest.mark.parametrize("url", REPAIR)
@pytest.mark.parametrize("has_factor", [True, False])
def test_pages_of_repair_stay_open(everything, by_password, url, has_factor):
    browser = by_password()
    if has_factor:
        add_totp(browser.user)
    answer = browser.get(url, headers={"Sec-Fetch-Dest": "document"})
    if answer.status_code == 302:
        assert target(answer) in LEADS_ON[url]
    elif url.endswith("authenticators/totp") and not has_factor:
        assert answer.status_code == 404 and answer.json()["meta"]["secret"]
    else:
        assert answer.status_code == 200
    assert "recovery_backend_wanted" not in browser.session


@pytest.mark.parametrize(
    "url",
    ["/", "/admin/", "/accounts/email/", "/accounts/3rdparty/", "/accounts/sessions/",
     "/accounts/signup/", "/admin/password_change/", "/admin/jsi18n/", "/media/x", "/en/other/"],
)  # fmt: skip
def test_all_else_is_closed(everything, unproven, url):
    assert target(unproven.get(url)) == REAUTHENTICATE


def test_who_has_no_factor_may_verify_the_address_that_it_needs(everything, by_password):
    assert by_password().get("/accounts/email/").status_code == 200


def test_media_is_no_static_file(everything, by_password):
    browser = by_password()
    assert browser.get("/static/x.css").status_code == 404
    assert browser.get("/media/x.css").status_code == 302


def test_the_admins_sign_out_stays_open(everything, by_password):
    browser = by_password(is_staff=True)
    assert browser.post("/admin/logout/").status_code == 200
    assert "_auth_user_id" not in browser.session


def test_everybody_arrives_from_everywhere(everything, client, by_password, unproven):
    """Followed to the end, as a browser would; the test client stops at loops."""
    people = {SIGN_IN: client, INDEX: by_password(), REAUTHENTICATE: unproven}
    for end, browser in people.items():
        answer = browser.get("/app/", follow=True)
        assert answer.status_code == 200
        assert answer.request["PATH_INFO"] == end


def test_strangers_can_still_sign_up(everything, client):
    assert client.get("/accounts/signup/").status_code == 200
    data = {"email": "new@example.com", "username": "new", "password1": PASSWORD}
    answer = client.post("/accounts/signup/", data, follow=True)
    assert answer.request["PATH_INFO"] == INDEX


def test_a_sign_in_page_of_the_sites_own_is_no_loop(everything, client, settings):
    settings.LOGIN_URL = "/en/other/"
    assert target(client.get("/app/")) == "/en/other/"
    assert client.get("/en/other/").status_code == 200


class foreign_urls:
    """A site whose page of factors is not made from allauth's."""

    urlpatterns = [
        path("accounts/2fa/", ForeignIndex.as_view(), name="mfa_index"),
        *urls.urlpatterns,
    ]


def test_a_foreign_page_under_allauths_name_is_closed(everything, by_password, settings):
    browser = by_password()
    settings.ROOT_URLCONF = foreign_urls
    assert browser.get(INDEX).status_code == 403
    assert browser.get("/").status_code == 302


def test_every_open_view_exists_in_this_allauth():
    for name in repair.OPEN | repair.WAYS_IN | repair.BEFORE_ENROLMENT:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name


def test_no_open_view_is_the_mother_of_a_closed_one():
    """What inherits is open too, so nothing of allauth's may inherit by accident."""
    opened = set()
    for pattern in patterns_of(urls.urlpatterns):
        request = RequestFactory().get("/")
        request.resolver_match = Match(pattern.callback, pattern.name)
        if repair.is_open(request):
            opened.add(pattern.name)
    assert not opened & {
        "account_email", "account_signup", "socialaccount_connections", "usersessions_list",
        "mfa_signup_webauthn", "manage_email", "manage_providers", "signup", "sessions",
        "account_confirm_email", "changelist", "index", "password_change", "jsi18n",
    }  # fmt: skip
    assert {"mfa_index", "mfa_activate_totp", "account_logout", "current_session"} <= opened


class Match:
    kwargs = {}

    def __init__(self, func, url_name):
        self.func, self.url_name = func, url_name


def patterns_of(patterns):
    for pattern in patterns:
        if hasattr(pattern, "url_patterns"):
            yield from patterns_of(pattern.url_patterns)
        else:
            yield pattern


def test_a_decorated_page_of_repair_is_open():
    decorated = login_required(PasswordChangeView.as_view())
    request = RequestFactory().get("/")
    request.resolver_match = Match(decorated, "mine")
    assert repair.is_open(request)
    request.resolver_match = Match(EmailView.as_view(), "mfa_index")
    assert not repair.is_open(request)
    request.resolver_match = None
    assert not repair.is_open(request)


# Costs


def test_other_paths_cost_nothing(by_password, client, django_assert_num_queries):
    """R-150."""
    browser = by_password()
    request = RequestFactory().get("/apple/")
    request.session, request.user = Untouched(), Untouched()
    request.resolver_match = resolve("/apple/")
    middleware = MFARequiredMiddleware(page)
    with django_assert_num_queries(0):
        assert middleware.process_view(request, page, (), {}) is None
        assert client.get("/files").status_code == 200
    with django_assert_num_queries(2):  # its session and its user, which the view itself reads
        assert browser.get("/apple/").status_code == 200


class Untouched:
    """Neither session nor user may be read."""

    def __getattr__(self, name):
        raise AssertionError(name)

    def __contains__(self, key):
        return False


def test_a_proven_session_costs_no_query_more(proven, django_assert_num_queries):
    with django_assert_num_queries(2):
        assert proven.get("/app/").status_code == 200
