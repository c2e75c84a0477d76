"""A run of what is no row of its kind, or is disabled, is refused."""

from __future__ import annotations

import pytest

from recovery_backend import tasks
from recovery_backend.models import RecoveryCodePurgeHistory


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
