"""The rows that an administrator edits, and django-q2's schedules that follow them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.clients import Client
from recovery_backend.models import (
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.schedules import SCHEDULERS, RunKind, queue
from tests.test_races import together

KINDS = {
    RunKind.CODES: (RecoveryCodeCleanUpScheduler, "recovery_backend.tasks.run_cleanup"),
    RunKind.AUDIT: (RecoveryCodeAuditScheduler, "recovery_backend.tasks.run_audit_cleanup"),
    RunKind.REMINDERS: (RecoveryCodeReminderScheduler, "recovery_backend.tasks.run_reminders"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def make_row(db):
    def make(kind=RunKind.CODES, run_at=None, **fields):
        fields.setdefault("name", f"{kind} {timezone.now().timestamp()}")
        return SCHEDULERS[kind].objects.create(run_at=run_at or soon(), **fields)

    return make


@pytest.fixture
def row(make_row):
    return make_row(name="nightly")


def soon():
    return timezone.now() + HOUR


def mirror_of(row):
    return Schedule.objects.get(name=queue.name_of(row))


def edited(row, **fields):
    """The row as an edit form saves it: all fields, as they were read, and these."""
    fresh = type(row).objects.get(pk=row.pk)
    for name, value in fields.items():
        setattr(fresh, name, value)
    fresh.save()
    fresh.refresh_from_db()
    return fresh


def has_run(row, next_run):
    """Have the row look as after a run."""
    record = RecoveryCodePurgeHistory.objects.create(finished_at=timezone.now())
    type(row).objects.filter(pk=row.pk).update(last_run=record, next_run=next_run)


# The queue


@each_kind
def test_a_saved_row_is_one_schedule_that_says_nothing_but_its_key(make_row, kind):
    """R-107: no policy in arguments, and a function of the allow-list only."""
    row = make_row(kind)
    schedule = mirror_of(row)
    assert (schedule.func, schedule.args) == (KINDS[kind][1], f"({row.pk},)")
    assert (schedule.kwargs, schedule.hook, schedule.cluster) == (None, None, None)
    assert (schedule.repeats, schedule.next_run) == (-1, row.run_at)
    assert KINDS[kind][0] is SCHEDULERS[kind]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        *(("once", "O"), ("hourly", "H"), ("daily", "D"), ("weekly", "W")),
        *(("monthly", "M"), ("quarterly", "Q"), ("yearly", "Y")),
    ],
)
def test_the_queue_has_the_nearest_type(make_row, ours, theirs):
    row = make_row(schedule_type=ours)
    assert mirror_of(row).schedule_type == theirs
    assert theirs in dict(Schedule.TYPE)


def test_an_edit_reaches_the_queue(row):
    moment = soon() + DAY
    edited(row, run_at=moment, schedule_type="weekly")
    schedule = mirror_of(row)
    assert (schedule.next_run, schedule.schedule_type) == (moment, "W")


def test_a_disabled_row_is_in_no_queue_and_comes_back(row):
    edited(row, is_enabled=False)
    assert not Schedule.objects.exists()
    edited(row, is_enabled=True)
    assert mirror_of(row).next_run == row.run_at


def test_a_deleted_row_takes_its_schedule_along_and_no_other(make_row):
    row, other = make_row(), make_row()
    row.delete()
    assert list(Schedule.objects.all()) == [mirror_of(other)]


def test_a_queryset_deletes_schedules_too(make_row):
    make_row(), make_row()
    Schedule.objects.create(name="somebody else's", func="math.sqrt", args="(1,)")
    RecoveryCodeCleanUpScheduler.objects.all().delete()
    assert Schedule.objects.get().name == "somebody else's"


def test_duplicates_and_tampering_are_corrected_by_a_save(row):
    """The queue's names are not unique, and its rows can be edited by others."""
    Schedule.objects.update(func="os.system", args="('id',)", kwargs="x=1", hook="os.system")
    Schedule.objects.create(name=queue.name_of(row), func="os.system", args="('id',)")
    edited(row)
    schedule = mirror_of(row)
    assert (schedule.func, schedule.args) == (KINDS[RunKind.CODES][1], f"({row.pk},)")
    assert (schedule.kwargs, schedule.hook) == (None, None)


