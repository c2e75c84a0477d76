"""A code as the second factor of browser and app clients, with session tokens and with JWT."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from recovery_backend.models import RecoveryCode
from tests.conftest import PASSWORD, WRONG_CODE
from tests.with_allauth.conftest import ASKS_AGAIN, totp_now

pytestmark = pytest.mark.django_db

STRATEGIES = "allauth.headless.tokens.strategies."
SUCCESS = {"step completed": 1, "factor used": 1, "code used": 1, "owner notified": 1}
SIGN_IN = {**SUCCESS, "allauth signed in": 1, "django signed in": 1}
FAILURE = {"factor failed": 1, "code rejected": 1}
AUTHENTICATE = "auth/2fa/authenticate"
REAUTHENTICATE = "auth/2fa/reauthenticate"


class BrowserClient:
    """A page of one's own, with cookies."""

    prefix = "/_allauth/browser/v1/"

    def __init__(self):
        self.client = Client()
        self.answer = None

    @property
    def headers(self):
        return {}

    def post(self, path, **data):
        self.answer = self.client.post(
            self.prefix + path, data, content_type="application/json", headers=self.headers
        )
        return self.answer.status_code

    def get(self, path):
        self.answer = self.client.get(self.prefix + path, headers=self.headers)
        return self.answer.json()

    def sign_in(self, user):
        return self.post("auth/login", username=user.username, password=PASSWORD)

    def methods(self):
        records = self.get("auth/session")["data"]["methods"]
        return [(record["method"], record.get("type")) for record in records]


class AppClient(BrowserClient):
    """A program, with the token that it was given."""

    prefix = "/_allauth/app/v1/"
    token = None

    @property
    def headers(self):
        return {"X-Session-Token": self.token} if self.token else {}

    def post(self, path, **data):
        status = super().post(path, **data)
        self.token = self.answer.json().get("meta", {}).get("session_token", self.token)
        self.client.cookies.clear()
        return status


class JWTClient(AppClient):
    """The same, which shows its access token as soon as it has one."""

    access_token = None

    @property
    def headers(self):
        if self.access_token:
            return {"Authorization": f"Bearer {self.access_token}"}
        return super().headers

    def post(self, path, **data):
        status = super().post(path, **data)
        meta = self.answer.json().get("meta", {})
        self.access_token = meta.get("access_token", self.access_token)
        return status


CLIENTS = {"browser": BrowserClient, "app": AppClient, "jwt": JWTClient}


@pytest.fixture(params=CLIENTS)
def client(request, settings):
    if request.param == "jwt":
        settings.HEADLESS_TOKEN_STRATEGY = STRATEGIES + "jwt.JWTTokenStrategy"
    return CLIENTS[request.param]()


