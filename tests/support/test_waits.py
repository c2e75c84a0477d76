"""How an account stands, and support that ends its waits."""

from __future__ import annotations

import pytest

from recovery_backend import cooldown, flows, history
from recovery_backend.audit import Event
from tests.support.conftest import newest

pytestmark = pytest.mark.django_db(transaction=True)


class TestClear:
    def test_the_wait_is_over_and_the_owner_can_read_it(
        self, help_request, helper, user, codes, try_code
    ):
        for _ in range(5):
            cooldown.charge(user.email, "198.51.100.7/32")
        assert try_code(user.email, codes[0]) is None
        flows.clear_waits(help_request, user)
        row = newest(Event.COOLDOWN_CLEARED)
        assert (row.user, row.actor, row.data["dropped"]) == (user, helper, 2)
        assert try_code(user.email, codes[0]) == user
        assert any("opened again" in entry.text for entry in history.overview_of(user).activity)


def test_tries_without_an_address_are_nobodys(user):
    cooldown.charge("", "198.51.100.7/32")
    user.email = ""
    assert cooldown.standing_of(user).failures == 0


def test_it_is_said_how_an_account_stands(user, settings, clock):
    settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 9
    assert cooldown.standing_of(user) == cooldown.Standing(0, 0, 0, 0, False)
    for _ in range(6):  # the sixth has to wait, and is not counted
        cooldown.charge(user.email, "198.51.100.7/32")
    cooldown.charge(user.email, "198.51.100.8/32")
    cooldown.count_repeat("generate", user)
    assert cooldown.standing_of(user) == cooldown.Standing(
        failures=6, networks=2, networks_waiting=1, wait_seconds=60, is_closed=False
    )
    for number in range(3):
        cooldown.charge(user.email, f"198.51.100.{10 + number}/32")
    assert cooldown.standing_of(user).is_closed
