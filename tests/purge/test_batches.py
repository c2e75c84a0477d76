"""Codes are counted by their batch as they go; when a batch goes, and its ciphertext."""

from __future__ import annotations

from django.db import connection
from django.db.models import F
from django.utils import timezone

from recovery_backend.models import RecoveryCodeBatch
from recovery_backend.purge import Purged, purge_codes
from tests.purge.conftest import DAY, add_batch, counters, left


class TestBatches:
    def test_codes_are_counted_by_what_had_become_of_them(self, user):
        ago = 31 * DAY
        first = add_batch(
            user, ("used", ago), ("used", ago), ("invalidated", ago), ("deleted", ago),
            ("active", ago), ("active", None), ("used", DAY),
        )  # fmt: skip
        second = add_batch(user, ("used", ago), ("used", ago))
        assert purge_codes(30).codes == 7
        assert counters(first) == (2, 1, 1, 1)
        assert counters(second) == (2, 0, 0, 0)
        assert left(first) == ["active", "used"]

    def test_counts_add_up_over_pages_and_runs(self, user):
        batch = add_batch(user, *[("used", (40 - day) * DAY) for day in range(12)])
        for done in (1, 2):
            assert purge_codes(30, batch_size=1, max_rows=3).codes == 3
            assert counters(batch)[0] == 3 * done
        assert purge_codes(30, batch_size=4).codes == 5
        assert counters(batch) == (11, 0, 0, 0)

    def test_an_empty_batch_stays_unless_asked_for(self, user):
        batch = add_batch(user, ("used", 31 * DAY))
        assert purge_codes(30) == Purged(codes=1)
        assert counters(batch) == (1, 0, 0, 0)
        assert purge_codes(30, delete_empty_batches=True) == Purged(batches=1)
        assert not RecoveryCodeBatch.objects.exists()

    def test_it_goes_in_the_run_that_empties_it(self, user):
        add_batch(user, ("used", 31 * DAY), ("active", 31 * DAY))
        kept = add_batch(user, ("used", 31 * DAY), ("used", DAY))
        expected = Purged(codes=3, batches=1)
        assert purge_codes(30, delete_empty_batches=True, is_dry_run=True) == expected
        assert purge_codes(30, delete_empty_batches=True) == expected
        assert RecoveryCodeBatch.objects.get() == kept

    def test_a_batch_whose_codes_somebody_deleted_by_sql_stays(self, user):
        """Nothing says what became of them."""
        batch = add_batch(user, ("used", DAY), ("active", None))
        batch.codes.all()._raw_delete(connection.alias)
        assert purge_codes(0, delete_empty_batches=True) == Purged()

    def test_the_ciphertext_of_an_ended_session_goes_whatever_the_retention(
        self, user, browser, settings, clock
    ):
        """R-71"""
        settings.DJANGO_AUTH_RECOVERY_CODES_STASH_TTL = 600
        browser.send("recovery_generate", confirm="on")
        clock.shift(599)
        purge_codes(365)
        assert browser.open().context["plaintext"] is not None
        clock.shift(1)
        assert RecoveryCodeBatch.objects.exclude(sealed="").count() == 1
        assert purge_codes(365, is_dry_run=True) == Purged()
        assert RecoveryCodeBatch.objects.exclude(sealed="").count() == 1
        assert purge_codes(365, max_rows=0) == Purged()
        assert RecoveryCodeBatch.objects.exclude(sealed="").count() == 0

    def test_ciphertext_goes_page_by_page(self, user):
        for _number in range(5):
            add_batch(user, ("active", None), sealed="x", issued_at=timezone.now() - DAY)
        purge_codes(365, batch_size=2)
        assert not RecoveryCodeBatch.objects.exclude(sealed="").exists()


def test_counters_in_the_database_are_of_the_same_transaction(user):
    """Nobody ever sees a code removed and not counted."""
    batch = add_batch(user, *[("used", 31 * DAY)] * 5)
    seen = []

    def look(done):
        batch.refresh_from_db()
        seen.append(batch.purged_used + batch.codes.count())

    purge_codes(30, batch_size=1, on_page=look)
    assert set(seen) == {5}
    assert RecoveryCodeBatch.objects.filter(purged_used=F("number_issued")).count() == 1
