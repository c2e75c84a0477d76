"""Failures of one account from one network are counted first, and given back on success."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.db import connection

from recovery_backend import cooldown
from recovery_backend.cooldown import Charge, RecoveryCodeCooldown, Refusal
from tests.conftest import WRONG_CODE
from tests.cooldown.conftest import ATTACKER
from tests.owner import usable


class TestOnePair:
    """One account from one network."""

    def test_the_first_five_are_free_and_then_waits_double(self, db, clock):
        waits = []
        for _ in range(13):
            charge = cooldown.charge("owner@example.com", ATTACKER)
            assert isinstance(charge, Charge)
            waits.append(charge.wait_seconds)
            clock.shift(charge.wait_seconds)
        assert waits == [0, 0, 0, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]

    def test_the_limit_is_the_setting(self, db, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 2
        waits = [cooldown.charge("owner@example.com", ATTACKER).wait_seconds for _ in range(3)]
        assert waits == [0, 60, 60]

    def test_five_codes_are_looked_at_and_the_sixth_is_not(self, user, fail, events, clock):
        """R-51"""
        fail(user.email, 9)
        assert events() == [("login.fail", "unknown")] * 5 + [("login.throttled", "cooldown")]

    def test_the_right_code_is_refused_and_kept_while_waiting(
        self, user, codes, fail, try_code, make_request, clock
    ):
        """R-57"""
        fail(user.email, 5)
        request = make_request(ATTACKER)
        assert try_code(user.email, codes[0], request=request) is None
        assert request.recovery_wait_seconds == 60
        assert usable(user) == 3
        clock.shift(60)
        assert try_code(user.email, codes[0]) == user

    def test_the_fifth_failure_says_how_long_the_next_try_waits(
        self, user, make_request, try_code, clock
    ):
        waits = []
        for _ in range(5):
            request = make_request(ATTACKER)
            try_code(user.email, WRONG_CODE, request=request)
            waits.append(getattr(request, "recovery_next_try_seconds", None))
            assert not hasattr(request, "recovery_wait_seconds")
        assert waits == [None, None, None, None, 60]

    def test_a_wait_counts_down_and_refused_tries_do_not_lengthen_it(self, user, fail, clock):
        """R-57"""
        fail(user.email, 5)
        clock.shift(20)
        fail(user.email, 30)
        assert cooldown.charge(user.email, f"{ATTACKER}/32") == Refusal(40, is_first=False)
        clock.shift(39.5)
        assert cooldown.charge(user.email, f"{ATTACKER}/32").wait_seconds == 1
        clock.shift(0.5)
        assert isinstance(cooldown.charge(user.email, f"{ATTACKER}/32"), Charge)

    def test_the_first_refusal_of_each_wait_is_marked(self, db, clock):
        """R-122"""

        def charge():
            return cooldown.charge("owner@example.com", ATTACKER)

        for _ in range(5):
            charge()
        assert [charge().is_first for _ in range(3)] == [True, False, False]
        clock.shift(60)
        charge()
        assert [charge().is_first for _ in range(2)] == [True, False]

    def test_a_success_gives_everything_back(self, user, codes, fail, try_code, clock):
        """R-58"""
        fail(user.email, 4)
        assert try_code(user.email, codes[0]) == user
        rows = RecoveryCodeCooldown.objects.all()
        assert {(row.failures, row.refused, row.blocked_until) for row in rows} == {(0, 0, None)}
        fail(user.email, 4)
        assert try_code(user.email, codes[1]) == user

    def test_a_success_at_the_last_free_try_leaves_no_wait(self, user, codes, fail, try_code):
        fail(user.email, 4)
        assert try_code(user.email, codes[0]) == user
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 0
        assert try_code(user.email, codes[1]) == user

    def test_a_refund_takes_back_one_charge_and_never_more_than_there_are(self, user, clock):
        """R-58"""
        charges = [cooldown.charge(user.email, "here") for _ in range(5)]
        assert cooldown.wait_seconds(user.email, "here") == 60
        cooldown.refund(charges[-1])
        assert cooldown.wait_seconds(user.email, "here") == 0
        rows = RecoveryCodeCooldown.objects.all()
        assert list(rows.values_list("failures", "blocked_until")) == [(4, None)] * 2
        for charged in [*charges, *charges]:
            cooldown.refund(charged)
        assert list(rows.values_list("failures", flat=True)) == [0, 0]

    @pytest.mark.parametrize(
        "spelling",
        ["OWNER@EXAMPLE.COM", "  owner@example.com\n", "Owner@Example.com", "owner@EXAMPLE.com"],
    )
    def test_spellings_of_an_address_share_one_counter(
        self, user, codes, fail, try_code, spelling
    ):
        """R-50"""
        fail(spelling, 3)
        fail(user.email, 2)
        assert try_code(user.email, codes[0]) is None
        assert RecoveryCodeCooldown.objects.count() == 2

    def test_browser_and_cookies_do_not_matter(self, user, make_request, try_code, events):
        """R-50"""
        for number in range(7):
            request = make_request(
                ATTACKER, user_agent=f"browser {number}", cookie=f"sessionid={number}"
            )
            try_code(user.email, WRONG_CODE, request=request)
        assert events().count(("login.fail", "unknown")) == 5

    def test_invented_hops_do_not_matter(self, user, make_request, try_code, events):
        """R-54"""
        for number in range(7):
            request = make_request(ATTACKER, x_forwarded_for=f"10.0.0.{number}")
            try_code(user.email, WRONG_CODE, request=request)
        assert events().count(("login.fail", "unknown")) == 5

    def test_a_v6_subnet_is_one_network(self, user, try_code, events):
        """R-54"""
        for number in range(7):
            try_code(user.email, WRONG_CODE, f"2001:db8:1:2::{number}")
        assert events().count(("login.fail", "unknown")) == 5

    def test_unknown_addresses_are_charged_alike(self, db, try_code, make_request, events, clock):
        """R-56"""
        for _ in range(5):
            try_code("nobody@example.com", WRONG_CODE)
        request = make_request(ATTACKER)
        assert try_code("nobody@example.com", WRONG_CODE, request=request) is None
        assert request.recovery_wait_seconds == 60
        assert events()[-1] == ("login.throttled", "cooldown")

    def test_no_request_is_throttled_too(self, user, codes, events):
        """R-29"""
        for _ in range(5):
            assert authenticate(None, email=user.email, recovery_code=WRONG_CODE) is None
        assert authenticate(None, email=user.email, recovery_code=codes[0]) is None
        assert usable(user) == 3
        assert events()[-1] == ("login.throttled", "cooldown")

    def test_an_endless_count_is_still_a_wait(self, db):
        cooldown.charge("owner@example.com", ATTACKER)
        RecoveryCodeCooldown.objects.update(failures=10**6)
        assert cooldown.charge("owner@example.com", ATTACKER).wait_seconds == 3600


def test_the_sign_in_page_shares_the_counters_of_the_function(user, codes, fail, post_code, clock):
    """R-50"""
    fail(user.email, 3)
    for _ in range(2):
        post_code(user.email, WRONG_CODE)
    assert post_code(user.email, codes[0]).status_code == 429
    assert usable(user) == 3


@pytest.mark.django_db(transaction=True)
def test_a_charge_outlives_the_request_also_under_atomic_requests(
    make_user, post_code, monkeypatch, client
):
    """R-51: an error after the charge does not take it back."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    def broken(*args, **kwargs):
        raise RuntimeError("a fault after the charge")

    monkeypatch.setattr("recovery_backend.views.LoginView.render_to_response", broken)
    client.raise_request_exception = False
    user = make_user()
    assert post_code(user.email, WRONG_CODE).status_code == 500
    assert RecoveryCodeCooldown.objects.filter(failures=1).count() == 2
