"""R-117: the chain of seals names what SQL did to the audit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models
from django.db.models import F
from django.utils import timezone

from recovery_backend import audit, purge, seals
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit
from recovery_backend.clients import Client
from recovery_backend.keys import generate_key
from recovery_backend.models import RecoveryCodeAuditSeal
from recovery_backend.seals import age, chain, fingerprints

pytestmark = pytest.mark.services  # what is read back must be what was sealed, on each of them

KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
LATER = timedelta(minutes=11)


def sql(**filters):
    """The audit's rows without its guard, as SQL reaches them."""
    return models.QuerySet(RecoveryCodeAudit).filter(**filters)


def pks():
    return list(RecoveryCodeAudit.objects.order_by("pk").values_list("pk", flat=True))


@pytest.fixture
def write(db):
    """Write audit rows, settled by default."""

    def write(number=1, age=LATER, event=Event.BATCH_VIEWED, **fields):
        at = timezone.now() - age
        for count in range(number):
            row = {"at": at, "data": {"count": count}, **fields}
            audit.record(audit.entry(event, **row))

    return write


@pytest.fixture
def small_seals(monkeypatch):
    monkeypatch.setattr(chain, "ROWS_PER_SEAL", 3)


@pytest.fixture
def sealed(write, small_seals):
    """Nine rows under three seals; returns the numbers of the rows."""
    write(9)
    assert seals.seal() == 9
    return pks()


def receipt(through):
    return seals.receipt(seals.Extent(through, through))


def problems(**options):
    return seals.verify(**options).problems


class TestSealing:
    def test_settled_rows_are_sealed_once(self, write):
        write(5)
        assert [seals.seal(), seals.seal()] == [5, 0]
        write(2)
        assert seals.seal() == 2
        verdict = seals.verify()
        assert (verdict.rows, verdict.seals, verdict.unsealed) == (7, 2, 0)
        assert verdict.is_sound and verdict.problems == []

    def test_rows_of_the_last_minutes_wait_for_slower_transactions(self, write, clock):
        write(2)
        write(1, age=timedelta(minutes=9))
        write(2)  # of a server whose clock is behind
        assert seals.seal() == 2
        assert seals.verify().unsealed == 3
        clock.shift(LATER)
        assert seals.seal() == 3

    def test_a_row_from_the_future_does_not_hold_the_chain_up(self, write):
        write(1)
        write(1, age=timedelta(days=-400))
        write(1)
        assert seals.seal() == 3

    def test_a_segment_has_a_bounded_size_and_a_call_too(self, write, small_seals, monkeypatch):
        monkeypatch.setattr(chain, "SEALS_PER_CALL", 2)
        write(7)
        assert [seals.seal(), seals.seal()] == [6, 1]
        spans = RecoveryCodeAuditSeal.objects.order_by("number").values_list(
            "first_row", "last_row"
        )
        assert [spans[0][0], spans[2][1]] == [1, pks()[-1]]
        assert spans[1][0] == spans[0][1] + 1 and spans[2][0] == spans[1][1] + 1

    def test_an_empty_audit_is_sound(self, db):
        verdict = seals.verify()
        assert seals.seal() == 0
        assert (verdict.is_sound, verdict.seals, verdict.head) == (True, 0, "")

    def test_the_head_is_logged_where_no_database_can_change_it(self, write, caplog):
        caplog.set_level("INFO", "recovery_backend")
        write(1)
        seals.seal()
        assert f"head {seals.verify().head}" in caplog.text

    def test_memory_and_statements_grow_with_segments_only(self, write, small_seals, statements):
        write(30)
        seals.seal()
        with statements() as queries:
            assert seals.verify().rows == 30
        assert len(queries) <= 2 * 10 + 3

    def test_a_site_without_time_zones_has_a_chain_too(self, write, settings):
        settings.USE_TZ = False
        write(3)
        assert seals.seal() == 3
        assert problems() == []

    def test_a_seal_says_what_it_covers(self, write):
        write(3)
        seals.seal()
        assert str(RecoveryCodeAuditSeal.objects.get()) == f"1: 1-{pks()[-1]}"


