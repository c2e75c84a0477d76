"""What a purge removes, when, and what it never touches."""

from __future__ import annotations

import itertools
from datetime import timedelta
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from recovery_backend import audit, cooldown, seals, signals
from recovery_backend.audit import Event
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeAuditScheduler,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeEmailLog,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.purge import (
    OutOfBounds,
    Purged,
    pages,
    purge_audit,
    purge_codes,
)

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
# What the documentation promises, in figures of its own.
CLOCK_SKEW = timedelta(minutes=5)
PURGED = ("purged_used", "purged_invalidated", "purged_deleted", "purged_expired")
CODE = "DJANGO_AUTH_RECOVERY_CODE"
CODES = "DJANGO_AUTH_RECOVERY_CODES"


def counters(batch):
    """How many of each kind were purged, by the batch's own row."""
    batch.refresh_from_db()
    return tuple(getattr(batch, name) for name in PURGED)


def add_batch(user, *codes, status="superseded", **fields):
    """A batch of codes, each `(status, ended how long ago)`; an active one: `expired` so long ago."""
    now = timezone.now()
    batch = RecoveryCodeBatch.objects.create(
        user=user, status=status, number_issued=len(codes), **fields
    )
    rows = []
    for state, ago in codes:
        moment = None if ago is None else now - ago
        is_active = state == "active"
        rows.append(
            RecoveryCode(
                batch=batch,
                user=user,
                digest=uuid4(),
                bind=b"\0" * 32,
                key_id="0" * 12,
                status=state,
                expires_at=moment if is_active else None,
                retired_at=None if is_active else moment,
            )
        )
    RecoveryCode.objects.bulk_create(rows)
    return batch


def counts_codes(sql):
    """Whether the statement adds codes to the counters of their batches; on PostgreSQL it does more."""
    return sql.lstrip().startswith(("UPDATE", "WITH page")) and "purged_used" in sql


def left(batch):
    return sorted(batch.codes.values_list("status", flat=True))


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


STATES = st.one_of(
    st.tuples(st.just("active"), st.none() | st.integers(-90_000, 5_000_000)),
    st.tuples(
        st.sampled_from(["used", "invalidated", "deleted"]), st.integers(-90_000, 5_000_000)
    ),
)


@pytest.mark.django_db
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.lists(STATES, min_size=1, max_size=4), min_size=1, max_size=4),
    retention=st.integers(0, 40),
    batch_size=st.integers(1, 5),
    max_rows=st.integers(-1, 9),
    deletes=st.booleans(),
)
def test_whatever_the_states_no_code_that_could_be_spent_goes(
    batches, retention, batch_size, max_rows, deletes
):
    """R-109, R-110: also on a server whose clock is behind; every code stays counted."""
    with transaction.atomic():
        user = get_user_model().objects.create_user("owner", "owner@example.com")
        for states in batches:
            ages = [(state, None if ago is None else ago * SECOND) for state, ago in states]
            add_batch(user, *ages)
        now = timezone.now() - CLOCK_SKEW
        live = RecoveryCode.objects.filter(status="active").exclude(expires_at__lte=now)
        live = set(live.values_list("pk", flat=True))
        policy = {"retention_days": retention, "delete_empty_batches": deletes}
        limits = {"batch_size": batch_size, "max_rows": max_rows}
        foreseen = purge_codes(**policy, **limits, is_dry_run=True)
        number = RecoveryCode.objects.count()
        done = purge_codes(**policy, **limits)
        assert done == foreseen
        assert number - done.codes == RecoveryCode.objects.count()
        assert max_rows == -1 or done.rows <= max_rows
        assert live <= set(RecoveryCode.objects.values_list("pk", flat=True))
        for batch in RecoveryCodeBatch.objects.all():
            assert sum(counters(batch)) + batch.codes.count() == batch.number_issued
        rest = purge_codes(**policy)
        assert bool(rest.rows) == done.has_more
        assert not deletes or not RecoveryCodeBatch.objects.filter(codes=None).exists()
        assert purge_codes(**policy) == Purged()
        transaction.set_rollback(True)


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


