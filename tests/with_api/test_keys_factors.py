"""API keys of users with a second factor: who makes them, and what they prove."""

from __future__ import annotations

import time

import pytest
from django.apps import apps
from django.contrib.auth import SESSION_KEY
from recovery_backend_api.keys import flows
from recovery_backend_api.keys.models import ApiKey

from recovery_backend import stash
from recovery_backend.exceptions import FactorUnproven
from tests.conftest import LOGIN
from tests.owner import active
from tests.with_api.conftest import ApiClient, told
from tests.with_api.keys_site import WITH_FACTOR, ask, make_key, request_of

if not apps.is_installed("recovery_backend_allauth"):
    pytest.skip("needs the settings with allauth", allow_module_level=True)

from recovery_backend_allauth import added, restricted  # noqa: E402

from tests.with_allauth.conftest import add_totp, browser_with, step  # noqa: E402, F401

pytestmark = [
    pytest.mark.urls("tests.with_api.keys_site"),
    pytest.mark.django_db,
    pytest.mark.usefixtures("keys_on"),
]
NEW = {"name": "Nightly report", "days_to_expire": 30}
PROVEN = (step("password"), step("mfa", "totp"))


@pytest.fixture
def totp_user(user):
    add_totp(user)
    return user


def test_who_came_by_code_proves_it_too(totp_user, make_codes, events):
    """R-37, R-43, R-115: one found code must not buy a key that outlives the session."""
    code, *_rest = make_codes(totp_user)
    api = ApiClient()
    api.take_csrf_token()
    api.send("sign-in", {"email": totp_user.email, "recovery_code": code})
    api.take_csrf_token()
    assert told(api.send("keys", NEW)) == (403, "mfa_required")
    assert ("reauth.fail", "unproven") in events()
    assert not ApiKey.objects.exists()
    assert api.generate(replace=True)["codes"]  # which is what a sign-in by code is for


def test_so_does_who_has_just_added_a_factor(totp_user):
    """R-43: which opens new codes, and nothing that outlives the session."""
    api = ApiClient().sign_in(totp_user)
    session = api.session
    session[added.KEY] = {"user": str(totp_user.pk), "at": time.time(), "leads_on": False}
    session.save()
    assert told(api.send("keys", NEW)) == (403, "mfa_required")
    assert not ApiKey.objects.exists()
    assert api.generate()["codes"]


def test_a_second_factor_is_asked_for_before_a_key_is_made(totp_user, events):
    """R-43, R-115"""
    api = ApiClient().sign_in(totp_user)
    answer = api.send("keys", NEW)
    assert told(answer) == (403, "mfa_required")
    assert answer.json()["redirect_to"]
    assert ("reauth.fail", "unproven") in events()
    assert not ApiKey.objects.exists()


def test_a_session_that_a_code_alone_began_makes_no_key(totp_user, make_codes, settings):
    """R-38: it may repair the account, and a key would be a way around that."""
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
    _key, text = make_key(totp_user)
    [code] = make_codes(totp_user, number_of_codes=1)
    api = ApiClient()
    assert api.post(LOGIN, {"email": totp_user.email, "recovery_code": code}).status_code == 403
    api.take_csrf_token()
    api.post(LOGIN, {"email": totp_user.email, "recovery_code": code}, headers=api.csrf)
    api.take_csrf_token()
    assert api.ask("status").json()["left"] == 0
    for answer in (
        api.send("keys", NEW),
        api.ask("keys"),
        api.send("keys/revoke", {"prefix": text.partition(".")[0]}),
    ):
        assert told(answer) == (403, "restricted_session")
    assert ApiKey.objects.usable().count() == 1


def test_nor_does_the_flow_where_no_middleware_holds_the_session(user, settings):
    """R-38: also of a user who has no factor now, because that session removed it."""
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
    request = request_of(user)
    request.session[SESSION_KEY] = str(user.pk)
    request.session[restricted.KEY] = {"user": str(user.pk), "at": time.time()}
    with pytest.raises(FactorUnproven):
        flows.create(request, **NEW)
    del request.session[restricted.KEY]
    assert flows.create(request, **NEW).key.user == user


def test_a_key_beside_a_cookie_takes_nothing_from_that_session(user, make_user, settings):
    """R-71: the session's note of its fresh codes stays, and signing out forgets them."""
    settings.DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = "restricted"
    api = ApiClient().sign_in(user)
    api.generate()
    _key, text = make_key(make_user())
    assert ask(text, "/api/recovery-codes/status/", client=api).status_code == 200
    assert stash.SESSION_KEY in api.session
    api.get("/auth/recovery-codes/logout/")
    api.post("/auth/recovery-codes/logout/", headers=api.csrf)
    assert not active(user).sealed


def test_a_key_proves_no_second_factor(totp_user, browser_with):  # noqa: F811
    assert browser_with(totp_user, *PROVEN).get(WITH_FACTOR).status_code == 200
    _key, text = make_key(totp_user)
    assert ask(text, WITH_FACTOR).status_code == 403


def test_a_key_borrows_no_proof_of_another_user(totp_user, make_user, browser_with):  # noqa: F811
    other = make_user()
    add_totp(other)
    _key, text = make_key(totp_user)
    answer = ask(text, WITH_FACTOR, client=browser_with(other, *PROVEN))
    assert answer.status_code == 403
