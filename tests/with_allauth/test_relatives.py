"""allauth's own factors, tokens and social accounts, over HTTP, where our integration is installed."""

from __future__ import annotations

import json
import secrets
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.headless.constants import Client as AllauthClient
from allauth.headless.mfa.urls import build_urlpatterns
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_used,
)
from allauth.socialaccount.models import SocialAccount
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from django.contrib.auth import get_user_model
from django.core import mail
from django.test import Client
from django.urls import include, path
from fido2.cose import ES256
from fido2.utils import sha256, websafe_encode
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

from recovery_backend.models import RecoveryCode
from tests.conftest import PASSWORD, WRONG_CODE
from tests.with_allauth.conftest import add_passkey, add_totp, totp_now

pytestmark = pytest.mark.django_db

JWT = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"
TOTP = "account/authenticators/totp"
WEBAUTHN = "account/authenticators/webauthn"
AUTHENTICATE = "auth/2fa/authenticate"
PROTECTED = "/protected/api-function/"
ORIGIN = "https://testserver"
CIPHER = Fernet(Fernet.generate_key())


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

    def answer(self, kind, options, flags, attested=b""):
        """What this origin was asked, and the device's own data."""
        relying_party = options["rp"]["id"] if "rp" in options else options["rpId"]
        client = CollectedClientData.create(kind, options["challenge"], self.origin)
        return client, AuthenticatorData.create(sha256(relying_party.encode()), flags, 0, attested)

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


class Encrypting(DefaultMFAAdapter):
    def encrypt(self, text):
        return CIPHER.encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text):
        return CIPHER.decrypt(encrypted_text.encode()).decode()


class Named(DefaultMFAAdapter):
    def get_public_key_credential_rp_entity(self):
        return {"id": "testserver", "name": "Engines & Co"}


class Closed(DefaultAccountAdapter):
    def is_open_for_signup(self, request):
        return False


class TestTOTP:
    def test_it_is_set_up_confirmed_used_and_removed(self, app, user, clock, told, committed):
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

    def test_a_password_that_was_given_long_ago_adds_none(self, confirmed, clock):
        clock.shift(301)
        assert confirmed.ask("GET", TOTP)[0] == 404
        secret = confirmed.meta["secret"]
        assert confirmed.post(TOTP, code=totp_now(secret)) == 401
        assert not Authenticator.objects.exists()

    def test_a_code_of_the_app_works_once(self, user, clock):
        add_totp(user)
        answers = []
        for app in (App(), App()):
            assert app.sign_in(user) == 401
            answers.append(app.post(AUTHENTICATE, code=totp_now()))
        assert answers == [200, 400]

    def test_after_five_wrong_codes_the_right_one_is_refused(self, app, user, told):
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

    def test_there_is_one_and_a_passkey_beside_it(self, confirmed, user):
        add_totp(user)
        status, body = confirmed.ask("GET", TOTP)
        assert (status, body["data"]["type"]) == (200, "totp")
        assert confirmed.post(TOTP, code=totp_now()) == 400
        assert Passkey().add_to(confirmed)[0] == 200
        kinds = Authenticator.objects.order_by("type").values_list("type", flat=True)
        assert list(kinds) == ["totp", "webauthn"]

    def test_its_name_in_the_app_is_a_setting(self, confirmed, user, settings):
        settings.MFA_TOTP_ISSUER = "Engines & Co"
        url = urlsplit(confirmed.ask("GET", TOTP)[1]["meta"]["totp_url"])
        assert parse_qs(url.query)["issuer"] == ["Engines & Co"]

    def test_an_adapter_may_encrypt_its_secret(self, confirmed, user, boss, settings, clock):
        settings.MFA_ADAPTER = f"{__name__}.Encrypting"
        secret = confirmed.ask("GET", TOTP)[1]["meta"]["secret"]
        assert confirmed.post(TOTP, code=totp_now(secret)) == 200
        factor = Authenticator.objects.get()
        page = boss.get(f"/admin/mfa/authenticator/{factor.pk}/change/")
        assert page.status_code == 200 and factor.data["secret"] in page.text
        assert secret not in page.text
        clock.shift(60)
        other = App()
        other.sign_in(user)
        assert other.post(AUTHENTICATE, code=totp_now(secret)) == 200

    def test_an_administrator_removes_it_and_the_owner_is_told(
        self, user, boss, at_once, committed
    ):
        factor = add_totp(user)
        assert user.username in boss.get("/admin/mfa/authenticator/?type__exact=totp").text
        action = {"action": "delete_selected", "_selected_action": factor.pk, "post": "yes"}
        with committed():
            assert boss.post("/admin/mfa/authenticator/", action).status_code == 302
        assert App().sign_in(user) == 200
        [message] = mail.outbox
        assert message.to == [user.email] and "The people who run the site" in message.body


