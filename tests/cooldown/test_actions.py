"""What users do to their own codes is counted by user: repeats and requests."""

from __future__ import annotations

import re
from datetime import timedelta

from django.core.cache import cache

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown, Refusal
from tests.cooldown.conftest import ATTACKER, OWNER_NETWORK


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

    def test_a_cache_that_cannot_count_refuses_actions_and_keeps_no_notice(
        self, user, make_request, settings
    ):
        """R-31"""
        settings.CACHES = {"default": {"BACKEND": "tests.cooldown.conftest.ForgetfulCache"}}
        assert cooldown.count_action(make_request(), user).wait_seconds == 1
        assert cooldown.is_notice_due("codes_deleted", user.pk)
        assert all(cooldown.is_event_due("recovery.reauth.fail", user.pk) for _ in range(3))
