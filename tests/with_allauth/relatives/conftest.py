"""What the tests beside two relatives share: an app of allauth's headless API, and a passkey."""

from __future__ import annotations

import json
import secrets

import pytest
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_used,
)
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from django.test import Client
from fido2.cose import ES256
from fido2.utils import sha256, websafe_encode
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

from tests.conftest import PASSWORD

JWT = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"
TOTP = "account/authenticators/totp"
WEBAUTHN = "account/authenticators/webauthn"
AUTHENTICATE = "auth/2fa/authenticate"
PROTECTED = "/protected/api-function/"
ORIGIN = "https://testserver"


class App:
    """A program without cookies, which shows the token that it was given last."""

    def __init__(self):
        self.headers = {}
        self.meta = {}

    def ask(self, method, endpoint, **data):
        """The status and the body of allauth's answer."""
        answer = Client().generic(
            method,
            f"/_allauth/app/v1/{endpoint}",
            json.dumps(data) if data else b"",
            "application/json",
            headers=self.headers,
            secure=True,
        )
        body = answer.json()
        self.meta = body.get("meta", {})
        if token := self.meta.get("session_token"):
            self.headers = {"X-Session-Token": token}
        if token := self.meta.get("access_token"):
            self.headers = {"Authorization": f"Bearer {token}"}
        return answer.status_code, body

    def post(self, endpoint, **data):
        return self.ask("POST", endpoint, **data)[0]

    def sign_in(self, user, password=PASSWORD):
        return self.post("auth/login", username=user.username, password=password)

    def sign_in_and_confirm(self, user):
        """As far as a user has to go before factors are added or removed."""
        assert self.sign_in(user) == 200
        assert self.post("auth/reauthenticate", password=PASSWORD) == 200
        return self

    def waits_for(self):
        """The steps that its sign-in waits for."""
        flows = self.ask("GET", "auth/session")[1]["data"]["flows"]
        return [flow["id"] for flow in flows if flow.get("is_pending")]

    def opens(self):
        """Whether it gets what takes a second factor."""
        return Client().get(PROTECTED, headers=self.headers).status_code == 200


class Passkey:
    """A device with one passkey, which signs what it is asked to."""

    def __init__(self, origin=ORIGIN):
        self.origin = origin
        self.number = secrets.token_bytes(16)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.owner = ""
        self.uses = 0

    def answer(self, kind, options, flags, attested=b""):
        """What this origin was asked, and the device's own data."""
        relying_party = options["rp"]["id"] if "rp" in options else options["rpId"]
        client = CollectedClientData.create(kind, options["challenge"], self.origin)
        site = sha256(relying_party.encode())
        return client, AuthenticatorData.create(site, flags, self.uses, attested)

    def credential(self, **response):
        number = websafe_encode(self.number)
        return {
            "id": number,
            "rawId": number,
            "type": "public-key",
            "clientExtensionResults": {"credProps": {"rk": True}},
            "response": response,
        }

    def create(self, options):
        self.owner = options["user"]["id"]
        public_key = ES256.from_cryptography_key(self.key.public_key())
        attested = AttestedCredentialData.create(Aaguid.NONE, self.number, public_key)
        flag = AuthenticatorData.FLAG
        client, made = self.answer(
            CollectedClientData.TYPE.CREATE, options, flag.UP | flag.UV | flag.AT, attested
        )
        return self.credential(
            clientDataJSON=client.b64,
            attestationObject=websafe_encode(AttestationObject.create("none", made, {})),
        )

    def sign(self, options):
        flag = AuthenticatorData.FLAG
        client, made = self.answer(CollectedClientData.TYPE.GET, options, flag.UP | flag.UV)
        signature = self.key.sign(made + client.hash, ec.ECDSA(SHA256()))
        return self.credential(
            clientDataJSON=client.b64,
            authenticatorData=websafe_encode(made),
            signature=websafe_encode(signature),
            userHandle=self.owner,
        )

    def add_to(self, app, name="Phone"):
        """Add it to the account: status and body."""
        data = app.ask("GET", f"{WEBAUTHN}?passwordless")[1]["data"]
        credential = self.create(data["creation_options"]["publicKey"])
        return app.ask("POST", WEBAUTHN, name=name, credential=credential)

    def use(self, app, endpoint="auth/webauthn/login"):
        data = app.ask("GET", endpoint)[1]["data"]
        return app.post(endpoint, credential=self.sign(data["request_options"]["publicKey"]))


@pytest.fixture
def app():
    return App()


@pytest.fixture
def boss(make_user):
    """A superuser's browser."""
    browser = Client()
    browser.force_login(make_user(is_staff=True, is_superuser=True))
    return browser


@pytest.fixture
def confirmed(app, user):
    """The owner's app, in which the password was given twice."""
    return app.sign_in_and_confirm(user)


@pytest.fixture
def told():
    """What receivers of allauth's signals about factors were told, in order: `(what, type)`."""
    signals = {
        "added": authenticator_added,
        "removed": authenticator_removed,
        "used": authenticator_used,
        "failed": authentication_failed,
    }
    heard, receivers = [], []
    for name, signal in signals.items():

        def hear(sender, name=name, authenticator=None, **kwargs):
            heard.append((name, authenticator.type))

        signal.connect(hear, weak=False)
        receivers.append((signal, hear))
    yield heard
    for signal, receiver in receivers:
        signal.disconnect(receiver)


@pytest.fixture
def jwt(settings):
    settings.HEADLESS_TOKEN_STRATEGY = JWT
