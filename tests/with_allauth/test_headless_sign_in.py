"""E-mail address and code from allauth's headless clients."""

from __future__ import annotations

import json
from pathlib import Path

import allauth.headless
import pytest
import yaml
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.contrib.auth import get_user_model
from django.core import mail
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.views.debug import ExceptionReporter
from recovery_backend_allauth.headless import inputs, spec

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.flows.entry import SESSION_KEY
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.conftest import LOGIN, PASSWORD, WRONG_CODE
from tests.test_races import together
from tests.with_allauth.conftest import totp_now
from tests.with_allauth.test_sign_in import Hook

pytestmark = pytest.mark.django_db

CLIENTS = ("app", "browser")
JSON = "application/json"
SPECIFICATION = Path(allauth.headless.__file__).parent / "spec/doc/openapi.yaml"


def url(kind, path="auth/recovery-code/login"):
    return f"/_allauth/{kind}/v1/{path}"


@pytest.fixture(params=CLIENTS)
def kind(request):
    return request.param


class Headless:
    """A client of allauth's headless API: a cookie, or a session token, as it was given."""

    def __init__(self, kind):
        self.kind = kind
        self.client = Client()
        self.token = None

    def request(self, method, path, data=None, **extra):
        headers = {"X-Session-Token": self.token} if self.token else {}
        body = {"data": json.dumps(data), "content_type": JSON} if data is not None else {}
        answer = getattr(self.client, method)(url(self.kind, path), headers=headers, **body)
        if answer.headers["Content-Type"] == JSON:
            self.token = answer.json().get("meta", {}).get("session_token") or self.token
        return answer

    def sign_in(self, email, code):
        data = {"email": email, "recovery_code": code}
        return self.request("post", "auth/recovery-code/login", data)

    def session(self):
        return self.request("get", "auth/session")


@pytest.fixture
def headless(kind):
    return Headless(kind)


@pytest.fixture
def post(kind):
    """Send a body as it is."""

    def send(body, content_type=JSON):
        return Client().post(url(kind), body, content_type=content_type)

    return send


def usable(user):
    return RecoveryCode.objects.usable().of_user(user).count()


def errors_of(answer):
    return [(error["code"], error.get("param")) for error in answer.json()["errors"]]


