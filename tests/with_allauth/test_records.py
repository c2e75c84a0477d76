"""What a session's record proves, and what it does not."""

from __future__ import annotations

import math
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery_backend_allauth import records

from tests.with_allauth.conftest import step

HOUR = timedelta(hours=1)
CODE_SIGN_IN = step("mfa", "recovery_codes", passwordless=True)
CODE = step("mfa", "recovery_codes")

SATISFIED = {
    "password and TOTP": [step("password"), step("mfa", "totp")],
    "password and passkey": [step("password"), step("mfa", "webauthn")],
    "password and code": [step("password"), CODE],
    "a passkey that signs in": [step("mfa", "webauthn", passwordless=True)],
    "social account and code": [step("socialaccount", provider="dummy", uid="1"), CODE],
    "code by e-mail and recovery code": [step("code", email="a@example.com"), CODE],
    "e-mail and code, then TOTP": [CODE_SIGN_IN, step("mfa", "totp", reauthenticated=True)],
    "e-mail and code, then password and code": [
        CODE_SIGN_IN,
        step("password", reauthenticated=True),
        step("mfa", "recovery_codes", reauthenticated=True),
    ],
    "another server's clock, two seconds ahead": [step("password"), step("mfa", "totp", ago=-2)],
}
UNSATISFIED = {
    "nothing": [],
    "a password": [step("password")],
    "a password twice": [step("password"), step("password", reauthenticated=True)],
    "a social account": [step("socialaccount", provider="dummy", uid="1")],
    "e-mail and code": [CODE_SIGN_IN],
    "e-mail and code, then a code": [CODE_SIGN_IN, CODE],
    "e-mail and code, then a password": [CODE_SIGN_IN, step("password", reauthenticated=True)],
    "TOTP to come": [step("password"), step("mfa", "totp", ago=-86400)],
    "a first factor to come": [step("password", ago=-86400), CODE],
}
MALFORMED = {
    "no mapping": [None, 1, "mfa", ["mfa"]],
    "nothing in it": [{}],
    "no moment": [{"method": "mfa", "type": "totp"}],
    "no type": [{"method": "mfa", "at": 1.0}],
    "a type that is none": [step("mfa", "retina")],
    "a type of another kind": [{"method": "mfa", "type": ["totp"], "at": 1.0}],
    "no method": [{"type": "totp", "at": 1.0}],
    "a moment in words": [{"method": "mfa", "type": "totp", "at": "now"}],
    "a moment that is true": [{"method": "mfa", "type": "totp", "at": True}],
    "before all moments": [{"method": "mfa", "type": "totp", "at": -1.0}],
    "no number": [{"method": "mfa", "type": "totp", "at": math.nan}],
    "for ever": [{"method": "mfa", "type": "totp", "at": math.inf}],
}


@pytest.mark.parametrize("steps", SATISFIED.values(), ids=SATISFIED)
def test_a_proven_second_factor_satisfies(steps):
    assert records.is_satisfied(steps)
    assert records.is_satisfied(steps, HOUR)


@pytest.mark.parametrize("steps", UNSATISFIED.values(), ids=UNSATISFIED)
def test_one_factor_does_not(steps):
    """R-37"""
    assert not records.is_satisfied(steps)
    assert not records.is_satisfied(steps, HOUR)


@pytest.mark.parametrize("steps", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_proves_nothing_and_raises_nothing(steps):
    assert not records.is_satisfied(steps)
    assert not records.came_by_code(steps)
    assert not records.is_satisfied([*steps, step("password")])


@pytest.mark.parametrize("steps", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_hides_no_proof(steps):
    assert records.is_satisfied([*steps, step("password"), step("mfa", "totp")], HOUR)


@pytest.mark.parametrize("method", [None, "", 1, ["password"]])
def test_a_first_factor_has_a_name(method):
    assert not records.is_satisfied([{"method": method, "at": 1.0}, CODE])


VALUES = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.just("mfa")
RECORDS = st.dictionaries(
    st.sampled_from(["method", "type", "at", "passwordless"]), VALUES | st.just([])
)


@given(st.lists(RECORDS | VALUES))
def test_no_record_raises(steps):
    assert not records.is_satisfied(steps)  # none of these names a factor
    records.came_by_code(steps)
    records.lacks_first_factor(steps)


def test_the_age_counts_from_the_proof(clock):
    steps = [step("password", ago=7200), step("mfa", "totp", ago=0)]
    clock.shift(3600)
    assert records.is_satisfied(steps, HOUR)
    clock.shift(1)
    assert not records.is_satisfied(steps, HOUR)
    assert records.is_satisfied(steps)


def test_the_latest_proof_counts_in_whichever_order():
    steps = [step("mfa", "totp", ago=10), step("password"), step("mfa", "totp", ago=9000)]
    assert records.is_satisfied(steps, HOUR)
    assert records.mfa_at(steps) == steps[0]["at"]


def test_a_later_password_does_not_renew_the_proof():
    steps = [step("password", ago=9000), step("mfa", "totp", ago=9000), step("password", ago=1)]
    assert not records.is_satisfied(steps, HOUR)


def test_a_code_that_was_confirmed_by_a_code_lacks_a_first_factor():
    assert records.lacks_first_factor([CODE_SIGN_IN, CODE])
    for steps in ([], [CODE_SIGN_IN], [step("password"), CODE], [step("mfa", "totp")]):
        assert not records.lacks_first_factor(steps)


def test_only_e_mail_and_code_is_a_sign_in_by_code():
    assert records.came_by_code([CODE_SIGN_IN])
    for other in (CODE, step("mfa", "webauthn", passwordless=True), step("password")):
        assert not records.came_by_code([other])


def test_the_moment_is_that_of_the_proof():
    at = time.time() - 100
    assert records.mfa_at([step("password"), {"method": "mfa", "type": "totp", "at": at}]) == at
    assert records.mfa_at([]) is None