def test_a_save_that_is_undone_leaves_the_queue_as_it_was(row):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        edited(row, run_at=soon() + DAY)
        raise ZeroDivisionError
    assert mirror_of(row).next_run == row.run_at


def test_a_row_and_its_schedule_are_saved_together_or_not_at_all(make_row, monkeypatch):
    monkeypatch.setattr(queue, "_constants", lambda row: {"func": None})
    with pytest.raises(Exception, match=r"(?i)null"), transaction.atomic():
        make_row()
    assert not RecoveryCodeCleanUpScheduler.objects.exists()


def test_some_fields_alone_can_be_saved(row):
    stale = type(row).objects.get(pk=row.pk)
    edited(row, name="renamed", schedule_type="weekly")
    stale.is_enabled = False
    stale.save(update_fields=["is_enabled"])
    stale.refresh_from_db()
    assert (stale.name, stale.schedule_type, stale.is_enabled) == ("renamed", "weekly", False)
    assert not Schedule.objects.exists()


def test_rows_that_no_signal_told_of_are_a_problem_until_they_are_saved(db):
    rows = [RecoveryCodeCleanUpScheduler(name=name) for name in ("one", "two")]
    RecoveryCodeCleanUpScheduler.objects.bulk_create(rows)
    assert whats() == ["missing", "missing"]
    for row in RecoveryCodeCleanUpScheduler.objects.all():
        assert mirror_of(edited(row)).next_run > timezone.now()
    assert queue.problems() == []


def test_a_fixture_is_loaded_as_it_is(row, tmp_path):
    fixture = tmp_path / "rows.json"
    call_command("dumpdata", "recovery_backend.recoverycodecleanupscheduler", output=fixture)
    row.delete()
    number_of_events = RecoveryCodeAudit.objects.count()
    call_command("loaddata", fixture, verbosity=0)
    assert RecoveryCodeCleanUpScheduler.objects.get().name == "nightly"
    assert not Schedule.objects.exists()
    assert RecoveryCodeAudit.objects.count() == number_of_events


