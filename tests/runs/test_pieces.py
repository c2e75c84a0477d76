"""A long run goes on in pieces, and is one run."""

from __future__ import annotations

import time
from itertools import count

import pytest
from django.utils import timezone

from recovery_backend import tasks
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.runs import work
from tests.runs.conftest import (
    DAY,
    REMINDERS,
    SECOND,
    mirror_of,
    record,
    run_events,
    when_deleting,
)


@pytest.fixture
def slow_pages(page_by_page, monkeypatch):
    """Each page takes longer than a run has time."""
    monkeypatch.setattr("django_q.conf.Conf.TIMEOUT", 60)
    read, late = time.monotonic, []
    monkeypatch.setattr(time, "monotonic", lambda: read() + sum(late))
    with when_deleting(lambda: late.append(31), page=None):
        yield


def test_a_long_run_goes_on_in_pieces_and_is_one_run(row, make_old, slow_pages, reports):
    make_old(4)
    outcomes = []
    while not outcomes or outcomes[-1] == "goes on":
        outcomes.append(tasks.run_cleanup(row.pk))
        if outcomes[-1] == "goes on":
            assert record().finished_at is None and record().has_more
            assert mirror_of(row).next_run <= timezone.now()
            assert reports == [] and run_events() == []
    assert outcomes[-1] == "done" and outcomes.count("goes on") >= 3
    assert (record().codes_removed, record().has_more) == (4, False)
    assert len(reports) == len(run_events()) == 1


def test_a_run_called_before_its_time_goes_on_too(make_row, make_old, slow_pages):
    row = make_row(run_at=timezone.now() + DAY)
    make_old(2)
    outcomes = [tasks.run_cleanup(row.pk) for _ in range(4)]
    assert "done" in outcomes and outcomes[-1] in {"done", "not due"}
    assert RecoveryCode.objects.count() == 0
    row.refresh_from_db()
    assert row.next_run == row.run_at


@pytest.mark.parametrize("is_over", [True, False])
def test_reminders_go_on_also_where_a_piece_sent_none(
    make_row, make_user, make_codes, monkeypatch, is_over
):
    """It looked at batches of which none was due, or recorded those that expired."""
    row = make_row(REMINDERS)
    for _ in range(3):
        make_codes(make_user(), 10)
    if is_over:
        RecoveryCodeBatch.objects.update(expires_at=timezone.now() - SECOND)
    monkeypatch.setattr("django_q.conf.Conf.TIMEOUT", 60)
    monkeypatch.setattr("recovery_backend.reminders.PAGE", 1)
    ticks = count(step=31)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    outcomes = [tasks.run_reminders(row.pk)]
    while outcomes[-1] == "goes on" and len(outcomes) < 20:
        outcomes.append(tasks.run_reminders(row.pk))
    assert outcomes[-1] == "done" and outcomes.count("goes on") >= 3
    assert (record().messages_sent, record().has_more) == (0, False)
    assert RecoveryCodeBatch.objects.newly_expired().count() == 0


@pytest.mark.parametrize("limit", [1, 3])
def test_the_most_deletions_of_a_run_count_over_its_pieces(
    row, make_old, slow_pages, settings, limit
):
    """R-110"""
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_DELETIONS_PER_RUN = limit
    make_old(5)
    while tasks.run_cleanup(row.pk) == "goes on":
        pass
    assert RecoveryCode.objects.count() == 5 - limit
    assert (record().codes_removed, record().has_more) == (limit, True)
    row.refresh_from_db()
    assert row.next_run == row.run_at + DAY


@pytest.mark.parametrize(("timeout", "seconds"), [(60, 30), (None, 300), (3600, 300)])
def test_a_run_takes_half_the_time_that_the_queue_gives(monkeypatch, timeout, seconds):
    monkeypatch.setattr("django_q.conf.Conf.TIMEOUT", timeout)
    assert work.budget_seconds() == seconds


def test_without_a_queue_a_run_takes_a_bounded_time(settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    assert work.budget_seconds() == 300
