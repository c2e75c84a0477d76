"""Apps without cookies: allauth's session tokens and JWTs."""

from __future__ import annotations

import json
from importlib import import_module

import jwt
import pytest
from allauth.headless.tokens.strategies.jwt.internal import create_access_token
from django.conf import settings as django_settings
from django.test import Client

from recovery_backend import flows, stash
from tests.conftest import PASSWORD
from tests.owner import active, set_up, usable
from tests.with_allauth.conftest import add_totp, totp_now
from tests.with_api.conftest import ApiClient, checked, session_token, told
from tests.with_api.test_changes import EACH

pytestmark = pytest.mark.django_db


class App(ApiClient):
    """It keeps no cookie, and sends its token."""

    def __init__(self, **headers):
        super().__init__()
        self.csrf = headers

    def request(self, **request):
        answer = super().request(**request)
        assert not answer.cookies, answer.cookies
        return answer


def session_of(key):
    return import_module(django_settings.SESSION_ENGINE).SessionStore(key)


def access_token(user, key=None):
    return create_access_token(user, session_of(key or session_token(user)), {})


@pytest.fixture(params=["session token", "access token"])
def app(request, user):
    key = session_token(user)
    if request.param == "session token":
        made = App(**{"X-Session-Token": key})
    else:
        made = App(Authorization=f"Bearer {access_token(user, key)}")
    made.key = key
    return made


def test_everything_works_without_a_cookie(app, user):
    fresh = app.generate()
    assert app.ask("status").json()["left"] == 10 == usable(user)
    handle = {"batch": fresh["batch"]["id"], "delivery_key": fresh["delivery_key"]}
    file = app.send("download", {**handle, "format": "csv"})
    assert all(code in file.content.decode() for code in fresh["codes"])
    assert app.send("email", handle).status_code == 202
    assert app.send("verify", {"recovery_code": fresh["codes"][0]}).status_code == 200
    assert app.send("saved", {"batch": handle["batch"]}).status_code == 200
    assert active(user).sealed == "" and stash.SESSION_KEY not in session_of(app.key)


def test_the_key_opens_the_codes_for_this_session_only(app, user):
    """R-70"""
    fresh = app.generate()
    handle = {"batch": fresh["batch"]["id"], "delivery_key": fresh["delivery_key"]}
    other = App(**{"X-Session-Token": session_token(user)})
    assert told(other.send("download", handle)) == (410, "plaintext_gone")
    assert told(app.send("download", {**handle, "delivery_key": "0" * 64}))[0] == 410
    assert app.send("download", handle).status_code == 200


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("token", ["x" * 32, "", " ", "é", "\x7f", "a b"])
def test_a_token_of_nobody(user, name, token):
    assert told(App(**{"X-Session-Token": token}).send(name, EACH[name]))[0] == 401


def test_a_token_that_is_not_valid_is_refused_beside_a_cookie_that_is(api):
    api.csrf["X-Session-Token"] = "x" * 32
    assert told(api.ask("status")) == (401, "not_authenticated")


def test_the_token_decides_beside_the_cookie_of_somebody_else(api, make_user, make_codes):
    other = make_user()
    make_codes(other, 7)
    before = dict(api.session)
    api.csrf["X-Session-Token"] = session_token(other)
    assert api.ask("status").json()["left"] == 7
    api.generate(replace=True)
    assert usable(other) == 10 and dict(api.session) == before


def test_a_session_that_has_ended_takes_its_tokens_along(app):
    session_of(app.key).flush()
    assert told(app.ask("status")) == (401, "not_authenticated")


def test_a_session_that_ends_meanwhile_is_not_saved_again(app, monkeypatch):
    generate = flows.generate

    def end_and_generate(request, **kwargs):
        session_of(app.key).flush()
        return generate(request, **kwargs)

    monkeypatch.setattr(flows, "generate", end_and_generate)
    answer = app.send("generate")
    assert told(answer) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == "X-Session-Token"
    assert not session_of(app.key).exists(app.key)


def test_a_user_who_was_turned_off(app, user):
    """As if signed out."""
    type(user).objects.update(is_active=False)
    assert told(app.ask("status")) == (401, "not_authenticated")


@pytest.mark.parametrize(
    "change", [{"sub": "x"}, {"sub": "99999"}, {"sid": "x"}, {"token_use": "refresh"}, {"exp": 1}]
)
def test_a_jwt_that_says_something_else(user, settings, change):
    good = jwt.decode(access_token(user), options={"verify_signature": False})
    token = jwt.encode({**good, **change}, settings.HEADLESS_JWT_PRIVATE_KEY, "HS256")
    assert told(App(Authorization=f"Bearer {token}").ask("status"))[0] == 401


def test_a_jwt_of_another_key(user):
    token = jwt.encode({"sub": str(user.pk)}, "another key that is long enough, too", "HS256")
    assert told(App(Authorization=f"Bearer {token}").ask("status"))[0] == 401


def test_a_site_that_gives_out_no_jwts(user, settings):
    token = access_token(user)
    settings.HEADLESS_JWT_ALGORITHM, settings.HEADLESS_JWT_PRIVATE_KEY = "RS256", ""
    assert told(App(Authorization=f"Bearer {token}").ask("status"))[0] == 401


def test_there_the_cookie_counts(api, settings):
    settings.HEADLESS_JWT_ALGORITHM, settings.HEADLESS_JWT_PRIVATE_KEY = "RS256", ""
    api.csrf["Authorization"] = "Bearer x"
    assert api.ask("status").status_code == 200


def test_the_session_of_a_token_is_asked_for_its_second_factor(app, user, codes, events):
    """R-43"""
    add_totp(user)
    answer = app.send("generate", {"replace": True})
    assert told(answer) == (403, "mfa_required") and usable(user) == 3
    assert events(reason="csrf") == []


def test_an_app_proves_its_factor_at_allauths_endpoints(user, codes):
    add_totp(user)
    client = Client()

    def headless(path, data, token=None):
        headers = {"X-Session-Token": token} if token else {}
        return client.post(
            f"/_allauth/app/v1/{path}", json.dumps(data), "application/json", headers=headers
        ).json()

    started = headless("auth/login", {"username": user.username, "password": PASSWORD})
    token = started["meta"]["session_token"]
    done = headless("auth/2fa/authenticate", {"code": totp_now()}, token)
    app = App(**{"X-Session-Token": done["meta"].get("session_token", token)})
    assert app.send("generate", {"replace": True}).status_code == 201
    assert checked(app.get("/api/recovery-codes/status/", headers=app.csrf)).status_code == 200


def test_a_code_signs_an_app_in_at_allauths_endpoint(user, codes):
    """The twin that answers with a token; ours answers with a cookie."""
    answer = Client().post(
        "/_allauth/app/v1/auth/recovery-code/login",
        json.dumps({"email": user.email, "recovery_code": codes[0]}),
        "application/json",
    )
    app = App(**{"X-Session-Token": answer.json()["meta"]["session_token"]})
    assert app.ask("status").json()["left"] == 2


def test_an_old_sign_in_of_a_token(app, settings, clock):
    """R-43"""
    set_up(settings, REAUTH_MAX_AGE=60)
    clock.shift(61)
    assert told(app.send("generate")) == (403, "sign_in_too_old")
