"""Clearing an account drops its counters and its waits, of however many networks."""

from __future__ import annotations

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.cooldown.conftest import ATTACKER, OWNER_NETWORK, cache_keys


class TestClearing:
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
