"""R-21 at the second step: one code, presented by many at once. On every database alike."""

from __future__ import annotations

from itertools import cycle

import pytest
from allauth.account.signals import user_logged_in
from allauth.usersessions.signals import on_user_logged_in
from django.contrib.sessions.models import Session
from django.db import connection, connections
from django.test import Client
from django_q.models import OrmQ
from recovery_backend_allauth import marker

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.test_races import together
from tests.with_allauth.conftest import AUTHENTICATE, REAUTHENTICATE, add_totp, totp_now

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

BROWSERS = 20
# SQLite has one writer at a time, which fifty rounds would only prove more slowly.
ROUNDS = 50 if connection.vendor != "sqlite" else 10
FEWER = 10
BROWSER = "/_allauth/browser/v1/auth/2fa/authenticate"
BROWSER_CONFIRMS = "/_allauth/browser/v1/auth/2fa/reauthenticate"
APP = "/_allauth/app/v1/auth/2fa/authenticate"


@pytest.fixture(autouse=True)
def many_tries(settings):
    """Without allauth's limit, which would stop all but five."""
    settings.ACCOUNT_RATE_LIMITS = False


@pytest.fixture(autouse=True)
def immediate(monkeypatch):
    """What check W013 asks of SQLite: allauth's list of sessions reads and then writes."""
    if connection.vendor == "sqlite":
        options = connections.settings["default"]["OPTIONS"]
        monkeypatch.setitem(options, "transaction_mode", "IMMEDIATE")


@pytest.fixture
def owner(make_user):
    user = make_user()
    add_totp(user)
    user.codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=ROUNDS)
    assert marker.sync(user)
    return user


@pytest.fixture
def sessions(owner, before_step):
    """The sessions of twenty browsers that stand before the step, to be put back for each round."""
    for _ in range(BROWSERS):
        before_step(owner)
    return Restored()


class Restored:
    def __init__(self):
        self.rows = list(Session.objects.all())
        self.keys = [row.session_key for row in self.rows]
        assert len(self.keys) == BROWSERS

    def restore(self):
        Session.objects.all().delete()
        Session.objects.bulk_create(self.rows)


def browser_with(key):
    client = Client()
    client.cookies["sessionid"] = key
    return client


def by_page(key, code):
    status = browser_with(key).post(AUTHENTICATE, {"code": code}).status_code
    assert status in {200, 302}
    return status == 302


def by_browser(key, code, url=BROWSER):
    answer = browser_with(key).post(url, {"code": code}, content_type="application/json")
    assert answer.status_code in {200, 400}
    return answer.status_code == 200


def by_app(key, code):
    answer = Client().post(
        APP,
        {"code": code},
        content_type="application/json",
        headers={"X-Session-Token": key},
    )
    assert answer.status_code in {200, 400}
    return answer.status_code == 200


def wins(sessions, faces, codes):
    """How many got in, of twenty at once, with each of these codes."""
    won = []
    for code in codes:
        sessions.restore()
        plan = list(zip(sessions.keys, cycle(faces), strict=False))
        won.append(sum(together(BROWSERS, lambda at, plan=plan, code=code: run(plan[at], code))))
    return won


def run(planned, code):
    key, face = planned
    return face(key, code)


def assert_each_was_told_once(user, number):
    """One row, one event and one notice for each code that got somebody in."""
    assert RecoveryCode.objects.filter(user=user, status="used").count() == number
    used = RecoveryCodeAudit.objects.filter(user=user, event="recovery.mfa.fallback_used")
    assert used.count() == number
    assert len(set(used.values_list("code", flat=True))) == number
    notices = [row.task["args"] for row in OrmQ.objects.all()]
    assert sum(notice == "code_used" for notice, _ in notices) == number


@pytest.mark.parametrize(
    ("faces", "rounds"),
    [
        pytest.param([by_page], ROUNDS, id="page"),
        pytest.param([by_app], ROUNDS, id="app"),
        pytest.param([by_browser], FEWER, id="browser"),
        pytest.param([by_page, by_browser, by_app], FEWER, id="all three"),
    ],
)
def test_of_twenty_at_once_exactly_one_gets_in(owner, sessions, faces, rounds):
    """R-21: in every round, and no error reaches a client."""
    assert wins(sessions, faces, owner.codes[:rounds]) == [1] * rounds
    assert_each_was_told_once(owner, rounds)
    assert (marker.sync(owner) is None) == (rounds == ROUNDS)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has a transaction_mode")
def test_without_that_list_sqlite_needs_no_setting(owner, sessions, monkeypatch):
    """Nothing of ours reads before it writes, or it tries again."""
    monkeypatch.delitem(connections.settings["default"]["OPTIONS"], "transaction_mode")
    assert user_logged_in.disconnect(on_user_logged_in)
    try:
        assert wins(sessions, [by_page, by_browser, by_app], owner.codes[:5]) == [1] * 5
    finally:
        user_logged_in.connect(on_user_logged_in)
    assert_each_was_told_once(owner, 5)


def test_of_twenty_at_once_one_gets_in_under_atomic_requests(owner, sessions, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    assert wins(sessions, [by_page, by_app], owner.codes[:10]) == [1] * 10
    assert_each_was_told_once(owner, 10)


def test_twenty_different_codes_at_once_all_get_in(owner, sessions):
    """None is lost: each has its own row."""
    codes = owner.codes if len(owner.codes) >= BROWSERS else new_codes(owner)
    sessions.restore()
    assert all(together(BROWSERS, lambda at: by_page(sessions.keys[at], codes[at])))
    assert RecoveryCode.objects.filter(user=owner, status="used").count() == BROWSERS


def new_codes(user):
    codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=BROWSERS)
    return codes


def test_of_twenty_confirmations_at_once_one_is_given(owner, before_step):
    """R-21"""
    browser = before_step(owner)
    browser.post(AUTHENTICATE, {"code": totp_now()})
    key = browser.cookies["sessionid"].value

    def confirm(at, code):
        if at % 2:
            return by_browser(key, code, BROWSER_CONFIRMS)
        return browser_with(key).post(REAUTHENTICATE, {"code": code}).status_code == 302

    for code in owner.codes[:10]:
        assert sum(together(BROWSERS, lambda at, code=code: confirm(at, code))) == 1
    assert_each_was_told_once(owner, 10)


def test_new_codes_while_the_old_ones_are_used_let_at_most_one_in(owner, sessions):
    """R-22, R-44: no old code works once the new ones are there."""
    for _ in range(5):
        (code,), _batch = RecoveryCodeBatch.create_recovery_batch(owner, number_of_codes=1)
        sessions.restore()

        def work(at, code=code):
            if at == 0:
                RecoveryCodeBatch.create_recovery_batch(owner, number_of_codes=1)
            return by_page(sessions.keys[at], code)

        first, *others = together(8, work)
        assert not first and sum(others) <= 1
        newest = RecoveryCodeBatch.objects.get(user=owner, status="active")
        assert marker.sync(owner).data == marker.data_of(newest)
