"""Purges beside each other and beside people, with real locks."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.utils import timezone

from recovery_backend import cooldown
from recovery_backend.audit import Event
from recovery_backend.models import RecoveryCode, RecoveryCodeAudit, RecoveryCodeBatch
from recovery_backend.purge import purge_audit, purge_codes
from recovery_backend.transactions import in_transaction
from tests.purge.conftest import DAY, PURGED, add_batch
from tests.test_races import by_function, together

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).parent.parent
ROUNDS = 6 if connection.vendor != "sqlite" else 2


@pytest.fixture(autouse=True)
def quiet(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "100000/m"
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
    settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False


def assert_every_code_is_counted():
    for batch in RecoveryCodeBatch.objects.all():
        purged = sum(getattr(batch, name) for name in PURGED)
        assert purged + batch.codes.count() == batch.number_issued, batch.pk


def deadlocks():
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return cursor.fetchone()[0]


def until_nothing_is_left():
    """Purge until nothing is left: rows that a dying process still holds are left to the next run."""
    end = time.monotonic() + 60
    while RecoveryCode.objects.ended_before(timezone.now() - 30 * DAY).exists():
        purge_codes(30)
        assert time.monotonic() < end


class TestBesideEachOther:
    def test_parallel_purges_remove_and_count_each_code_once(self, make_user):
        """R-109"""
        user = make_user()
        for _ in range(ROUNDS):
            batches = [add_batch(user, *[("used", 31 * DAY)] * 10) for _number in range(30)]
            sums = together(3, lambda position: purge_codes(30, batch_size=20).codes)
            sums.append(purge_codes(30).codes)
            assert sum(sums) == 300
            assert not RecoveryCode.objects.exists()
            for batch in batches:
                batch.refresh_from_db()
                assert batch.purged_used == 10
            assert purge_codes(30, delete_empty_batches=True).batches == 30

    def test_parallel_purges_of_the_audit_remove_each_row_once(self, db):
        rows = [RecoveryCodeAudit(event=Event.LOGIN_FAIL, outcome="refused")] * 200
        RecoveryCodeAudit.objects.bulk_create(rows)
        done = together(3, lambda position: purge_audit(0, batch_size=20).audit_rows)
        assert not RecoveryCodeAudit.objects.filter(event=Event.LOGIN_FAIL).exists()
        # Rows that the purges wrote themselves may be among those that another one removed.
        assert sum(done) >= 200

    def test_people_go_on_while_purges_run(self, make_user):
        """R-109: they sign in, get new codes and delete theirs; nothing fails or is lost."""
        before = deadlocks()
        for _ in range(ROUNDS):
            users = [make_user() for _number in range(4)]
            plain = {}
            for user in users:
                for _number in range(3):
                    add_batch(user, *[("used", 40 * DAY)] * 4, *[("invalidated", 39 * DAY)] * 4)
                plain[user.pk], batch = RecoveryCodeBatch.create_recovery_batch(user)
                old = batch.codes.order_by("pk")[:4].values_list("pk", flat=True)
                batch.codes.filter(pk__in=list(old)).update(
                    status="invalidated", retired_at=batch.issued_at - 35 * DAY
                )

            def work(position, users=users, plain=plain):
                if position < 2:
                    return purge_codes(30, batch_size=7).codes
                user = users[position % 4]
                if position < 6:
                    codes = plain[user.pk][4:8]
                    return [by_function(user, code)(position) for code in codes]
                if position < 8:
                    return RecoveryCodeBatch.create_recovery_batch(user)
                return in_transaction(RecoveryCodeBatch.objects.active_of(user).delete_codes)

            together(10, work)
            purge_codes(30)
            assert_every_code_is_counted()
            until_nothing_is_left()
            for user in users:
                cooldown.clear(cooldown.account_key(user.email))
        assert deadlocks() == before

    def test_codes_that_were_not_spent_can_be_spent_afterwards(self, make_user, try_code):
        user = make_user()
        (code,), _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=1)
        add_batch(user, *[("used", 31 * DAY)] * 50)
        together(4, lambda position: purge_codes(0, batch_size=5))
        assert try_code(user.email, code) == user

    @pytest.mark.skipif(
        connection.vendor != "postgresql",
        reason="SQLite has one writer, and MariaDB may read a small table whole to delete from it",
    )
    def test_a_purge_waits_for_nobody(self, make_user):
        """What somebody holds is left for the next run."""
        user = make_user()
        first = add_batch(user, *[("used", 31 * DAY)] * 5)
        second = add_batch(user, *[("used", 31 * DAY)] * 5)
        third = add_batch(user, *[("used", 31 * DAY)] * 5)

        def purge(position):
            return purge_codes(30, batch_size=4, delete_empty_batches=True)

        with transaction.atomic():
            RecoveryCodeBatch.objects.filter(pk=first.pk).update(is_emergency=False)
            RecoveryCode.objects.filter(pk=second.codes.first().pk).update(key_id="1" * 12)
            (done,) = together(1, purge)
        assert (done.codes, done.batches, done.stopped) == (9, 1, "")
        assert [first.codes.count(), second.codes.count()] == [5, 1]
        assert not RecoveryCodeBatch.objects.filter(pk=third.pk).exists()
        assert purge(0).codes == 6

    def test_a_code_that_is_deleted_anew_at_the_same_moment_starts_its_time_again(self, make_user):
        user = make_user()
        for _ in range(ROUNDS):
            batch = add_batch(user, *[("invalidated", 31 * DAY)] * 8)
            rows = list(batch.codes.all())

            def work(position, rows=rows):
                if position == 8:
                    return purge_codes(30, batch_size=3).codes
                return rows[position].retire(RecoveryCode.Status.DELETED)

            *deleted, purged = together(9, work)
            assert sum(deleted) + purged == 8
            batch.refresh_from_db()
            assert (batch.purged_invalidated, batch.purged_deleted) == (purged, 0)
            assert set(batch.codes.values_list("status", flat=True)) <= {"deleted"}
