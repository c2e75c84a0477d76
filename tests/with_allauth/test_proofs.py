"""Who a request speaks for, and what they have proven, by cookie, session token and JWT."""

from __future__ import annotations

import time

import jwt
import pytest
from allauth.headless.tokens.strategies.jwt.internal import create_access_token
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.test import RequestFactory
from recovery_backend_allauth import proofs, records

from tests.with_allauth.conftest import step

pytestmark = pytest.mark.django_db

KEY = "the suite's own, of more than thirty-two characters"
BOTH = (step("password"), step("mfa", "totp"))


def session_token(browser):
    return {"X-Session-Token": browser.session.session_key}


def access_token(browser, scheme="Bearer", **claims):
    session = browser.session
    request = RequestFactory().get("/")
    request.session = session
    token = create_access_token(get_user(request), session, claims)
    return {"Authorization": f"{scheme} {token}"}


CARRIERS = {"session token": session_token, "JWT": access_token}


@pytest.fixture
def request_with(client):
    """A request with these headers, and the cookie of this browser."""

    def request_with(headers=None, cookie_of=client):
        request = RequestFactory().get("/", headers=headers)
        request.session = cookie_of.session
        request.user = get_user(request)
        return request

    return request_with


@pytest.fixture(params=CARRIERS.values(), ids=CARRIERS)
def carry(request):
    return request.param


@pytest.fixture
def owner(user, browser_with):
    """The browser of a user who has proven both factors."""
    return browser_with(user, *BOTH)


@pytest.fixture
def stranger(make_user, browser_with):
    """The browser of another user, who has proven nothing but a password."""
    return browser_with(make_user(username="stranger"), step("password"))


class TestCookie:
    def test_nobody_is_signed_in(self, request_with):
        assert proofs.proof_of(request_with()) is None
        assert proofs.proofs_of(request_with()) == ()

    def test_the_records_of_the_session(self, request_with, owner, user):
        proof = proofs.proof_of(request_with(cookie_of=owner))
        assert proof.user == user and records.is_satisfied(proof.records)
        assert proof.session.session_key == owner.session.session_key

    def test_of_a_user_whom_something_else_has_set(self, request_with, owner, make_user):
        request = request_with(cookie_of=owner)
        request.user = make_user()
        proof = proofs.proof_of(request)
        assert proof.user == request.user and not proof.records and proof.session is None

    def test_a_repr_shows_no_records(self, request_with, owner):
        assert "password" not in repr(proofs.proof_of(request_with(cookie_of=owner)))

    def test_without_headless_tokens_are_not_looked_at(
        self, request_with, owner, stranger, monkeypatch
    ):
        monkeypatch.setattr("allauth.app_settings.HEADLESS_ENABLED", False, raising=False)
        for carry in CARRIERS.values():
            assert proofs.proof_of(request_with(carry(owner))) is None
            assert (
                proofs.proof_of(request_with(carry(owner), stranger)).user.username == "stranger"
            )


