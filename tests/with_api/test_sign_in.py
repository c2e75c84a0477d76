"""E-mail address and code, from a browser's script."""

from __future__ import annotations

import pytest
from django.contrib.auth import SESSION_KEY
from django.test import Client
from rest_framework.authentication import CSRFCheck

from recovery_backend.flows.entry import SESSION_KEY as BY_CODE
from tests.conftest import LOGIN, PASSWORD, WRONG_CODE
from tests.owner import row_of, set_up, usable
from tests.with_api.conftest import HAS_ALLAUTH, ApiClient, told, url

pytestmark = pytest.mark.django_db
WITH_ALLAUTH = pytest.mark.skipif(not HAS_ALLAUTH, reason="needs the settings with allauth")
WITHOUT_ALLAUTH = pytest.mark.skipif(
    HAS_ALLAUTH, reason="beside allauth its page asks for the password first"
)


@pytest.fixture
def script():
    client = ApiClient()
    client.take_csrf_token()
    return client


def form_of(script):
    told = script.ask("sign-in").json()
    return {name: told[name] for name in told if name != "csrf_token"}


def sign_in(script, email, code, **extra):
    return script.send("sign-in", {"email": email, "recovery_code": code, **extra})


def test_a_code_signs_in_once(script, user, codes):
    """R-21"""
    answer = sign_in(script, user.email, codes[0])
    assert answer.status_code == 200
    assert answer.json() == {"is_authenticated": True, "redirect_to": None}
    assert script.session[SESSION_KEY] == str(user.pk)
    assert script.session[BY_CODE]["method"] == "recovery_code"
    assert script.ask("status").json()["left"] == usable(user) == 2
    other = ApiClient()
    other.take_csrf_token()
    assert told(sign_in(other, user.email, codes[0])) == (400, "refused")


def test_the_key_of_the_session_is_new_also_for_whoever_was_signed_in(script, user, codes):
    """R-32"""
    keys = []
    for code in codes[:2]:
        sign_in(script, user.email, code)
        keys.append(script.session.session_key)
        script.take_csrf_token()
    assert keys[0] != keys[1]


def test_refusals_look_alike(script, user, make_user, codes):
    """R-26"""
    make_user(email="other@example.com")
    pairs = [
        (user.email, WRONG_CODE),
        (user.email, "x"),
        ("nobody@example.com", WRONG_CODE),
        ("other@example.com", codes[0]),
    ]
    answers = [sign_in(script, *pair) for pair in pairs]
    assert [told(answer) for answer in answers] == [(400, "refused")] * 4
    assert len({answer.content for answer in answers}) == 1 and usable(user) == 3


def test_failures_are_those_of_the_page(script, user, codes, settings):
    """R-50, R-59"""
    set_up(settings, MAX_LOGIN_ATTEMPTS=2)
    Client().post(LOGIN, {"email": user.email, "recovery_code": WRONG_CODE})
    answer = sign_in(script, user.email, WRONG_CODE)
    assert told(answer) == (400, "refused") and answer.json()["wait_seconds"] == 60
    answer = sign_in(script, user.email, codes[0])
    assert told(answer) == (429, "cooldown") and usable(user) == 3


def test_one_network_is_bounded(script, user, codes, settings):
    """R-54"""
    set_up(settings, CLIENT_RATE="1/m")
    sign_in(script, user.email, WRONG_CODE)
    assert told(sign_in(script, user.email, codes[0])) == (429, "cooldown")


def test_without_a_csrf_token(user, codes, events):
    """R-91: another site could sign people in as somebody else."""
    answer = sign_in(ApiClient(), user.email, codes[0])
    assert told(answer) == (403, "csrf_failed") and usable(user) == 3
    assert events()[1:] == [("csrf.fail", "csrf")]


FOREIGN = "https://evil.example"


@pytest.mark.parametrize(
    ("headers", "cookie", "reason"),
    [
        ({"Origin": FOREIGN}, "a" * 32, "Origin"),
        ({"Referer": FOREIGN}, "a" * 32, "Referer"),
        ({}, "a" * 32, "Referer"),
        ({"Referer": "https://testserver/"}, None, "CSRF cookie"),
        ({"Referer": "https://testserver/"}, "evil", "CSRF cookie"),
        ({"Referer": "https://testserver/"}, "b" * 32, "CSRF token"),
        ({"Referer": "https://testserver/", "X-CSRFToken": "evil"}, "b" * 32, "CSRF token"),
    ],
)
def test_what_the_csrf_check_missed_is_in_the_log(db, caplog, headers, cookie, reason):
    """And no word of the client's, nor a part of the token."""
    client = ApiClient()
    client.csrf = {"X-CSRFToken": "a" * 32, **headers}
    if cookie:
        client.cookies["csrftoken"] = cookie
    answer = client.send("sign-in", {}, secure=True)
    assert told(answer) == (403, "csrf_failed")
    assert answer.json()["detail"] == "The CSRF check failed."
    [line] = [it.getMessage() for it in caplog.records if it.getMessage().startswith("CSRF")]
    assert line == f"CSRF check failed: {reason}"


