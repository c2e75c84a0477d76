"""What one administrator can do in an hour."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core import mail
from django.core.cache import cache
from django.db import connection

from recovery_backend import cooldown, flows
from recovery_backend.admin import measures
from recovery_backend.audit import Event
from recovery_backend.exceptions import CooldownActive, NoActiveBatch
from recovery_backend.flows import support
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.support.conftest import active, newest, required_at
from tests.test_purge_races import deadlocks

pytestmark = pytest.mark.django_db(transaction=True)


class TestLimits:
    """R-62: what one administrator can do in an hour, whoever the users are."""

    @pytest.fixture
    def limits(self, monkeypatch):
        monkeypatch.setattr(support, "EMERGENCIES_BY_ONE", 3)
        monkeypatch.setattr(support, "CHANGES_BY_ONE", 4)

    def test_an_administrator_sends_twenty_emergency_codes_in_an_hour(
        self, help_request, make_user, clock
    ):
        """Superusers too, and with every cache lost."""
        help_request.user.is_superuser = True
        for _ in range(20):
            flows.send_emergency_code(help_request, make_user())
            clock.shift(10)
        victim = make_user()
        cache.clear()
        with pytest.raises(CooldownActive) as caught:
            flows.send_emergency_code(help_request, victim)
        assert caught.value.wait_seconds == 3600 - 200
        assert active(victim) is None
        assert len(mail.outbox) == 20
        clock.shift(3600 - 200)
        flows.send_emergency_code(help_request, victim)

    def test_a_refusal_changes_nothing_and_is_recorded_once_an_hour(
        self, help_request, helper, make_user, make_codes, limits, events, clock
    ):
        """R-122"""
        for _ in range(3):
            flows.send_emergency_code(help_request, make_user())
        victims = [make_user() for _ in range(5)]
        make_codes(victims[0])
        cooldown.charge(victims[0].email, "198.51.100.7/32")
        for victim in victims:
            with pytest.raises(CooldownActive):
                flows.send_emergency_code(help_request, victim)
        assert RecoveryCode.objects.usable().of_user(victims[0]).count() == 3
        assert cooldown.standing_of(victims[0]).failures == 1
        assert required_at(victims[0]) is None
        assert events(event=Event.ACTION_THROTTLED) == [("action.throttled", "cooldown")]
        row = newest(Event.ACTION_THROTTLED)
        assert (row.user, row.actor) == (victims[0], helper)

    def test_revoking_and_requiring_are_counted_together(
        self, help_request, make_user, make_codes, limits, clock
    ):
        users = [make_user() for _ in range(6)]
        for user in users:
            make_codes(user)
        for user in users[:2]:
            flows.revoke_codes(help_request, user)
            flows.require_new_batch(help_request, user)
        for give in (flows.revoke_codes, flows.require_new_batch):
            with pytest.raises(CooldownActive) as caught:
                give(help_request, users[5])
            assert caught.value.wait_seconds == 3600
        assert RecoveryCode.objects.usable().of_user(users[5]).count() == 3
        assert required_at(users[5]) is None
        flows.send_emergency_code(help_request, users[5])
        clock.shift(3600)
        assert flows.revoke_codes(help_request, users[4]) == 3

    def test_what_changed_nothing_is_not_counted(self, help_request, user, limits, clock):
        for _ in range(10):
            flows.require_new_batch(help_request, user)
            with pytest.raises(NoActiveBatch):
                flows.revoke_codes(help_request, user)

    def test_administrators_are_counted_apart(
        self, help_request, request_of, make_user, limits, clock
    ):
        for _ in range(3):
            flows.send_emergency_code(help_request, make_user())
        other = make_user(is_staff=True)
        flows.send_emergency_code(request_of(other), make_user())

    @pytest.mark.services
    def test_parallel_ones_do_not_pass_the_limit(self, helper, request_of, make_user, limits):
        users = [make_user() for _ in range(8)]
        barrier = Barrier(len(users))

        def send(user):
            barrier.wait()
            try:
                flows.send_emergency_code(request_of(helper), user)
            except CooldownActive:
                return False
            finally:
                connection.close()
            return True

        with ThreadPoolExecutor(len(users)) as pool:
            done = list(pool.map(send, users))
        assert sum(done) == 3
        assert RecoveryCodeBatch.objects.filter(is_emergency=True).count() == 3

    @pytest.mark.services
    def test_two_who_help_each_other_do_not_stop_each_other(self, make_user, request_of):
        pair = [make_user(is_superuser=True), make_user(is_superuser=True)]
        before = deadlocks()
        for _ in range(5):
            barrier = Barrier(2)

            def send(position, barrier=barrier):
                barrier.wait()
                try:
                    flows.send_emergency_code(request_of(pair[position]), pair[1 - position])
                finally:
                    connection.close()

            with ThreadPoolExecutor(2) as pool:
                list(pool.map(send, range(2)))
        assert RecoveryCodeBatch.objects.filter(is_emergency=True).count() == 10
        assert deadlocks() == before

    def test_two_full_bulk_actions_fit_into_an_hour(self):
        assert 2 * measures.MAX_USERS <= support.CHANGES_BY_ONE
