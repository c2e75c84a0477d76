"""Reminders that do not leave: a later run sends them."""

from __future__ import annotations

import smtplib

import pytest
from django.core import mail
from django.utils import timezone

from recovery_backend.models import (
    RecoveryCodeBatch,
)
from recovery_backend.reminders import Reminded, send_due
from tests.reminders.conftest import DAY, FailingMail, recipients, reminded_of


@pytest.mark.django_db
class TestFailure:
    def test_what_did_not_leave_is_sent_by_a_later_run(
        self, make_batch, schedule, use_failing_mail, use_working_mail, caplog
    ):
        make_batch(days=1)
        make_batch(left=1)
        asked_at = timezone.now() - 366 * DAY
        asked = make_batch(issued_at=timezone.now() - 800 * DAY, asked_at=asked_at)
        use_failing_mail(smtplib.SMTPDataError(451, b"later"))
        assert send_due(schedule()) == Reminded(failed=3)
        assert reminded_of() == []
        assert RecoveryCodeBatch.objects.get(pk=asked.pk).asked_at == asked_at
        assert "SMTPDataError" in caplog.text and "@" not in caplog.text
        use_working_mail()
        assert send_due(schedule()) == Reminded(sent=3)
        assert len(reminded_of()) == 3

    def test_a_refused_address_is_no_obstacle_to_the_others(
        self, make_batch, schedule, use_failing_mail
    ):
        users = [make_batch(days=1).user for _ in range(7)]
        refused = {user.email for user in users[:5]}
        use_failing_mail(smtplib.SMTPRecipientsRefused({}), refused)
        assert send_due(schedule()) == Reminded(sent=2, failed=5)
        assert recipients() == [user.email for user in users[5:]]

    def test_without_a_mail_server_not_every_owner_is_tried(
        self, make_batch, schedule, use_failing_mail, use_working_mail
    ):
        for _ in range(5):
            make_batch(days=1)
        use_failing_mail(TimeoutError())
        with pytest.raises(ConnectionError):
            send_due(schedule())
        assert FailingMail.tried == 3
        use_working_mail()
        assert send_due(schedule()) == Reminded(sent=5)

    def test_a_server_that_answers_now_and_then_is_one(
        self, make_batch, schedule, use_failing_mail
    ):
        users = [make_batch(days=1).user for _ in range(6)]
        use_failing_mail(refused={user.email for user in (*users[:2], *users[3:5])})
        assert send_due(schedule()) == Reminded(sent=2, failed=4)

    def test_a_killed_run_loses_one_reminder_at_most(self, make_batch, schedule, while_mailing):
        for _ in range(3):
            make_batch(days=1)

        def killed():
            if len(mail.outbox) == 1 and not was_killed:
                was_killed.append(True)
                raise KeyboardInterrupt

        was_killed = []
        while_mailing(killed)
        with pytest.raises(KeyboardInterrupt):
            send_due(schedule())
        assert send_due(schedule()) == Reminded(sent=1)
        assert len(mail.outbox) == len(reminded_of()) == 2
