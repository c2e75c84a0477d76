"""TOTP over allauth's headless API."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet

from tests.conftest import PASSWORD
from tests.with_allauth.conftest import SIGN_IN, add_totp, totp_now
from tests.with_allauth.relatives.conftest import AUTHENTICATE, TOTP, App, Passkey

CIPHER = Fernet(Fernet.generate_key())

pytestmark = pytest.mark.django_db


class Encrypting(DefaultMFAAdapter):
    def encrypt(self, text):
        return CIPHER.encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text):
        return CIPHER.decrypt(encrypted_text.encode()).decode()


def test_it_is_set_up_confirmed_used_and_removed(app, user, clock, told, committed):
    app.sign_in_and_confirm(user)
    status, body = app.ask("GET", TOTP)
    secret = body["meta"]["secret"]
    assert status == 404 and f"secret={secret}" in body["meta"]["totp_url"]
    assert app.post(TOTP, code="000000") == 400 and not Authenticator.objects.exists()
    with committed():
        assert app.post(TOTP, code=totp_now(secret)) == 200

    other = App()
    assert other.sign_in(user) == 401 and other.waits_for() == ["mfa_authenticate"]
    clock.shift(60)
    assert other.post(AUTHENTICATE, code=totp_now(secret)) == 200
    assert other.opens() and not app.opens()

    clock.shift(301)
    assert other.ask("DELETE", TOTP)[0] == 401
    with committed():
        assert other.post("auth/2fa/reauthenticate", code=totp_now(secret)) == 200
        assert other.ask("DELETE", TOTP)[0] == 200
    assert App().sign_in(user) == 200
    assert told == [("added", "totp"), ("used", "totp"), ("used", "totp"), ("removed", "totp")]


def test_a_password_that_was_given_long_ago_adds_none(confirmed, clock):
    clock.shift(301)
    assert confirmed.ask("GET", TOTP)[0] == 404
    secret = confirmed.meta["secret"]
    assert confirmed.post(TOTP, code=totp_now(secret)) == 401
    assert not Authenticator.objects.exists()


def test_a_code_of_the_app_works_once(user, clock):
    add_totp(user)
    answers = []
    for app in (App(), App()):
        assert app.sign_in(user) == 401
        answers.append(app.post(AUTHENTICATE, code=totp_now()))
    assert answers == [200, 400]


def test_after_five_wrong_codes_the_right_one_is_refused(app, user, told):
    add_totp(user)
    app.sign_in(user)
    for _try in range(5):
        assert app.post(AUTHENTICATE, code="000000") == 400
    status, body = app.ask("POST", AUTHENTICATE, code=totp_now())
    assert (status, body["errors"][0]["code"]) == (400, "too_many_login_attempts")
    other = App()
    other.sign_in(user)
    assert other.post(AUTHENTICATE, code=totp_now()) == 400
    assert told == [("failed", "totp")] * 5


def test_the_page_draws_it(client, user):
    client.post(SIGN_IN, {"login": user.username, "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = client.get("/accounts/2fa/totp/activate/")
    assert page.context["form"].secret in page.text
    assert '<img src="data:image/svg+xml;base64,' in page.text


def test_there_is_one_and_a_passkey_beside_it(confirmed, user):
    add_totp(user)
    status, body = confirmed.ask("GET", TOTP)
    assert (status, body["data"]["type"]) == (200, "totp")
    assert confirmed.post(TOTP, code=totp_now()) == 400
    assert Passkey().add_to(confirmed)[0] == 200
    kinds = Authenticator.objects.order_by("type").values_list("type", flat=True)
    assert list(kinds) == ["totp", "webauthn"]


def test_its_name_in_the_app_is_a_setting(confirmed, user, settings):
    settings.MFA_TOTP_ISSUER = "Engines & Co"
    url = urlsplit(confirmed.ask("GET", TOTP)[1]["meta"]["totp_url"])
    assert parse_qs(url.query)["issuer"] == ["Engines & Co"]


@pytest.mark.parametrize(
    ("adapter", "is_in_clear"),
    [(f"{__name__}.Encrypting", False), ("allauth.mfa.adapter.DefaultMFAAdapter", True)],
)
def test_an_adapter_may_encrypt_its_secret(
    confirmed, user, boss, settings, clock, adapter, is_in_clear
):
    settings.MFA_ADAPTER = adapter
    secret = confirmed.ask("GET", TOTP)[1]["meta"]["secret"]
    assert confirmed.post(TOTP, code=totp_now(secret)) == 200
    factor = Authenticator.objects.get()
    page = boss.get(f"/admin/mfa/authenticator/{factor.pk}/change/")
    assert page.status_code == 200 and factor.data["secret"] in page.text
    assert (secret in page.text) is is_in_clear
    clock.shift(60)
    other = App()
    other.sign_in(user)
    assert other.post(AUTHENTICATE, code=totp_now(secret)) == 200
