"""Passkeys over allauth's headless API."""

from __future__ import annotations

import pytest
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator

from tests.with_allauth.conftest import add_passkey
from tests.with_allauth.relatives.conftest import ORIGIN, WEBAUTHN, App, Passkey

pytestmark = pytest.mark.django_db


class Named(DefaultMFAAdapter):
    def get_public_key_credential_rp_entity(self):
        return {"id": "testserver", "name": "Engines & Co"}


def test_one_is_added_signs_in_alone_and_is_removed(confirmed, user):
    passkey = Passkey()
    status, body = passkey.add_to(confirmed)
    assert (status, body["data"]["name"]) == (200, "Phone")
    app = App()
    assert passkey.use(app) == 200 and app.opens()
    _, body = confirmed.ask("GET", "account/authenticators")
    [row] = body["data"]
    assert row["type"] == "webauthn" and row["last_used_at"]
    assert confirmed.ask("DELETE", WEBAUTHN, authenticators=[row["id"]])[0] == 200
    assert passkey.use(App()) == 400


def test_it_is_the_second_factor_after_a_password(confirmed, user):
    passkey = Passkey()
    passkey.add_to(confirmed)
    app = App()
    assert app.sign_in(user) == 401 and "mfa_authenticate" in app.waits_for()
    assert Passkey().use(app, "auth/webauthn/authenticate") == 400
    assert not app.opens()
    assert passkey.use(app, "auth/webauthn/authenticate") == 200
    assert app.opens()


def test_a_synchronised_one_that_counts_no_uses_signs_in(confirmed):
    passkey = Passkey()
    passkey.uses = 7
    passkey.add_to(confirmed)
    for passkey.uses in (8, 3, 0):
        assert passkey.use(App()) == 200


def test_what_was_signed_once_is_refused_again(confirmed):
    passkey = Passkey()
    passkey.add_to(confirmed)
    app = App()
    options = app.ask("GET", "auth/webauthn/login")[1]["data"]["request_options"]
    signed = passkey.sign(options["publicKey"])
    assert app.post("auth/webauthn/login", credential=signed) == 200
    other = App()
    other.ask("GET", "auth/webauthn/login")
    assert other.post("auth/webauthn/login", credential=signed) == 400


@pytest.mark.parametrize(
    ("origin", "is_answered"),
    [
        (ORIGIN, True),
        ("https://shop.testserver", True),
        ("http://testserver", False),
        ("https://testserver.example", False),
        ("https://nottestserver", False),
    ],
)
def test_it_answers_this_site_alone(confirmed, user, settings, origin, is_answered):
    passkey = Passkey()
    passkey.add_to(confirmed)
    settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = False
    assert Passkey(origin).add_to(confirmed)[0] == (200 if is_answered else 400)
    app, passkey.origin = App(), origin
    assert passkey.use(app) == (200 if is_answered else 400)
    assert app.opens() is is_answered


def test_a_setting_lets_pages_without_https_ask(confirmed, settings):
    settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = True
    assert Passkey("http://testserver").add_to(confirmed)[0] == 200


def test_its_owner_is_asked_in_the_name_of_the_site(confirmed, settings):
    settings.MFA_ADAPTER = f"{__name__}.Named"
    data = confirmed.ask("GET", WEBAUTHN)[1]["data"]
    assert data["creation_options"]["publicKey"]["rp"] == {
        "id": "testserver",
        "name": "Engines & Co",
    }


def test_one_of_two_goes_and_the_other_signs_in(confirmed, user):
    lost, kept = Passkey(), Passkey()
    number = lost.add_to(confirmed, "Laptop")[1]["data"]["id"]
    kept.add_to(confirmed)
    assert confirmed.ask("DELETE", WEBAUTHN, authenticators=[number])[0] == 200
    app = App()
    app.sign_in(user)
    assert lost.use(app, "auth/webauthn/authenticate") == 400
    assert kept.use(app, "auth/webauthn/authenticate") == 200


def test_one_gets_another_name_and_none_of_somebody_else(confirmed, user, make_user):
    number = Passkey().add_to(confirmed)[1]["data"]["id"]
    assert confirmed.ask("PUT", WEBAUTHN, id=number, name="Tablet")[0] == 200
    foreign = add_passkey(make_user())
    assert confirmed.ask("PUT", WEBAUTHN, id=foreign.pk, name="Mine")[0] == 400
    assert confirmed.ask("DELETE", WEBAUTHN, authenticators=[foreign.pk])[0] == 400
    names = [row.wrap().name for row in Authenticator.objects.order_by("pk")]
    assert names == ["Tablet", "Key"]