def test_without_the_queue_rows_can_be_edited_and_wait(make_row, settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    row = make_row()
    assert queue.hand_over_now(row)
    row.delete()
    assert not apps.is_installed("django_q")


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_parallel_edits_leave_one_schedule_that_says_what_the_row_says(make_row):
    row = make_row()
    kinds = ["hourly", "daily", "weekly", "monthly"]
    for _ in range(5):
        together(8, lambda position: edited(row, schedule_type=kinds[position % 4]))
        row.refresh_from_db()
        schedule = mirror_of(row)
        assert schedule.schedule_type == queue.TYPES[row.schedule_type]
        assert schedule.next_run == row.next_run


# The next run


def test_a_new_row_begins_with_its_first_run(row):
    assert row.next_run == row.run_at == row.due_at()


def test_a_first_run_long_ago_is_made_up_for_once(make_row):
    row = make_row(run_at=timezone.now() - 30 * DAY)
    assert row.due_at() == row.run_at
    assert row.following() - timezone.now() <= DAY


def test_a_new_first_run_is_the_next_one(row):
    moment = soon() + 3 * DAY
    assert edited(row, run_at=moment).next_run == moment


def test_another_timetable_begins_at_once(row):
    has_run(row, row.run_at + DAY)
    type(row).objects.update(run_at=timezone.now() - HOUR)
    assert edited(row, schedule_type="hourly").next_run <= soon()


def test_a_next_run_that_is_said_counts(row):
    moment = soon() + 5 * DAY
    assert edited(row, next_run=moment, schedule_type="weekly").next_run == moment


def test_an_emptied_next_run_is_the_one_of_the_timetable(row):
    has_run(row, soon() + 20 * DAY)
    type(row).objects.update(run_at=timezone.now() - HOUR)
    assert soon() < edited(row, next_run=None).next_run < timezone.now() + DAY


def test_what_was_missed_while_disabled_is_not_made_up_for(row):
    type(row).objects.update(run_at=timezone.now() - 40 * DAY - HOUR)
    has_run(row, timezone.now() - 30 * DAY)
    edited(row, is_enabled=False)
    assert timezone.now() < edited(row, is_enabled=True).next_run < timezone.now() + DAY


def test_once_is_over_once_it_ran(make_row):
    row = make_row(schedule_type="once", run_at=timezone.now() - HOUR)
    has_run(row, None)
    assert edited(row, name="over").due_at() is None
    assert not Schedule.objects.exists()
    RecoveryCodePurgeHistory.objects.all().delete()
    assert edited(row, name="still over").due_at() is None
    moment = soon() + DAY
    assert edited(row, run_at=moment).due_at() == moment


def test_once_that_never_came_comes_when_it_is_enabled(make_row):
    row = make_row(schedule_type="once", run_at=timezone.now() - DAY, is_enabled=False)
    assert edited(row, is_enabled=True).due_at() == row.run_at


def test_saving_without_a_change_changes_nothing(row, events):
    has_run(row, timezone.now() - HOUR)
    before = type(row).objects.values().get()
    edited(row)
    assert type(row).objects.values().get() == before
    assert events() == [("scheduler.created", "")]


def test_an_edit_leaves_a_run_that_goes_on_alone(row):
    type(row).objects.update(next_run=timezone.now())
    stale = type(row).objects.get(pk=row.pk)
    running = type(row).objects.get(pk=row.pk)
    assert running.take_lease()
    stale.retention_days = 7
    stale.save()
    assert running.renew_lease()
    assert running.give_lease_back()


def test_a_row_that_was_deleted_meanwhile_does_not_come_back(row):
    stale = type(row).objects.get(pk=row.pk)
    row.delete()
    with pytest.raises(type(stale).DoesNotExist):
        stale.save()
    assert not Schedule.objects.exists()


def test_a_row_that_was_read_before_a_run_does_not_repeat_it(row):
    stale = type(row).objects.get(pk=row.pk)
    has_run(row, row.run_at + DAY)
    stale.name = "renamed"
    stale.full_clean()
    stale.save()
    assert (stale.name, stale.next_run) == ("renamed", row.run_at + DAY)
    has_run(row, row.run_at + 2 * DAY)
    stale.save()
    assert mirror_of(row).next_run == row.run_at + 2 * DAY


def test_a_next_run_can_be_set_to_what_it_was_before(row):
    fresh = type(row).objects.get(pk=row.pk)
    has_run(row, row.run_at + DAY)
    fresh.refresh_from_db()
    fresh.next_run = row.run_at
    fresh.save()
    assert mirror_of(row).next_run == row.run_at


def test_a_row_can_be_saved_without_what_was_not_read(row):
    fresh = type(row).objects.defer("next_run").get(pk=row.pk)
    fresh.name = "renamed"
    fresh.save()
    assert edited(fresh).next_run == row.run_at


# What may be written


def problem_of(row):
    with pytest.raises(ValidationError) as caught:
        row.full_clean()
    return {name: [it.code for it in found] for name, found in caught.value.error_dict.items()}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"run_at": -HOUR}, {"run_at": ["past"]}),
        ({"run_at": DAY, "next_run": HOUR}, {"next_run": ["order"]}),
        ({"run_at": -timedelta(minutes=1), "next_run": None}, {}),
        ({"retention_days": -1}, {"retention_days": ["min_value"]}),
        ({"retention_days": 36_501}, {"retention_days": ["max_value"]}),
        ({"retention_days": "many"}, {"retention_days": ["invalid"]}),
        ({"name": ""}, {"name": ["blank"]}),
        ({"schedule_type": "minutely"}, {"schedule_type": ["invalid_choice"]}),
    ],
)
def test_a_form_says_what_is_wrong_with_a_new_row(fields, problem):
    """R-110"""
    fields = {"name": "new", "run_at": HOUR} | fields
    moments = {
        name: timezone.now() + value if isinstance(value, timedelta) else value
        for name, value in fields.items()
    }
    row = RecoveryCodeCleanUpScheduler(**moments)
    if problem:
        assert problem_of(row) == problem
    else:
        row.full_clean()


