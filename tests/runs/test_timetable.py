"""When a run is due, and when the next one is."""

from __future__ import annotations

import pytest
from django.utils import timezone
from django_q.models import OrmQ, Schedule

from recovery_backend import runs, tasks
from recovery_backend.models import RecoveryCodeCleanUpScheduler, RecoveryCodePurgeHistory
from recovery_backend.schedules import queue
from tests.runs.conftest import DAY, HOUR, MINUTE, mirror_of, record


def test_a_second_delivery_is_not_due(row, make_old):
    """R-109: the queue may deliver a task twice, or call on the wrong day."""
    assert tasks.run_cleanup(row.pk) == "done"
    batch = make_old(3)
    Schedule.objects.update(next_run=timezone.now())
    assert tasks.run_cleanup(row.pk) == "not due"
    assert batch.codes.count() == 3
    row.refresh_from_db()
    assert mirror_of(row).next_run == row.next_run
    record()


def test_what_never_ran_may_be_called_before_its_time(make_row):
    row = make_row(run_at=timezone.now() + HOUR)
    assert tasks.run_cleanup(row.pk) == "done"
    row.refresh_from_db()
    assert row.next_run == row.run_at
    assert tasks.run_cleanup(row.pk) == "not due"


def test_a_run_beside_the_timetable_does_not_move_it(make_row, committed):
    row = make_row(run_at=timezone.now() - 10 * MINUTE)
    assert tasks.run_cleanup(row.pk) == "done"
    with committed():
        assert queue.hand_over_now(row)
    (queued,) = OrmQ.objects.all()
    assert queued.task["args"] == (row.pk,)
    assert tasks.run_cleanup(row.pk) == "done"
    row.refresh_from_db()
    assert row.next_run == row.run_at + DAY


@pytest.mark.parametrize("fails_first", [False, True])
def test_a_run_beside_the_timetable_leaves_the_next_run_that_was_set(
    make_row, settings, clock, fails_first
):
    row = make_row(run_at=timezone.now() - DAY, next_run=timezone.now() + 3 * DAY)
    assert runs.request_run(row)
    if fails_first:
        settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
        assert tasks.run_cleanup(row.pk) == "failed"
        assert tasks.run_cleanup(row.pk) == "not due"
        del settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE
        assert mirror_of(row).next_run == timezone.now() + 5 * MINUTE
        clock.shift(5 * MINUTE)
    assert tasks.run_cleanup(row.pk) == "done"
    assert tasks.run_cleanup(row.pk) == "not due"
    stored = type(row).objects.get()
    assert stored.due_at() == row.next_run == mirror_of(row).next_run


def test_run_now_between_two_tries_is_not_followed_by_the_second(make_row, settings):
    row = make_row()
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
    assert tasks.run_cleanup(row.pk) == "failed"
    del settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE
    assert runs.request_run(row)
    assert tasks.run_cleanup(row.pk) == "done"
    assert type(row).objects.get().due_at() == row.run_at + DAY


def test_once_is_not_called_again(make_row):
    row = make_row(schedule_type="once")
    assert tasks.run_cleanup(row.pk) == "done"
    row.refresh_from_db()
    assert row.due_at() is None
    assert not Schedule.objects.exists()
    RecoveryCodePurgeHistory.objects.all().delete()
    assert tasks.run_cleanup(row.pk) == "not due"


def test_an_outage_is_made_up_for_once(make_row):
    row = make_row(run_at=timezone.now() - 100 * DAY - HOUR)
    assert [tasks.run_cleanup(row.pk) for _ in range(3)] == ["done", "not due", "not due"]
    row.refresh_from_db()
    assert timezone.now() < row.next_run < timezone.now() + DAY


def test_without_time_zones_a_run_is_a_run(settings, db):
    settings.USE_TZ = False
    row = RecoveryCodeCleanUpScheduler.objects.create(name="nightly", run_at=timezone.now())
    assert tasks.run_cleanup(row.pk) == "done"
    row.refresh_from_db()
    assert row.next_run == row.run_at + DAY
