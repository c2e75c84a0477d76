"""A schedule that is disabled, deleted or edited while it runs."""

from __future__ import annotations

import pytest
from django.utils import timezone
from django_q.models import Schedule

from recovery_backend import tasks
from recovery_backend.models import RecoveryCode
from tests.runs.conftest import DAY, mirror_of, record, when_deleting


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
