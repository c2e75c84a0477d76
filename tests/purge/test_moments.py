"""When a code is old enough to be purged, counted from its end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.purge import Purged, purge_codes
from tests.purge.conftest import CLOCK_SKEW, CODE, DAY, SECOND, add_batch, counters, left


class TestMoments:
    """R-19: the retention is counted from the end of a code, never from its beginning."""

    def use(self, user, code, try_code):
        assert try_code(user.email, code) == user

    def replace(self, user, code, try_code):
        RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)

    def delete(self, user, code, try_code):
        RecoveryCode.objects.get().retire(RecoveryCode.Status.DELETED)

    @pytest.mark.parametrize(
        ("end", "purged"),
        [("use", (1, 0, 0, 0)), ("replace", (0, 1, 0, 0)), ("delete", (0, 0, 1, 0))],
    )
    def test_each_end_counts_from_its_own_moment(
        self, user, make_codes, try_code, clock, end, purged
    ):
        (code,) = make_codes(user, number_of_codes=1)
        batch = RecoveryCodeBatch.objects.get()
        clock.shift(100 * DAY)
        getattr(self, end)(user, code, try_code)
        clock.shift(30 * DAY - SECOND)
        assert purge_codes(30).codes == 0
        clock.shift(SECOND)
        assert purge_codes(30).codes == 1
        assert counters(batch) == purged
        assert purge_codes(30) == Purged()

    def test_an_expired_code_waits_for_clocks_that_are_behind_too(self, user, make_codes, clock):
        make_codes(user, number_of_codes=2, days_to_expire=5)
        batch = RecoveryCodeBatch.objects.get()
        clock.shift(35 * DAY + CLOCK_SKEW - SECOND)
        assert purge_codes(30).codes == 0
        clock.shift(SECOND)
        assert purge_codes(30).codes == 2
        assert counters(batch) == (0, 0, 0, 2)

    def test_five_minutes_are_left_to_clocks_that_are_behind(self, user, clock):
        """R-109: however short the retention."""
        fresh = add_batch(user, ("active", timedelta(minutes=4, seconds=59)))
        old = add_batch(user, ("active", timedelta(minutes=5, seconds=1)))
        assert purge_codes(0) == Purged(codes=1)
        assert (left(fresh), left(old)) == (["active"], [])

    def test_without_retention_a_code_goes_as_it_ends(self, user, codes, try_code, clock):
        assert try_code(user.email, codes[0]) == user
        assert purge_codes(0).codes == 1
        assert try_code(user.email, codes[1]) == user

    def test_the_setting_is_what_is_meant_by_nothing(self, user, codes, clock, settings):
        setattr(settings, f"{CODE}_PURGE_DELETE_RETENTION_DAYS", 3)
        RecoveryCode.objects.first().retire(RecoveryCode.Status.INVALIDATED)
        clock.shift(3 * DAY - SECOND)
        assert purge_codes().codes == 0
        clock.shift(SECOND)
        assert purge_codes().codes == 1

    def test_a_code_without_an_end_outlives_everything(self, user, codes, try_code, clock):
        clock.shift(5000 * DAY)
        assert purge_codes(0, delete_empty_batches=True) == Purged()
        assert try_code(user.email, codes[0]) == user

    def test_a_row_that_contradicts_itself_stays(self, user):
        """Somebody wrote it by SQL; what it is worth, is not for a purge to say."""
        add_batch(user, ("used", None), ("invalidated", None))
        batch = add_batch(user, ("active", None))
        batch.codes.update(retired_at=timezone.now() - 90 * DAY)
        assert purge_codes(0) == Purged()