class TestSignIn:
    def test_a_code_signs_in_once(self, headless, user, codes):
        """R-21"""
        answer = headless.sign_in(user.email, codes[0])
        body = answer.json()
        assert (answer.status_code, body["status"]) == (200, 200)
        assert body["meta"]["is_authenticated"] is True
        assert str(body["data"]["user"]["id"]) == str(user.pk)
        [method] = body["data"]["methods"]
        assert (method["method"], method["type"]) == ("mfa", "recovery_codes")
        assert "no-store" in answer["Cache-Control"]
        assert headless.session().status_code == 200
        again = Headless(headless.kind).sign_in(user.email, codes[0])
        assert again.status_code == 400 and usable(user) == 2

    def test_an_app_gets_a_session_token_and_a_browser_a_cookie(self, headless, user, codes):
        answer = headless.sign_in(user.email, codes[0])
        if headless.kind == "app":
            assert answer.json()["meta"]["session_token"] and not answer.cookies
        else:
            assert "session_token" not in answer.json()["meta"]
            assert "sessionid" in answer.cookies

    def test_the_session_knows_and_is_listed(self, headless, user, codes):
        headless.sign_in(user.email, codes[0])
        [row] = UserSession.objects.filter(user=user)
        session = Client().session.__class__(row.session_key)
        assert session[SESSION_KEY]["method"] == "recovery_code"
        assert session["_auth_user_id"] == str(user.pk)

    def test_an_app_gets_a_jwt_where_the_site_gives_them(self, user, codes, settings):
        settings.HEADLESS_TOKEN_STRATEGY = (
            "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"
        )
        meta = Headless("app").sign_in(user.email, codes[0]).json()["meta"]
        assert meta["access_token"].count(".") == 2 and meta["refresh_token"]

    def test_a_user_with_mfa_is_in_where_a_code_is_enough(self, headless, totp_user):
        user, codes = totp_user
        assert headless.sign_in(user.email, codes[0]).status_code == 200

    def test_the_second_factor_is_pending_where_a_code_is_not_enough(
        self, headless, totp_user, settings
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_CODE_SATISFIES_MFA = False
        user, codes = totp_user
        answer = headless.sign_in(user.email, codes[0])
        pending = [flow for flow in answer.json()["data"]["flows"] if flow.get("is_pending")]
        assert answer.status_code == 401 and answer.json()["meta"]["is_authenticated"] is False
        assert [flow["id"] for flow in pending] == ["mfa_authenticate"]
        done = headless.request("post", "auth/2fa/authenticate", {"code": totp_now()})
        assert done.status_code == 200
        assert [row["type"] for row in done.json()["data"]["methods"]] == [
            "recovery_codes",
            "totp",
        ]

    def test_a_mailed_code_is_pending_where_the_site_requires_one(
        self, headless, user, codes, settings
    ):
        settings.ACCOUNT_LOGIN_BY_CODE_REQUIRED = True
        answer = headless.sign_in(user.email, codes[0])
        pending = [flow["id"] for flow in answer.json()["data"]["flows"] if flow.get("is_pending")]
        assert (answer.status_code, pending) == (401, ["login_by_code"])

    def test_whoever_is_signed_in_is_told_and_nothing_is_spent(self, headless, user, codes):
        headless.sign_in(user.email, codes[0])
        for code in (codes[1], WRONG_CODE):
            assert headless.sign_in(user.email, code).status_code == 409
        assert usable(user) == 2

    def test_an_unknown_session_token_is_gone(self, user, codes):
        app = Headless("app")
        app.token = "x" * 32
        assert app.sign_in(user.email, codes[0]).status_code == 410
        assert usable(user) == 3

    def test_under_atomic_requests_what_a_try_has_cost_stays(
        self, kind, user, monkeypatch, transactional_db
    ):
        """R-96"""
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
        monkeypatch.setattr("recovery_backend_allauth.headless.views._errors", lambda form: 1 / 0)
        client = Client(raise_request_exception=False)
        data = {"email": user.email, "recovery_code": WRONG_CODE}
        assert client.post(url(kind), data, content_type=JSON).status_code == 500
        assert RecoveryCodeCooldown.objects.filter(failures=1).count() == 2

    def test_the_sites_own_answer_signs_nobody_in(
        self, headless, user, codes, settings, monkeypatch
    ):
        settings.ACCOUNT_ADAPTER = "tests.with_allauth.test_sign_in.SiteAdapter"
        monkeypatch.setattr(Hook, "response", HttpResponse("not today"))
        answer = headless.sign_in(user.email, codes[0])
        assert answer.status_code == 401 and headless.session().status_code == 401


class TestRefusals:
    def test_all_refusals_are_one(self, headless, user, make_user, make_codes):
        """R-26: wrong code, used code, another's code, an address that nobody has."""
        codes = make_codes(user)
        other = make_user()
        Headless(headless.kind).sign_in(user.email, codes[0])
        tries = [
            (user.email, WRONG_CODE),
            (user.email, codes[0]),
            (other.email, codes[1]),
            ("nobody@example.com", WRONG_CODE),
            (user.email, "nonsense"),
        ]
        answers = {Headless(headless.kind).sign_in(*typed).content for typed in tries}
        [answer] = answers
        assert json.loads(answer)["errors"] == [
            {"code": "refused", "message": json.loads(answer)["errors"][0]["message"]}
        ]
        assert json.loads(answer)["status"] == 400 and usable(user) == 2

    def test_waiting(self, headless, user, codes, clock):
        """R-57, R-59: a right code is refused too, and not spent."""
        for _ in range(4):
            assert "meta" not in headless.sign_in(user.email, WRONG_CODE).json()
        assert headless.sign_in(user.email, WRONG_CODE).json()["meta"] == {"wait_seconds": 60}
        answer = headless.sign_in(user.email, codes[0])
        assert answer.status_code == 429 and answer["Retry-After"] == "60"
        assert answer.json()["meta"] == {"wait_seconds": 60}
        assert errors_of(answer) == [("cooldown", None)] and usable(user) == 3
        clock.shift(61)
        assert headless.sign_in(user.email, codes[0]).status_code == 200

    def test_the_page_and_the_endpoint_share_their_count(self, headless, user, codes):
        """R-50"""
        for _ in range(3):
            headless.sign_in(user.email, WRONG_CODE)
        for _ in range(2):
            Client().post(LOGIN, {"email": user.email, "recovery_code": WRONG_CODE})
        assert headless.sign_in(user.email, codes[0]).status_code == 429

    @pytest.mark.parametrize("mode", ["off", "second_factor"])
    def test_the_mode(self, headless, user, codes, settings, mode):
        """R-35"""
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = mode
        answer = headless.sign_in(user.email, codes[0])
        assert answer.status_code == 403 and errors_of(answer) == [(mode, None)]
        assert usable(user) == 3 and not RecoveryCodeCooldown.objects.exists()

    def test_an_unverified_owner(self, headless, user, codes, settings):
        settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
        EmailAddress.objects.create(user=user, email=user.email, primary=True)
        answer = headless.sign_in(user.email, codes[0])
        assert answer.status_code == 400 and errors_of(answer) == [("unverified", None)]
        assert usable(user) == 3 and [m.to for m in mail.outbox] == [[user.email]]

    def test_an_inactive_user(self, headless, user, codes):
        """R-23"""
        get_user_model().objects.update(is_active=False)
        answer = headless.sign_in(user.email, codes[0])
        assert errors_of(answer) == [("refused", None)] and usable(user) == 3

    def test_a_browser_needs_its_csrf_token(self, user, codes):
        """R-91"""
        client = Client(enforce_csrf_checks=True)
        data = {"email": user.email, "recovery_code": codes[0]}
        assert client.post(url("browser"), data, content_type=JSON).status_code == 403
        assert usable(user) == 3
        client.get(url("browser", "auth/session"))
        token = client.cookies["csrftoken"].value
        answer = client.post(
            url("browser"), data, content_type=JSON, headers={"X-CSRFToken": token}
        )
        assert answer.status_code == 200
        app = Client(enforce_csrf_checks=True)
        data["recovery_code"] = codes[1]
        assert app.post(url("app"), data, content_type=JSON).status_code == 200

    @pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete"])
    def test_other_methods(self, kind, method):
        """R-98"""
        assert getattr(Client(), method)(url(kind)).status_code == 405


GOOD = {"email": "owner@example.com", "recovery_code": WRONG_CODE}


class TestInput:
    """R-102"""

    @pytest.mark.parametrize("name", ["email", "recovery_code"])
    @pytest.mark.parametrize("value", [1, 1.5, None, True, [], ["x"], {}, {"x": "y"}])
    def test_what_is_no_text(self, post, user, name, value):
        answer = post(json.dumps({**GOOD, name: value}))
        assert answer.status_code == 400 and errors_of(answer) == [("invalid", name)]
        assert not RecoveryCodeCooldown.objects.exists()

    @pytest.mark.parametrize("name", ["email", "recovery_code"])
    @pytest.mark.parametrize("has_it", [True, False])
    def test_what_is_missing(self, post, db, name, has_it):
        data = {**GOOD, name: ""}
        if not has_it:
            del data[name]
        answer = post(json.dumps(data))
        assert answer.status_code == 400 and errors_of(answer) == [("required", name)]

    @pytest.mark.parametrize("email", ["owner", "a@b", "\x00@example.com", "\ud800@example.com"])
    def test_what_is_no_address(self, post, db, email):
        answer = post(json.dumps({**GOOD, "email": email}))
        assert answer.status_code == 400 and ("invalid", "email") in errors_of(answer)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"1" * 5000,
            b"[" * 8000,
            b'{"a":' * 1500 + b"1" + b"}" * 1500,
            b"\xff\xfe",
            b'{"email": "a@example.com", "email": "b@example.com", "recovery_code": "x"}',
            json.dumps({**GOOD, "more": "x" * inputs.MAX_BYTES}).encode(),
            json.dumps({**GOOD, "recovery_code": "x" * 1_000_000}).encode(),
            json.dumps({**GOOD, "recovery_code": "x" * 3_000_000}).encode(),
        ],
    )
    def test_what_is_no_object_of_texts(self, post, db, body):
        answer = post(body)
        assert answer.status_code == 400 and errors_of(answer) == [("invalid", None)]
        assert not RecoveryCodeCooldown.objects.exists()

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""],
    )
    def test_another_content_type(self, post, db, content_type):
        answer = post(json.dumps(GOOD).encode(), content_type)
        assert answer.status_code == 400 and errors_of(answer) == [("invalid", None)]

    def test_a_form(self, kind, user, codes):
        data = {"email": user.email, "recovery_code": codes[0]}
        assert Client().post(url(kind), data).status_code == 400
        assert usable(user) == 3

    def test_the_charset_may_be_named_and_other_fields_are_ignored(self, post, user, codes):
        data = {"email": user.email, "recovery_code": codes[0], "more": [1]}
        answer = post(json.dumps(data), "application/json; charset=utf-8")
        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "fails",
        ["recovery_backend.flows.entry.authenticate", "recovery_backend.codes.canonicalise"],
    )
    def test_nothing_typed_is_in_an_error_report(self, kind, user, codes, monkeypatch, fails):
        """R-84: wherever it breaks."""
        monkeypatch.setattr(fails, lambda *args, **kwargs: 1 / 0)
        client = Client(raise_request_exception=False)
        data = {"email": user.email, "recovery_code": codes[0]}
        answer = client.post(url(kind), data, content_type=JSON)
        report = ExceptionReporter(answer.wsgi_request, *answer.exc_info)
        texts = [report.get_traceback_text(), report.get_traceback_html()]
        assert answer.status_code == 500 and all("ZeroDivisionError" in text for text in texts)
        assert not any(codes[0] in text for text in texts)


