"""One network cannot stop another, and none sends more requests than its rate."""

from __future__ import annotations

import pytest
from django.utils import timezone

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.conftest import WRONG_CODE
from tests.cooldown.conftest import ATTACKER, OWNER_NETWORK, networks
from tests.owner import usable


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

    def test_without_a_cap_nothing_is_ever_closed(self, user, codes, fail, try_code):
        """R-52"""
        fail(user.email)
        RecoveryCodeCooldown.objects.filter(key=cooldown.account_key(user.email)).update(
            failures=10**6
        )
        assert try_code(user.email, codes[0], OWNER_NETWORK) == user

    def test_the_account_row_never_blocks_by_itself(self, user, fail):
        fail(user.email, 9)
        row = RecoveryCodeCooldown.objects.get(key=cooldown.account_key(user.email))
        assert row.is_account_wide and row.blocked_until is None
        assert row.wait_seconds(timezone.now()) == 0


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
        settings.CACHES = {"default": {"BACKEND": "tests.cooldown.conftest.ForgetfulCache"}}
        assert try_code(user.email, codes[0]) is None
        assert usable(user) == 3
