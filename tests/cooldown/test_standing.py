"""How an account stands: its failures, networks and waits, in one statement."""

from __future__ import annotations

import pytest

from recovery_backend import cooldown
from tests.cooldown.conftest import OWNER_NETWORK


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
