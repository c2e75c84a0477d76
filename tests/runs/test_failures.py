"""A failing run is recorded and tried again, and stops nothing else."""

from __future__ import annotations

from django.db import connection
from django.utils import timezone
from django_q.models import Schedule

from recovery_backend import tasks
from recovery_backend.models import RecoveryCodePurgeHistory
from recovery_backend.schedules import queue
from tests.runs.conftest import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    fails,
    is_gone,
    mirror_of,
    record,
    run_events,
    when_deleting,
)


def test_a_failing_run_keeps_what_it_did_and_is_tried_again(
    row, make_old, page_by_page, clock, make_codes, make_user, try_code, caplog
):
    """R-111: nothing is half done, it is recorded, and signing in goes on."""
    batch = make_old(4)
    owner = make_user()
    (code,) = make_codes(owner, 1)
    with when_deleting(fails(RuntimeError("secret detail")), page=3):
        assert tasks.run_cleanup(row.pk) == "failed"
    batch.refresh_from_db()
    assert (batch.codes.count(), batch.purged_used) == (2, 2)
    failed = record()
    assert (failed.error, failed.codes_removed) == ("RuntimeError", 2)
    assert failed.finished_at is not None
    data = {"kind": "codes", "schedule": row.pk, "name": "nightly", "codes_removed": 2}
    assert run_events() == [("failed", "error", {**data, "error": "RuntimeError"})]
    assert f"run failed kind=codes schedule={row.pk}: RuntimeError at " in caplog.text
    assert "pages.py:" in caplog.text and "secret detail" not in caplog.text
    row.refresh_from_db()
    assert (row.is_enabled, row.failures, row.lease_token) == (True, 1, None)
    assert row.due_at() == timezone.now() + 5 * MINUTE == mirror_of(row).next_run
    assert row.next_run == row.run_at + DAY
    assert try_code(owner.email, code) == owner
    clock.shift(5 * MINUTE)
    assert tasks.run_cleanup(row.pk) == "done"
    assert batch.codes.count() == 0
    row.refresh_from_db()
    assert row.failures == 0
    assert [it.codes_removed for it in RecoveryCodePurgeHistory.objects.order_by("pk")] == [2, 2]


def test_failures_pause_longer_and_then_wait_for_the_next_period(row, settings, clock, reports):
    """R-111: an administrator hears of the first failure, and once for each period given up."""
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
    pauses, told = [], []
    for _ in range(8):
        assert tasks.run_cleanup(row.pk) == "failed"
        row.refresh_from_db()
        pauses.append(round((row.due_at() - timezone.now()) / MINUTE))
        told.append(len(reports))
        clock.move_to(row.due_at())
    a_day_less_what_was_tried = 24 * 60 - 5 - 10 - 20
    assert pauses == [5, 10, 20, a_day_less_what_was_tried] * 2
    assert told == [1, 1, 1, 2, 2, 2, 2, 3]
    assert (row.failures, row.is_enabled) == (8, True)
    assert "Scheduled run failed: nightly" in reports[0].subject
    assert "ImproperlyConfigured" in reports[0].body


def test_a_retry_never_outlasts_the_next_period(make_row, settings, clock):
    row = make_row(schedule_type="hourly")
    clock.shift(58 * MINUTE)
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
    assert tasks.run_cleanup(row.pk) == "failed"
    first = row.run_at
    row.refresh_from_db()
    assert row.due_at() == first + HOUR


def test_once_is_tried_again_and_then_over(make_row, settings, clock):
    row = make_row(schedule_type="once")
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
    for _ in range(3):
        assert tasks.run_cleanup(row.pk) == "failed"
        row.refresh_from_db()
        assert queue.problems() == []
        clock.move_to(row.due_at())
    assert tasks.run_cleanup(row.pk) == "failed"
    row.refresh_from_db()
    assert row.due_at() is None
    assert not Schedule.objects.exists()


def test_a_row_whose_timetable_is_none_fails_and_lets_go(row, make_old, clock, reports):
    """As SQL or a fixture leaves it: it neither holds its lease, nor runs minute by minute."""
    make_old(1)
    type(row).objects.update(schedule_type="never")
    pauses = []
    for _ in range(5):
        assert tasks.run_cleanup(row.pk) == "failed"
        row.refresh_from_db()
        assert row.lease_token is None
        assert mirror_of(row).next_run == row.due_at()
        pauses.append((row.due_at() - timezone.now()) / MINUTE)
        clock.move_to(row.due_at())
    assert pauses == [5, 10, 20, 24 * 60 - 35, 5]
    first = RecoveryCodePurgeHistory.objects.earliest("pk")
    assert (first.error, first.codes_removed) == ("ValueError", 1)
    assert [report.subject.endswith("nightly") for report in reports] == [True, True]
    row.schedule_type = "daily"
    row.save()
    assert [tasks.run_cleanup(row.pk) for _ in range(2)] == ["done", "not due"]


def test_the_count_of_failures_fits_its_column(row, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
    type(row).objects.update(failures=32_000)
    assert tasks.run_cleanup(row.pk) == "failed"
    row.refresh_from_db()
    assert row.failures == 32_000


def test_one_failing_schedule_harms_no_other(make_row, make_old, settings):
    """R-111"""
    failing, fine = make_row(name="failing"), make_row(name="fine")
    make_old(1)
    with when_deleting(fails(RuntimeError)):
        assert tasks.run_cleanup(failing.pk) == "failed"
    assert tasks.run_cleanup(fine.pk) == "done"
    fine.refresh_from_db()
    assert mirror_of(fine).next_run == fine.next_run


def test_a_database_that_fails_raises_nothing_into_the_queue(row, make_old, caplog):
    """The lease ends by itself, and the queue has been told to look again after it."""
    make_old(1)
    with connection.execute_wrapper(is_gone):
        assert tasks.run_cleanup(row.pk) == "failed"
    assert "run lost kind=codes: RuntimeError" in caplog.text
    row.refresh_from_db()
    assert row.due_at() <= timezone.now()
    assert mirror_of(row).next_run == row.lease_until + SECOND
