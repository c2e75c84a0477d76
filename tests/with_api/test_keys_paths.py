"""API keys and session tokens below MFA_REQUIRED_PATHS, where a gate looks at them before the view."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.test import Client

from tests.with_api.conftest import session_token, told, url
from tests.with_api.keys_site import KEYS, WHOAMI, WRONG_SECRET, ask, make_key

if not apps.is_installed("recovery_backend_allauth"):
    pytest.skip("needs the settings with allauth", allow_module_level=True)

pytestmark = [pytest.mark.urls("tests.with_api.keys_site"), pytest.mark.django_db]
PATHS = "DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_PATHS"


@pytest.fixture(autouse=True)
def site(keys_on, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "3/m"
    setattr(settings, PATHS, [WHOAMI])


@pytest.mark.parametrize("audience", ["everyone", "staff"])
def test_guesses_wait_as_they_do_on_other_paths(settings, user, audience):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = audience
    key, _text = make_key(user)
    wrong = f"{key.prefix}.{WRONG_SECRET}"
    assert [ask(wrong).status_code for _try in range(3)] == [401] * 3  # each counts once
    answer = ask(wrong)
    seconds = int(answer["Retry-After"])
    assert told(answer) == (429, "cooldown") and 0 < seconds <= 60
    assert answer.json()["wait_seconds"] == seconds
    setattr(settings, PATHS, [])
    assert abs(int(ask(wrong)["Retry-After"]) - seconds) <= 1


def test_a_key_is_looked_up_once_though_gate_and_view_both_ask(settings, user, statements):
    settings.DJANGO_AUTH_RECOVERY_CODES_MFA_REQUIRED_FOR = "staff"
    _key, text = make_key(user)
    ask(text)  # which notes the use
    with statements() as asked:
        assert ask(text).status_code == 200
    assert sum("recovery_backend_api_keys_apikey" in sql for sql in asked) == 1


def test_before_that_they_are_refused(user):
    key, _text = make_key(user)
    assert told(ask(f"{key.prefix}.{WRONG_SECRET}")) == (401, "not_authenticated")


def test_a_right_key_never_waits_and_proves_no_factor(user):
    key, text = make_key(user)
    for _try in range(5):
        ask(f"{key.prefix}.{WRONG_SECRET}")
    assert told(ask(text)) == (403, "mfa_enrolment_required")


def test_a_look_at_a_session_token_leaves_the_cookies_session(settings, make_user):
    """Of another user: no answer may put the session of a token into a cookie."""
    settings.SESSION_SAVE_EVERY_REQUEST = True
    setattr(settings, PATHS, ["/api"])
    browser = Client()
    browser.force_login(make_user())
    cookie = browser.cookies["sessionid"].value
    token = session_token(make_user())
    for path in (KEYS, url("status"), "/protected-api/"):
        browser.get(path, headers={"X-Session-Token": token})
        assert browser.cookies["sessionid"].value == cookie, path
