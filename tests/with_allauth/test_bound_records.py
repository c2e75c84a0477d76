"""The steps of one user never count for another, on every allauth that is supported (R-32)."""

from __future__ import annotations

import time

import pytest
from allauth.account.internal.flows import login
from allauth.account.signals import authentication_step_completed
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.test import RequestFactory
from recovery_backend_allauth import bound_records, records

from tests.conftest import PASSWORD
from tests.with_allauth.conftest import add_totp

pytestmark = pytest.mark.django_db


@pytest.fixture(params=["as installed", "before 65.21"])
def binding(request, monkeypatch):
    """Who binds the steps to their user: the installed allauth, or we, as beside an older one."""
    if request.param == "before 65.21":
        monkeypatch.setattr(bound_records, "IS_BOUND_BY_ALLAUTH", False)
        # A newer one would have bound the step before our receiver hears of it.
        monkeypatch.setattr(login, "record_authentication", record_unbound)
        bound_records.connect()
        yield
        if hasattr(login, "get_authentication_records"):
            uid = "recovery_backend_allauth.bound_records"
            authentication_step_completed.disconnect(dispatch_uid=uid)
    else:
        yield


def record_unbound(request, user, method, **data):
    """Add the step to whatever the session holds, and tell of it."""
    steps = request.session.get(bound_records.STEPS, [])
    request.session[bound_records.STEPS] = [*steps, {"method": method, "at": time.time(), **data}]
    authentication_step_completed.send(
        type(user), request=request, user=user, method=method, **data
    )


@pytest.fixture
def visit():
    """A request in a session of its own, to which steps can be added."""
    return in_session(SessionStore())


def in_session(session):
    request = RequestFactory().get("/")
    request.session, request.user = session, AnonymousUser()
    return request


def methods(request, user):
    return [step["method"] for step in records.of_user(request, user)]


def test_the_steps_of_a_user_are_kept_in_order(binding, visit, make_user):
    user = make_user()
    login.record_authentication(visit, user, "password")
    login.record_authentication(visit, user, "mfa", type="totp")
    assert methods(visit, user) == ["password", "mfa"]


def test_an_abandoned_step_of_another_user_counts_for_nobody(binding, visit, make_user):
    first, second = make_user(), make_user()
    login.record_authentication(visit, first, "mfa", type="totp")
    assert methods(visit, second) == []
    login.record_authentication(visit, second, "password")
    assert methods(visit, second) == ["password"]
    assert not records.is_satisfied(records.of_user(visit, second))
    assert methods(visit, first) == []


def test_nobody_has_no_steps(binding, visit, make_user):
    login.record_authentication(visit, make_user(), "password")
    assert methods(visit, AnonymousUser()) == []


def test_a_dropped_sign_in_leaves_no_step(binding, visit, make_user):
    user = make_user()
    login.record_authentication(visit, user, "password")
    bound_records.drop(visit)
    assert methods(visit, user) == []
    assert list(visit.session.keys()) == []


def test_steps_from_before_they_were_bound_do_not_count(binding, visit, make_user):
    user = make_user()
    visit.session[bound_records.STEPS] = [{"method": "mfa", "type": "totp", "at": 1.0}]
    assert methods(visit, user) == []
    login.record_authentication(visit, user, "password")
    assert methods(visit, user) == ["password"]


def test_a_step_of_nobody_belongs_to_nobody(monkeypatch, visit, make_user):
    """allauth before 65.20 records steps without a user."""
    monkeypatch.setattr(bound_records, "IS_BOUND_BY_ALLAUTH", False)
    user = make_user()
    visit.session[bound_records.STEPS] = [{"method": "password", "at": 1.0}]
    visit.session[bound_records.OWNER] = str(user.pk)
    visit.session[bound_records.STEPS] += [{"method": "code", "at": 2.0}]
    bound_records.bind(None, request=visit, user=None)
    assert methods(visit, user) == []


def test_a_password_given_for_one_account_is_not_recorded_for_the_next(
    binding, before_step, make_user
):
    first, second = make_user(), make_user()
    add_totp(first)
    browser = before_step(first)
    answer = browser.post(
        "/_allauth/browser/v1/auth/login",
        {"username": second.username, "password": PASSWORD},
        content_type="application/json",
    )
    assert answer.status_code == 200
    assert browser.session["_auth_user_id"] == str(second.pk)
    assert methods(in_session(browser.session), second) == ["password"]
