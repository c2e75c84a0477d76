"""Apps with tokens are held and freed like browsers."""

from __future__ import annotations

import json

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.db import connection

from tests.with_allauth.conftest import totp_now
from tests.with_allauth.restricted.conftest import APP, JWT, app_of, sign_in_app


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
