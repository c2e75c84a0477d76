"""What a purge leaves in the record, also where it fails."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection

from recovery_backend import signals
from recovery_backend.models import RecoveryCodeAudit
from recovery_backend.purge import Purged, purge_audit, purge_codes
from tests.purge.conftest import DAY, add_batch, counters, counts_codes


class TestRecord:
    @pytest.fixture
    def ended(self, user):
        return add_batch(user, *[("used", 31 * DAY)] * 6)

    @pytest.fixture
    def heard(self):
        payloads = []

        def receiver(signal, sender, **payload):
            payloads.append(payload)

        signals.codes_purged.connect(receiver)
        yield payloads
        signals.codes_purged.disconnect(receiver)

    def test_a_purge_is_one_event_with_counts(self, ended, events):
        """R-123"""
        purge_codes(30, batch_size=2, delete_empty_batches=True)
        assert events() == [("purge.done", "")]
        assert RecoveryCodeAudit.objects.get().data == {
            "codes": 6,
            "batches": 1,
            "other_rows": 0,
            "retention_days": 30,
        }

    def test_it_is_told_once_it_is_committed(
        self, ended, heard, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=True):
            purge_codes(30)
        assert heard == [{"user": None, "number_of_codes": 6, "number_of_batches": 0}]

    def test_a_purge_that_removed_nothing_is_none(self, user, codes, events):
        before = len(events())
        purge_codes(30)
        purge_codes(30, is_dry_run=True)
        purge_audit(30)
        assert len(events()) == before

    def test_a_dry_run_changes_nothing(self, ended, events):
        assert purge_codes(30, is_dry_run=True) == Purged(codes=6)
        assert purge_codes(30, is_dry_run=True, max_rows=4) == Purged(codes=4, stopped="rows")
        assert ended.codes.count() == 6
        assert events() == []

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
    def test_what_was_removed_before_an_error_is_recorded(self, ended, error, events):
        """R-111: what its caller raises ends a purge; the pages before stay removed."""

        def stop(done):
            if done.codes == 4:
                raise error("enough")

        with pytest.raises(error, match="enough"):
            purge_codes(30, batch_size=2, on_page=stop)
        assert counters(ended)[0] == 4 == 6 - ended.codes.count()
        assert events() == [("purge.done", "")]
        assert RecoveryCodeAudit.objects.get().data["codes"] == 4

    def test_a_failing_page_leaves_everything_as_it_was(self, ended, user, codes, try_code):
        """R-111: and people still sign in."""

        def fail(execute, sql, params, many, context):
            if counts_codes(sql):
                raise OperationalError("disk full")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(fail), pytest.raises(OperationalError, match="disk full"):
            purge_codes(30)
        assert ended.codes.count() == 6
        assert counters(ended) == (0, 0, 0, 0)
        assert try_code(user.email, codes[0]) == user
        assert purge_codes(30).codes == 6

    def test_an_error_is_not_hidden_by_a_record_that_fails_too(self, ended, caplog):
        def fail(execute, sql, params, many, context):
            if sql.startswith("INSERT"):
                raise OperationalError("no more room")
            return execute(sql, params, many, context)

        def stop(done):
            if done.codes:
                raise RuntimeError("enough")

        with connection.execute_wrapper(fail), pytest.raises(RuntimeError, match="enough"):
            purge_codes(30, batch_size=2, on_page=stop)
        assert "what was done is not recorded: OperationalError" in caplog.text
