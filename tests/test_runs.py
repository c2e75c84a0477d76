"""R-109 to R-112: one run of one schedule, however often it is called and however it ends."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from itertools import count

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone
from django_q.exceptions import TimeoutException
from django_q.models import OrmQ, Schedule

from recovery_backend import posture, runs, tasks
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAuditSeal,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
)
from recovery_backend.runs import progress, work
from recovery_backend.schedules import SCHEDULERS, RunKind, queue
from tests.test_emails import HOSTILE_NAMES, BrokenMail, as_read, bodies, use_mail_backend
from tests.test_races import together

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
def slow_pages(page_by_page, monkeypatch):
    """Each page takes longer than a run has time."""
    monkeypatch.setattr("django_q.conf.Conf.TIMEOUT", 60)
    read, late = time.monotonic, []
    monkeypatch.setattr(time, "monotonic", lambda: read() + sum(late))
    with when_deleting(lambda: late.append(31), page=None):
        yield


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


def abandoned(row):
    """As a worker leaves it that is killed in the middle of its run."""
    row = type(row).objects.get(pk=row.pk)
    assert row.take_lease()
    begun = progress.progress_of(row)
    begun.open()
    return begun


# A run


@pytest.mark.parametrize("is_named", [True, False])
def test_a_due_run_is_done_recorded_and_planned_again(row, make_old, caplog, is_named):
    type(row).objects.update(use_with_logger=is_named)
    make_old(3)
    with caplog.at_level("INFO", "recovery_backend"):
        assert tasks.run_cleanup(row.pk) == "done"
    assert RecoveryCode.objects.count() == 0
    row.refresh_from_db()
    done = record()
    assert row.last_run == done
    assert (done.kind, done.trigger, done.policy_name) == ("codes", "schedule", "nightly")
    assert (done.retention_days, done.codes_removed, done.batches_removed) == (30, 3, 0)
    assert (done.has_more, done.error) == (False, "")
    assert done.started_at <= done.finished_at <= timezone.now()
    assert row.next_run == row.run_at + DAY
    assert mirror_of(row).next_run == row.next_run
    assert (row.lease_token, row.lease_until, row.failures) == (None, None, 0)
    data = {"kind": "codes", "schedule": row.pk, "name": "nightly", "codes_removed": 3}
    assert run_events() == [("run", "", data)]
    line = f"run done kind=codes schedule={row.pk} name=nightly codes_removed=3"
    assert (line in caplog.messages) is is_named


def test_the_policy_of_the_row_counts(make_row, make_old):
    """R-123: retention and empty batches are read from the row, never from arguments."""
    batch = make_old(3)
    keeps = make_row(name="keeps", retention_days=60)
    assert tasks.run_cleanup(keeps.pk) == "done"
    assert batch.codes.count() == 3
    empties = make_row(name="empties", retention_days=0, delete_empty_batch=True)
    assert tasks.run_cleanup(empties.pk) == "done"
    assert not RecoveryCodeBatch.objects.exists()
    assert RecoveryCodePurgeHistory.objects.latest("pk").batches_removed == 1


def test_each_kind_does_its_own_work(make_row, make_user):
    """The audit's rows go by age, and a reminder is sent."""
    old = RecoveryCodeAudit.objects.create(event="recovery.login.fail", at=timezone.now() - DAY)
    row = make_row(AUDIT, retention_days=1)
    assert tasks.run_audit_cleanup(row.pk) == "done"
    assert not RecoveryCodeAudit.objects.filter(pk=old.pk).exists()
    assert record().audit_rows_removed == 1
    RecoveryCodeBatch.create_recovery_batch(make_user(), days_to_expire=3)
    row = make_row(REMINDERS)
    assert tasks.run_reminders(row.pk) == "done"
    assert RecoveryCodePurgeHistory.objects.get(kind="reminders").messages_sent == 1
    assert len(mail.outbox) == 1


def test_an_audit_purge_that_keeps_nothing_keeps_its_own_record(make_row):
    row = make_row(AUDIT, retention_days=0)
    assert tasks.run_audit_cleanup(row.pk) == "done"
    row.refresh_from_db()
    assert row.last_run == record()


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


@pytest.mark.parametrize("pk", [0, -1, 2**63, 10**30, True, None, "1", 1.0, "1 OR 1=1", (1,), {}])
@pytest.mark.parametrize("task", [tasks.run_cleanup, tasks.run_audit_cleanup, tasks.run_reminders])
def test_what_is_no_row_of_its_kind_is_refused(row, make_old, task, pk):
    """R-107"""
    batch = make_old(1)
    assert task(pk) == "refused"
    assert batch.codes.count() == 1
    assert not RecoveryCodePurgeHistory.objects.exists()


