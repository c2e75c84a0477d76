"""How much a purge removes at once: rows, pages, time."""

from __future__ import annotations

import pytest
from django.utils import timezone

from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import RecoveryCodeAudit
from recovery_backend.purge import OutOfBounds, Purged, purge_audit, purge_codes
from tests.purge.conftest import CODES, DAY, add_batch


class TestLimits:
    @pytest.fixture
    def ended(self, user):
        """Ten codes that ended on ten days, not in the order of their rows."""
        days = [45, 41, 48, 40, 44, 46, 42, 49, 43, 47]
        return add_batch(user, *[("used", day * DAY) for day in days])

    @pytest.mark.parametrize("batch_size", [1, 3, 10, 1000])
    @pytest.mark.parametrize(
        ("max_rows", "codes", "stopped"),
        [(0, 0, "rows"), (4, 4, "rows"), (10, 10, ""), (11, 10, ""), (-1, 10, "")],
    )
    def test_no_more_rows_go_than_may(self, ended, batch_size, max_rows, codes, stopped):
        """R-110: and it says whether there is more to do."""
        done = purge_codes(30, batch_size=batch_size, max_rows=max_rows)
        assert done == Purged(codes=codes, stopped=stopped)
        assert done.has_more == bool(stopped)
        assert ended.codes.count() == 10 - codes

    def test_rows_of_all_kinds_are_counted_together(self, ended, user):
        add_batch(user, ("active", 40 * DAY), ("active", 40 * DAY))
        RecoveryCodeCooldown.objects.create(
            key="a", account="b", updated_at=timezone.now() - 90 * DAY
        )
        done = purge_codes(30, delete_empty_batches=True, max_rows=13)
        assert done == Purged(codes=12, batches=1, stopped="rows")
        done = purge_codes(30, delete_empty_batches=True, max_rows=2)
        assert done == Purged(batches=1, other_rows=1)

    def test_the_setting_limits_a_run(self, ended, settings):
        setattr(settings, f"{CODES}_MAX_DELETIONS_PER_RUN", 3)
        assert purge_codes(30) == Purged(codes=3, stopped="rows")

    def test_what_ended_first_goes_first(self, ended):
        purge_codes(30, batch_size=2, max_rows=4)
        oldest = ended.codes.order_by("retired_at").first()
        assert timezone.now() - oldest.retired_at < 46 * DAY

    def test_codes_that_ended_in_one_moment_all_go(self, user):
        batch = add_batch(user, *[("used", 31 * DAY)] * 7)
        batch.codes.update(retired_at=timezone.now() - 31 * DAY)
        assert purge_codes(30, batch_size=2).codes == 7

    def test_after_its_time_it_begins_no_other_page(self, ended):
        assert purge_codes(30, batch_size=3, max_seconds=0) == Purged(codes=3, stopped="time")
        assert purge_codes(30, batch_size=7, max_seconds=0) == Purged(codes=7)

    def test_with_time_it_goes_on(self, ended):
        assert purge_codes(30, batch_size=3, max_seconds=600) == Purged(codes=10)

    def test_it_tells_the_sum_after_each_page(self, ended):
        told = []
        purge_codes(30, batch_size=4, on_page=told.append)
        assert [done.codes for done in told if done.codes] == [4, 8, 10, 10, 10]

    @pytest.mark.parametrize("purge", [purge_codes, purge_audit])
    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("retention_days", [True, False, -1, 36_501, 10**30, 1.0, "30"]),
            ("batch_size", [True, 0, -1, 100_001, 2.0, "5"]),
            ("max_rows", [True, -2, 10**30, 1.0, "5"]),
            ("max_seconds", [True, -1, -0.1, float("nan"), float("inf"), 10**30, "5"]),
        ],
    )
    def test_what_is_no_such_number_is_refused(self, ended, purge, name, values):
        """R-110: with the name of what is wrong, and nothing removed."""
        for value in values:
            with pytest.raises(OutOfBounds, match=f"^{name} must be "):
                purge(**{"retention_days": 0, name: value})
        assert ended.codes.count() == 10
        assert not RecoveryCodeAudit.objects.exists()
