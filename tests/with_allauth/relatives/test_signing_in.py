"""Signing in by password, and the time before the second factor."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import SESSION_KEY
from django.test import Client

from tests.conftest import PASSWORD
from tests.with_allauth.conftest import SIGN_IN, add_totp, totp_now
from tests.with_allauth.relatives.conftest import AUTHENTICATE, TOTP, App

SESSIONS = "/accounts/sessions/"

pytestmark = pytest.mark.django_db


def test_the_answer_to_a_password_has_a_token(app, user):
    assert app.sign_in(user) == 200 and app.meta["session_token"]
    status, body = app.ask("GET", "auth/session")
    assert (status, body["data"]["user"]["username"]) == (200, user.username)
    assert App().ask("GET", "auth/session")[0] == 401


@pytest.mark.parametrize(("seconds", "status"), [(119, 200), (121, 401)])
def test_it_runs_out(app, user, settings, clock, seconds, status):
    settings.ACCOUNT_LOGIN_TIMEOUT = 120
    add_totp(user)
    assert app.sign_in(user) == 401
    clock.shift(seconds)
    assert app.post(AUTHENTICATE, code=totp_now()) == status


def test_its_token_ends_with_it(app, user, clock):
    add_totp(user)
    app.sign_in(user)
    waiting = dict(app.headers)
    assert app.post(AUTHENTICATE, code=totp_now()) == 200
    clock.shift(60)
    assert app.opens() and app.headers != waiting
    app.headers = waiting
    assert not app.opens()
    assert app.post(AUTHENTICATE, code=totp_now()) in {401, 410}
    assert not app.opens()


def test_it_opens_nothing(app, user):
    add_totp(user)
    app.sign_in(user)
    assert not app.opens()
    assert app.ask("GET", "account/authenticators")[0] == 401
    assert app.ask("DELETE", TOTP)[0] == 401 and Authenticator.objects.exists()


def test_wrong_passwords_close_one_account_and_not_its_neighbours(user, make_user):
    for _try in range(5):
        assert App().sign_in(user, "wrong") == 400
    assert is_refused_for_now(App(), user)
    assert App().sign_in(make_user()) == 200


def test_ten_wrong_passwords_close_the_network_for_a_minute(user, make_user, clock):
    for _try in range(10):
        assert App().sign_in(make_user(), "wrong") == 400
    assert is_refused_for_now(App(), user)
    clock.shift(61)
    assert App().sign_in(user) == 200


def is_refused_for_now(app, user):
    """Though the password is right."""
    _, body = app.ask("POST", "auth/login", username=user.username, password=PASSWORD)
    return [error["code"] for error in body["errors"]] == ["too_many_login_attempts"]


def test_ones_own_sessions_are_listed_and_the_others_end(user):
    kept, other = Client(), Client()
    for browser in (kept, other):
        browser.post(SIGN_IN, {"login": user.username, "password": PASSWORD})
    assert kept.get(SESSIONS).context["session_count"] == 2
    assert kept.post(SESSIONS).status_code == 302
    assert SESSION_KEY not in other.session and SESSION_KEY in kept.session
    assert kept.get(SESSIONS).context["session_count"] == 1
