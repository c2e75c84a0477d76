"""Who may read the dashboard and act there, by which method, with which token."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.conftest import DASHBOARD, JSON, Browser
from tests.dashboard.conftest import ACTIONS
from tests.owner import rows, usable

LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"
READS = ["recovery_dashboard", "recovery_email_status", "recovery_events"]


class TestAccess:
    @pytest.mark.parametrize("middleware", [[], [LOGIN_REQUIRED]])
    @pytest.mark.parametrize("name", ACTIONS + READS)
    def test_anonymous_people_go_to_the_login_url(
        self, user, codes, client, settings, name, middleware
    ):
        """R-96"""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, *middleware]
        before = rows()
        method = client.get if name in READS else client.post
        response = method(reverse(name))
        target = reverse(name) if name in READS else DASHBOARD  # an action answers no GET
        assert (response.status_code, response.url) == (302, f"/password/?next={target}")
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS)
    def test_anonymous_scripts_are_told_where_to_go(self, user, codes, client, name):
        before = rows()
        answer = client.post(reverse(name), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (401, "sign_in")
        assert answer.json()["redirect_to"] == f"/password/?next={DASHBOARD}"
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS + READS)
    def test_with_login_required_middleware_users_get_through(self, browser, settings, name):
        """R-96"""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]
        response = browser.open(name) if name in READS else browser.send(name)
        assert response.status_code in {200, 302}
        assert "/password/" not in response.headers.get("Location", "")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"])
    @pytest.mark.parametrize("name", ACTIONS)
    def test_actions_are_posts(self, generated, name, method):
        """R-98"""
        before = rows()
        data = {"confirm": "on", "recovery_code": generated.codes[0]}
        response = generated.generic(method, reverse(name), query_params=data)
        assert response.status_code == 405
        assert "POST" in response["Allow"]
        assert rows() == before

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE"])
    @pytest.mark.parametrize("name", READS)
    def test_pages_are_only_read(self, generated, name, method):
        """R-98"""
        before = rows()
        assert generated.generic(method, reverse(name)).status_code == 405
        assert rows() == before

    @pytest.mark.parametrize("name", ACTIONS)
    def test_options_changes_nothing(self, generated, name):
        before = rows()
        assert generated.options(reverse(name)).status_code == 200
        assert rows() == before

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("has_middleware", [True, False])
    @pytest.mark.parametrize("name", ACTIONS)
    def test_actions_need_their_csrf_token(
        self, user, codes, settings, name, has_middleware, headers
    ):
        """R-91"""
        if not has_middleware:
            settings.MIDDLEWARE = [entry for entry in settings.MIDDLEWARE if entry != CSRF]
        before = rows()
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(user)
        data = {"confirm": "on", "recovery_code": codes[0]}
        assert strict.post(reverse(name), data, headers=headers).status_code == 403
        assert rows() == before

    def test_an_action_with_its_token_passes(self, user):
        strict = Browser(enforce_csrf_checks=True)
        strict.force_login(user)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', strict.open().text)[1]
        assert strict.send("recovery_generate", csrfmiddlewaretoken=token).status_code == 302
        assert usable(user) == 10
