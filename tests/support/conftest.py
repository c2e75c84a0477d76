"""What the tests of support share: who helps, and what came of it."""

from __future__ import annotations

import re

import pytest
from django.core import mail
from django.test import RequestFactory
from django_q.models import OrmQ

from recovery_backend import history
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.models import RecoveryCodeBatch

CODE = re.compile(r"\b[A-Za-z0-9]{6}(?:-[A-Za-z0-9]{6}){5}\b")


@pytest.fixture(autouse=True)
def mailed_at_once(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False


@pytest.fixture
def helper(make_user):
    return make_user(username="helper", is_staff=True)


@pytest.fixture
def request_of():
    """A request of the one who helps."""

    def make(actor, address="203.0.113.9"):
        request = RequestFactory(REMOTE_ADDR=address).post("/admin/")
        request.user = actor
        return request

    return make


@pytest.fixture
def help_request(helper, request_of):
    return request_of(helper)


def mailed_code(number=-1):
    """The one code in the message of that number."""
    [code] = CODE.findall(mail.outbox[number].body)
    return code


def active(user):
    return RecoveryCodeBatch.objects.active_of(user)


def required_at(user):
    return history.overview_of(user).required_at


def queued(name):
    return [row.task for row in OrmQ.objects.order_by("pk") if name in row.task["func"]]


def newest(event):
    return RecoveryCodeAudit.objects.filter(event=event).latest("pk")