def test_a_reason_that_django_has_not_today(db, caplog, monkeypatch):
    monkeypatch.setattr(CSRFCheck, "process_view", lambda *args: FOREIGN)
    assert told(ApiClient().send("sign-in", {})) == (403, "csrf_failed")
    assert "CSRF check failed: unknown" in caplog.text and FOREIGN not in caplog.text


@pytest.mark.parametrize("where", ["CSRF_USE_SESSIONS", "CSRF_COOKIE_HTTPONLY"])
def test_the_csrf_token_is_in_the_answer(user, codes, settings, where):
    """R-91: where no script can read its cookie, too; another one after the sign-in."""
    setattr(settings, where, True)
    script = ApiClient()
    tokens = []
    for code in codes[:2]:
        tokens.append(script.ask("sign-in").json()["csrf_token"])
        script.csrf = {"X-CSRFToken": tokens[-1]}
        assert sign_in(script, user.email, code).status_code == 200
        assert told(script.send("generate")) == (403, "csrf_failed")
    script.csrf = {"X-CSRFToken": script.ask("sign-in").json()["csrf_token"]}
    assert script.send("generate", {"replace": True}).status_code == 201
    assert len({*tokens, script.csrf["X-CSRFToken"]}) == 3


def test_a_csrf_token_is_masked_and_in_no_other_answer(api):
    """R-75: `ask` has seen that nothing may keep it."""
    first, second = (api.ask("sign-in").json()["csrf_token"] for _time in range(2))
    assert first != second
    for name in ("status", "batches", "activity", "email"):
        assert "csrf" not in api.ask(name).text.lower()
    assert "csrf" not in api.send("generate").text.lower()


def test_another_site_reads_no_csrf_token(api):
    """By our headers: none of them opens the answer to scripts of another origin."""
    answer = api.get(url("sign-in"), headers={"Origin": FOREIGN})
    assert [name for name in answer.headers if name.startswith("Access-Control")] == []


def test_turned_off(script, user, codes, settings, events):
    set_up(settings, LOGIN_MODE="off")
    assert script.ask("sign-in").json()["is_open"] is False
    assert told(sign_in(script, user.email, codes[0])) == (403, "off")
    assert events(reason="csrf") == []


def test_what_to_ask_for(script):
    form = {"is_open": True, "needs_password": False, "redirect_to": None}
    assert form_of(script) == form


@WITHOUT_ALLAUTH
def test_with_the_password_where_it_is_asked_for(script, user, codes, settings):
    """R-28"""
    set_up(settings, LOGIN_MODE="second_factor")
    assert script.ask("sign-in").json()["needs_password"] is True
    answer = sign_in(script, user.email, codes[0])
    assert told(answer) == (400, "invalid") and list(answer.json()["fields"]) == ["password"]
    assert told(sign_in(script, user.email, codes[0], password="wrong")) == (400, "refused")
    assert sign_in(script, user.email, codes[0], password=PASSWORD).status_code == 200


@WITH_ALLAUTH
def test_where_the_password_comes_first_people_are_led_there(script, user, codes, settings):
    set_up(settings, LOGIN_MODE="second_factor")
    form = {"is_open": False, "needs_password": False, "redirect_to": "/accounts/login/"}
    assert form_of(script) == form
    answer = sign_in(script, user.email, codes[0])
    assert told(answer) == (403, "second_factor") and usable(user) == 3
    assert answer.json()["redirect_to"] == "/accounts/login/"


def test_a_code_stays_unspent_while_the_database_fails(script, user, codes, monkeypatch):
    """R-31"""
    monkeypatch.setattr("recovery_backend.backends.judge", lambda attempt: 1 / 0)
    assert told(sign_in(script, user.email, codes[0])) == (400, "refused")
    assert row_of(codes[0]).status == "active"


@WITH_ALLAUTH
def test_what_is_left_of_a_sign_in_is_told(script, user, codes, settings):
    from tests.with_allauth.conftest import add_totp

    set_up(settings, CODE_SATISFIES_MFA=False)
    add_totp(user)
    answer = sign_in(script, user.email, codes[0])
    left = {"is_authenticated": False, "redirect_to": "/accounts/2fa/authenticate/"}
    assert answer.status_code == 200 and answer.json() == left
    assert SESSION_KEY not in script.session


@WITH_ALLAUTH
def test_an_address_that_has_to_be_verified_first(script, user, codes, settings):
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    assert told(sign_in(script, user.email, codes[0])) == (400, "unverified")
    assert usable(user) == 3
