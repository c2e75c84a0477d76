"""What the tests of runs share: schedules, old codes, and runs that are disturbed."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.models import RecoveryCodeBatch, RecoveryCodePurgeHistory
from recovery_backend.runs import progress
from recovery_backend.schedules import SCHEDULERS, RunKind, queue

CODES, AUDIT, REMINDERS = RunKind.CODES, RunKind.AUDIT, RunKind.REMINDERS
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
ADMIN = "admin@example.com"
DELETE = 'DELETE FROM "recovery_backend_recoverycode"'


@pytest.fixture
def make_row(db):
    """A schedule that is due."""

    def make(kind=CODES, **fields):
        fields = {"name": "nightly", "run_at": timezone.now(), "retention_days": 30} | fields
        if kind == REMINDERS:
            del fields["retention_days"]
        return SCHEDULERS[kind].objects.create(**fields)

    return make


@pytest.fixture
def row(make_row):
    return make_row()


@pytest.fixture
def make_old(user, make_codes):
    """Codes that were used forty days ago."""

    def make(number_of_codes):
        make_codes(user, number_of_codes)
        batch = RecoveryCodeBatch.objects.latest("pk")
        then = timezone.now() - 40 * DAY
        batch.codes.update(status="used", retired_at=then)
        return batch

    return make


@pytest.fixture
def page_by_page(settings, monkeypatch):
    """One code is a page, and each page is noted."""
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = 1
    monkeypatch.setattr(progress, "NOTE_SECONDS", 0)


@pytest.fixture
def reports(settings):
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = ADMIN
    return mail.outbox


@contextmanager
def when_deleting(do, page=1):
    """Have this happen before that page of codes is removed; None: before each."""
    seen = []

    def wrapper(execute, sql, params, many, context):
        if sql.replace("`", '"').startswith(DELETE):
            seen.append(sql)
            if page in {None, len(seen)}:
                do()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield


def is_gone(execute, sql, params, many, context):
    """A database that fails once a run is to be closed."""
    if "purgehistory" in sql and "UPDATE" in sql:
        raise RuntimeError("server closed the connection")
    return execute(sql, params, many, context)


def fails(error):
    def do(*args, **kwargs):
        raise error

    return do


def mirror_of(row):
    return Schedule.objects.get(name=queue.name_of(row))


def record():
    return RecoveryCodePurgeHistory.objects.get()


def run_events():
    rows = RecoveryCodeAudit.objects.filter(event__startswith="recovery.scheduler").order_by("pk")
    return [
        (row.event.rpartition(".")[2], row.reason, row.data)
        for row in rows.exclude(event="recovery.scheduler.created")
    ]
