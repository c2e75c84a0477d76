"""What a run does, by the policy of its row, and what goes along with it."""

from __future__ import annotations

import pytest
from django.core import mail
from django.utils import timezone

from recovery_backend import posture, runs, tasks
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAuditSeal,
    RecoveryCodeBatch,
    RecoveryCodePurgeHistory,
)
from tests.runs.conftest import (
    AUDIT,
    CODES,
    DAY,
    HOUR,
    REMINDERS,
    fails,
    mirror_of,
    record,
    run_events,
)


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
