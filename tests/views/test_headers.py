"""The headers of every page: private, unframed, isolated."""

from __future__ import annotations

import pytest
from django.urls import reverse

from recovery_backend.urls import urlpatterns
from tests.conftest import DASHBOARD, JSON, LOGIN, WRONG_CODE
from tests.views.conftest import LOGOUT

PAGES = [pattern.name for pattern in urlpatterns]


class TestHeaders:
    @pytest.mark.parametrize("has_middleware", [True, False])
    def test_every_answer_is_private_unframed_and_unsniffed(
        self, user, codes, client, post_code, post_json, settings, has_middleware
    ):
        """R-75, R-92"""
        if not has_middleware:
            settings.MIDDLEWARE = [
                name
                for name in settings.MIDDLEWARE
                if "Session" in name or "Authentication" in name or "Message" in name
            ]
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 2
        answers = [
            client.get(LOGIN),
            post_code(user.email, WRONG_CODE),
            post_json("other@example.com", WRONG_CODE),
            post_code(user.email, codes[0], "203.0.113.50"),
            client.get(DASHBOARD),
            post_code(user.email, WRONG_CODE),
            post_code(user.email, WRONG_CODE),
            post_code(user.email, WRONG_CODE),
            client.post(LOGOUT),
            client.get(DASHBOARD),
        ]
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        answers.append(client.get(LOGIN))
        assert {answer.status_code for answer in answers} >= {200, 302, 400, 403, 429}
        for answer in answers:
            assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))
            assert {"Cookie", "Accept"} <= set(answer["Vary"].split(", "))
            assert answer["X-Frame-Options"] == "DENY"
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert answer["Referrer-Policy"] == "same-origin"

    @pytest.mark.parametrize("headers", [{}, JSON])
    @pytest.mark.parametrize("is_signed_in", [True, False])
    @pytest.mark.parametrize("name", PAGES)
    def test_every_page_is_private_and_isolated(
        self, user, browser, client, name, is_signed_in, headers
    ):
        """R-75, R-100: answers, redirects, refusals and wrong methods alike."""
        browser.send("recovery_generate")
        visitor = browser if is_signed_in else client
        data = {"recovery_code": WRONG_CODE}
        answers = [
            visitor.get(reverse(name), headers=headers),
            visitor.put(reverse(name), headers=headers),
            visitor.post(reverse(name), data, headers=headers),
            visitor.post(reverse(name), {**data, "confirm": "on"}, headers=headers),
        ]
        for answer in answers:
            assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))
            assert {"Cookie", "Accept"} <= set(answer["Vary"].split(", "))
            assert answer["X-Frame-Options"] == "DENY"
            assert answer["X-Content-Type-Options"] == "nosniff"
            assert answer["Referrer-Policy"] == "same-origin"
            assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer["Cross-Origin-Resource-Policy"] == "same-origin"

    def test_a_page_that_has_to_wait_is_private_too(self, browser, settings):
        """R-75"""
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1/m"
        browser.send("recovery_generate")
        for headers in ({}, JSON):
            answer = browser.post(reverse("recovery_download"), headers=headers)
            assert answer.status_code == 429
            assert {"no-store", "private"} <= set(answer["Cache-Control"].split(", "))
            assert answer["Cross-Origin-Resource-Policy"] == "same-origin"

    def test_signing_out_clears_what_the_browser_cached(self, browser, client):
        """R-89"""
        assert browser.post(LOGOUT)["Clear-Site-Data"] == '"cache"'
        assert "Clear-Site-Data" not in browser.get(LOGIN).headers
        assert client.post(LOGOUT)["Clear-Site-Data"] == '"cache"'
