"""Factories of users with second factors, and of browsers that stand before allauth's second step."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account import signals as account_signals
from allauth.account.internal.flows import reauthentication
from allauth.mfa import signals as mfa_signals
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import (
    TOTP,
    format_hotp_value,
    hotp_value,
)
from cryptography.hazmat.primitives.asymmetric import ec
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.signals import user_logged_in
from django.urls import reverse
from fido2.cose import ES256
from fido2.utils import sha256, websafe_encode
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)
from recovery_backend_allauth import marker

from recovery_backend import signals
from tests.conftest import LOGIN, PASSWORD, Browser
from tests.journeys.conftest import axe, chromium, inspect, open_page  # noqa: F401

SECRET = "JBSWY3DPEHPK3PXP"
# Before 65.20 a fresh sign-in was confirmation enough.
ASKS_AGAIN = hasattr(reauthentication, "did_recently_reauthenticate")
SIGN_IN = "/accounts/login/"
INDEX = "/accounts/2fa/"
AUTHENTICATE = "/accounts/2fa/authenticate/"
REAUTHENTICATE = "/accounts/2fa/reauthenticate/"


def totp_now(secret=SECRET):
    """The six digits that an authenticator app shows now."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30))


def add_totp(user, secret=SECRET):
    return TOTP.activate(user, secret).instance


def add_passkey(user, name="Key"):
    """A passkey's row, well formed, which nobody can answer for."""
    number = secrets.token_bytes(16)
    key = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    attested = AttestedCredentialData.create(Aaguid.NONE, number, key)
    flags = AuthenticatorData.FLAG.UP | AuthenticatorData.FLAG.AT
    made = AuthenticatorData.create(sha256(b"testserver"), flags, 0, attested)
    client = CollectedClientData.create(
        CollectedClientData.TYPE.CREATE, b"challenge", "http://testserver"
    )
    credential = {
        "id": websafe_encode(number),
        "rawId": websafe_encode(number),
        "type": "public-key",
        "clientExtensionResults": {"credProps": {"rk": True}},
        "response": {
            "clientDataJSON": client.b64,
            "attestationObject": websafe_encode(AttestationObject.create("none", made, {})),
        },
    }
    data = {"name": name, "credential": credential}
    return Authenticator.objects.create(user=user, type=Authenticator.Type.WEBAUTHN, data=data)


@pytest.fixture
def totp_user(make_user, make_codes):
    """A user with TOTP and ten codes, as `(user, codes)`, and their marker."""
    user = make_user()
    add_totp(user)
    codes = make_codes(user)
    marker.sync(user)
    return user, codes


@pytest.fixture
def passkey_user(make_user, make_codes):
    """The same with a passkey alone."""
    user = make_user()
    add_passkey(user)
    codes = make_codes(user)
    marker.sync(user)
    return user, codes


@pytest.fixture
def before_step():
    """A browser in which this user has given the password, and stands before the second step."""

    def before(user, **kwargs):
        browser = Browser(**kwargs)
        answer = browser.post(
            reverse("account_login"),
            {"login": getattr(user, get_user_model().USERNAME_FIELD), "password": PASSWORD},
        )
        assert answer.status_code == 302 and answer["Location"] == AUTHENTICATE, answer
        return browser

    return before


@pytest.fixture
def by_password(make_user):
    """A browser in which a new user, `browser.user`, has signed in by password alone."""

    def sign_in(**fields):
        browser = Browser()
        browser.user = make_user(**fields)
        data = {"login": browser.user.username, "password": PASSWORD}
        assert browser.post(SIGN_IN, data).status_code == 302
        assert browser.session[SESSION_KEY] == str(browser.user.pk)
        return browser

    return sign_in


@pytest.fixture
def by_code():
    """A browser in which this user has signed in by e-mail address and this code alone."""

    def sign_in(user, code, browser=None):
        browser = browser or Browser()
        answer = browser.post(LOGIN, {"email": user.email, "recovery_code": code})
        assert answer.status_code == 302, answer.content
        assert browser.session[SESSION_KEY] == str(user.pk)
        return browser

    return sign_in


@pytest.fixture
def unproven(by_password):
    """A browser that signed in by password, and whose user added TOTP elsewhere since."""
    browser = by_password()
    add_totp(browser.user)
    return browser


@pytest.fixture
def proven(totp_user, before_step):
    """A browser that signed in by password and TOTP."""
    user, _codes = totp_user
    browser = before_step(user)
    assert browser.post(AUTHENTICATE, {"code": totp_now()}).status_code == 302
    browser.user = user
    return browser


def target(answer):
    """Where this answer leads, without its query."""
    assert answer.status_code == 302, answer
    return urlsplit(answer["Location"]).path


def next_of(answer):
    """Where people come back to from there."""
    [url] = parse_qs(urlsplit(answer["Location"]).query)["next"]
    return url


SIGNALS = {
    "step completed": account_signals.authentication_step_completed,
    "allauth signed in": account_signals.user_logged_in,
    "django signed in": user_logged_in,
    "factor used": mfa_signals.authenticator_used,
    "factor failed": mfa_signals.authentication_failed,
    "code used": signals.code_used,
    "code rejected": signals.code_rejected,
    "owner notified": signals.owner_notified,
}


@pytest.fixture
def heard():
    """How often each signal was sent; `heard.clear()` forgets it."""
    counted, receivers = Counter(), []
    for name, signal in SIGNALS.items():

        def count(sender, name=name, **kwargs):
            counted[name] += 1

        signal.connect(count, weak=False)
        receivers.append((signal, count))
    yield counted
    for signal, receiver in receivers:
        signal.disconnect(receiver)


def methods_of(browser):
    """What the session says was proven, in order: `(method, type)`."""
    records = browser.session.get("account_authentication_methods", [])
    return [(record["method"], record.get("type")) for record in records]


def step(method, kind=None, *, ago=1, **extra):
    """One step, as allauth records it."""
    type_of = {"type": kind} if kind else {}
    return {"method": method, "at": time.time() - ago, **type_of, **extra}


@pytest.fixture
def browser_with():
    """A browser in which this user is signed in, by the steps that its session tells of."""

    def browser_with(user, *steps):
        browser = Browser()
        browser.force_login(user)
        session = browser.session
        session["account_authentication_methods"] = list(steps)
        session["account_authentication_methods_user"] = str(user.pk)
        session.save()
        return browser

    return browser_with