def test_a_form_takes_a_stored_row_whose_times_have_passed(row):
    """Also in the whole seconds that a form knows."""
    type(row).objects.update(run_at=timezone.now() - DAY, next_run=timezone.now() - HOUR)
    row.refresh_from_db()
    row.run_at = row.run_at.replace(microsecond=0)
    row.next_run = row.next_run.replace(microsecond=0)
    row.full_clean()


def test_a_form_refuses_a_next_run_in_the_past(row):
    type(row).objects.update(run_at=timezone.now() - 9 * DAY)
    row.refresh_from_db()
    row.next_run = timezone.now() - DAY
    assert problem_of(row) == {"next_run": ["past"]}


def test_a_later_first_run_needs_no_other_next_run(row):
    row.run_at = soon() + DAY
    row.full_clean()


# The audit


def edits():
    rows = RecoveryCodeAudit.objects.filter(event__startswith="recovery.scheduler").order_by("pk")
    return [(row.event, row.actor, row.data) for row in rows]


def test_the_audit_says_who_edited_what(row, make_user):
    """R-115"""
    admin = make_user()
    RecoveryCodeCleanUpScheduler.objects.update(retention_days=90)
    fresh = type(row).objects.get(pk=row.pk)
    fresh.actor, fresh.client = admin, Client(address="198.51.100.7")
    fresh.retention_days, fresh.name = 0, "now\u202e\n"
    fresh.save()
    fresh.delete()
    created, changed, deleted = edits()
    named = {"kind": "codes", "schedule": row.pk, "name": "nightly"}
    policy = {"is_enabled": True, "schedule_type": "daily", "retention_days": 30}
    assert created == (
        Event.SCHEDULER_CREATED,
        None,
        {**named, "policy": {**policy, "delete_empty_batch": False}},
    )
    changes = {"retention_days": ["90", "0"], "name": ["nightly", "now  "]}
    assert changed == (
        Event.SCHEDULER_CHANGED,
        admin,
        {**named, "name": "now  ", "changes": changes},
    )
    assert deleted[:2] == (Event.SCHEDULER_DELETED, admin)
    assert set(RecoveryCodeAudit.objects.values_list("address", flat=True)[1:]) == {"198.51.100.7"}


# Run now


def test_run_now_hands_the_task_over_at_once(row, committed):
    with committed():
        assert queue.hand_over_now(row)
    (queued,) = OrmQ.objects.all()
    assert (queued.task["func"], queued.task["args"]) == (KINDS[RunKind.CODES][1], (row.pk,))
    assert queued.task["save"] is False
    row.refresh_from_db()
    assert row.due_at() <= timezone.now() < row.next_run
    assert mirror_of(row).next_run == row.due_at()