def test_a_disabled_row_and_a_row_of_another_kind_are_refused(make_row, caplog):
    """R-107"""
    row = make_row(is_enabled=False)
    assert tasks.run_cleanup(row.pk) == "refused"
    assert tasks.run_audit_cleanup(row.pk) == "refused"
    assert f"run refused kind=codes schedule={row.pk}" in caplog.text
    assert not RecoveryCodePurgeHistory.objects.exists()


def test_without_time_zones_a_run_is_a_run(settings, db):
    settings.USE_TZ = False
    row = RecoveryCodeCleanUpScheduler.objects.create(name="nightly", run_at=timezone.now())
    assert tasks.run_cleanup(row.pk) == "done"
    row.refresh_from_db()
    assert row.next_run == row.run_at + DAY


# Leases


def test_while_it_runs_another_call_comes_back_later(row):
    begun = abandoned(row)
    assert tasks.run_cleanup(row.pk) == "busy"
    assert mirror_of(row).next_run == begun.row.lease_until + SECOND


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_of_parallel_calls_one_runs(row, make_old):
    """R-109"""
    make_old(20)
    outcomes = together(8, lambda position: tasks.run_cleanup(row.pk))
    assert outcomes.count("done") == 1
    assert set(outcomes) <= {"done", "busy", "not due"}
    assert record().codes_removed == 20
    assert [event for event, _, _ in run_events()] == ["run"]
    row.refresh_from_db()
    assert (row.lease_token, row.next_run) == (None, row.run_at + DAY)


def test_a_killed_run_goes_on_in_its_own_record(row, make_old, page_by_page, clock, reports):
    """R-109: the row stays due, the queue calls when the lease has ended, and nothing is lost."""
    make_old(5)
    with when_deleting(fails(KeyboardInterrupt), page=3), pytest.raises(KeyboardInterrupt):
        begun = abandoned(row)
        work.WORK[CODES](begun)
    unfinished = record()
    assert (unfinished.codes_removed, unfinished.finished_at) == (2, None)
    row.refresh_from_db()
    assert row.due_at() <= timezone.now()
    assert mirror_of(row).next_run == row.lease_until + SECOND
    assert tasks.run_cleanup(row.pk) == "busy"
    clock.shift(91)
    assert tasks.run_cleanup(row.pk) == "done"
    finished = record()
    assert (finished.pk, finished.codes_removed) == (unfinished.pk, 5)
    assert finished.finished_at is not None
    assert len(reports) == 1


def test_a_run_that_lost_its_lease_leaves_the_row_to_the_other(row, make_old, page_by_page, clock):
    make_old(4)

    def another_takes_over():
        clock.shift(91)
        abandoned(row)

    with when_deleting(another_takes_over, page=2):
        assert tasks.run_cleanup(row.pk) == "stopped"
    row.refresh_from_db()
    assert row.lease_token is not None
    assert RecoveryCode.objects.count() == 2
    assert record().finished_at is None
    assert run_events() == []


def test_a_run_that_lost_its_lease_at_the_very_end_closes_nothing(row, make_old):
    make_old(1)
    with when_deleting(
        lambda: type(row).objects.update(lease_token=RecoveryCodeBatch().public_id)
    ):
        assert tasks.run_cleanup(row.pk) == "stopped"
    assert record().finished_at is None
    assert run_events() == []


@pytest.mark.parametrize("end", ["disable", "delete"])
def test_disabling_or_deleting_ends_a_run_after_its_page(row, make_old, page_by_page, end):
    make_old(4)

    def edit():
        stored = type(row).objects.get(pk=row.pk)
        if end == "delete":
            stored.delete()
        else:
            stored.is_enabled = False
            stored.save()

    with when_deleting(edit, page=2):
        assert tasks.run_cleanup(row.pk) == "stopped"
    assert RecoveryCode.objects.count() == 2
    assert (record().codes_removed, record().has_more) == (2, True)
    assert record().finished_at is not None
    assert not Schedule.objects.exists()
    if end == "disable":
        type(row).objects.update(is_enabled=True)
        assert tasks.run_cleanup(row.pk) == "done"
        assert RecoveryCode.objects.count() == 0


def test_an_edit_during_a_run_counts(row, make_old):
    make_old(1)
    moment = timezone.now() + 3 * DAY

    def edit():
        stored = type(row).objects.get(pk=row.pk)
        stored.run_at = moment
        stored.save()

    with when_deleting(edit):
        assert tasks.run_cleanup(row.pk) == "done"
    row.refresh_from_db()
    assert row.next_run == moment == mirror_of(row).next_run


# Limits


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


# Failures


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


