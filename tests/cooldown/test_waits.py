"""How long a wait is (R-53), and that it lasts as long as its row (R-60)."""

from __future__ import annotations

import pytest
from django.core.cache import cache
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from recovery_backend import cooldown
from recovery_backend.cooldown import wait_after
from tests.cooldown.conftest import ATTACKER, cache_keys
from tests.owner import PREFIX, usable


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