class TestCost:
    def test_a_page_costs_few_statements(self, user, statements):
        for _number in range(10):
            add_batch(user, *[("used", 31 * DAY)] * 10)
        with statements() as once:
            assert purge_codes(30, batch_size=100, max_rows=100).codes == 100
        for _number in range(10):
            add_batch(user, *[("used", 31 * DAY)] * 10)
        with statements() as ten_times:
            assert purge_codes(30, batch_size=10, max_rows=100).codes == 100
        assert (len(ten_times) - len(once)) / 9 <= 6
        assert len([sql for sql in once if counts_codes(sql)]) == 1

    def test_any_number_of_keys_fits(self, user, statements):
        """However few parameters a statement takes."""
        batch = add_batch(user, *[("used", 31 * DAY)] * 3000)
        keys = list(batch.codes.values_list("pk", flat=True))
        with statements() as sent:
            assert pages.delete(RecoveryCode.objects.all(), keys) == 3000
        most = connection.features.max_query_params or 10_000
        assert len(sent) == -(-3000 // (min(most, 10_000) - 20))

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="has more than one writer")
    def test_the_one_writer_takes_small_pages(self, user):
        add_batch(user, *[("used", 31 * DAY)] * 600)
        told = []
        purge_codes(30, batch_size=1000, on_page=lambda done: told.append(done.codes))
        assert sorted(set(told) - {0}) == [100, 200, 300, 400, 500, 600]

    @pytest.mark.services
    @pytest.mark.skipif(connection.vendor != "postgresql", reason="has partial indexes to plan by")
    @pytest.mark.parametrize(
        ("state", "index"),
        [("used", "recovery_code_retired"), ("active", "recovery_code_expiring")],
    )
    def test_pages_are_found_by_the_partial_index(self, user, state, index):
        add_batch(user, *[(state, (40 + number) * DAY) for number in range(50)])
        plans = []

        def explain(execute, sql, params, many, context):
            if sql.lstrip().startswith("WITH page"):
                with connection.connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN {sql}", params)
                    plans.append("\n".join(line for (line,) in cursor.fetchall()))
            return execute(sql, params, many, context)

        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        with connection.execute_wrapper(explain):
            assert purge_codes(30, batch_size=20).codes == 50
        assert sum(index in plan for plan in plans) >= 3, plans


LEAVES = [RecoveryCode, RecoveryCodeAudit, RecoveryCodeCooldown, RecoveryCodeEmailLog]


class TestWhatPointsToIt:
    """Rows are deleted without a look for what points to them."""

    def pointing_to(self, model):
        return {
            field.model
            for other in apps.get_models(include_auto_created=True)
            for field in other._meta.local_fields
            if field.remote_field and field.remote_field.model._meta.concrete_model is model
        }

    @pytest.mark.parametrize("model", LEAVES)
    def test_nothing_points_to_what_is_purged(self, model):
        assert self.pointing_to(model) == set()

    def test_only_codes_point_to_batches(self):
        """And a batch is deleted in a statement that finds none."""
        assert self.pointing_to(RecoveryCodeBatch) == {RecoveryCode}

    def test_only_schedules_point_to_runs(self):
        """And the last run of a schedule is kept."""
        assert self.pointing_to(RecoveryCodePurgeHistory) == {
            RecoveryCodeCleanUpScheduler,
            RecoveryCodeAuditScheduler,
            RecoveryCodeReminderScheduler,
        }


class TestCooldowns:
    names = (f"{number:064x}" for number in itertools.count())

    def row(self, ago, **fields):
        key = next(self.names)
        fields.setdefault("account", key)
        return RecoveryCodeCooldown.objects.create(
            key=key, updated_at=timezone.now() - ago, **fields
        )

    @pytest.mark.parametrize(
        ("retention", "cutoff", "kept_for"),
        [(30, 3600, 30 * DAY), (0, 3600, DAY), (0, 86_400, 2 * DAY)],
    )
    def test_counters_go_after_a_long_rest(self, db, settings, clock, retention, cutoff, kept_for):
        settings.DJANGO_AUTH_RECOVERY_CODES_COOLDOWN_CUTOFF_POINT = cutoff
        self.row(kept_for, failures=7)
        kept = self.row(kept_for - SECOND, failures=7)
        assert purge_codes(retention, is_dry_run=True) == Purged(other_rows=1)
        assert purge_codes(retention) == Purged(other_rows=1)
        assert RecoveryCodeCooldown.objects.get() == kept

    def test_who_waited_lately_is_remembered(self, db, clock):
        now = timezone.now()
        self.row(40 * DAY, blocked_until=now + SECOND)
        self.row(40 * DAY, blocked_until=now - 29 * DAY)
        self.row(40 * DAY, blocked_until=now - 30 * DAY)
        assert purge_codes(30).other_rows == 1
        assert RecoveryCodeCooldown.objects.count() == 2

    def test_what_keeps_an_account_closed_stays(self, user, try_code, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 100
        account = cooldown.account_key(user.email)
        RecoveryCodeCooldown.objects.create(key=account, account=account, failures=100)
        self.row(timedelta(), account=account, failures=100)
        self.row(timedelta(), failures=99)
        clock.shift(300 * DAY)
        assert purge_codes(0).other_rows == 2
        assert RecoveryCodeCooldown.objects.get().key == account
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = None
        assert purge_codes(0).other_rows == 1


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

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="a plan of a small table")
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
