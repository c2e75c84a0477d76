"""Of the calls of one schedule one runs; a run that is killed is taken over."""

from __future__ import annotations

import pytest
from django.utils import timezone

from recovery_backend import tasks
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.runs import progress, work
from tests.runs.conftest import (
    CODES,
    DAY,
    SECOND,
    fails,
    mirror_of,
    record,
    run_events,
    when_deleting,
)
from tests.test_races import together


def abandoned(row):
    """As a worker leaves it that is killed in the middle of its run."""
    row = type(row).objects.get(pk=row.pk)
    assert row.take_lease()
    begun = progress.progress_of(row)
    begun.open()
    return begun


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