class TestTampering:
    """Each is named, and nothing else is."""

    def test_an_altered_row(self, sealed):
        sql(pk=sealed[4]).update(event=Event.BATCH_VERIFIED)
        assert problems() == [f"Row {sealed[4]} was altered."]

    @pytest.mark.parametrize(
        "change",
        [
            {"at": datetime(2020, 1, 1, tzinfo=UTC)},
            {"at": F("at") + timedelta(microseconds=1)},
            {"outcome": "refused"},
            {"reason": "used"},
            {"account": "0" * 64},
            {"batch": 7},
            {"code": 7},
            {"address": "203.0.113.1"},
            {"user_agent": "x"},
            {"request_id": "x"},
            {"path": "/x"},
            {"data": {"count": 99}},
            {"data": {}},
        ],
        ids=str,
    )
    def test_any_altered_field(self, sealed, change):
        sql(pk=sealed[4]).update(**change)
        assert problems() == [f"Row {sealed[4]} was altered."]

    def test_removed_rows(self, sealed):
        sql(pk=sealed[1]).delete()
        assert problems() == [f"Row {sealed[1]} was removed, and not by a purge."]
        sql(pk__in=sealed[3:6]).delete()
        assert problems()[1] == (
            f"Rows {sealed[3]} to {sealed[5]} were removed, and not by a purge."
        )

    def test_a_row_that_was_put_between_others(self, sealed):
        row = sql(pk=sealed[4]).get()
        sql(pk=sealed[4]).delete()
        RecoveryCodeAudit.objects.bulk_create([RecoveryCodeAudit(pk=sealed[4], event=row.event)])
        assert problems() == [f"Row {sealed[4]} was altered."]

    @pytest.mark.parametrize("number", [-5, 0])
    def test_a_row_that_was_put_before_all_others(self, sealed, number):
        if connection.vendor == "mysql" and number == 0:
            pytest.skip("MariaDB stores the next number in place of 0")
        RecoveryCodeAudit.objects.bulk_create(
            [RecoveryCodeAudit(pk=number, event=Event.BATCH_VIEWED)]
        )
        assert problems() == [f"Row {number} was added after its time was sealed."]

    def test_two_rows_that_changed_places(self, sealed):
        first, second = sealed[3], sealed[4]
        for moved, to in ((first, 10**6), (second, first), (10**6, second)):
            sql(pk=moved).update(id=to)
        assert problems() == [
            f"Row {first} holds what row {second} held when it was sealed.",
            f"Row {second} holds what row {first} held when it was sealed.",
        ]

    def test_a_row_with_a_value_that_its_column_cannot_hold(self, sealed):
        if connection.vendor != "sqlite":
            pytest.skip("only SQLite stores a text in a column of moments")
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE recovery_backend_recoverycodeaudit SET at = %s, address = %s WHERE id = %s",
                ["yesterday", "nowhere", sealed[4]],
            )
        assert problems() == [f"Row {sealed[4]} was altered."]

    def test_an_altered_seal(self, sealed):
        seal = RecoveryCodeAuditSeal.objects.get(number=2)
        for field, value in {
            "row_digests": "",
            "digest": "0" * 64,
            "last_row": seal.last_row - 1,
            "sealed_at": seal.sealed_at - timedelta(days=1),
        }.items():
            RecoveryCodeAuditSeal.objects.filter(number=2).update(**{field: value})
            assert any(problem.startswith("Seal 2 was altered") for problem in problems()), field
            seal.save()
        assert problems() == []

    def test_a_removed_seal(self, sealed):
        RecoveryCodeAuditSeal.objects.filter(number=2).delete()
        assert problems() == ["Seal 2 was removed, and not by a purge."]
        RecoveryCodeAuditSeal.objects.filter(number=1).delete()
        assert problems() == ["Seals 1 to 2 were removed, and not by a purge."]

    def test_a_removed_beginning(self, sealed):
        sql(pk__in=sealed[:3]).delete()
        RecoveryCodeAuditSeal.objects.filter(number=1).delete()
        assert problems() == ["Seal 1 was removed, and not by a purge."]

    def test_a_removed_end_leaves_seals_without_rows(self, sealed):
        sql(pk__in=sealed[5:]).delete()
        assert problems() == [
            f"Row {sealed[5]} was removed, and not by a purge.",
            f"Rows {sealed[6]} to {sealed[8]} were removed, and not by a purge.",
        ]

    def test_a_removed_end_with_its_seal_needs_the_head(self, sealed):
        head = seals.verify().head
        sql(pk__in=sealed[6:]).delete()
        RecoveryCodeAuditSeal.objects.filter(number=3).delete()
        assert problems() == []
        assert problems(expected_head=head) == [
            f"The chain does not contain {head}: seals were removed, purged, or made anew."
        ]

    def test_a_chain_that_was_made_anew_is_not_the_one_of_the_head(self, sealed):
        head = seals.verify().head
        RecoveryCodeAuditSeal.objects.all().delete()
        sql(pk=sealed[0]).update(event=Event.BATCH_VERIFIED)
        seals.seal()
        assert problems() == []
        assert len(problems(expected_head=head)) == 1

    def test_an_older_head_is_found_too(self, sealed, write):
        head = seals.verify().head
        write(4)
        seals.seal()
        assert problems(expected_head=head) == []

    @pytest.mark.parametrize("head", ["x", "1", "1:", "0:" + "a" * 64, "1:" + "A" * 64, "-1:ab"])
    def test_what_is_no_head_is_refused(self, db, head):
        with pytest.raises(ValueError, match="NUMBER:DIGEST"):
            seals.verify(expected_head=head)

    def test_problems_are_counted_and_the_first_hundred_named(self, write):
        write(250)
        seals.seal()
        sql().update(event=Event.BATCH_VERIFIED)
        verdict = seals.verify()
        assert (len(verdict.problems), verdict.number_of_problems) == (100, 250)
        assert not verdict.is_sound


