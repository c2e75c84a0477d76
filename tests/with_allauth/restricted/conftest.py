"""Browsers and apps that signed in with e-mail and code alone, and what frees them."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.urls import reverse

from tests.with_allauth.conftest import REAUTHENTICATE, totp_now

PAGE = "/auth/recovery-codes/restricted/"
APP = "/_allauth/app/v1/"
SESSION_TOKENS = "allauth.headless.tokens.strategies.sessions.SessionTokenStrategy"
JWT = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"


@pytest.fixture(autouse=True)
def site(settings, db):
    settings.ROOT_URLCONF = "tests.with_allauth.restricted.urls"
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"


@pytest.fixture
def held(totp_user, by_code):
    """The restricted browser of a user with TOTP; they are `held.user` and `held.codes`."""
    user, codes = totp_user
    browser = by_code(user, codes[0])
    browser.user, browser.codes = user, codes
    return browser


def is_held(browser, url="/ordinary/", **extra):
    answer = browser.get(url, **extra)
    assert answer.status_code in (200, 302)
    return answer.status_code == 302 and answer["Location"] == PAGE


def prove(browser, secret=None):
    code = totp_now(secret) if secret else totp_now()
    return browser.post(REAUTHENTICATE, {"code": code, "next": "/ordinary/"})


def add_factor(browser):
    """Activate TOTP at allauth's page, after confirming with a code of the list."""
    activate = reverse("mfa_activate_totp")
    secret = browser.get(activate).context["form"].secret
    return browser.post(activate, {"code": totp_now(secret)})


def sign_in_app(user, code):
    """An app that has signed in with e-mail and code: the client, and what it was given."""
    client = Client()
    answer = client.post(
        f"{APP}auth/recovery-code/login",
        json.dumps({"email": user.email, "recovery_code": code}),
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.content
    return client, answer.json()["meta"]


def app_of(user, code):
    """The same: the client, and the headers by which it shows its session."""
    client, meta = sign_in_app(user, code)
    return client, {"X-Session-Token": meta["session_token"]}
