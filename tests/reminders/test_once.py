"""Each reminder is sent once, in later runs and in parallel ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone

from recovery_backend.history import overview_of
from recovery_backend.models import (
    RecoveryCodeAudit,
)
from recovery_backend.reminders import Reminded, send_due
from tests.reminders.conftest import (
    DAY,
    EXPIRE_SOON,
    FEW_LEFT,
    STILL_THERE,
    recipients,
    reminded_of,
    subjects,
)


@pytest.mark.django_db
class TestOnce:
    def test_a_second_run_sends_nothing(self, make_batch, schedule):
        make_batch(days=1)
        make_batch(left=1)
        make_batch(issued_at=timezone.now() - 400 * DAY)
        assert send_due(schedule()) == Reminded(sent=3)
        assert send_due(schedule()) == Reminded()
        assert sorted(subjects()) == sorted([EXPIRE_SOON, FEW_LEFT, STILL_THERE])

    def test_the_most_urgent_one_comes_first_and_the_others_in_later_runs(
        self, make_batch, schedule
    ):
        make_batch(days=1, left=1, issued_at=timezone.now() - 400 * DAY)
        for expected in (EXPIRE_SOON, FEW_LEFT, STILL_THERE):
            mail.outbox.clear()
            assert send_due(schedule()) == Reminded(sent=1)
            assert subjects() == [expected]
        assert send_due(schedule()) == Reminded()

    def test_a_replaced_batch_gets_reminders_of_its_own(self, user, make_batch, schedule):
        for _ in range(2):
            make_batch(user, days=1)
            assert send_due(schedule()).sent == 1

    def test_the_audit_names_owner_and_batch(self, user, make_batch, schedule, events):
        """R-115"""
        batch = make_batch(user, days=1)
        send_due(schedule())
        row = RecoveryCodeAudit.objects.get(event="recovery.code.reminder")
        assert (row.user, row.batch, row.actor, row.outcome) == (user, batch.pk, None, "done")
        assert (
            row.account == RecoveryCodeAudit.objects.get(event="recovery.batch.generated").account
        )

    def test_the_owner_sees_it_on_the_dashboard(self, user, make_batch, schedule):
        make_batch(user, days=1)
        overview_of(user)
        send_due(schedule())
        assert overview_of(user).activity[0].text == (
            "A reminder about your codes was e-mailed to you."
        )


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
class TestTogether:
    def test_parallel_runs_remind_everybody_once(self, make_batch, schedule):
        """R-48, R-122: of mail and of audit rows there is one each."""
        owners = [make_batch(days=1).user.email for _ in range(4)]
        owners += [make_batch(left=1).user.email for _ in range(4)]
        owners += [make_batch(issued_at=timezone.now() - 400 * DAY).user.email for _ in range(4)]
        for _ in range(4):
            make_batch(days=-1)
        number = 4
        barrier = Barrier(number)

        def run(_):
            barrier.wait()
            try:
                return send_due(schedule())
            finally:
                connection.close()

        with ThreadPoolExecutor(number) as pool:
            results = list(pool.map(run, range(number)))
        assert sum(result.sent for result in results) == len(owners)
        assert sum(result.expired for result in results) == 4
        assert sorted(recipients()) == sorted(owners)
        assert len(reminded_of()) == len(owners)
        assert RecoveryCodeAudit.objects.filter(event="recovery.code.expired").count() == 4

    def test_a_failed_message_is_sent_by_the_next_run(
        self, make_batch, schedule, use_failing_mail, use_working_mail
    ):
        """The mark comes back as the database stored it."""
        make_batch(left=1)
        make_batch(issued_at=timezone.now() - 800 * DAY, asked_at=timezone.now() - 400 * DAY)
        use_failing_mail()
        assert send_due(schedule()) == Reminded(failed=2)
        use_working_mail()
        assert send_due(schedule()) == Reminded(sent=2)