class TestPeople:
    @pytest.fixture
    def owned(self, user, write):
        write(2, user=user, actor=user)
        write(1)
        seals.seal()
        return pks()

    def test_a_deleted_user_is_no_problem(self, user, owned):
        user.delete()
        verdict = seals.verify()
        assert (verdict.problems, verdict.owners_deleted) == ([], 2)

    def test_a_row_that_was_given_to_somebody_else(self, owned, make_user):
        other = make_user()
        sql(pk=owned[0]).update(user=other)
        sql(pk=owned[1]).update(actor=other)
        sql(pk=owned[2]).update(user=other)
        assert problems() == [
            f"Row {owned[0]} was given to another owner.",
            f"Row {owned[1]} names another person who did it.",
            f"Row {owned[2]} was given to another owner.",
        ]

    def test_seals_do_not_show_which_rows_are_of_one_user(self, owned):
        text = RecoveryCodeAuditSeal.objects.get().row_digests
        digests = [part for line in text.splitlines() for part in line.split()[1:] if part != "-"]
        assert len(digests) == len(set(digests)) == 3 + 4


class TestPurge:
    """R-123: the retention purge removes the oldest rows, and says so in a way SQL cannot."""

    @pytest.fixture
    def aged(self, write, small_seals):
        write(4, age=timedelta(days=100))
        write(5)
        seals.seal()
        return pks()

    def test_purged_rows_are_no_problem(self, aged):
        assert purge.purge_audit(90).audit_rows == 4
        verdict = seals.verify()
        assert verdict.problems == []
        assert verdict.rows == 5
        numbers = RecoveryCodeAuditSeal.objects.order_by("number").values_list("number", flat=True)
        assert list(numbers) == [2, 3]  # the first is purged, the second cut in the middle

    def test_the_chain_goes_on_after_everything_was_purged(self, aged, write, clock):
        head = seals.verify().head
        clock.shift(timedelta(days=200))
        assert purge.purge_audit(90).audit_rows == 9
        assert RecoveryCodeAuditSeal.objects.count() == 1
        clock.shift(LATER)
        assert seals.seal() == len(pks())
        assert problems(expected_head=head) == []
        purge.purge_audit(90)
        assert problems(expected_head=head) == []

    def test_rows_that_sql_removed_as_well_are_named(self, aged):
        purge.purge_audit(90)
        sql(pk=aged[4]).delete()
        assert problems() == [f"Row {aged[4]} was removed, and not by a purge."]

    @pytest.mark.parametrize(
        "data",
        [
            {"through": 10**6},
            {"through": 10**6, "trail_through": 10**6, "receipt": "0" * 64},
            {"through": 10**6, "trail_through": 10**6, "receipt": None},
            {"through": 10**6, "receipt": "0" * 64},
            {"through": "all", "trail_through": 1, "receipt": "é"},
            {"through": True, "trail_through": True, "receipt": "é"},
        ],
        ids=str,
    )
    def test_a_forged_announcement_covers_nothing(self, sealed, data):
        sql(pk=sealed[0]).delete()
        audit.record(audit.entry(Event.AUDIT_PURGED, data=data))
        assert problems() == [f"Row {sealed[0]} was removed, and not by a purge."]

    def test_a_receipt_of_one_row_is_none_of_another(self, sealed):
        sql(pk__in=sealed[:2]).delete()
        data = receipt(sealed[0]) | {"through": sealed[1]}
        audit.record(audit.entry(Event.AUDIT_PURGED, data=data))
        assert len(problems()) == 1

    def test_a_row_that_is_altered_later_is_not_hidden_by_a_receipt(self, aged):
        purge.purge_audit(90)
        sql(pk=aged[4]).update(at=F("at") - timedelta(days=95))
        assert purge.purge_audit(90).audit_rows == 0
        assert problems() == [f"Row {aged[4]} was altered."]

    @pytest.mark.parametrize("position", [-1, 6], ids=["newest", "middle"])
    def test_a_back_dated_row_has_no_deletion_announced(self, aged, position):
        sql(pk=aged[position]).update(at=timezone.now() - timedelta(days=90, seconds=5))
        assert purge.purge_audit(90).audit_rows == 4
        assert problems() == [f"Row {aged[position]} was altered."]
        sql(pk=aged[5]).delete()
        assert f"Row {aged[5]} was removed, and not by a purge." in problems()

    def test_rows_that_are_all_back_dated_are_not_purged(self, aged):
        sql().update(at=F("at") - timedelta(days=95))
        assert purge.purge_audit(90).audit_rows == 0
        assert len(problems()) == 9

    def test_a_back_dated_seal_makes_no_row_old(self, aged):
        """Its rows may go by their own age; what goes then is missed."""
        RecoveryCodeAuditSeal.objects.update(sealed_at=timezone.now() - timedelta(days=95))
        sql(pk=aged[-1]).update(at=F("at") - timedelta(days=95))
        purge.purge_audit(90)
        assert sum("was altered: rows" in problem for problem in problems()) == 3
        assert chain.receipts.purged() == seals.Extent()

    def test_rows_after_one_of_a_wrong_clock_wait_for_their_seal_to_be_old(
        self, write, small_seals, clock
    ):
        write(2, age=timedelta(days=100))
        write(1, age=timedelta(days=-400))
        write(2, age=timedelta(days=100))
        seals.seal()
        rows = pks()
        purge.purge_audit(90)
        assert list(sql(pk__in=rows).values_list("pk", flat=True)) == rows[2:]
        assert problems() == []
        clock.shift(timedelta(days=90))
        purge.purge_audit(90)
        assert list(sql(pk__in=rows).values_list("pk", flat=True)) == [rows[2]]
        assert problems() == []

    def test_rows_of_an_old_seal_need_not_be_read(self, aged, clock, monkeypatch):
        clock.shift(timedelta(days=91))
        monkeypatch.setattr(fingerprints, "taken", None)
        assert purge.purge_audit(90).audit_rows == 9

    def test_a_late_start_is_caught_up_within_a_few_purges(self, write, small_seals, monkeypatch):
        monkeypatch.setattr(age, "SEALS_READ", 2)
        write(9, age=timedelta(days=100))
        seals.seal()
        assert [purge.purge_audit(90).audit_rows for _ in range(3)] == [6, 3, 0]
        assert problems() == []

    def test_seals_of_a_lost_key_keep_no_row_for_ever(self, aged, settings, clock):
        """Nobody can check these, so nobody announces that they go."""
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        assert purge.purge_audit(90).audit_rows == 0
        clock.shift(timedelta(days=91))
        assert purge.purge_audit(90).audit_rows == 9
        assert "receipt" not in RecoveryCodeAudit.objects.latest("pk").data
        assert sum("which is not configured" in problem for problem in problems()) == 3

    def test_with_a_chain_only_sealed_rows_go(self, write, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_AUDIT_CHAIN = True
        write(2, age=timedelta(days=100))
        assert purge.purge_audit(90).audit_rows == 0
        seals.seal()
        assert purge.purge_audit(90).audit_rows == 2
        assert problems() == []

    def test_the_trail_that_stays_is_not_covered_by_a_short_retention(self, write, small_seals):
        """R-123"""
        write(2)
        audit.record(audit.entry(Event.SCHEDULER_CHANGED, at=timezone.now() - LATER))
        write(4)
        seals.seal()
        trail = pks()[2]
        assert purge.purge_audit(0).audit_rows == 6
        assert problems() == []
        numbers = RecoveryCodeAuditSeal.objects.order_by("number").values_list("number", flat=True)
        assert list(numbers) == [1, 2, 3]
        sql(pk=trail).delete()
        assert problems() == [f"Row {trail} was removed, and not by a purge."]
        RecoveryCodeAuditSeal.objects.filter(number=1).delete()
        assert problems() == ["Seal 1 was removed, and not by a purge."]

    def test_the_trail_goes_in_its_time(self, write, small_seals, clock):
        write(2)
        audit.record(audit.entry(Event.SCHEDULER_CHANGED, at=timezone.now() - LATER))
        write(1)
        seals.seal()
        purge.purge_audit(0)
        clock.shift(timedelta(days=91))
        seals.seal()
        purge.purge_audit(0)
        assert not RecoveryCodeAudit.objects.filter(event=Event.SCHEDULER_CHANGED).exists()
        assert problems() == []

    def test_a_purge_after_the_receipts_went_still_knows_what_they_said(
        self, write, small_seals, clock
    ):
        write(7)
        seals.seal()
        purge.purge_audit(0)
        for _ in range(3):
            clock.shift(timedelta(days=100))
            write(4)
            seals.seal()
            purge.purge_audit(90)
            assert problems() == []

    def test_without_rows_nothing_is_forgotten(self, sealed):
        sql().delete()
        assert seals.forget() == 0
        assert RecoveryCodeAuditSeal.objects.count() == 3

    def test_without_seals_there_is_nothing_to_forget(self, write):
        write(1)
        assert seals.forget() == 0


class TestMissingSeals:
    """R-117: seals that are gone, as far as the database alone can tell."""

    @pytest.fixture(autouse=True)
    def chain_is_on(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_AUDIT_CHAIN = True

    def test_no_seals_at_all(self, write):
        write(2)
        assert problems() == []
        write(1, age=timedelta(hours=25))
        [problem] = problems()
        assert problem.startswith("There are no seals, although AUDIT_CHAIN is on.")
        assert "--head" in problem

    def test_no_seals_are_no_problem_without_a_chain(self, write, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_AUDIT_CHAIN = False
        write(1, age=timedelta(days=2))
        assert problems() == []

    def test_rows_that_should_have_been_sealed(self, write):
        write(1)
        seals.seal()
        write(1, age=timedelta(hours=24, minutes=30))  # came too late for yesterday's run
        assert problems() == []
        write(1, age=timedelta(hours=26))
        [problem] = problems()
        assert problem.startswith(f"Row {pks()[2]} is older than a day and not sealed")

    @pytest.mark.parametrize("event", [Event.SCHEDULER_RUN, Event.AUDIT_PURGED])
    def test_a_chain_that_was_made_anew_contradicts_what_the_audit_noted(
        self, sealed, event, caplog
    ):
        audit.record(audit.entry(event, at=timezone.now() - LATER, data=seals.note()))
        head, row = seals.verify().head, pks()[-1]
        assert problems() == []
        RecoveryCodeAuditSeal.objects.all().delete()
        expected = (
            f"Row {row} has noted seal {head}, which the chain does not contain: "
            "seals were removed, or made anew."
        )
        assert problems() == [expected]
        sql(pk=sealed[0]).update(event=Event.BATCH_VERIFIED)
        seals.seal()
        assert problems() == [expected]
        [line] = [it for it in caplog.records if it.levelname == "ERROR"]
        assert line.getMessage() == (f"audit seals were removed or made anew: {head} is missing")

    def test_newest_seals_that_were_made_anew_contradict_it_too(self, sealed, caplog):
        audit.record(
            audit.entry(Event.SCHEDULER_RUN, at=timezone.now() - LATER, data=seals.note())
        )
        RecoveryCodeAuditSeal.objects.filter(number=3).delete()
        seals.seal()
        assert len(problems()) == 1
        assert "ERROR" in [it.levelname for it in caplog.records]

    def test_a_purge_notes_the_head(self, write, small_seals):
        write(4, age=timedelta(days=100))
        seals.seal()
        head = seals.verify().head
        purge.purge_audit(90)
        assert RecoveryCodeAudit.objects.latest("pk").data["head"] == head

    def test_seals_that_a_purge_took_are_not_missed(self, write, small_seals, caplog):
        for _ in range(3):
            write(1, age=timedelta(days=100))
            write(2, age=timedelta(days=99), event=Event.SCHEDULER_RUN, data=seals.note())
            seals.seal()
        audit.record(
            audit.entry(Event.SCHEDULER_RUN, at=timezone.now() - LATER, data=seals.note())
        )
        purge.purge_audit(90)
        assert RecoveryCodeAuditSeal.objects.count() == 1
        seals.seal()
        assert problems() == []
        assert "ERROR" not in [it.levelname for it in caplog.records]

    @pytest.mark.parametrize("data", [{"head": "x"}, {"head": 7}, {"head": None}, {}, [], "head"])
    def test_what_is_no_head_is_no_note(self, sealed, data):
        audit.record(audit.entry(Event.SCHEDULER_RUN, data=data))
        assert problems() == []


class TestKeys:
    @pytest.fixture
    def rotated(self, sealed, settings):
        before = settings.DJANGO_AUTH_RECOVERY_KEY
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [before]

    def test_seals_of_an_older_key_still_verify(self, rotated, sealed, write):
        """R-13"""
        write(2)
        seals.seal()
        assert problems() == []
        assert RecoveryCodeAuditSeal.objects.values("key_id").distinct().count() == 2

    def test_receipts_of_an_older_key_still_count(self, sealed, settings):
        sql(pk=sealed[0]).delete()
        audit.record(audit.entry(Event.AUDIT_PURGED, data=receipt(sealed[0])))
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [settings.DJANGO_AUTH_RECOVERY_KEY]
        settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
        assert problems() == []

    def test_seals_of_a_key_that_is_gone_are_named(self, rotated, sealed, settings):
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        kid = RecoveryCodeAuditSeal.objects.first().key_id
        found = problems()
        assert len(found) == 3
        assert found[0] == (
            f"Seal 1 needs key {kid}, which is not configured: "
            f"rows 1 to {sealed[2]} cannot be checked."
        )

    def test_without_a_key_nothing_is_said(self, sealed, settings):
        """R-18"""
        settings.DJANGO_AUTH_RECOVERY_KEY = ""
        for work in (seals.seal, seals.verify):
            with pytest.raises(ImproperlyConfigured, match="DJANGO_AUTH_RECOVERY_KEY"):
                work()


@pytest.mark.django_db(transaction=True)
def test_sealers_that_run_at_once_make_one_chain(write, small_seals):
    write(60)
    barrier = Barrier(4)

    def work(position):
        barrier.wait()
        try:
            return seals.seal()
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        sealed = sum(pool.map(work, range(4)))
    assert sealed == 60
    verdict = seals.verify()
    assert (verdict.problems, verdict.rows, verdict.seals) == ([], 60, 20)


def test_a_row_has_the_same_fingerprint_on_every_database(db, settings, user):
    """A database that is moved keeps its chain."""
    settings.DJANGO_AUTH_RECOVERY_KEY = KEY
    entry = audit.entry(
        Event.LOGIN_FAIL,
        reason=Reason.USED,
        client=Client("2001:db8::1", "Browser ü/1.0", "req-1", "/auth/x/"),
        at=datetime(2026, 3, 1, 9, 12, 44, 310_007, tzinfo=UTC),
        batch=31,
        data={"z": 1, "a": [1.5, None, True], "ü": "\u202e"},
        email="ada@example.com",
        user=user,
    )
    audit.record(entry)
    [found] = fingerprints.taken(RecoveryCodeAudit.objects.filter(pk=entry.pk), chain.write_key())
    assert found.content == "1f9e419c90a88a62"
    assert fingerprints.read(fingerprints.written([found])) == {found.pk: found}


def test_what_was_sealed_is_read_back_the_same(write, user):
    write(2, user=user, client=Client("2001:db8:0:0::7", "ü" * 256))
    write(1, client=Client("198.51.100.7"), data={"f": 1e-7, "n": 10**15, "text": "\\u0000 é"})
    seals.seal()
    assert problems() == []
    sql().update(data={})
    assert len(problems()) == 3