class TestPasskeys:
    def test_one_is_added_signs_in_alone_and_is_removed(self, confirmed, user):
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

    def test_it_is_the_second_factor_after_a_password(self, confirmed, user):
        passkey = Passkey()
        passkey.add_to(confirmed)
        app = App()
        assert app.sign_in(user) == 401 and "mfa_authenticate" in app.waits_for()
        assert Passkey().use(app, "auth/webauthn/authenticate") == 400
        assert not app.opens()
        assert passkey.use(app, "auth/webauthn/authenticate") == 200
        assert app.opens()

    def test_what_was_signed_once_is_refused_again(self, confirmed):
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
        ("origin", "status"), [(ORIGIN, 200), ("https://testserver.example", 400)]
    )
    def test_it_answers_this_site_alone(self, confirmed, settings, origin, status):
        settings.MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = False
        assert Passkey(origin).add_to(confirmed)[0] == status

    def test_its_owner_is_asked_in_the_name_of_the_site(self, confirmed, settings):
        settings.MFA_ADAPTER = f"{__name__}.Named"
        data = confirmed.ask("GET", WEBAUTHN)[1]["data"]
        assert data["creation_options"]["publicKey"]["rp"] == {
            "id": "testserver",
            "name": "Engines & Co",
        }

    def test_one_of_two_goes_and_the_other_signs_in(self, confirmed, user):
        lost, kept = Passkey(), Passkey()
        number = lost.add_to(confirmed, "Laptop")[1]["data"]["id"]
        kept.add_to(confirmed)
        assert confirmed.ask("DELETE", WEBAUTHN, authenticators=[number])[0] == 200
        app = App()
        app.sign_in(user)
        assert lost.use(app, "auth/webauthn/authenticate") == 400
        assert kept.use(app, "auth/webauthn/authenticate") == 200

    def test_one_gets_another_name_and_none_of_somebody_else(self, confirmed, user, make_user):
        number = Passkey().add_to(confirmed)[1]["data"]["id"]
        assert confirmed.ask("PUT", WEBAUTHN, id=number, name="Tablet")[0] == 200
        foreign = add_passkey(make_user())
        assert confirmed.ask("PUT", WEBAUTHN, id=foreign.pk, name="Mine")[0] == 400
        assert confirmed.ask("DELETE", WEBAUTHN, authenticators=[foreign.pk])[0] == 400
        names = [row.wrap().name for row in Authenticator.objects.order_by("pk")]
        assert names == ["Tablet", "Key"]


class TestWaitingSignIn:
    @pytest.mark.parametrize(("seconds", "status"), [(119, 200), (121, 401)])
    def test_it_runs_out(self, app, user, settings, clock, seconds, status):
        settings.ACCOUNT_LOGIN_TIMEOUT = 120
        add_totp(user)
        assert app.sign_in(user) == 401
        clock.shift(seconds)
        assert app.post(AUTHENTICATE, code=totp_now()) == status

    def test_its_token_ends_with_it(self, app, user, clock):
        add_totp(user)
        app.sign_in(user)
        waiting = dict(app.headers)
        assert app.post(AUTHENTICATE, code=totp_now()) == 200
        clock.shift(60)
        app.headers = waiting
        assert app.post(AUTHENTICATE, code=totp_now()) in {401, 410}
        assert not app.opens()

    def test_it_opens_nothing(self, app, user):
        add_totp(user)
        app.sign_in(user)
        assert not app.opens()
        assert app.ask("GET", "account/authenticators")[0] == 401
        assert app.ask("DELETE", TOTP)[0] == 401 and Authenticator.objects.exists()

    def test_wrong_passwords_close_one_account_and_not_its_neighbours(self, user, make_user):
        for _try in range(5):
            assert App().sign_in(user, "wrong") == 400
        assert App().sign_in(user) == 400
        assert App().sign_in(make_user()) == 200


def urls_now():
    """The app's routes, as these settings make them."""

    class Urls:
        urlpatterns = [path("_allauth/app/v1/", include(build_urlpatterns(AllauthClient.APP)))]

    return Urls


@pytest.mark.parametrize(
    ("endpoint", "name", "value"),
    [
        (TOTP, "MFA_SUPPORTED_TYPES", ["webauthn"]),
        (WEBAUTHN, "MFA_SUPPORTED_TYPES", ["totp"]),
        ("auth/webauthn/login", "MFA_PASSKEY_LOGIN_ENABLED", False),
    ],
)
def test_what_a_site_leaves_out_has_no_endpoint(confirmed, settings, endpoint, name, value):
    def asked():
        return (
            Client().options(f"/_allauth/app/v1/{endpoint}", headers=confirmed.headers).status_code
        )

    settings.ROOT_URLCONF = urls_now()
    assert asked() == 200
    setattr(settings, name, value)
    settings.ROOT_URLCONF = urls_now()
    assert asked() == 404


@pytest.fixture
def jwt(settings):
    settings.HEADLESS_TOKEN_STRATEGY = JWT


