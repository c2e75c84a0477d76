"""LOGIN_MODE: the password too, or no sign-in by code at all."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from tests.conftest import DASHBOARD, JSON, LOGIN, PASSWORD, WRONG_CODE
from tests.owner import usable
from tests.views.conftest import REFUSED, is_signed_in, masked


class TestSecondFactor:
    """LOGIN_MODE "second_factor": the password too (R-35)."""

    @pytest.fixture(autouse=True)
    def second_factor(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "second_factor"

    def test_the_page_asks_for_the_password(self, db, client):
        assert 'name="password"' in client.get(LOGIN).text

    def test_password_and_code_sign_in(self, user, codes, client, post_code, events):
        assert post_code(user.email, codes[0], password=PASSWORD).url == DASHBOARD
        assert client.session["_auth_user_id"] == str(user.pk)
        assert client.session["_auth_user_backend"].endswith("ModelBackend")
        assert usable(user) == 2
        assert events()[1:] == [("login.success", "")]

    def test_a_code_alone_is_not_enough(self, user, codes, client, post_code):
        response = post_code(user.email, codes[0])
        assert response.status_code == 200
        assert not is_signed_in(client) and usable(user) == 3

    def test_a_wrong_password_spends_no_code(self, user, codes, client, post_code, events):
        response = post_code(user.email, codes[0], password="wrong")
        assert REFUSED in response.text
        assert not is_signed_in(client) and usable(user) == 3
        assert events()[1:] == [("login.fail", "password")]
        assert post_code(user.email, codes[0], password=PASSWORD).status_code == 302

    def test_the_right_password_with_a_wrong_code_is_refused(
        self, user, codes, client, post_code, events
    ):
        assert REFUSED in post_code(user.email, WRONG_CODE, password=PASSWORD).text
        assert not is_signed_in(client)
        assert events()[1:] == [("login.fail", "unknown")]

    def test_another_accounts_password_does_not_count(
        self, user, codes, client, make_user, post_code
    ):
        make_user("other@example.com", password="another horse")
        assert REFUSED in post_code(user.email, codes[0], password="another horse").text
        assert REFUSED in post_code("other@example.com", codes[0], password="another horse").text
        assert not is_signed_in(client) and usable(user) == 3

    def test_an_unknown_address_is_refused_alike(self, user, codes, post_code):
        """R-26"""
        unknown = post_code("nobody@example.com", WRONG_CODE, password=PASSWORD)
        wrong = post_code(user.email, WRONG_CODE, password=PASSWORD)
        bad_password = post_code(user.email, codes[0], "203.0.113.50", password="wrong")
        texts = {
            masked(response, user.email, "nobody@example.com")
            for response in (unknown, wrong, bad_password)
        }
        assert len(texts) == 1

    def test_an_inactive_account_is_refused(self, user, codes, client, post_code):
        """R-23"""
        user.is_active = False
        user.save()
        assert REFUSED in post_code(user.email, codes[0], password=PASSWORD).text
        assert not is_signed_in(client) and usable(user) == 3

    def test_wrong_passwords_are_throttled(self, user, codes, post_code, clock):
        """R-50"""
        for _ in range(5):
            post_code(user.email, codes[0], password="wrong")
        assert post_code(user.email, codes[0], password=PASSWORD).status_code == 429
        assert usable(user) == 3

    @pytest.mark.parametrize(
        "target",
        [
            "recovery_backend.cooldown._locked_rows",
            "recovery_backend.models.codes.RecoveryCodeQuerySet.presented",
            "recovery_backend.models.RecoveryCode.spend",
            "recovery_backend.audit.record",
        ],
    )
    def test_with_a_failing_database_nobody_gets_in(
        self, user, codes, client, post_code, monkeypatch, target
    ):
        """R-31"""

        def broken(*args, **kwargs):
            raise OperationalError("gone")

        with monkeypatch.context() as patched:
            patched.setattr(target, broken)
            response = post_code(user.email, codes[0], password=PASSWORD)
        assert REFUSED in response.text
        assert not is_signed_in(client) and usable(user) == 3
        assert post_code(user.email, codes[0], password=PASSWORD).status_code == 302

    def test_the_password_is_not_echoed(self, user, post_code):
        assert (
            "battery staple"
            not in post_code(user.email, WRONG_CODE, password="battery staple").text
        )

    def test_the_session_key_is_new(self, user, codes, client, post_code):
        """R-32"""
        client.force_login(user)
        before = client.session.session_key
        post_code(user.email, codes[0], password=PASSWORD)
        assert client.session.session_key != before


class TestOff:
    """LOGIN_MODE "off" (R-35)."""

    @pytest.fixture(autouse=True)
    def off(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"

    def test_the_page_is_closed(self, user, codes, client, post_code):
        for response in (client.get(LOGIN), post_code(user.email, codes[0])):
            assert response.status_code == 403
            assert "turned off" in response.text
            assert "recovery_code" not in response.text
        assert usable(user) == 3 and not is_signed_in(client)

    def test_json_says_so_too(self, user, codes, client, post_json):
        for response in (client.get(LOGIN, headers=JSON), post_json(user.email, codes[0])):
            assert (response.status_code, response.json()["code"]) == (403, "off")
