"""Who may open a page, by which method, with which token; and signing out."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.conftest import DASHBOARD, JSON, LOGIN
from tests.owner import usable
from tests.views.conftest import LOGOUT, is_signed_in

LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


class TestAccess:
    def test_under_login_required_middleware_the_login_page_is_open(
        self, user, codes, client, post_code, settings
    ):
        """R-96"""
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, LOGIN_REQUIRED]
        assert client.get(LOGIN).status_code == 200
        response = client.get(DASHBOARD)
        assert (response.status_code, response.url) == (302, f"/password/?next={DASHBOARD}")
        assert post_code(user.email, codes[0]).status_code == 302
        assert client.get(DASHBOARD).status_code == 200
        assert client.post(LOGOUT).status_code == 302

    @pytest.mark.parametrize("headers", [{}, JSON])
    def test_anonymous_people_go_to_the_login_url(self, db, client, headers):
        response = client.get(DASHBOARD, headers=headers)
        assert (response.status_code, response.url) == (302, f"/password/?next={DASHBOARD}")

    @pytest.mark.parametrize(
        ("path", "allowed"), [(LOGIN, {"GET", "POST"}), (LOGOUT, {"POST"}), (DASHBOARD, {"GET"})]
    )
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"])
    def test_other_methods_are_405(self, user, client, path, allowed, method):
        """R-98"""
        client.force_login(user)
        response = client.generic(method, path)
        assert (response.status_code == 405) is (method not in allowed)
        if method not in allowed:
            assert allowed <= set(response["Allow"].split(", "))
            assert is_signed_in(client)

    @pytest.mark.parametrize("path", [LOGIN, DASHBOARD])
    def test_head_and_options_change_nothing(self, user, codes, client, path):
        """R-98"""
        client.force_login(user)
        assert client.head(path).status_code == 200
        assert client.options(path).status_code == 200
        assert usable(user) == 3 and is_signed_in(client)

    @pytest.mark.parametrize("path", [LOGIN, LOGOUT])
    @pytest.mark.parametrize("has_middleware", [True, False])
    @pytest.mark.parametrize("headers", [{}, JSON])
    def test_a_post_needs_its_csrf_token(
        self, user, codes, settings, path, has_middleware, headers
    ):
        """R-91"""
        if not has_middleware:
            settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != CSRF]
        client = Client(enforce_csrf_checks=True)
        client.force_login(user)
        data = {"email": user.email, "recovery_code": codes[0]}
        assert client.post(path, data, headers=headers).status_code == 403
        assert usable(user) == 3 and is_signed_in(client)

    def test_a_post_with_its_token_passes(self, user, codes):
        """R-91"""
        client = Client(enforce_csrf_checks=True)
        page = client.get(LOGIN).text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
        data = {"email": user.email, "recovery_code": codes[0], "csrfmiddlewaretoken": token}
        assert client.post(LOGIN, data).status_code == 302

    def test_logging_out_is_a_post_and_leads_back(self, user, client, settings):
        client.force_login(user)
        response = client.post(LOGOUT)
        assert (response.status_code, response.url) == (302, LOGIN)
        assert not is_signed_in(client)
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW_AFTER_LOGOUT = "home"
        assert client.post(LOGOUT).url == "/"