def test_a_database_that_fails_raises_nothing_into_the_queue(row, make_old, caplog):
    """The lease ends by itself, and the queue has been told to look again after it."""
    make_old(1)
    with connection.execute_wrapper(is_gone):
        assert tasks.run_cleanup(row.pk) == "failed"
    assert "run lost kind=codes: RuntimeError" in caplog.text
    row.refresh_from_db()
    assert row.due_at() <= timezone.now()
    assert mirror_of(row).next_run == row.lease_until + SECOND


# Reports


def test_a_report_says_what_was_done_in_counts_only(row, make_old, user, reports, settings):
    """R-112"""
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL_HOST_USER = "robot@example.com"
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_USERNAME = "Ada"
    settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = "Example"
    batch = make_old(3)
    secrets = [value for code in batch.codes.values() for value in map(str, code.values())]
    assert tasks.run_cleanup(row.pk) == "done"
    (report,) = reports
    assert (report.to, report.from_email) == ([ADMIN], "robot@example.com")
    assert report.subject == "[Example] Scheduled run done: nightly"
    row.refresh_from_db()
    for text in as_read(report):
        assert "Hello Ada," in text and "nightly (purge of codes)" in text
        for label, value in {"Codes removed": 3, "Batches removed": 0, "Retention": 30}.items():
            assert label in text and str(value) in text
        assert f"{row.next_run:%Y-%m-%d %H:%M} UTC" in text
        assert user.email not in text and user.username not in text
        assert not [it for it in secrets if len(it) > 12 and it in text]
    assert sum(map(len, bodies(report))) < 20_000


def test_a_report_of_reminders_counts_messages(make_row, make_user, reports):
    RecoveryCodeBatch.create_recovery_batch(make_user(), days_to_expire=3)
    assert tasks.run_reminders(make_row(REMINDERS).pk) == "done"
    _reminder, report = reports
    assert "Messages sent: 1" in report.body
    assert "Codes removed" not in report.body


def test_a_run_that_removed_nothing_sends_nothing(row, reports):
    assert tasks.run_cleanup(row.pk) == "done"
    assert reports == []


def test_an_end_of_failures_is_told(row, settings, clock, reports):
    settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE = "broken"
    assert tasks.run_cleanup(row.pk) == "failed"
    del settings.DJANGO_AUTH_RECOVERY_CODES_BATCH_DELETE_SIZE
    clock.shift(6 * MINUTE)
    assert tasks.run_cleanup(row.pk) == "done"
    assert [report.subject.split(":")[0] for report in reports] == [
        *("Scheduled run failed", "Scheduled run done")
    ]


@pytest.mark.parametrize("without", ["address", "wish"])
def test_a_report_is_sent_to_nobody_who_did_not_ask(make_row, make_old, settings, without):
    if without == "wish":
        settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = ADMIN
    row = make_row(sends_report=without == "address")
    make_old(1)
    assert tasks.run_cleanup(row.pk) == "done"
    assert mail.outbox == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_of_a_schedule_stays_text(make_row, make_old, reports, name):
    row = make_row(name=name[:100])
    make_old(1)
    assert tasks.run_cleanup(row.pk) == "done"
    (report,) = reports
    assert "\n" not in report.subject and "\r" not in report.subject
    assert report.recipients() == [ADMIN]
    html = bodies(report)[1]
    assert "<script>" not in html and "\u202e" not in html + report.body
    assert "\n1. forged" not in report.body


def test_a_mail_server_that_is_down_harms_no_run(row, make_old, reports, settings, caplog):
    make_old(1)
    use_mail_backend(settings, f"{BrokenMail.__module__}.BrokenMail")
    assert tasks.run_cleanup(row.pk) == "done"
    assert "report not sent" in caplog.text and "ConnectionRefusedError" in caplog.text
    row.refresh_from_db()
    assert row.failures == 0


def test_reports_are_in_the_language_of_the_site(row, make_old, reports):
    from django.utils.translation import override

    make_old(1)
    with override("ar"):
        assert tasks.run_cleanup(row.pk) == "done"
    assert "Scheduled run done" in reports[0].subject


# Along with a run


def test_each_run_looks_at_the_settings(row, settings, events):
    assert tasks.run_cleanup(row.pk) == "done"
    assert ("settings.insecure", "") in events()


@pytest.mark.parametrize("is_on", [True, False])
def test_with_a_chain_each_run_seals_the_audit(row, settings, clock, is_on):
    settings.DJANGO_AUTH_RECOVERY_CODES_AUDIT_CHAIN = is_on
    clock.shift(HOUR)
    assert tasks.run_cleanup(row.pk) == "done"
    assert RecoveryCodeAuditSeal.objects.exists() is is_on


def test_what_is_done_along_with_a_run_harms_none(row, monkeypatch, caplog):
    monkeypatch.setattr(posture, "look", fails(RuntimeError("boom")))
    assert runs.run(CODES, row.pk) == "done"
    assert "RuntimeError" in caplog.text and "boom" not in caplog.text
