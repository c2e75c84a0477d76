"""A run that the queue ends is recorded, and ends."""

from __future__ import annotations

import pytest
from django.core import mail
from django.db import connection
from django_q.exceptions import TimeoutException

from recovery_backend import tasks
from tests.runs.conftest import fails, is_gone, record, run_events, when_deleting


def test_a_run_that_the_queue_ends_is_recorded_and_ends(row, make_old, page_by_page):
    """The timeout of django-q2 is a SystemExit in the middle of the work."""
    make_old(3)
    with (
        when_deleting(fails(TimeoutException("too long")), page=2),
        pytest.raises(TimeoutException),
    ):
        tasks.run_cleanup(row.pk)
    assert (record().error, record().codes_removed) == ("timeout", 1)
    row.refresh_from_db()
    assert (row.failures, row.lease_token) == (1, None)
    assert tasks.run_cleanup(row.pk) == "not due"


def test_a_run_that_the_queue_ends_while_it_is_closed_is_recorded_too(row, make_old):
    make_old(1)
    seen = []

    def is_slow(execute, sql, params, many, context):
        if "purgehistory" in sql and "UPDATE" in sql and not seen:
            seen.append(sql)
            raise TimeoutException("too long")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(is_slow), pytest.raises(TimeoutException):
        tasks.run_cleanup(row.pk)
    assert (record().error, record().codes_removed) == ("timeout", 1)
    row.refresh_from_db()
    assert (row.failures, row.lease_token) == (1, None)


def test_a_run_that_the_queue_ends_ends_also_where_it_cannot_be_recorded(row, make_old, caplog):
    make_old(1)
    with (
        when_deleting(fails(TimeoutException("too long"))),
        connection.execute_wrapper(is_gone),
        pytest.raises(TimeoutException),
    ):
        tasks.run_cleanup(row.pk)
    assert f"run not closed schedule={row.pk}: RuntimeError" in caplog.text


def test_a_run_that_the_queue_ends_while_it_is_reported_was_done(
    row, make_old, reports, monkeypatch, caplog
):
    make_old(1)
    monkeypatch.setattr(mail.EmailMessage, "send", fails(TimeoutException("slow")))
    with pytest.raises(TimeoutException):
        tasks.run_cleanup(row.pk)
    assert (record().error, record().codes_removed) == ("", 1)
    assert [name for name, *_ in run_events()] == ["run"]
    assert "run not closed" not in caplog.text