class TestToken:
    def test_its_session_proves_what_it_has_proven(self, request_with, owner, user, carry):
        proof = proofs.proof_of(request_with(carry(owner)))
        assert proof.user == user and records.is_satisfied(proof.records)
        assert proof.session.session_key == owner.session.session_key

    def test_one_factor_stays_one(self, request_with, stranger, carry):
        proof = proofs.proof_of(request_with(carry(stranger)))
        assert proof.user.username == "stranger" and not records.is_satisfied(proof.records)

    def test_of_an_inactive_user_proves_nothing(self, request_with, owner, user, carry):
        headers = carry(owner)
        type(user).objects.filter(pk=user.pk).update(is_active=False)
        proof = proofs.proof_of(request_with(headers))
        assert proof is None or not proof.records

    def test_after_a_change_of_the_password_proves_nothing(self, request_with, owner, user, carry):
        headers = carry(owner)
        user.set_password("another one")
        user.save()
        proof = proofs.proof_of(request_with(headers))
        assert proof is None or not proof.records

    def test_the_session_of_nobody_is_nobody(self, request_with, client):
        session = client.session
        session["seen"] = True
        session.save()
        headers = {"X-Session-Token": session.session_key}
        assert proofs.proof_of(request_with(headers)) is None

    @pytest.mark.parametrize(
        "token",
        ["", "x", " ", "a b", "ä" * 32, "\x00" * 32, "a" * 5000, "0" * 32, "../../etc/passwd"],
    )
    def test_what_is_none_is_nobody(self, request_with, token):
        assert proofs.proof_of(request_with({"X-Session-Token": token})) is None
        assert proofs.proof_of(request_with({"Authorization": f"Bearer {token}"})) is None
        assert proofs.proof_of(request_with({"Authorization": token})) is None

    @pytest.mark.parametrize("token", ["é" * 32, "a\x7fb", "a\xa0b"])
    def test_a_malformed_one_is_not_even_looked_up(self, request_with, token, monkeypatch):
        """R-38: a database or library may read it as another."""
        jwts = "allauth.headless.tokens.strategies.jwt.internal"
        monkeypatch.setattr(f"{jwts}.validate_access_token", pytest.fail)
        monkeypatch.setattr(
            f"{jwts.rpartition('.')[0]}.JWTTokenStrategy.lookup_session", pytest.fail
        )
        assert proofs.proof_of(request_with({"X-Session-Token": token})) is None
        assert proofs.proof_of(request_with({"Authorization": f"Bearer {token}"})) is None


class TestJWT:
    """R-37 for tokens that say themselves who they are of."""

    def forge(self, browser, key=KEY, algorithm="HS256", **claims):
        token = access_token(browser)["Authorization"].removeprefix("Bearer ")
        payload = jwt.decode(token, KEY, algorithms=["HS256"]) | claims
        return {"Authorization": f"Bearer {jwt.encode(payload, key, algorithm)}"}

    def test_a_foreign_signature_is_nobody(self, request_with, owner):
        headers = self.forge(owner, key="the key of somebody else, just as long as it")
        assert proofs.proof_of(request_with(headers)) is None

    def test_no_signature_is_nobody(self, request_with, owner):
        headers = self.forge(owner, key=None, algorithm="none")
        assert proofs.proof_of(request_with(headers)) is None

    @pytest.mark.parametrize(
        "claims",
        [{"exp": int(time.time()) - 1}, {"token_use": "refresh"}, {"sub": 1}, {"sid": None}],
        ids=["expired", "refresh token", "user that is no text", "no session"],
    )
    def test_what_is_no_access_token_is_nobody(self, request_with, owner, claims):
        assert proofs.proof_of(request_with(self.forge(owner, **claims))) is None

    @pytest.mark.parametrize("sid", ["", "%%%", "aGVsbG8=", "A" * 64])
    def test_a_session_that_never_was_proves_nothing(self, request_with, owner, user, sid):
        proof = proofs.proof_of(request_with(self.forge(owner, sid=sid)))
        assert proof == proofs.Proof(user)

    def test_a_session_that_has_ended_proves_nothing(self, request_with, owner, user):
        headers = access_token(owner)
        owner.session.flush()
        assert proofs.proof_of(request_with(headers)) == proofs.Proof(user)

    def test_nor_where_it_is_asked_of_each_time(self, request_with, owner, settings):
        settings.HEADLESS_JWT_STATEFUL_VALIDATION_ENABLED = True
        headers = access_token(owner)
        assert records.is_satisfied(proofs.proof_of(request_with(headers)).records)
        owner.session.flush()
        assert proofs.proof_of(request_with(headers)) is None

    def test_the_session_of_somebody_else_proves_nothing(
        self, request_with, owner, stranger, user
    ):
        other = str(get_user_of(stranger).pk)
        proof = proofs.proof_of(request_with(self.forge(owner, sub=other)))
        assert proof.user.username == "stranger" and not proof.records

    @pytest.mark.parametrize("sub", ["0", "nobody", ""])
    def test_a_user_who_is_not_there_is_nobody(self, request_with, owner, sub):
        assert proofs.proof_of(request_with(self.forge(owner, sub=sub))) is None

    def test_the_scheme_is_the_site_s(self, request_with, owner, user, settings):
        settings.HEADLESS_JWT_AUTHORIZATION_HEADER_SCHEME = "JWT"
        assert proofs.proof_of(request_with(access_token(owner, "JWT"))).user == user
        assert proofs.proof_of(request_with(access_token(owner))) is None

    def test_a_site_without_a_key_gives_out_none(self, request_with, owner, settings):
        headers = access_token(owner)
        settings.HEADLESS_JWT_ALGORITHM = "RS256"
        settings.HEADLESS_JWT_PRIVATE_KEY = ""
        assert proofs.proof_of(request_with(headers)) is None