def test_run_now_works_when_the_broker_is_down(row, committed, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ConnectionError("no broker")

    monkeypatch.setattr("django_q.tasks.async_task", broken)
    with committed():
        assert queue.hand_over_now(row)
    assert mirror_of(row).next_run <= timezone.now()
    assert "run not queued kind=codes" in caplog.text


def test_a_disabled_or_running_row_does_not_run_now(row, committed):
    type(row).objects.update(next_run=timezone.now())
    assert type(row).objects.get(pk=row.pk).take_lease()
    with committed():
        assert not queue.hand_over_now(row)
    disabled = edited(row, is_enabled=False)
    with committed():
        assert not queue.hand_over_now(disabled)
    assert not OrmQ.objects.exists()


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_of_many_parallel_workers_one_has_the_lease(make_row):
    row = make_row(run_at=timezone.now())
    for _ in range(10):
        stored = [type(row).objects.get(pk=row.pk) for _ in range(8)]
        taken = together(8, lambda position, stored=stored: stored[position].take_lease())
        assert sum(taken) == 1
        assert [one.renew_lease() for one in stored].count(True) == 1
        assert stored[taken.index(True)].give_lease_back()


def test_a_lease_ends_by_itself(row, clock):
    type(row).objects.update(next_run=timezone.now())
    first, second = (type(row).objects.get(pk=row.pk) for _ in range(2))
    assert first.take_lease()
    clock.shift(89)
    assert not second.take_lease()
    clock.shift(1)
    assert second.take_lease()
    assert not first.renew_lease()
    assert not first.give_lease_back()


# Health


def whats():
    return [problem.what for problem in queue.problems()]


def test_a_healthy_queue_has_no_problems(make_row):
    for kind in KINDS:
        make_row(kind)
    make_row(is_enabled=False)
    Schedule.objects.create(name="fine", func="f", args="(1, 'a')", kwargs="a=1, b='x'")
    Schedule.objects.create(name="also fine", func="f", args="5", kwargs="{'a': 1}")
    assert queue.problems() == []


@pytest.mark.parametrize("field", ["func", "args", "kwargs", "hook"])
def test_an_altered_schedule_is_a_problem(row, field):
    """R-107"""
    Schedule.objects.update(**{field: "(77,)" if field == "args" else "os.system"})
    (problem,) = queue.problems()
    assert problem.what == "altered" and "nightly" in problem.text


def test_a_missing_schedule_is_a_problem(row):
    Schedule.objects.all().delete()
    (problem,) = queue.problems()
    assert problem.what == "missing" and "nightly" in problem.text


def test_an_overdue_row_is_a_problem_unless_it_runs(row):
    type(row).objects.update(next_run=timezone.now() - timedelta(minutes=9))
    assert queue.problems() == []
    type(row).objects.update(next_run=timezone.now() - timedelta(minutes=11))
    assert whats() == ["overdue"]
    assert type(row).objects.get(pk=row.pk).take_lease()
    assert queue.problems() == []


def test_a_row_whose_timetable_is_none_is_a_problem(row):
    """As SQL or a fixture leaves it; the pages that list problems still say the others."""
    type(row).objects.update(schedule_type="never")
    (problem,) = queue.problems()
    assert problem.what == "altered" and "nightly" in problem.text
    row.refresh_from_db()
    edited(row, schedule_type="weekly")
    assert queue.problems() == []


def test_no_row_is_made_with_a_timetable_that_is_none(make_row):
    with pytest.raises(ValueError, match="never"):
        make_row(schedule_type="never")
    assert not RecoveryCodeCleanUpScheduler.objects.exists()


def stops_the_others(**fields):
    """Whether django-q2 itself, with such a schedule among the due ones, calls none at all."""
    OrmQ.objects.all().delete()
    Schedule.objects.all().delete()
    due = {"func": "math.sqrt", "next_run": timezone.now() - HOUR, "schedule_type": "D"}
    fine, odd = Schedule(name="fine", args="(4,)", **due), Schedule(name="odd", **due | fields)
    Schedule.objects.bulk_create([fine, odd])  # `save` would look at a cron itself
    scheduler()
    return "fine" not in {queued.task.get("group") for queued in OrmQ.objects.all()}


ODD_ARGUMENTS = [
    {"args": "(1, oops)"},
    {"args": "("},
    {"args": "(" * 3000},
    {"args": "-" * 9000 + "1"},
    {"args": "f()"},
    {"args": " "},
    {"args": "{[]: 1}"},
    {"args": "5"},
    {"kwargs": "5"},
    {"kwargs": "[1]"},
    {"kwargs": "1, 2"},
    {"kwargs": " "},
    {"kwargs": "os.system"},
    {"kwargs": "{1: 2}"},
    {"kwargs": "{[]: 2}"},
    {"kwargs": "a={[]: 2}"},
    {"kwargs": "a=oops"},
    {"kwargs": "**{'a': 1}"},
    {"kwargs": "func=1"},
    {"kwargs": "{'func': 1}"},
    {"intended_date_kwarg": "func"},
    {"kwargs": ") + (1"},
    {"kwargs": ")(1"},
    {"kwargs": ")\nf("},
    {"kwargs": ").a = f(b=1"},
    {"kwargs": "{'q_options': 5}"},
    {"kwargs": "{'q_options': None}"},
    {"kwargs": "q_options=[1]"},
    {"kwargs": "q_options={}", "hook": "math.sqrt"},
    {"kwargs": "q_options={'cluster': 'another', 'broker': 5}"},
    {"kwargs": "broker=5, q_options={'cluster': 'another'}"},
    {"kwargs": "broker=5, q_options={'broker_name': 'another'}"},
    {"kwargs": "broker=5, q_options={'broker': 5}"},
    {"kwargs": "broker=5"},
]
ODD_TIMETABLES = [
    {"schedule_type": "I", "minutes": None},
    {"schedule_type": "O"},
    {"schedule_type": "X"},
    {"schedule_type": ""},
    {"schedule_type": "C", "cron": "* * * * *"},
    {"schedule_type": "C", "cron": "at night"},
    {"schedule_type": "C", "cron": None},
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fields", [*ODD_ARGUMENTS, *ODD_TIMETABLES], ids=str)
def test_what_stops_every_schedule_is_told_as_django_q2_does_it(fields):
    """Nothing of this is a guess: its own scheduler is asked."""
    assert (stops_the_others(**fields), whats()) in [(True, ["malformed"]), (False, [])]


PIECES = [*"()[]{},=:;.*+- 1\n", "**", "'a'", "a", "b=2", "f(", "func", "None"]
WORDS = ["'q_options'", "q_options=", "'broker'", "'cluster'", "'func'"]


@pytest.mark.django_db(transaction=True)
@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["args", "kwargs"]),
    st.lists(st.sampled_from(PIECES + WORDS), max_size=9).map("".join),
)
def test_whatever_the_arguments_are_django_q2_agrees(field, text):
    assert stops_the_others(**{field: text}) == (whats() == ["malformed"])