@pytest.mark.usefixtures("jwt")
class TestJWT:
    def test_there_is_none_before_the_second_factor(self, app, user):
        add_totp(user)
        assert app.sign_in(user) == 401 and "access_token" not in app.meta
        assert app.post(AUTHENTICATE, code=totp_now()) == 200
        assert app.meta["refresh_token"] and app.opens()

    def test_a_code_is_a_second_factor_too(self, app, totp_user):
        user, codes = totp_user
        app.sign_in(user)
        assert app.post(AUTHENTICATE, code=WRONG_CODE) == 400 and "access_token" not in app.meta
        assert app.post(AUTHENTICATE, code=codes[0]) == 200 and app.opens()
        assert RecoveryCode.objects.filter(status="used").count() == 1

    def test_it_is_renewed_once_by_each_refresh_token(self, app, user, clock):
        add_totp(user)
        app.sign_in(user)
        app.post(AUTHENTICATE, code=totp_now())
        first = app.meta["refresh_token"]
        clock.shift(301)
        assert not app.opens()
        status, body = App().ask("POST", "tokens/refresh", refresh_token=first)
        app.headers = {"Authorization": f"Bearer {body['data']['access_token']}"}
        assert status == 200 and app.opens()
        assert App().post("tokens/refresh", refresh_token=first) == 400
        assert App().post("tokens/refresh", refresh_token=body["data"]["refresh_token"]) == 200

    def test_it_ends_with_the_session(self, app, user):
        add_totp(user)
        app.sign_in(user)
        app.post(AUTHENTICATE, code=totp_now())
        refresh_token = app.meta["refresh_token"]
        headers = dict(app.headers)
        assert app.ask("DELETE", "auth/session")[0] == 401
        app.headers = headers
        assert App().post("tokens/refresh", refresh_token=refresh_token) == 400
        assert not app.opens()


def provider_token(**account):
    """What the dummy provider says of somebody."""
    token = {"id_token": json.dumps(account)}
    return {"provider": "dummy", "process": "login", "token": token}


@pytest.fixture
def linked(user):
    """The owner, whose social account has number 7."""
    SocialAccount.objects.create(user=user, provider="dummy", uid="7")
    return user


class TestSocialAccounts:
    def test_a_stranger_gets_an_account_and_a_token(self, app, db):
        data = provider_token(id=8, email="new@example.com", username="new")
        assert app.post("auth/provider/token", **data) == 200
        _, body = app.ask("GET", "auth/session")
        assert body["data"]["user"]["username"] == "new"
        assert body["data"]["methods"][0]["method"] == "socialaccount"

    def test_the_second_factor_is_asked_for_all_the_same(self, app, linked, clock):
        add_totp(linked)
        assert app.post("auth/provider/token", **provider_token(id=7)) == 401
        assert app.waits_for() == ["mfa_authenticate"] and not app.opens()
        assert app.post(AUTHENTICATE, code=totp_now()) == 200 and app.opens()

    def test_a_recovery_code_is_taken_there(self, app, totp_user):
        user, codes = totp_user
        SocialAccount.objects.create(user=user, provider="dummy", uid="7")
        app.post("auth/provider/token", **provider_token(id=7))
        assert app.post(AUTHENTICATE, code=codes[0]) == 200 and app.opens()

    def test_it_leads_to_a_jwt(self, app, linked, jwt):
        add_totp(linked)
        assert app.post("auth/provider/token", **provider_token(id=7)) == 401
        assert app.post(AUTHENTICATE, code=totp_now()) == 200
        assert app.meta["access_token"] and app.meta["refresh_token"] and app.opens()

    def test_what_is_no_token_of_the_provider_signs_nobody_in(self, app, linked):
        data = {"provider": "dummy", "process": "login", "token": {"id_token": "7:"}}
        assert app.post("auth/provider/token", **data) == 400
        assert app.ask("GET", "auth/session")[0] == 401

    def test_providers_are_listed(self, app, db):
        providers = app.ask("GET", "config")[1]["data"]["socialaccount"]["providers"]
        assert [provider["id"] for provider in providers] == ["dummy"]

    @pytest.mark.parametrize(
        ("callback", "is_led"), [("/welcome/", True), ("https://evil.example/", False)]
    )
    def test_a_browser_goes_there_and_comes_back_to_this_site_alone(
        self, linked, callback, is_led
    ):
        browser = Client()
        fields = {"provider": "dummy", "process": "login", "callback_url": callback}
        answer = browser.post("/_allauth/browser/v1/auth/provider/redirect", fields)
        assert (answer.status_code == 302) is is_led
        if is_led:
            answer = browser.post(answer["Location"], {"id": "7"})
            assert answer["Location"] == callback
        session = browser.get("/_allauth/browser/v1/auth/session")
        assert (session.status_code == 200) is is_led

    def test_a_site_may_be_closed_to_strangers(self, app, db, settings):
        settings.ACCOUNT_ADAPTER = f"{__name__}.Closed"
        fields = {"email": "new@example.com", "username": "new", "password": PASSWORD}
        assert app.post("auth/signup", **fields) == 403
        data = provider_token(id=8, email="new@example.com", username="new")
        assert app.post("auth/provider/token", **data) == 403
        assert not get_user_model().objects.exists()
