"""The keys of the counters, in the table and in the cache."""

from __future__ import annotations

import re

import pytest

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.cooldown.conftest import ATTACKER, cache_keys


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

    def test_the_cache_names_nobody(self, user, make_request):
        """R-65"""
        cooldown.count_action(make_request(), user)
        cooldown.is_notice_due("codes_deleted", user.pk)
        assert len(cache_keys()) == 2
        assert all(re.search(r"rl:[0-9a-f]{64}$", key) for key in cache_keys())
