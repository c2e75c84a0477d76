"""The sign-in page: what it asks for, and what it answers in HTML and JSON."""

from __future__ import annotations

import pytest
from django.contrib.auth.signals import user_login_failed
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

from recovery_backend.codes import PresentedCode
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.conftest import DASHBOARD, LOGIN, WRONG_CODE
from tests.owner import usable
from tests.views.conftest import REFUSED, is_signed_in


class TestSignIn:
    def test_the_page_asks_for_an_address_and_a_code(self, db, client):
        """R-130"""
        response = client.get(LOGIN)
        assert response.status_code == 200
        assert [template.name for template in response.templates][0] == (
            "recovery_backend/login.html"
        )
        for part in ('name="email"', 'name="recovery_code"', "csrfmiddlewaretoken"):
            assert part in response.text
        assert 'name="password"' not in response.text
        assert 'autocomplete="one-time-code"' in response.text

    def test_a_code_leads_to_the_dashboard(self, user, codes, client, post_code):
        response = post_code(user.email, codes[0])
        assert (response.status_code, response.url) == (302, DASHBOARD)
        assert client.session["_auth_user_id"] == str(user.pk)
        assert usable(user) == 2

    def test_the_session_says_how_it_began(self, user, codes, client, post_code, clock):
        """R-37"""
        post_code(user.email, codes[0])
        assert client.session["recovery_backend"] == {
            "method": "recovery_code",
            "at": timezone.now().isoformat(timespec="seconds"),
        }

    def test_a_used_code_does_not_sign_in_again(self, user, codes, client, post_code):
        """R-21"""
        post_code(user.email, codes[0])
        other = Client()
        response = post_code(user.email, codes[0], client=other)
        assert response.status_code == 200 and REFUSED in response.text
        assert not is_signed_in(other)

    @pytest.mark.parametrize("target", ["", "no_such_view"])
    def test_a_redirect_setting_that_names_no_page_keeps_nobody_out(
        self, user, codes, post_code, client, settings, target
    ):
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW = target
        response = post_code(user.email, codes[0])
        assert (response.status_code, response["Location"]) == (302, "/")
        assert "_auth_user_id" in client.session

    def test_where_to_go_is_a_setting(self, user, codes, post_code, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW = "home"
        assert post_code(user.email, codes[0]).url == "/"
        settings.DJANGO_AUTH_RECOVERY_CODE_REDIRECT_VIEW = "/some/path/"
        assert post_code(user.email, codes[1]).url == "/some/path/"

    def test_a_refusal_keeps_the_address_and_never_the_code(self, user, codes, post_code):
        """R-85, R-132"""
        response = post_code(user.email, WRONG_CODE)
        assert response.status_code == 200
        assert f'value="{user.email}"' in response.text
        assert "AAAAAA" not in response.text
        assert 'role="alert"' in response.text

    @pytest.mark.parametrize(
        ("email", "code"), [("", WRONG_CODE), ("owner@example.com", ""), ("", ""), ("owner", "x")]
    )
    def test_an_empty_field_costs_nothing(self, db, post_code, post_json, email, code):
        response = post_code(email, code)
        assert response.status_code == 200 and REFUSED not in response.text
        answer = post_json(email, code)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert not RecoveryCodeCooldown.objects.exists()

    def test_of_a_repeated_field_the_last_one_counts(self, user, codes, client):
        response = client.post(
            LOGIN,
            {"email": ["x@example.com", user.email], "recovery_code": [WRONG_CODE, codes[0]]},
        )
        assert response.status_code == 302

    @pytest.mark.parametrize(
        "data",
        [
            {"email": "\x00", "recovery_code": "\x00"},
            {"email": "a\x00@example.com", "recovery_code": WRONG_CODE},
            {"email": "\u202e@example.com", "recovery_code": "\u200b" * 100},
            {"email": "x" * 100_000, "recovery_code": "x" * 100_000},
            {"email": "owner@example.com", "recovery_code": "x" * 1_000_000},
            {"email": "owner@example.com", "recovery_code": "%s{}"},
            {"next": "/"},
            {},
        ],
    )
    def test_hostile_input_is_answered_and_never_a_500(self, user, codes, client, data):
        response = client.post(LOGIN, data)
        assert response.status_code == 200
        assert not is_signed_in(client)
        assert usable(user) == 3

    def test_raw_bytes_are_answered(self, user, client):
        body = b"email=\xff\xfe@example.com&recovery_code=\xed\xa0\x80"
        kind = "application/x-www-form-urlencoded"
        assert client.post(LOGIN, body, content_type=kind).status_code == 200
        assert client.post(LOGIN, b"{}", content_type="application/json").status_code == 200

    def test_ten_megabytes_are_refused_by_django(self, user, client):
        response = client.post(LOGIN, {"email": user.email, "recovery_code": "x" * 10 * 1024**2})
        assert response.status_code == 400

    @pytest.mark.parametrize("address", ["", "unknown", "::ffff:1.2.3.4", "1.2.3.4:80"])
    def test_an_odd_peer_address_signs_in(self, user, codes, post_code, address):
        """R-54"""
        assert post_code(user.email, codes[0], address).status_code == 302

    def test_receivers_of_a_failure_get_no_code(self, user, post_code):
        """R-28"""
        heard = []

        def receiver(credentials, **kwargs):
            heard.append(credentials)

        user_login_failed.connect(receiver)
        try:
            post_code(user.email, WRONG_CODE)
        finally:
            user_login_failed.disconnect(receiver)
        [credentials] = heard
        assert isinstance(credentials["recovery_code"], PresentedCode)
        assert "AAAAAA" not in repr(credentials)

    def test_with_a_failing_database_nobody_gets_in(self, user, codes, post_code, monkeypatch):
        """R-31"""

        def broken(*args, **kwargs):
            raise OperationalError("gone")

        with monkeypatch.context() as patched:
            patched.setattr("recovery_backend.models.RecoveryCode.spend", broken)
            response = post_code(user.email, codes[0])
        assert response.status_code == 200 and REFUSED in response.text
        assert "gone" not in response.text
        assert usable(user) == 3

    def test_what_was_typed_is_escaped(self, user, codes, post_code, settings):
        """R-99"""
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1/m"
        post_code(user.email, WRONG_CODE)
        evil = '"><script>alert(1)</script>'
        settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = evil
        for response in (post_code(evil, WRONG_CODE), post_code(evil, "", "203.0.113.50")):
            assert "<script>alert" not in response.text
            assert "&lt;script&gt;alert" in response.text


class TestJson:
    def test_a_code_gets_the_address_to_go_to(self, user, codes, client, post_json):
        response = post_json(user.email, codes[0])
        assert response.status_code == 200
        assert response.json() == {"redirect_to": DASHBOARD}
        assert is_signed_in(client)

    def test_a_wrong_code_gets_a_400(self, user, client, post_json):
        response = post_json(user.email, WRONG_CODE)
        assert response.status_code == 400
        assert response.json()["code"] == "refused"
        assert response.json()["detail"].startswith(REFUSED)
        assert not is_signed_in(client)

    def test_the_last_free_try_says_how_long_the_next_one_waits(self, user, post_json, clock):
        answers = [post_json(user.email, WRONG_CODE).json() for _ in range(5)]
        assert [answer.get("wait_seconds") for answer in answers] == [None] * 4 + [60]

    def test_html_is_the_answer_when_both_are_welcome(self, user, client):
        for accept in ("*/*", "text/html,application/json;q=0.9", ""):
            response = client.get(LOGIN, headers={"Accept": accept})
            assert response["Content-Type"].startswith("text/html")