def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolved(document, reference):
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


class TestSpecification:
    def test_the_fragment_fits_into_allauths_own(self):
        own = yaml.safe_load(SPECIFICATION.read_text())
        names = {kind: set(parts) for kind, parts in own["components"].items()}
        for kind, parts in spec.fragment()["components"].items():
            assert not names[kind] & set(parts)
        merged = spec.merged(own)
        assert url("{client}") in merged["paths"]
        for reference in references(spec.fragment()):
            assert resolved(merged, reference), reference

    def test_it_tells_every_answer(self):
        """Those of the tests above, in the shape that allauth's own endpoints are told in."""
        merged = spec.merged(yaml.safe_load(SPECIFICATION.read_text()))
        operation = merged["paths"][url("{client}")]["post"]
        own = merged["paths"][url("{client}", "auth/login")]["post"]
        assert set(operation["responses"]) == {"200", "400", "401", "403", "409", "410", "429"}
        assert operation["tags"] == own["tags"] and operation["parameters"] == own["parameters"]
        tags = {tag["name"] for tag in merged["tags"]}
        assert set(operation["tags"]) <= tags
        schema = resolved(merged, "#/components/schemas/RecoveryCodeLogin")
        assert schema["required"] == list(schema["properties"]) == list(inputs.FIELDS)

    @pytest.mark.parametrize(("ending", "load"), [("yaml", yaml.safe_load), ("json", json.loads)])
    def test_it_is_served_in_the_place_of_allauths(self, client, ending, load):
        answer = client.get(reverse(f"headless:openapi_{ending}"))
        document = load(answer.content)
        assert answer.status_code == 200 and url("{client}") in document["paths"]
        for reference in references(document):
            assert resolved(document, reference), reference

    @pytest.mark.parametrize("kind", CLIENTS)
    def test_a_site_with_one_kind_of_client_is_told_of_that_one(self, settings, kind):
        settings.HEADLESS_CLIENTS = (kind,)
        document = spec.served()
        assert "parameters" not in document["paths"][url(kind)]["post"]
        for reference in references(document):
            assert resolved(document, reference), reference


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", CLIENTS)
def test_of_parallel_sign_ins_by_one_code_one_succeeds(make_user, settings, monkeypatch, kind):
    """R-21"""
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "100000/m"
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
    settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False
    # Reads, then writes in one transaction, which SQLite refuses when another came between.
    monkeypatch.setattr(UserSession.objects, "create_from_request", lambda request: None)
    user = make_user()
    rounds, threads = 5, 8
    plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=rounds)
    for code in plain_codes:

        def work(_position, code=code):
            return Headless(kind).sign_in(user.email, code).status_code

        assert sorted(together(threads, work)) == [200] + [400] * (threads - 1)
        cooldown.clear(cooldown.account_key(user.email))
    assert usable(user) == 0


def test_a_password_opens_nothing_here(user, codes, kind):
    """R-27: no other backend answers for these credentials."""
    data = {"email": user.email, "recovery_code": WRONG_CODE, "password": PASSWORD}
    assert Client().post(url(kind), data, content_type=JSON).status_code == 400
