"""A purge of the audit, and of the records of e-mails and runs."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from recovery_backend import audit, seals
from recovery_backend.audit import Event
from recovery_backend.models import (
    RecoveryCodeAudit,
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeEmailLog,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.purge import Purged, purge_audit, purge_codes
from tests.purge.conftest import CODE, DAY, SECOND, add_batch


class TestAudit:
    @pytest.fixture
    def write(self, db):
        """Audit rows of these ages in days, in the order of their numbers."""

        def write(*days):
            now = timezone.now()
            rows = [
                RecoveryCodeAudit(event=Event.LOGIN_FAIL, outcome="refused", at=now - day * DAY)
                for day in days
            ]
            RecoveryCodeAudit.objects.bulk_create(rows)
            fails = RecoveryCodeAudit.objects.filter(event=Event.LOGIN_FAIL)
            return list(fails.order_by("pk").values_list("pk", flat=True))

        return write

    def fails(self):
        rows = RecoveryCodeAudit.objects.filter(event=Event.LOGIN_FAIL).order_by("pk")
        return list(rows.values_list("pk", flat=True))

    def announcements(self):
        rows = RecoveryCodeAudit.objects.filter(event=Event.AUDIT_PURGED).order_by("pk")
        return list(rows.values_list("data", flat=True))

    def test_old_events_go_to_the_second(self, write, clock):
        """R-123"""
        rows = write(100, 90, 89)
        clock.shift(-SECOND)
        assert purge_audit(90, is_dry_run=True).audit_rows == 1
        clock.shift(SECOND)
        assert purge_audit(90, is_dry_run=True) == purge_audit(90) == Purged(audit_rows=2)
        assert self.fails() == rows[2:]

    def test_the_setting_is_what_is_meant_by_nothing(self, write, settings):
        setattr(settings, f"{CODE}_AUDIT_RETENTION_DAYS", 7)
        write(8, 6)
        assert purge_audit().audit_rows == 1

    def test_without_retention_all_of_it_goes_but_the_purge_itself(self, write):
        write(3, 2, 1)
        assert purge_audit(0).audit_rows == 3
        assert [data["retention_days"] for data in self.announcements()] == [0, 0]

    def test_it_is_announced_before_and_counted_after(self, write):
        rows = write(100, 95, 1)
        purge_audit(90, batch_size=1)
        before, after = self.announcements()
        assert before["last_row"] == after["last_row"] == rows[1]
        assert "audit_rows" not in before
        assert (after["audit_rows"], after["other_rows"]) == (2, 0)

    def test_a_purge_that_dies_has_announced_what_it_removed(self, write):
        rows = write(100, 99, 98, 1)

        def stop(done):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            purge_audit(90, batch_size=1, on_page=stop)
        assert self.fails() == rows[1:]
        assert {data["last_row"] for data in self.announcements()} == {rows[2]}
        assert self.announcements()[-1]["audit_rows"] == 1

    def test_limits_hold_for_it_too(self, write):
        rows = write(100, 99, 98, 97)
        assert purge_audit(90, batch_size=2, max_rows=3) == Purged(audit_rows=3, stopped="rows")
        assert self.fails() == rows[3:]
        assert purge_audit(90, max_seconds=60) == Purged(audit_rows=1)

    def test_a_row_of_a_wrong_clock_goes_with_its_neighbours(self, write, monkeypatch):
        monkeypatch.setattr("recovery_backend.purge.records.NEIGHBOURS", 2)
        rows = write(100, 99, 98, 20, 5000, 10)
        assert purge_audit(90).audit_rows == 3
        assert self.fails() == rows[3:]
        assert purge_audit(15).audit_rows == 2
        assert self.fails() == rows[5:]

    def test_the_trail_of_a_short_retention_outlives_it(self, write, settings):
        """R-123: whoever has all of it purged leaves who, when, and with which policy."""
        setattr(settings, f"{CODE}_AUDIT_RETENTION_DAYS", 30)
        write(40, 20, 1)
        now = timezone.now()
        for days in (31, 29, 1):
            for event in sorted(seals.TRAIL):
                audit.record(audit.entry(event, at=now - days * DAY))
        expected = Purged(audit_rows=3 + len(seals.TRAIL))
        assert purge_audit(0, is_dry_run=True) == purge_audit(0, batch_size=2) == expected
        trail = RecoveryCodeAudit.objects.filter(at__lt=now)
        assert trail.count() == 2 * len(seals.TRAIL)
        assert purge_audit(0) == Purged()

    def test_a_longer_retention_is_that_of_the_trail_too(self, write, settings):
        setattr(settings, f"{CODE}_AUDIT_RETENTION_DAYS", 30)
        audit.record(audit.entry(Event.SCHEDULER_CHANGED, at=timezone.now() - 50 * DAY))
        assert purge_audit(60) == Purged()
        assert purge_audit(45) == Purged(audit_rows=1)

    @pytest.mark.skipif(
        connection.vendor != "sqlite", reason="only SQLite plans a small table as a large one"
    )
    def test_rows_that_stay_need_no_index_of_their_own(self, write, statements):
        write(40, 20, 1)
        with statements() as queries:
            purge_audit(0)
        pages = [sql for sql in queries if "NOT (" in sql and "ORDER BY" in sql]
        assert pages
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {pages[0]}")
            plan = " ".join(row[3] for row in cursor.fetchall())
        assert "recovery_audit_at" in plan and "TEMP B-TREE" not in plan

    def test_records_of_e_mails_and_runs_go_with_it(self, user, clock):
        now = timezone.now()
        for days in (91, 90, 89):
            RecoveryCodeEmailLog.objects.create(
                user=user, batch=uuid4(), state="sent", queued_at=now - days * DAY
            )
            RecoveryCodePurgeHistory.objects.create(
                started_at=now - days * DAY, finished_at=now - days * DAY
            )
        assert purge_audit(90, is_dry_run=True) == Purged(other_rows=4)
        assert purge_audit(90) == Purged(other_rows=4)
        [data] = self.announcements()
        assert data["other_rows"] == 4 and "last_row" not in data
        assert RecoveryCodeEmailLog.objects.count() == 1
        assert RecoveryCodePurgeHistory.objects.count() == 1

    def test_a_run_that_goes_on_is_kept(self, db, clock):
        now = timezone.now()
        RecoveryCodePurgeHistory.objects.create(started_at=now)
        RecoveryCodePurgeHistory.objects.create(started_at=now - DAY)
        assert purge_audit(0).other_rows == 1
        assert RecoveryCodePurgeHistory.objects.get().started_at == now

    def test_the_last_run_of_a_schedule_is_kept(self, db, clock):
        """One that was to run once would be due again without it."""
        long_ago = timezone.now() - 900 * DAY
        for number, scheduler in enumerate(
            (
                RecoveryCodeCleanUpScheduler,
                RecoveryCodeAuditScheduler,
                RecoveryCodeReminderScheduler,
            )
        ):
            run = RecoveryCodePurgeHistory.objects.create(
                started_at=long_ago, finished_at=long_ago
            )
            row = scheduler.objects.create(name=f"once {number}", schedule_type="once")
            scheduler.objects.filter(pk=row.pk).update(last_run=run)
        RecoveryCodePurgeHistory.objects.create(started_at=long_ago, finished_at=long_ago)
        assert purge_audit(90).other_rows == 1
        assert RecoveryCodePurgeHistory.objects.count() == 3

    def test_it_runs_with_a_purge_of_codes_where_the_site_wants_that(
        self, user, write, settings, events
    ):
        write(100, 99, 80)
        add_batch(user, ("used", 31 * DAY))
        assert purge_codes(30, max_rows=0).audit_rows == 0
        setattr(settings, f"{CODE}_AUDIT_ENABLE_AUTO_CLEANUP", True)
        expected = Purged(codes=1, audit_rows=2)
        assert purge_codes(30, is_dry_run=True) == expected
        assert purge_codes(30, max_rows=2) == Purged(codes=1, audit_rows=1, stopped="rows")
        assert purge_codes(30) == Purged(audit_rows=1)
        assert [name for name, _reason in events()][-5:] == [
            "purge.done",
            *["audit.purged"] * 4,
        ]
