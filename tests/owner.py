"""What the tests of a user's own codes look at, and say in one word."""

from __future__ import annotations

from django.core import mail
from django_q.models import OrmQ

from recovery_backend.codes import PresentedCode
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeBatch,
    RecoveryCodeEmailLog,
    RecoveryCodeSetup,
)

PREFIX = "DJANGO_AUTH_RECOVERY_CODES_"


def rows():
    """Everything that an action could have changed, counters and audit aside."""
    return [
        list(RecoveryCodeBatch.objects.order_by("pk").values()),
        list(RecoveryCode.objects.order_by("pk").values()),
        list(RecoveryCodeSetup.objects.values()),
        list(RecoveryCodeEmailLog.objects.values()),
        len(mail.outbox),
        OrmQ.objects.count(),
    ]


def usable(user):
    return RecoveryCode.objects.usable().of_user(user).count()


def active(user):
    return RecoveryCodeBatch.objects.active_of(user)


def row_of(code):
    return RecoveryCode.objects.presented(PresentedCode(code))


def state(browser):
    return browser.open("recovery_email_status").json()["state"]


def set_up(settings, **changes):
    for name, value in changes.items():
        setattr(settings, f"{PREFIX}{name}", value)


def codes_in(message, codes):
    return [code for code in codes if code in message.body]