@pytest.fixture(params=["totp_user", "passkey_user"])
def owner(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def before(client):
    """The client, where the password of this user was given."""

    def at_step(user):
        assert client.sign_in(user) == 401
        return client

    return at_step


def used():
    return RecoveryCode.objects.filter(status="used").count()


def pending(client):
    flows = client.answer.json()["data"]["flows"]
    return [flow for flow in flows if flow.get("is_pending")]


def test_the_client_is_told_that_a_code_is_taken(owner, before):
    user, _ = owner
    (flow,) = pending(before(user))
    assert flow["id"] == "mfa_authenticate"
    assert "recovery_codes" in flow["types"] and len(flow["types"]) == 2


def test_a_code_completes_the_sign_in_once(owner, before, heard, events, committed):
    """R-21, R-36: as on the page."""
    user, codes = owner
    client = before(user)
    heard.clear()
    with committed():
        assert client.post(AUTHENTICATE, code=codes[0]) == 200
    answer = client.answer.json()
    assert answer["meta"]["is_authenticated"] is True
    assert answer["data"]["user"]["id"] == user.pk
    assert heard == SIGN_IN
    assert client.methods() == [("password", None), ("mfa", "recovery_codes")]
    assert events().count(("mfa.fallback_used", "")) == 1 and used() == 1
    assert [row.task["func"] for row in OrmQ.objects.all()] == [
        "recovery_backend.tasks.send_notice"
    ]
    marker = Authenticator.objects.get(user=user, type="recovery_codes")
    assert marker.last_used_at is not None and marker.last_used_at <= timezone.now()


def test_a_jwt_client_gets_its_tokens_from_the_step(totp_user, settings):
    settings.HEADLESS_TOKEN_STRATEGY = STRATEGIES + "jwt.JWTTokenStrategy"
    user, codes = totp_user
    client = JWTClient()
    client.sign_in(user)
    assert client.access_token is None
    client.post(AUTHENTICATE, code=codes[0])
    assert client.access_token
    client.token = None
    assert client.get("account/authenticators")["status"] == 200
    assert "sessionid" not in client.client.cookies


@pytest.mark.parametrize("code", ["used", WRONG_CODE])
def test_a_used_or_wrong_code_is_refused_and_said_once(
    owner, client, before, heard, events, committed, code
):
    user, codes = owner
    if code == "used":
        code = codes[0]
        before(user).post(AUTHENTICATE, code=code)
        other = type(client)()
        assert other.sign_in(user) == 401
    else:
        other = before(user)
    spent = used()
    heard.clear()
    with committed():
        assert other.post(AUTHENTICATE, code=code) == 400
    (error,) = other.answer.json()["errors"]
    assert (error["param"], error["code"]) == ("code", "incorrect_code")
    assert heard == FAILURE
    assert events()[-1][0] == "mfa.fallback_fail" and used() == spent


@pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": None}, {"code": ["x"]}, {"code": 7}])
def test_odd_input_is_refused(totp_user, before, body):
    user, _ = totp_user
    assert before(user).post(AUTHENTICATE, **body) == 400


@pytest.fixture
def signed_in(totp_user, before):
    user, codes = totp_user
    client = before(user)
    assert client.post(AUTHENTICATE, code=totp_now()) == 200
    client.codes = codes
    return client


def test_a_code_confirms_a_sign_in(signed_in, heard, events, committed):
    heard.clear()
    with committed():
        assert signed_in.post(REAUTHENTICATE, code=signed_in.codes[0]) == 200
    assert heard == SUCCESS
    record = signed_in.get("auth/session")["data"]["methods"][-1]
    assert (record["method"], record["type"]) == ("mfa", "recovery_codes")
    assert record.get("reauthenticated", False) is ASKS_AGAIN
    assert events().count(("mfa.fallback_used", "")) == 1 and used() == 1


def test_a_wrong_code_confirms_nothing(signed_in, heard, committed):
    heard.clear()
    with committed():
        assert signed_in.post(REAUTHENTICATE, code=WRONG_CODE) == 400
    assert heard == FAILURE


def test_the_list_of_factors_counts_codes_and_shows_none(signed_in):
    signed_in.post(REAUTHENTICATE, code=signed_in.codes[0])
    factors = signed_in.get("account/authenticators")["data"]
    assert {factor["type"] for factor in factors} == {"totp", "recovery_codes"}
    (codes,) = [factor for factor in factors if factor["type"] == "recovery_codes"]
    assert (codes["total_code_count"], codes["unused_code_count"]) == (3, 2)
    assert "unused_codes" not in codes


class TestLimit:
    """R-50, R-57"""

    def test_after_five_failures_the_right_code_is_refused_and_kept(
        self, totp_user, before, clock
    ):
        user, codes = totp_user
        client = before(user)
        for _ in range(5):
            assert client.post(AUTHENTICATE, code=WRONG_CODE) == 400
        assert client.post(AUTHENTICATE, code=codes[0]) == 400
        assert client.answer.json()["errors"][0]["code"] == "too_many_login_attempts"
        assert used() == 0
        clock.shift(301)
        assert client.post(AUTHENTICATE, code=codes[0]) == 200

    def test_where_a_sign_in_is_confirmed(self, signed_in):
        for _ in range(5):
            signed_in.post(REAUTHENTICATE, code=WRONG_CODE)
        assert signed_in.post(REAUTHENTICATE, code=signed_in.codes[0]) == 400
        assert used() == 0

    def test_the_page_of_address_and_code_is_not_closed_by_it(self, totp_user, before, post_code):
        user, codes = totp_user
        client = before(user)
        for _ in range(6):
            client.post(AUTHENTICATE, code=WRONG_CODE)
        assert post_code(user.email, codes[0], "127.0.0.1", Client()).status_code == 302

    def test_and_does_not_close_it(self, totp_user, before, post_code):
        user, codes = totp_user
        for _ in range(7):
            post_code(user.email, WRONG_CODE, "127.0.0.1", Client())
        assert before(user).post(AUTHENTICATE, code=codes[0]) == 200


class TestBefore:
    """R-36: there is no second step without a first one, in this session, of this user, just now."""

    def test_without_a_first_factor(self, totp_user, client):
        _, codes = totp_user
        assert client.post(AUTHENTICATE, code=codes[0]) == 401
        assert used() == 0

    def test_with_the_first_factor_of_another_session(self, totp_user, client, before):
        user, codes = totp_user
        before(user)
        assert type(client)().post(AUTHENTICATE, code=codes[0]) == 401
        assert used() == 0

    def test_with_the_code_of_another_user(self, totp_user, make_user, make_codes, before, events):
        user, _ = totp_user
        foreign = make_codes(make_user())
        assert before(user).post(AUTHENTICATE, code=foreign[0]) == 400
        assert events()[-1] == ("mfa.fallback_fail", "foreign") and used() == 0

    def test_when_the_first_factor_is_long_ago(self, totp_user, before, clock):
        user, codes = totp_user
        client = before(user)
        clock.shift(901)
        assert client.post(AUTHENTICATE, code=codes[0]) == 401
        assert used() == 0

    def test_when_the_session_has_gone(self, totp_user, before):
        user, codes = totp_user
        client = before(user)
        Session.objects.all().delete()
        assert client.post(AUTHENTICATE, code=codes[0]) in {401, 410}
        assert used() == 0

    def test_a_confirmation_without_a_sign_in(self, totp_user, before):
        user, codes = totp_user
        assert before(user).post(REAUTHENTICATE, code=codes[0]) == 401
        assert used() == 0


def test_the_last_code_still_signs_in(totp_user, before, committed):
    user, codes = totp_user
    last, *others = RecoveryCode.objects.order_by("pk")
    RecoveryCode.objects.filter(pk__in=[row.pk for row in others]).delete()
    client = before(user)
    with committed():
        assert client.post(AUTHENTICATE, code=codes[0]) == 200
    last.refresh_from_db()
    assert last.status == "used"
    assert not Authenticator.objects.filter(type="recovery_codes").exists()