class TestTwo:
    """Cookie and token in one request."""

    def test_two_users_are_refused(self, request_with, owner, stranger, carry):
        for headers, cookie_of in ((carry(owner), stranger), (carry(stranger), owner)):
            request = request_with(headers, cookie_of)
            assert len(proofs.proofs_of(request)) == 2
            with pytest.raises(proofs.TwoUsers) as refused:
                proofs.proof_of(request)
            assert isinstance(refused.value, PermissionDenied)

    def test_of_one_user_the_better_counts(self, request_with, owner, user, browser_with, carry):
        weak = browser_with(user, step("password"))
        for headers, cookie_of in ((carry(owner), weak), (carry(weak), owner)):
            proof = proofs.proof_of(request_with(headers, cookie_of))
            assert proof.user == user and records.is_satisfied(proof.records)

    def test_steps_of_two_sessions_are_not_added_up(self, request_with, user, browser_with, carry):
        """R-37"""
        by_password = browser_with(user, step("password"))
        code = step("mfa", "recovery_codes", passwordless=True)
        by_code = browser_with(user, code, step("mfa", "recovery_codes"))
        proof = proofs.proof_of(request_with(carry(by_code), by_password))
        assert not records.is_satisfied(proof.records)

    def test_a_proof_is_of_exactly_the_user_who_is_asked_for(
        self, request_with, owner, stranger, user, carry
    ):
        for headers, cookie_of in ((carry(owner), stranger), (carry(stranger), owner)):
            request = request_with(headers, cookie_of)
            theirs = proofs.proof_of_user(request, get_user_of(stranger))
            assert theirs.user.username == "stranger"
            assert not records.is_satisfied(theirs.records)
            assert records.is_satisfied(proofs.proof_of_user(request, user).records)


class TestAuth:
    """What a framework says that it has authenticated by."""

    def test_a_session(self, request_with, owner, user):
        proof = proofs.proof_of_user(request_with(), user, owner.session)
        assert records.is_satisfied(proof.records)

    def test_a_payload(self, request_with, owner, user):
        token = access_token(owner)["Authorization"].removeprefix("Bearer ")
        payload = jwt.decode(token, KEY, algorithms=["HS256"])
        assert records.is_satisfied(proofs.proof_of_user(request_with(), user, payload).records)

    @pytest.mark.parametrize(
        "auth",
        [
            None,
            "text",
            {},
            {"sid": "A" * 64, "sub": "1"},
            {"sid": "A" * 64, "sub": "00000000-somebody-elses"},
            {"token_use": "access", "sub": "00000000-somebody-elses"},
            {"sid": "A" * 64},
            object(),
        ],
    )
    def test_anything_else_proves_nothing(self, request_with, user, auth):
        assert proofs.proof_of_user(request_with(), user, auth) == proofs.Proof(user)

    def test_the_session_of_somebody_else(self, request_with, owner, stranger):
        proof = proofs.proof_of_user(request_with(), get_user_of(stranger), owner.session)
        assert not proof.records


def get_user_of(browser):
    request = RequestFactory().get("/")
    request.session = browser.session
    user = get_user(request)
    assert not isinstance(user, AnonymousUser)
    return user


def test_a_request_without_tokens_asks_for_the_user_alone(
    request_with, owner, django_assert_num_queries
):
    """R-150"""
    request = request_with(cookie_of=owner)
    with django_assert_num_queries(0):
        proofs.proof_of(request)
