"""What the tests of reminders share: batches, mail servers, and what owners were told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.utils import timezone

from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeReminderScheduler,
)
from tests.test_emails import use_mail_backend

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
EXPIRE_SOON = "Your recovery codes expire soon"
FEW_LEFT = "You have few recovery codes left"
NONE_LEFT = "You have no recovery codes left"
STILL_THERE = "Do you still have your recovery codes?"


class FailingMail(EmailBackend):
    """A mail server that answers as `error` says, and delivers what is not refused."""

    error: Exception = ConnectionRefusedError("down")
    refused: set[str] | None = None
    tried = 0

    def send_messages(self, messages):
        for message in messages:
            type(self).tried += 1
            if self.refused is None or self.refused.intersection(message.to):
                raise self.error
        return super().send_messages(messages)


class MailThatChanges(EmailBackend):
    """A mail server during whose work something else happens."""

    meanwhile = staticmethod(lambda: None)

    def send_messages(self, messages):
        self.meanwhile()
        return super().send_messages(messages)


def expire_at(batch, moment):
    RecoveryCodeBatch.objects.filter(pk=batch.pk).update(expires_at=moment)
    RecoveryCode.objects.filter(batch=batch).update(expires_at=moment)


def spend(batch, number):
    for code in RecoveryCode.objects.usable().filter(batch=batch)[:number]:
        assert code.spend()


def subjects():
    return [message.subject for message in mail.outbox]


def recipients():
    return [message.to[0] for message in mail.outbox]


def reminded_of():
    """What the audit says that owners were reminded of."""
    rows = RecoveryCodeAudit.objects.filter(event="recovery.code.reminder").order_by("pk")
    return [row.data for row in rows]


@pytest.fixture
def schedule():
    """A schedule that reminds of everything, as far as it is not told otherwise."""

    def schedule(**fields):
        fields = {"asks_yearly": True, "schedule_type": "daily", **fields}
        return RecoveryCodeReminderScheduler(name="reminders", **fields)

    return schedule


@pytest.fixture
def make_batch(make_user):
    """A batch of five codes, of which some are used, that expires in so many days."""

    def make(user=None, *, days=None, left=5, issued=5, **fields):
        _, batch = RecoveryCodeBatch.create_recovery_batch(
            user or make_user(), days_to_expire=None, number_of_codes=issued
        )
        spend(batch, issued - left)
        if days is not None:
            expire_at(batch, timezone.now() + days * DAY)
        RecoveryCodeBatch.objects.filter(pk=batch.pk).update(**fields)
        return batch

    return make


@pytest.fixture
def use_failing_mail(settings, monkeypatch):
    def use(error=None, refused=None):
        monkeypatch.setattr(FailingMail, "error", error or ConnectionRefusedError("down"))
        monkeypatch.setattr(FailingMail, "refused", refused)
        monkeypatch.setattr(FailingMail, "tried", 0)
        use_mail_backend(settings, "tests.reminders.conftest.FailingMail")

    return use


@pytest.fixture
def use_working_mail(settings):
    return lambda: use_mail_backend(settings, "django.core.mail.backends.locmem.EmailBackend")


@pytest.fixture
def while_mailing(settings, monkeypatch):
    """What happens at the moment in which a message leaves."""

    def use(meanwhile):
        monkeypatch.setattr(MailThatChanges, "meanwhile", staticmethod(meanwhile))
        use_mail_backend(settings, "tests.reminders.conftest.MailThatChanges")

    return use