def test_what_stops_every_schedule_is_named_until_it_is_gone(row):
    bad = Schedule.objects.create(name="Report\u202e", func="math.sqrt", args="(1, oops)")
    (problem,) = queue.problems()
    assert problem.what == "malformed"
    assert f"{bad.pk} (Report ) has arguments" in problem.text
    Schedule.objects.filter(pk=bad.pk).update(args=None, schedule_type="X")
    (problem,) = queue.problems()
    assert f"{bad.pk} (Report ) has a timetable" in problem.text
    Schedule.objects.filter(pk=bad.pk).update(repeats=0)  # which is never called
    assert queue.problems() == []


def test_what_stops_every_schedule_is_found_among_thousands(db):
    fine = (Schedule(name="fine", func="f", schedule_type="D") for _ in range(3000))
    Schedule.objects.bulk_create(fine)
    Schedule.objects.create(name="bad", func="math.sqrt", args="(1, oops)")
    assert whats() == ["malformed"]


def test_without_the_queue_each_schedule_waits(row, settings):
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    assert whats() == ["not_installed"]


def test_health_costs_the_same_for_many_schedules(make_row, django_assert_num_queries):
    for number in range(30):
        make_row(name=f"row {number}")
    # The rows of three kinds, the queue's schedules with arguments, and ours.
    with django_assert_num_queries(5):
        assert queue.problems() == []
