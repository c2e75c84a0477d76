"""Early answers, and no cost for requests that have nothing to do with us."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.http import HttpResponse
from django.test import AsyncClient
from django.urls import include, path

from recovery_backend import stash
from recovery_backend.middleware import RecoveryCodeMiddleware
from recovery_backend.models import RecoveryCode, RecoveryCodeAudit
from recovery_backend.views import LoginView
from tests.conftest import LOGIN, WRONG_CODE

OURS = "recovery_backend.middleware.RecoveryCodeMiddleware"
BRANDED = "/branded/"


class OwnLoginView(LoginView):
    """As a project would write it."""


urlpatterns = [
    path("", lambda request: HttpResponse("home"), name="home"),
    path(
        "branded/",
        OwnLoginView.as_view(
            template_name="recovery_backend/unavailable.html",
            extra_context={"detail": "our own page"},
        ),
    ),
    path("", include("recovery_backend.urls")),
]


@pytest.fixture
def wait(user, codes, post_code, clock):
    """The client has failed five times and has to wait a minute."""
    for _ in range(5):
        post_code(user.email, WRONG_CODE)


def test_other_requests_cost_no_query(db, client, statements):
    """R-150"""
    with statements() as queries:
        assert client.get("/").status_code == 200
        assert client.post("/", {"email": "owner@example.com"}).status_code == 200
    assert queries == []


@pytest.mark.parametrize("address", ["/", "/password/", "/admin/"])
def test_a_signed_in_request_costs_what_it_did_without_us(
    user, client, statements, settings, address
):
    """R-150"""
    user.is_staff = user.is_superuser = True
    user.save()
    client.force_login(user)
    client.raise_request_exception = False
    costs = []
    for without in ((), (OURS,)):
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name not in without]
        with statements() as queries:
            client.post(address, {"email": user.email})
        costs.append(len(queries))
    assert costs[0] == costs[1]


def test_looking_at_the_login_page_costs_no_query(db, client, statements):
    with statements() as queries:
        assert client.get(LOGIN).status_code == 200
    assert queries == []


def test_a_client_in_cooldown_is_answered_before_the_view(
    user, codes, wait, post_code, statements
):
    """R-59: from the cached copy of the wait; after the first refusal no query is made."""
    post_code(user.email, codes[0])
    before = RecoveryCodeAudit.objects.count()
    with statements() as queries:
        response = post_code(user.email, codes[0])
    assert (response.status_code, response["Retry-After"]) == (429, "60")
    assert queries == []
    assert RecoveryCodeAudit.objects.count() == before
    assert RecoveryCode.objects.usable().count() == 3


@pytest.mark.parametrize("use_cache", [True, False])
def test_the_first_refusal_of_each_wait_is_recorded_and_no_other(
    user, codes, post_code, events, settings, clock, use_cache
):
    """R-115, R-122"""
    settings.DJANGO_AUTH_RECOVERY_CODES_AUTH_RATE_LIMITER_USE_CACHE = use_cache
    for _ in range(9):
        post_code(user.email, WRONG_CODE)
    assert events().count(("login.throttled", "cooldown")) == 1
    assert events().count(("login.fail", "unknown")) == 5


def test_a_refused_flood_reaches_no_row(user, codes, post_code, statements, settings, clock):
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "2/m"
    for _ in range(3):
        post_code(user.email, WRONG_CODE)
    with statements() as queries:
        assert [post_code(user.email, codes[0]).status_code for _ in range(20)] == [429] * 20
    assert queries == []


def test_a_refused_client_may_still_read_the_page(user, post_code, client, settings, clock):
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "2/m"
    for _ in range(3):
        response = post_code(user.email, WRONG_CODE)
    assert response.status_code == 429
    assert client.get(LOGIN, REMOTE_ADDR="198.51.100.7").status_code == 200


def test_with_a_lost_cache_the_view_still_refuses(user, codes, wait, post_code):
    cache.clear()
    assert post_code(user.email, codes[0]).status_code == 429
    assert RecoveryCode.objects.usable().count() == 3


def test_with_a_broken_cache_the_view_still_refuses(user, codes, post_code, settings):
    """R-31"""
    settings.CACHES = {"default": {"BACKEND": "tests.test_backends.BrokenCache"}}
    response = post_code(user.email, codes[0])
    assert response.status_code == 200
    assert "This did not work." in response.text
    assert RecoveryCode.objects.usable().count() == 3


def test_without_a_key_the_request_fails_loudly(user, post_code, settings):
    """R-18"""
    settings.DJANGO_AUTH_RECOVERY_KEY = ""
    with pytest.raises(ImproperlyConfigured, match="DJANGO_AUTH_RECOVERY_KEY"):
        post_code(user.email, WRONG_CODE)


def test_a_view_of_ones_own_keeps_its_looks(user, codes, client, settings, clock):
    settings.ROOT_URLCONF = "tests.test_middleware"
    data = {"email": user.email, "recovery_code": WRONG_CODE}
    for _ in range(5):
        assert client.post(BRANDED, data).status_code == 200
    response = client.post(BRANDED, data)
    assert response.status_code == 429
    assert "our own page" in response.text


class TestAsync:
    @pytest.fixture
    def post(self, db):
        async def post(data, **extra):
            return await AsyncClient().post(LOGIN, data, **extra)

        return async_to_sync(post)

    def test_a_code_signs_in(self, user, codes, post):
        """R-30"""
        response = post({"email": user.email, "recovery_code": codes[0]})
        assert response.status_code == 302
        assert RecoveryCode.objects.usable().count() == 2

    def test_a_client_in_cooldown_gets_a_429(self, user, codes, post, clock):
        for _ in range(5):
            assert post({"email": user.email, "recovery_code": WRONG_CODE}).status_code == 200
        for headers in ({}, {"Accept": "application/json"}):
            response = post({"email": user.email, "recovery_code": codes[0]}, headers=headers)
            assert (response.status_code, response["Retry-After"]) == (429, "60")
        assert RecoveryCode.objects.usable().count() == 3

    def test_other_requests_cost_no_query(self, db, statements):
        """R-150"""

        async def get():
            return await AsyncClient().get("/")

        with statements() as queries:
            assert async_to_sync(get)().status_code == 200
        assert queries == []

    def test_it_is_a_coroutine_function_exactly_where_its_neighbour_is(self):
        async def asynchronous(request):
            return HttpResponse("async")

        def synchronous(request):
            return HttpResponse("sync")

        assert iscoroutinefunction(RecoveryCodeMiddleware(asynchronous))
        assert not iscoroutinefunction(RecoveryCodeMiddleware(synchronous))
        assert asyncio.run(RecoveryCodeMiddleware(asynchronous)(None)).content == b"async"
        assert RecoveryCodeMiddleware(synchronous)(None).content == b"sync"


class TestPlaintext:
    """R-71, R-72: plaintext that may not be shown any longer leaves the session."""

    ADMIN = "/admin/"

    @pytest.fixture
    def holder(self, user, browser):
        """A browser whose session holds new codes, at a page that reads the session."""
        user.is_staff = True
        user.save()
        browser.send("recovery_generate")
        return browser

    def is_kept(self, browser):
        return stash.SESSION_KEY in browser.session

    def test_it_is_dropped_when_its_time_is_over(self, holder, clock, events):
        holder.send("recovery_generate", confirm="on")
        clock.shift(899)
        holder.get(self.ADMIN)
        assert self.is_kept(holder)
        clock.shift(1)
        assert holder.get(self.ADMIN).status_code == 200
        assert not self.is_kept(holder)
        assert events()[-1] == ("stash.expired", "")

    def test_it_is_dropped_when_the_address_changes(self, user, holder):
        user.email = "new@example.com"
        user.save()
        holder.get(self.ADMIN)
        assert not self.is_kept(holder)

    def test_it_is_dropped_when_its_user_is_gone(self, user, holder):
        user.delete()
        holder.get(self.ADMIN)
        assert not self.is_kept(holder)

    def test_keeping_it_costs_other_pages_no_query(self, holder, statements, settings):
        """R-150"""
        costs = []
        for without in ((), (OURS,)):
            settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name not in without]
            with statements() as queries:
                holder.get(self.ADMIN)
            costs.append(len(queries))
        assert costs[0] == costs[1]

    def test_a_fault_while_dropping_costs_nobody_the_page(self, holder, clock, settings, caplog):
        """R-121: a drop that cannot be recorded is an error in the log, and no drop."""
        clock.shift(900)
        with caplog.at_level("ERROR", "recovery_backend"), broken_audit():
            assert holder.get(self.ADMIN).status_code == 200
        assert "plaintext not dropped" in caplog.text

    def test_it_is_dropped_under_asgi_too(self, user, holder, clock):
        clock.shift(900)
        client = AsyncClient()
        client.cookies = holder.cookies

        async def get():
            return await client.get(self.ADMIN)

        assert async_to_sync(get)().status_code == 200
        assert not self.is_kept(holder)

    def test_a_site_without_sessions_works(self, client, settings):
        settings.MIDDLEWARE = [OURS]
        assert client.get("/").status_code == 200


@contextmanager
def broken_audit():
    """The table of events cannot be written."""

    def refuse(execute, sql, params, many, context):
        if sql.startswith("INSERT INTO") and "recoverycodeaudit" in sql:
            raise DatabaseError("gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse):
        yield


@pytest.mark.parametrize(
    "name",
    ["verify_setup", "invalidate", "delete"],
)
def test_what_is_typed_into_our_forms_is_hidden_from_error_reports(browser, name):
    """R-84"""
    response = browser.send(f"recovery_{name}", recovery_code=WRONG_CODE)
    assert response.wsgi_request.sensitive_post_parameters == "__ALL__"
