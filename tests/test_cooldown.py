"""R-50 to R-66: failures are counted first, one network cannot stop another, rows decide."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import authenticate
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.cache import cache
from django.db import OperationalError
from django.db.models.signals import post_delete, post_init
from django.test import override_settings
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend import cooldown
from recovery_backend.cooldown import Charge, RecoveryCodeCooldown, Refusal, wait_after
from recovery_backend.models import RecoveryCode
from tests.conftest import WRONG_CODE

PREFIX = "DJANGO_AUTH_RECOVERY_CODES_"
OWNER_NETWORK = "203.0.113.50"
ATTACKER = "198.51.100.7"
CHANGELIST = "/admin/recovery_backend/recoverycodecooldown/"


def networks():
    """As many networks as an attacker likes."""
    return (f"10.{a}.{b}.{c}" for a, b, c in itertools.product(range(256), repeat=3))


def cache_keys():
    store = cache._cache
    return (
        list(store)
        if isinstance(store, dict)
        else [key.decode() for key in store.get_client().keys("*")]
    )


def usable(user):
    return RecoveryCode.objects.usable().of_user(user).count()


@pytest.fixture
def fail(try_code):
    """Present a wrong code that many times."""

    def fail(email, number=1, address=ATTACKER):
        for _ in range(number):
            assert try_code(email, WRONG_CODE, address) is None

    return fail


@pytest.fixture
def many_networks(user):
    """Failures of one account from that many networks, as a distributed attack leaves them."""

    def many_networks(number, *, is_waiting=False):
        account = cooldown.account_key(user.email)
        until = timezone.now() + timedelta(minutes=1) if is_waiting else None
        pairs = [
            cooldown.pair_key(account, f"{network}/32")
            for network in itertools.islice(networks(), number)
        ]
        rows = [
            RecoveryCodeCooldown(key=key, account=account, failures=1, blocked_until=until)
            for key in pairs
        ]
        rows.append(RecoveryCodeCooldown(key=account, account=account, failures=number))
        RecoveryCodeCooldown.objects.bulk_create(rows, batch_size=500)
        for key in pairs if is_waiting else ():
            cooldown._remember_wait(key, 60)

    return many_networks


@pytest.fixture
def loaded():
    """The counters that were made into objects; with a project that listens to deletions."""
    made = []

    def note(instance, **kwargs):
        made.append(instance)

    post_init.connect(note, RecoveryCodeCooldown)
    post_delete.connect(note, RecoveryCodeCooldown)
    yield made
    post_init.disconnect(note, RecoveryCodeCooldown)
    post_delete.disconnect(note, RecoveryCodeCooldown)


@pytest.fixture
def forgotten(monkeypatch):
    """The keys that were dropped from the cache, call by call."""
    calls = []
    delete_many = cache.delete_many

    def note(keys, **kwargs):
        calls.append(list(keys))
        return delete_many(keys, **kwargs)

    monkeypatch.setattr(cooldown.cache, "delete_many", note)
    return calls


class TestStanding:
    @pytest.mark.parametrize("is_waiting", [False, True])
    def test_it_takes_one_statement_however_many_networks(
        self, user, many_networks, statements, loaded, is_waiting, clock
    ):
        many_networks(3000, is_waiting=is_waiting)
        loaded.clear()
        with statements() as queries:
            standing = cooldown.standing_of(user)
        assert (len(queries), loaded) == (1, [])
        waiting, seconds = (3000, 60) if is_waiting else (0, 0)
        assert standing == cooldown.Standing(
            failures=3000,
            networks=3000,
            networks_waiting=waiting,
            wait_seconds=seconds,
            is_closed=False,
        )

    def test_the_longest_wait_that_is_running_is_named(self, user, fail, clock):
        fail(user.email, 5)
        clock.shift(30)
        fail(user.email, 5, OWNER_NETWORK)
        assert cooldown.standing_of(user).networks_waiting == 2
        assert cooldown.standing_of(user).wait_seconds == 60
        clock.shift(30)
        assert cooldown.standing_of(user).networks_waiting == 1
        assert cooldown.standing_of(user).wait_seconds == 30
        clock.shift(30)
        assert cooldown.standing_of(user).networks_waiting == 0
        assert cooldown.standing_of(user).wait_seconds == 0

    def test_a_network_that_succeeded_is_none_of_those_that_failed(
        self, user, codes, fail, try_code
    ):
        fail(user.email, 2)
        fail(user.email, 2, OWNER_NETWORK)
        try_code(user.email, codes[0], OWNER_NETWORK)
        assert cooldown.standing_of(user).networks == 1


class TestArithmetic:
    """R-53"""

    @given(
        base=st.integers(1, 86_400),
        multiplier=st.one_of(st.integers(1, 100), st.floats(1, 100)),
        cutoff=st.integers(1, 604_800),
        attempts=st.integers(1, 100),
        failures=st.integers(0, 10**6),
    )
    def test_waits_grow_are_capped_and_never_negative(
        self, base, multiplier, cutoff, attempts, failures
    ):
        with override_settings(
            **{
                PREFIX + "BASE_COOLDOWN": base,
                PREFIX + "COOLDOWN_MULTIPLIER": multiplier,
                PREFIX + "COOLDOWN_CUTOFF_POINT": cutoff,
                PREFIX + "MAX_LOGIN_ATTEMPTS": attempts,
            }
        ):
            wait, longer = wait_after(failures), wait_after(failures + 1)
        assert isinstance(wait, int)
        assert 0 <= wait <= longer <= cutoff
        assert (wait == 0) == (failures < attempts)
        if failures == attempts:
            assert wait == min(base, cutoff)

    @given(st.integers(0, 5))
    def test_whole_numbers_are_exact(self, steps):
        assert wait_after(5 + steps) == 60 * 2**steps

    @pytest.mark.parametrize("failures", [11, 12, 1100, 10**6])
    def test_the_cutoff_is_the_longest(self, failures):
        assert wait_after(failures) == 3600

    def test_a_multiplier_of_one_never_grows(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_COOLDOWN_MULTIPLIER = 1
        assert {wait_after(failures) for failures in (5, 50, 10**6)} == {60}

    def test_thresholds_are_powers_of_ten(self):
        told = [number for number in range(1, 20_000) if cooldown.is_alert_threshold(number)]
        assert told == [10, 100, 1000, 10_000]


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


class TestDurability:
    """R-60"""

    def test_a_wait_survives_a_flushed_cache(self, user, codes, fail, try_code, clock):
        fail(user.email, 5)
        cache.clear()
        assert try_code(user.email, codes[0]) is None
        assert usable(user) == 3

    def test_ratelimit_switched_off_leaves_the_cooldown_on(
        self, user, codes, fail, try_code, settings, clock
    ):
        """R-66"""
        settings.RATELIMIT_ENABLE = False
        fail(user.email, 5)
        assert try_code(user.email, codes[0]) is None
        assert usable(user) == 3

    def test_with_the_cache_the_copy_is_read(self, user, fail, clock, statements):
        fail(user.email, 5)
        with statements() as queries:
            assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 60
            clock.shift(45)
            assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 15
            clock.shift(15)
            assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 0
        assert queries == []

    def test_a_lost_copy_reads_as_no_wait_and_the_row_refuses(self, user, fail, clock):
        fail(user.email, 5)
        cache.clear()
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 0
        assert cooldown.charge(user.email, f"{ATTACKER}/32").wait_seconds == 60

    def test_without_the_cache_the_row_is_read(self, user, fail, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_AUTH_RATE_LIMITER_USE_CACHE = False
        fail(user.email, 5)
        assert not [key for key in cache_keys() if "recovery_backend:cooldown" in key]
        cache.clear()
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 60
        assert cooldown.wait_seconds("nobody@example.com", f"{ATTACKER}/32") == 0
        clock.shift(60)
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 0


class TestOtherNetworks:
    """R-57: a stranger never lengthens the wait of the owner."""

    def test_another_network_is_unaffected(self, user, codes, fail, try_code, clock):
        fail(user.email, 50)
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user

    def test_a_success_does_not_free_the_attacker(
        self, user, codes, fail, try_code, make_request, clock
    ):
        """R-58"""
        fail(user.email, 5)
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user
        request = make_request(ATTACKER)
        assert try_code(user.email, codes[1], request=request) is None
        assert request.recovery_wait_seconds == 60

    def test_other_accounts_on_the_network_are_unaffected(
        self, make_user, make_codes, fail, try_code, clock
    ):
        victim, other = make_user(), make_user()
        plain_codes = make_codes(other)
        fail(victim.email, 6)
        assert try_code(other.email, plain_codes[0], ATTACKER) == other

    def test_after_a_week_of_hammering_the_owner_signs_in_at_the_first_try(
        self, user, codes, fail, try_code, clock, events
    ):
        attackers = networks()
        regulars = [next(attackers) for _ in range(3)]
        for _ in range(7 * 24):
            for address in [*regulars, next(attackers), next(attackers), next(attackers)]:
                fail(user.email, 1, address)
            clock.shift(3600)
        counted = RecoveryCodeCooldown.objects.get(key=cooldown.account_key(user.email))
        assert counted.failures > 1000
        assert events().count(("login.fail", "unknown")) < 120
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user

    def test_the_owner_is_told_at_10_and_100_failures(
        self, user, fail, events, clock, settings, django_capture_on_commit_callbacks
    ):
        """R-40, R-122"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        for count, address in enumerate(itertools.islice(networks(), 120), 1):
            with django_capture_on_commit_callbacks(execute=True):
                fail(user.email, 1, address)
            assert events().count(("login.alerted", "")) == (count >= 10) + (count >= 100)
        assert [message.to for message in mail.outbox] == [[user.email]] * 2
        assert "100" in mail.outbox[1].body

    def test_an_address_of_nobody_is_counted_and_nobody_is_told(
        self, db, fail, events, settings, django_capture_on_commit_callbacks
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        with django_capture_on_commit_callbacks(execute=True):
            for address in itertools.islice(networks(), 10):
                fail("nobody@example.com", 1, address)
        assert events()[-1] == ("login.alerted", "")
        assert mail.outbox == []

    def test_without_a_cap_nothing_is_ever_closed(self, user, codes, fail, try_code):
        """R-52"""
        fail(user.email)
        RecoveryCodeCooldown.objects.filter(key=cooldown.account_key(user.email)).update(
            failures=10**6
        )
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user


class TestClientRate:
    """R-54: the outer throttle of one network, for whatever account."""

    @pytest.fixture(autouse=True)
    def three_a_minute(self, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "3/m"

    def test_the_fourth_request_of_a_network_is_refused_uncounted(
        self, user, codes, try_code, make_request, events
    ):
        for number in range(3):
            try_code(f"someone{number}@example.com", WRONG_CODE)
        counted = RecoveryCodeCooldown.objects.count()
        for _ in range(3):
            request = make_request()
            assert try_code(user.email, codes[0], request=request) is None
            assert 1 <= request.recovery_wait_seconds <= 60
        assert usable(user) == 3
        assert RecoveryCodeCooldown.objects.count() == counted
        assert events()[-2:] == [("login.fail", "unknown"), ("login.throttled", "client_rate")]

    def test_other_networks_and_other_times_are_free(self, user, codes, try_code, clock):
        for _ in range(5):
            try_code("someone@example.com", WRONG_CODE)
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user
        clock.shift(61)
        assert try_code(user.email, codes[1]) == user

    def test_switched_off_by_django_ratelimit_it_is_off(self, user, codes, try_code, settings):
        settings.RATELIMIT_ENABLE = False
        for number in range(5):
            try_code(f"someone{number}@example.com", WRONG_CODE)
        assert try_code(user.email, codes[0]) == user

    def test_looking_does_not_count(self, make_request):
        for _ in range(5):
            assert cooldown.client_refusal(make_request(), ATTACKER) is None
        assert cooldown.count_request(make_request(), ATTACKER) is None

    def test_a_cache_that_cannot_count_refuses(self, user, codes, try_code, settings):
        """R-31"""
        settings.CACHES = {"default": {"BACKEND": "tests.test_cooldown.ForgetfulCache"}}
        assert try_code(user.email, codes[0]) is None
        assert usable(user) == 3


class ForgetfulCache(type(cache._connections["default"])):
    """Has every key already, and can raise none."""

    def add(self, *args, **kwargs):
        return False

    def incr(self, *args, **kwargs):
        raise ValueError


class TestHardCap:
    """R-52"""

    CAP = 7

    @pytest.fixture(autouse=True)
    def capped(self, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = self.CAP

    @pytest.fixture
    def close(self, user, codes, fail):
        def close(number=self.CAP):
            for address in itertools.islice(networks(), number):
                fail(user.email, 1, address)

        return close

    def test_it_closes_at_exactly_that_number(self, user, codes, close, try_code):
        close(self.CAP - 1)
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user
        close(self.CAP)
        assert try_code(user.email, codes[1], OWNER_NETWORK) is None
        assert usable(user) == 2

    def test_every_failure_up_to_it_is_looked_at_and_none_after(self, close, events):
        close(self.CAP + 5)
        failed, *rest = [list(group) for _, group in itertools.groupby(events(reason="unknown"))]
        assert len(failed) == self.CAP and not rest
        assert events(event="recovery.login.suspended") == [("login.suspended", "")]
        assert events(reason="closed") == [("login.throttled", "closed")]

    def test_the_owner_is_told_once(
        self, user, close, settings, django_capture_on_commit_callbacks
    ):
        """R-40"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        with django_capture_on_commit_callbacks(execute=True):
            close(self.CAP + 5)
        [message] = mail.outbox
        assert message.to == [user.email]
        assert "closed" in message.subject

    def test_it_stays_closed(self, user, codes, close, try_code, clock, make_request):
        close()
        clock.shift(timedelta(days=365))
        request = make_request(OWNER_NETWORK)
        assert try_code(user.email, codes[0], request=request) is None
        assert request.recovery_wait_seconds == 3600
        assert usable(user) == 3

    def test_other_accounts_stay_open(self, close, make_user, make_codes, try_code):
        close()
        other = make_user()
        assert try_code(other.email, make_codes(other)[0], OWNER_NETWORK) == other

    def test_a_password_still_signs_in(self, user, close, client):
        """R-61"""
        close()
        response = client.post("/password/", {"username": "owner", "password": "correct horse"})
        assert response.status_code == 302
        assert client.session["_auth_user_id"] == str(user.pk)

    def test_a_new_batch_opens_it(self, user, close, make_codes, try_code):
        close()
        assert try_code(user.email, make_codes(user)[0], OWNER_NETWORK) == user

    def test_a_new_batch_before_it_closes_keeps_the_count(self, user, close, make_codes, try_code):
        """R-64"""
        close(self.CAP - 1)
        plain_codes = make_codes(user)
        close(1)
        assert try_code(user.email, plain_codes[0], OWNER_NETWORK) is None

    def test_a_sign_in_by_password_opens_it(self, user, codes, close, client, try_code, events):
        close()
        client.post("/password/", {"username": "owner", "password": "wrong"})
        assert try_code(user.email, codes[0], OWNER_NETWORK) is None
        client.post("/password/", {"username": "owner", "password": "correct horse"})
        assert events()[-1] == ("cooldown.cleared", "")
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user

    def test_a_sign_in_by_password_never_fails_because_of_us(
        self, user, close, client, monkeypatch, caplog
    ):
        """R-61"""

        def broken(*args):
            raise OperationalError("disk full")

        close()
        monkeypatch.setattr(cooldown, "open_account", broken)
        response = client.post("/password/", {"username": "owner", "password": "correct horse"})
        assert response.status_code == 302
        assert client.session["_auth_user_id"] == str(user.pk)
        assert "account not opened: OperationalError" in caplog.text

    def test_somebody_elses_sign_in_does_not_open_it(
        self, user, codes, close, client, make_user, try_code, events
    ):
        close()
        client.force_login(make_user())
        assert try_code(user.email, codes[0], OWNER_NETWORK) is None
        assert ("cooldown.cleared", "") not in events()

    def test_a_sign_in_by_code_has_nothing_to_open(
        self, user, codes, post_code, statements, settings, events
    ):
        post_code(user.email, codes[0])
        with statements() as queries:
            assert post_code(user.email, codes[1]).status_code == 302
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = None
        with statements() as queries_without_cap:
            assert post_code(user.email, codes[2]).status_code == 302
        cooldowns, cooldowns_without_cap = (
            sum("recoverycodecooldown" in sql for sql in log)
            for log in (queries, queries_without_cap)
        )
        assert cooldowns == cooldowns_without_cap
        assert ("cooldown.cleared", "") not in events()

    @pytest.mark.parametrize("spelling", ["owner@example.com", " OWNER@Example.com "])
    def test_an_admin_opens_it(
        self, user, codes, close, admin_client, admin_user, try_code, spelling
    ):
        close()
        page = admin_client.get(CHANGELIST, {"q": spelling})
        keys = re.findall(r'name="_selected_action" value="([0-9a-f]{64})"', page.text)
        assert len(keys) == self.CAP + 1
        chosen = {"action": "clear", "_selected_action": keys[:1], "post": "yes"}
        response = admin_client.post(CHANGELIST, chosen, follow=True)
        assert "1 account may try again." in response.text
        assert not RecoveryCodeCooldown.objects.exists()
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user

    def test_what_the_admin_did_is_recorded(self, user, close, admin_client, admin_user, events):
        close()
        key = cooldown.account_key(user.email)
        chosen = {"action": "clear", "_selected_action": [key], "post": "yes"}
        admin_client.post(CHANGELIST, chosen)
        assert events(actor=admin_user) == [("cooldown.cleared", "")]


class TestAdmin:
    """R-108"""

    def test_clearing_ends_a_wait_at_once(
        self, user, codes, fail, admin_client, client, try_code, clock
    ):
        fail(user.email, 5)
        key = cooldown.account_key(user.email)
        chosen = {"action": "clear", "_selected_action": [key], "post": "yes"}
        admin_client.post(CHANGELIST, chosen)
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") == 0
        assert try_code(user.email, codes[0]) == user

    def test_clearing_is_asked_about_first_and_names_nobody(self, user, fail, admin_client):
        fail(user.email, 5)
        chosen = {"action": "clear", "_selected_action": cooldown.account_key(user.email)}
        page = admin_client.post(CHANGELIST, chosen)
        assert "All waits of these accounts end" in page.text
        assert user.email not in page.text and user.username not in page.text
        assert cooldown.wait_seconds(user.email, f"{ATTACKER}/32") > 0
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)">', page.text))
        answer = admin_client.post(CHANGELIST, hidden, follow=True)
        assert "1 account may try again." in answer.text
        assert not RecoveryCodeCooldown.objects.exists()

    def test_clearing_is_a_line_in_the_history_and_one_event_of_each_account(
        self, make_user, fail, admin_client, admin_user, events
    ):
        for owner in (make_user(), make_user()):
            fail(owner.email, 2)
        keys = list(RecoveryCodeCooldown.objects.values_list("key", flat=True))
        chosen = {"action": "clear", "_selected_action": keys, "post": "yes"}
        admin_client.post(CHANGELIST, chosen)
        lines = LogEntry.objects.filter(user=admin_user)
        assert [line.change_message for line in lines] == ["Clear the wait"] * 2
        assert events(actor=admin_user) == [("cooldown.cleared", "")] * 2

    @pytest.mark.parametrize("answer", [{}, {"post": "yes"}])
    def test_an_old_sign_in_clears_nothing(
        self, user, fail, admin_client, settings, clock, answer
    ):
        """R-43"""
        settings.DJANGO_AUTH_RECOVERY_CODES_REAUTH_MAX_AGE = 60
        fail(user.email, 5)
        clock.shift(61)
        chosen = {"action": "clear", "_selected_action": cooldown.account_key(user.email)}
        page = admin_client.post(CHANGELIST, {**chosen, **answer}, follow=True)
        assert "sign out and in again" in page.text
        assert RecoveryCodeCooldown.objects.filter(failures=5).count() == 2

    def test_all_rows_of_a_flood_are_not_cleared_at_a_click(self, db, admin_client):
        keys = [cooldown.account_key(f"user{number}@example.com") for number in range(201)]
        rows = [RecoveryCodeCooldown(key=key, account=key, failures=3) for key in keys]
        RecoveryCodeCooldown.objects.bulk_create(rows)
        chosen = {"action": "clear", "_selected_action": keys[0], "select_across": "1"}
        page = admin_client.post(CHANGELIST, {**chosen, "post": "yes"}, follow=True)
        assert "of at most 200 users. Nothing was changed." in page.text
        assert RecoveryCodeCooldown.objects.count() == 201

    def test_the_list_names_nobody(self, user, fail, admin_client):
        fail(user.email)
        page = admin_client.get(CHANGELIST)
        assert page.status_code == 200
        assert user.email not in page.text and ATTACKER not in page.text

    def test_a_search_for_another_address_finds_nothing(self, user, fail, admin_client):
        fail(user.email)
        for term in ("other@example.com", "owner", "%"):
            assert "_selected_action" not in admin_client.get(CHANGELIST, {"q": term}).text

    def test_staff_without_the_permission_cannot_clear(self, user, fail, make_user, client):
        fail(user.email, 5)
        staff = make_user(is_staff=True)
        staff.user_permissions.add(Permission.objects.get(codename="view_recoverycodecooldown"))
        client.force_login(staff)
        assert "Clear: let the account" not in client.get(CHANGELIST).text
        key = cooldown.account_key(user.email)
        chosen = {"action": "clear", "_selected_action": [key], "post": "yes"}
        client.post(CHANGELIST, chosen)
        assert RecoveryCodeCooldown.objects.filter(key=key, failures=5).exists()

    @pytest.mark.parametrize("path", ["add/", "{key}/delete/"])
    def test_rows_cannot_be_made_or_removed(self, user, fail, admin_client, path):
        fail(user.email)
        url = CHANGELIST + path.format(key=cooldown.account_key(user.email))
        assert admin_client.post(url, {"post": "yes"}).status_code == 403
        assert RecoveryCodeCooldown.objects.count() == 2

    def test_a_row_is_read_only(self, user, fail, admin_client):
        fail(user.email)
        key = cooldown.account_key(user.email)
        url = f"{CHANGELIST}{key}/change/"
        assert admin_client.get(url).status_code == 200
        assert admin_client.post(url, {"failures": 0}).status_code == 403


class TestKeys:
    """R-65: fixed length, nobody named."""

    @pytest.mark.parametrize(
        "email",
        ["owner@example.com", "a b\r\nset x@example.com", "é" * 200, "x" * 10_000, "\ud800", None],
    )
    def test_keys_are_hmacs_in_table_and_cache(self, db, email, make_request, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 1
        cooldown.count_request(make_request(), ATTACKER)
        cooldown.charge(email, ATTACKER)
        for row in RecoveryCodeCooldown.objects.all():
            assert re.fullmatch("[0-9a-f]{64}", row.key)
            assert re.fullmatch("[0-9a-f]{64}", row.account)
            assert str(row) == row.key[:12]
        own = [key for key in cache_keys() if "recovery_backend:" in key]
        assert len(own) == 1
        assert re.fullmatch(r"(.*:)?recovery_backend:cooldown:[0-9a-f]{64}", own[0])
        assert len(cache_keys()) == 2
        assert not any(ATTACKER in key or "example" in key for key in cache_keys())

    def test_account_pair_and_client_never_share_a_key(self, db):
        account = cooldown.account_key("owner@example.com")
        assert account != cooldown.pair_key(account, "")
        assert cooldown.pair_key(account, "1.2.3.4/32") != cooldown.pair_key(account, "1.2.3.5/32")

    def test_clear_says_how_many_counters_it_dropped(self, user, fail):
        fail(user.email, 1, ATTACKER)
        fail(user.email, 1, OWNER_NETWORK)
        account = cooldown.account_key(user.email)
        assert cooldown.clear(account) == 3
        assert cooldown.clear(account) == 0

    def test_clearing_takes_two_statements_however_many_networks(
        self, user, many_networks, statements, loaded, forgotten
    ):
        many_networks(3000)
        loaded.clear()
        with statements() as queries:
            assert cooldown.clear(cooldown.account_key(user.email)) == 3001
        assert len(queries) == 2
        assert (loaded, forgotten) == ([], [])
        assert not RecoveryCodeCooldown.objects.exists()

    def test_clearing_forgets_the_waits_that_are_still_running(
        self, user, many_networks, forgotten, monkeypatch
    ):
        monkeypatch.setattr(cooldown, "FORGOTTEN_AT_ONCE", 50)
        many_networks(120, is_waiting=True)
        cooldown.is_known_refusal(user.email, "10.0.0.1/32", 60)
        assert len(cache_keys()) == 121
        assert cooldown.clear(cooldown.account_key(user.email)) == 121
        assert cache_keys() == []
        assert [len(keys) for keys in forgotten] == [100, 100, 40]

    def test_clearing_leaves_other_accounts_alone(self, user, make_user, fail):
        other = make_user()
        fail(user.email, 5)
        fail(other.email, 5)
        cooldown.clear(cooldown.account_key(user.email))
        assert cooldown.wait_seconds(other.email, f"{ATTACKER}/32") > 0
        assert cooldown.standing_of(other).failures == 5

    def test_clearing_works_without_the_cache(self, user, codes, fail, try_code, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_AUTH_RATE_LIMITER_USE_CACHE = False
        fail(user.email, 5)
        assert cooldown.clear(cooldown.account_key(user.email)) == 2
        assert try_code(user.email, codes[0]) == user

    def test_the_account_row_never_blocks_by_itself(self, user, fail):
        fail(user.email, 9)
        row = RecoveryCodeCooldown.objects.get(key=cooldown.account_key(user.email))
        assert row.is_account_wide and row.blocked_until is None
        assert row.wait_seconds(timezone.now()) == 0


def test_the_sign_in_page_shares_the_counters_of_the_function(user, codes, fail, post_code, clock):
    """R-50"""
    fail(user.email, 3)
    for _ in range(2):
        post_code(user.email, WRONG_CODE)
    assert post_code(user.email, codes[0]).status_code == 429
    assert usable(user) == 3


class TestRepeats:
    """R-62: what users do to their own codes."""

    def repeat(self, user, number=1, what="generate"):
        return [cooldown.count_repeat(what, user) for _ in range(number)][-1]

    def test_five_are_free_and_then_waits_double(self, user, clock):
        waits = []
        assert self.repeat(user, 5) is None
        for _ in range(8):
            waits.append(self.repeat(user).wait_seconds)
            clock.shift(waits[-1])
            assert self.repeat(user) is None
        assert waits == [60, 120, 240, 480, 960, 1920, 3600, 3600]

    def test_the_limit_is_the_setting(self, user, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 1
        assert self.repeat(user) is None
        assert self.repeat(user).wait_seconds == 60

    def test_a_wait_counts_down_and_refusals_do_not_lengthen_it(self, user, clock):
        self.repeat(user, 5)
        assert self.repeat(user, 20) == Refusal(60, is_first=False)
        clock.shift(18)
        assert self.repeat(user).wait_seconds == 42
        clock.shift(42)
        assert self.repeat(user) is None

    def test_the_first_refusal_of_each_wait_is_marked(self, user, clock):
        self.repeat(user, 5)
        assert [self.repeat(user).is_first for _ in range(3)] == [True, False, False]
        clock.shift(60)
        self.repeat(user)
        assert [self.repeat(user).is_first for _ in range(2)] == [True, False]

    def test_after_a_quiet_day_it_starts_anew(self, user, clock):
        self.repeat(user, 5)
        clock.shift(timedelta(days=1, seconds=59))
        assert self.repeat(user) is None  # not yet a day since the wait ended
        assert self.repeat(user).wait_seconds == 120
        clock.shift(timedelta(days=1, seconds=120))
        assert self.repeat(user, 5) is None
        assert self.repeat(user).wait_seconds == 60

    def test_a_cutoff_of_a_week_is_not_forgotten_in_a_day(self, user, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 1
        settings.DJANGO_AUTH_RECOVERY_CODES_BASE_COOLDOWN = 86_400
        settings.DJANGO_AUTH_RECOVERY_CODES_COOLDOWN_CUTOFF_POINT = 604_800
        self.repeat(user)
        clock.shift(86_400)
        assert self.repeat(user) is None
        assert self.repeat(user).wait_seconds == 2 * 86_400

    def test_users_and_kinds_are_counted_apart(self, user, make_user, clock):
        self.repeat(user, 5)
        assert self.repeat(user, what="email") is None
        assert self.repeat(make_user()) is None
        assert self.repeat(user) is not None

    def test_another_user_with_the_same_address_is_counted_apart(self, user, make_user, clock):
        self.repeat(user, 5)
        assert self.repeat(make_user(email=user.email)) is None

    def test_signing_in_is_counted_apart(self, user, codes, fail, try_code, clock):
        self.repeat(user, 5)
        fail(user.email, 3)
        assert try_code(user.email, codes[0], ATTACKER) == user
        assert self.repeat(user) is not None

    def test_clearing_the_account_frees_it(self, user, clock):
        self.repeat(user, 5)
        assert cooldown.clear(cooldown.account_key(user.email)) == 1
        assert self.repeat(user) is None

    def test_its_row_names_nobody(self, user):
        """R-65"""
        self.repeat(user)
        row = RecoveryCodeCooldown.objects.get()
        assert re.fullmatch(r"[0-9a-f]{64}", row.key)
        assert not row.is_account_wide

    def test_it_survives_a_flushed_cache(self, user, clock):
        self.repeat(user, 5)
        cache.clear()
        assert self.repeat(user).wait_seconds == 60


class TestActionRate:
    """R-62"""

    def test_the_request_after_the_last_allowed_is_refused(self, user, make_request, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "3/m"
        found = [cooldown.count_action(make_request(), user) for _ in range(5)]
        assert found[:3] == [None] * 3
        assert [refusal.is_first for refusal in found[3:]] == [True, False]
        assert all(1 <= refusal.wait_seconds <= 60 for refusal in found[3:])

    def test_the_user_is_counted_and_not_the_network(
        self, user, make_user, make_request, settings
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1/m"
        assert cooldown.count_action(make_request(OWNER_NETWORK), user) is None
        assert cooldown.count_action(make_request(ATTACKER), user) is not None
        assert cooldown.count_action(make_request(OWNER_NETWORK), make_user()) is None

    def test_signing_in_is_counted_apart(self, user, codes, try_code, make_request, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1/m"
        cooldown.count_action(make_request(), user)
        assert try_code(user.email, codes[0]) == user

    def test_five_notices_of_a_kind_an_hour_are_due(self, user, make_user, clock):
        """R-122"""
        due = [cooldown.is_notice_due("codes_deleted", user.pk) for _ in range(7)]
        assert due == [True] * 5 + [False] * 2
        assert cooldown.is_notice_due("codes_generated", user.pk)
        assert cooldown.is_notice_due("codes_deleted", make_user().pk)
        clock.shift(3600)
        assert cooldown.is_notice_due("codes_deleted", user.pk)

    def test_one_event_of_a_kind_an_hour_is_recorded(self, user, make_user, clock):
        """R-122"""
        due = [cooldown.is_event_due("recovery.reauth.fail", user.pk) for _ in range(3)]
        assert due == [True, False, False]
        assert cooldown.is_event_due("recovery.authz.denied", user.pk)
        assert cooldown.is_event_due("recovery.reauth.fail", make_user().pk)
        clock.shift(3600)
        assert cooldown.is_event_due("recovery.reauth.fail", user.pk)

    def test_a_cache_that_cannot_count_refuses_actions_and_keeps_no_notice(
        self, user, make_request, settings
    ):
        """R-31"""
        settings.CACHES = {"default": {"BACKEND": "tests.test_cooldown.ForgetfulCache"}}
        assert cooldown.count_action(make_request(), user).wait_seconds == 1
        assert cooldown.is_notice_due("codes_deleted", user.pk)
        assert all(cooldown.is_event_due("recovery.reauth.fail", user.pk) for _ in range(3))

    def test_the_cache_names_nobody(self, user, make_request):
        """R-65"""
        cooldown.count_action(make_request(), user)
        cooldown.is_notice_due("codes_deleted", user.pk)
        assert len(cache_keys()) == 2
        assert all(re.search(r"rl:[0-9a-f]{64}$", key) for key in cache_keys())
