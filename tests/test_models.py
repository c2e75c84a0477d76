"""Batches and their rows."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Lookup, QuerySet
from django.test.utils import register_lookup
from django.utils import timezone

from recovery_backend import audit, cooldown, signals, transactions
from recovery_backend import codes as rooms
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeAuditScheduler,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeEmailLog,
    RecoveryCodePurgeHistory,
    RecoveryCodeSetup,
    owners_of_email,
)
from tests.conftest import WRONG_CODE

ROOT = Path(__file__).parent.parent
create = RecoveryCodeBatch.create_recovery_batch
NOT_A_COUNT = [0, -1, True, False, 1.0, 2.5, "5", "", [], float("nan"), 10**400, timedelta(1)]


def rows():
    return RecoveryCodeBatch.objects.count(), RecoveryCode.objects.count()


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(transactions, "PAUSES_SECONDS", (0, 0))


class TestNewBatch:
    def test_codes_come_in_display_form_with_their_saved_batch(self, user):
        plain_codes, batch = create(user)
        assert len(set(plain_codes)) == batch.number_issued == batch.codes_left() == 10
        assert all(rooms.display(rooms.canonicalise(code)) == code for code in plain_codes)
        batch.refresh_from_db()
        assert (batch.user, batch.status, batch.expires_at) == (user, "active", None)
        assert str(batch) == str(batch.public_id)
        assert (batch.has_viewed, batch.has_downloaded, batch.has_emailed) == (False,) * 3

    def test_the_number_of_codes_is_the_setting_or_the_argument(self, user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_NUMBER_OF_CODES = 7
        assert len(create(user)[0]) == 7
        assert len(create(user, number_of_codes=4)[0]) == 4

    @pytest.mark.parametrize("value", [*NOT_A_COUNT, 101])
    def test_a_number_of_codes_out_of_bounds_is_refused(self, user, value):
        """R-06"""
        with pytest.raises(ValueError, match=r"^number_of_codes must be .* 1 to 100\.$"):
            create(user, number_of_codes=value)
        assert rows() == (0, 0)

    @pytest.mark.parametrize("value", [*NOT_A_COUNT, 3651])
    def test_a_number_of_days_out_of_bounds_is_refused(self, user, value):
        """R-06"""
        with pytest.raises(ValueError, match=r"^days_to_expire must be .* 1 to 3650\.$"):
            create(user, days_to_expire=value)
        assert rows() == (0, 0)

    @pytest.mark.parametrize(("count", "days"), [(1, 1), (100, 3650)])
    def test_the_bounds_themselves_are_allowed(self, user, count, days, clock):
        """R-06"""
        plain_codes, batch = create(user, days, count)
        assert len(plain_codes) == count
        expected = timezone.now() + timedelta(days=days)
        assert batch.expires_at == expected
        assert set(RecoveryCode.objects.values_list("expires_at", flat=True)) == {expected}

    def test_ten_codes_take_six_queries_at_most(self, user, statements):
        with statements() as queries:
            create(user)
        assert len(queries) <= 6
        with statements() as queries:
            create(user)
        assert len(queries) <= 6

    def test_a_row_keeps_digests_only(self, user):
        """R-11"""
        [code], _ = create(user, number_of_codes=1)
        row = RecoveryCode.objects.get()
        assert len(bytes(row.bind)) == 32
        assert str(row) == f"#{row.pk}"
        out = StringIO()
        call_command("dumpdata", "recovery_backend", stdout=out)
        assert str(row.digest) in out.getvalue()
        for form in (code, rooms.canonicalise(code), code[:6]):
            assert form not in out.getvalue()

    def test_what_happened_is_recorded(self, user, events):
        """R-115"""
        create(user)
        assert events() == [("batch.generated", "")]
        create(user)
        assert events()[1:] == [("batch.regenerated", ""), ("batch.superseded", "")]
        assert events(user=user) == events()

    def test_a_signal_follows_the_commit(self, user, django_capture_on_commit_callbacks):
        heard = []

        def receiver(sender, **payload):
            heard.append(payload)

        signals.codes_generated.connect(receiver)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                plain_codes, batch = create(user)
                assert heard == []
        finally:
            signals.codes_generated.disconnect(receiver)
        [payload] = heard
        assert (payload["user"], payload["batch"]) == (user, batch)
        assert not any(code in repr(payload) for code in plain_codes)


class TestReplacement:
    """R-44"""

    def test_one_batch_is_active_and_old_codes_are_dead(self, user, try_code):
        old, first = create(user)
        new, second = create(user)
        assert list(RecoveryCodeBatch.objects.filter(status="active")) == [second]
        first.refresh_from_db()
        assert first.status == "superseded" and first.retired_at is not None
        assert first.codes_left() == 0 and second.codes_left() == 10
        assert [try_code(user.email, code, f"10.0.0.{n}") for n, code in enumerate(old)] == [
            None
        ] * 10
        assert try_code(user.email, new[0]) == user

    def test_used_codes_stay_used(self, user, try_code):
        plain_codes, batch = create(user, number_of_codes=2)
        try_code(user.email, plain_codes[0])
        create(user, number_of_codes=2)
        statuses = RecoveryCode.objects.filter(batch=batch).values_list("status", flat=True)
        assert sorted(statuses) == ["invalidated", "used"]

    def test_other_users_keep_theirs(self, make_user, try_code):
        one, other = make_user(), make_user()
        plain_codes, _ = create(one)
        create(other)
        assert try_code(one.email, plain_codes[0]) == one

    def test_the_database_refuses_a_second_active_batch(self, user):
        if not connection.features.supports_partial_indexes:
            pytest.skip("this database has no partial unique constraint")
        create(user)
        with pytest.raises(IntegrityError):
            RecoveryCodeBatch.objects.create(user=user, number_issued=1)


class TestCollision:
    """R-05"""

    def test_a_digest_that_exists_is_drawn_again(
        self, make_user, monkeypatch, no_pauses, try_code
    ):
        one, other = make_user(), make_user()
        [taken], _ = create(one, number_of_codes=1)
        free = [rooms.generate() for _ in range(4)]
        drawn = iter([free[0], taken, free[1], free[2], free[3]])
        monkeypatch.setattr(rooms, "generate", lambda: next(drawn))
        plain_codes, batch = create(other, number_of_codes=2)
        assert plain_codes == free[1:3]
        assert rows() == (2, 3)
        assert batch.codes_left() == 2
        assert try_code(one.email, taken) == one
        assert try_code(other.email, free[1]) == other

    def test_the_same_code_twice_in_a_batch_is_drawn_again(self, user, monkeypatch, no_pauses):
        one, two, three, four = (rooms.generate() for _ in range(4))
        drawn = iter([one, one, one, two, three, four])
        monkeypatch.setattr(rooms, "generate", lambda: next(drawn))
        assert create(user, number_of_codes=3)[0] == [two, three, four]

    def test_all_or_nothing(self, user, monkeypatch, no_pauses, try_code):
        """R-05: the old batch stays when the new one fails."""
        plain_codes, batch = create(user, number_of_codes=2)
        with monkeypatch.context() as patched:
            patched.setattr(rooms, "generate", lambda: plain_codes[0])
            with pytest.raises(IntegrityError):
                create(user, number_of_codes=2)
        assert rows() == (1, 2)
        assert batch.codes_left() == 2
        assert try_code(user.email, plain_codes[0]) == user

    def test_a_failure_at_the_last_step_leaves_nothing(self, user, monkeypatch):
        """R-05, R-115: without its audit row there is no batch."""

        def no_disk(*entries):
            raise OSError("disk full")

        monkeypatch.setattr(audit, "record", no_disk)
        with pytest.raises(OSError, match="disk full"):
            create(user)
        assert rows() == (0, 0)


class TestRules:
    def test_a_code_is_spent_once(self, user):
        """R-21"""
        create(user, number_of_codes=1)
        first, second = RecoveryCode.objects.get(), RecoveryCode.objects.get()
        assert first.spend() is True
        assert second.spend() is False
        second.refresh_from_db()
        assert second.status == "used" and second.retired_at is not None

    def test_spending_is_one_update_without_a_join(self, user, statements):
        """R-21"""
        create(user, number_of_codes=1)
        row = RecoveryCode.objects.get()
        with statements() as queries:
            row.spend()
        [sql] = queries
        assert sql.startswith("UPDATE")
        assert "SELECT" not in sql and "JOIN" not in sql

    def test_usable_looks_at_status_and_expiry(self, user, clock):
        create(user, days_to_expire=1, number_of_codes=2)
        assert RecoveryCode.objects.usable().of_user(user).count() == 2
        clock.shift(timedelta(days=1) - timedelta(seconds=1))
        assert RecoveryCode.objects.usable().count() == 2
        clock.shift(1)
        assert RecoveryCode.objects.usable().count() == 0

    def test_owners_of_an_address_are_active_and_have_that_very_address(self, make_user):
        one = make_user("mike@example.com")
        other = make_user("MIKE@example.com")
        make_user("mike@example.com", is_active=False)
        make_user("mi\u212ae@example.com")
        make_user("mike@example.org")
        assert set(owners_of_email("mike@example.com")) == {one, other}

    def test_an_address_that_no_query_can_find_has_no_owner_and_harms_nothing(
        self, user, try_code, events, monkeypatch, caplog, settings
    ):
        """R-51: an encrypted field, or a property. Ten failures are ten charges all the same."""
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 5
        monkeypatch.setattr(type(user), "EMAIL_FIELD", "address", raising=False)
        address = property(lambda self: self.email)
        monkeypatch.setattr(type(user), "address", address, raising=False)
        for number in range(12):
            assert try_code(user.email, WRONG_CODE, f"198.51.100.{number}") is None
        assert cooldown.RecoveryCodeCooldown.objects.filter(failures=12).count() == 1
        assert events().count(("login.fail", "unknown")) == 12
        assert events(user=None).count(("login.alerted", "")) == 1
        assert "owners not looked up: FieldError" in caplog.text
        assert user.email not in caplog.text

    def test_a_failed_look_up_of_owners_leaves_the_transaction_usable(self, user, monkeypatch):
        class Broken(Lookup):
            lookup_name = "iexact"

            def as_sql(self, compiler, connection):
                return "no_such_function(%s)", ["x"]

        with register_lookup(type(user)._meta.get_field("email"), Broken):
            assert owners_of_email(user.email) == []
        assert owners_of_email(user.email) == [user]

    def test_a_user_without_an_address_has_an_empty_one(self, user):
        user.email = None
        assert email_of(user) == ""


# What would change a row of the audit, by the method of a queryset: its arguments.
CHANGING = {
    "update": lambda row: ([], {"reason": "used"}),
    "delete": lambda row: ([], {}),
    "create": lambda row: ([], {"pk": row.pk, "reason": "used"}),
    "get_or_create": lambda row: ([], {"pk": row.pk, "event": "other"}),
    "update_or_create": lambda row: ([], {"pk": row.pk, "defaults": {"reason": "used"}}),
    "bulk_create": lambda row: ([[row], None, False, True, ["reason"], ["id"]], {}),
    "bulk_update": lambda row: ([[row], ["reason"]], {}),
}
READING = {
    *("aggregate", "alias", "all", "annotate", "complex_filter", "contains", "count", "dates"),
    *("datetimes", "defer", "difference", "distinct", "earliest", "exclude", "exists", "explain"),
    *("extra", "filter", "first", "get", "in_bulk", "intersection", "iterator", "last", "latest"),
    *("none", "only", "order_by", "raw", "reverse", "select_for_update", "select_related"),
    *("union", "using", "values", "values_list", "prefetch_related"),
    *("aaggregate", "acontains", "acount", "aearliest", "aexists", "aexplain", "afirst", "aget"),
    *("ain_bulk", "aiterator", "alast", "alatest"),
    *("as_manager", "db", "ordered", "query", "resolve_expression"),
    *("fetch_mode", "totally_ordered"),  # Django 6.1
}


class TestAudit:
    """R-117"""

    @pytest.fixture
    def row(self, user):
        audit.record(audit.entry(Event.BATCH_GENERATED, user=user, actor=user))
        return RecoveryCodeAudit.objects.get()

    @pytest.mark.parametrize(
        "change",
        [
            lambda row: row.save(),
            lambda row: row.delete(),
            lambda row: RecoveryCodeAudit.objects.all().delete(),
            lambda row: RecoveryCodeAudit.objects.filter(pk=row.pk).delete(),
            lambda row: RecoveryCodeAudit(pk=row.pk, event="forged").save(force_update=True),
            lambda row: RecoveryCodeAudit.objects.bulk_create(
                [row], update_conflicts=True, update_fields=["reason"], unique_fields=["id"]
            ),
        ],
    )
    def test_a_row_is_never_changed_or_removed(self, row, change):
        with pytest.raises(TypeError, match="Audit rows are"), transaction.atomic():
            change(row)
        assert RecoveryCodeAudit.objects.get().event == "recovery.batch.generated"

    @pytest.mark.parametrize("name", CHANGING)
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_no_method_of_a_queryset_changes_it(self, row, name, is_async):
        row.reason = "used"
        arguments, keywords = CHANGING[name](row)
        rows = RecoveryCodeAudit.objects.all()
        change = async_to_sync(getattr(rows, f"a{name}")) if is_async else getattr(rows, name)
        with pytest.raises(TypeError, match="Audit rows are"), transaction.atomic():
            change(*arguments, **keywords)
        row.refresh_from_db()
        assert row.reason == ""

    def test_every_method_of_a_queryset_only_reads_or_was_tried(self):
        """A new one of Django's is looked at first. `raw` runs any SQL, which seals are for."""
        public = {name for name in dir(QuerySet) if not name.startswith("_")}
        tried = {*CHANGING, *(f"a{name}" for name in CHANGING)}
        assert tried <= public
        assert public - tried - READING == set()

    def test_rows_can_be_added_in_bulk(self, row):
        added = [audit.entry(Event.LOGIN_FAIL), audit.entry(Event.LOGIN_FAIL)]
        RecoveryCodeAudit.objects.bulk_create(added, 1)
        async_to_sync(RecoveryCodeAudit.objects.all().abulk_create)(
            [audit.entry(Event.LOGIN_FAIL)]
        )
        assert RecoveryCodeAudit.objects.count() == 4

    def test_it_outlives_its_user(self, row, user):
        user.delete()
        row = RecoveryCodeAudit.objects.get()
        assert (row.user, row.actor) == (None, None)

    def test_it_says_what_it_is(self, row):
        assert str(row) == "recovery.batch.generated"
        assert str(audit.entry(Event.LOGIN_FAIL, reason=audit.Reason.USED)) == (
            "recovery.login.fail used"
        )

    def test_every_event_and_reason_fits_its_column(self):
        for values, field in ((audit.Event, "event"), (audit.Reason, "reason")):
            assert (
                max(map(len, values.values)) <= RecoveryCodeAudit._meta.get_field(field).max_length
            )


class TestSchema:
    def test_nothing_points_to_the_codes(self):
        """Rows are purged without looking for others that go with them."""
        for model in apps.get_models(include_auto_created=True):
            for field in model._meta.get_fields():
                if field.is_relation and not field.auto_created:
                    assert field.related_model is not RecoveryCode, field
        assert RecoveryCode._meta.related_objects == ()

    @pytest.mark.parametrize(
        ("model", "columns", "is_unique"),
        [
            (RecoveryCode, ["digest"], True),
            (RecoveryCode, ["retired_at", "id"], False),
            (RecoveryCode, ["status", "expires_at"], False),
            (RecoveryCode, ["batch_id"], False),
            (RecoveryCodeBatch, ["public_id"], True),
            (RecoveryCodeBatch, ["user_id", "issued_at"], False),
            (RecoveryCodeAudit, ["at"], False),
            (RecoveryCodeAudit, ["event", "at"], False),
            (RecoveryCodeAudit, ["user_id", "at"], False),
            (cooldown.RecoveryCodeCooldown, ["key"], True),
            (cooldown.RecoveryCodeCooldown, ["account"], False),
        ],
    )
    def test_this_database_has_the_index(self, db, model, columns, is_unique):
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
        assert any(
            constraint["columns"] == columns
            and (constraint["unique"] or constraint["primary_key"]) == is_unique
            and (constraint["index"] or is_unique)
            for constraint in found.values()
        )

    @pytest.mark.parametrize("name", ["recovery_code_retired", "recovery_code_expiring"])
    @pytest.mark.parametrize("is_partial", [True, False])
    def test_a_partial_index_is_plain_where_there_are_none(
        self, db, monkeypatch, name, is_partial
    ):
        monkeypatch.setattr(connection.features, "supports_partial_indexes", is_partial)
        [index] = [index for index in RecoveryCode._meta.indexes if index.name == name]
        sql = str(index.create_sql(RecoveryCode, connection.schema_editor(collect_sql=True)))
        assert name in sql
        assert ("WHERE" in sql) is is_partial

    def test_the_digest_is_found_through_its_index(self, db, statements):
        """R-11"""
        if connection.vendor != "sqlite":
            pytest.skip("only SQLite plans an empty table as a large one")
        plan = RecoveryCode.objects.filter(
            digest__in=rooms.PresentedCode(WRONG_CODE).digests()
        ).explain()
        assert "USING INDEX" in plan and "digest=?" in plan

    def test_migrations_are_complete(self, db):
        call_command("makemigrations", "recovery_backend", check=True, dry_run=True, verbosity=0)

    def test_defaults_do_not_change_between_imports(self):
        """A default that is called at import writes a migration at every makemigrations."""
        command = [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"]
        for _ in range(2):
            done = subprocess.run(
                command, cwd=ROOT, env=member_environment(), capture_output=True, text=True
            )
            assert (done.returncode, done.stdout) == (0, "No changes detected\n"), done.stderr

    def test_migrations_hold_no_code_and_run_no_python(self):
        """R-149"""
        for path in (ROOT / "recovery_backend" / "migrations").glob("0*.py"):
            assert "RunPython" not in path.read_text()
            assert "RunSQL" not in path.read_text()

    @pytest.mark.parametrize(
        ("row", "text"),
        [
            (RecoveryCodeSetup(user_id=7), "7"),
            (RecoveryCodeCleanUpScheduler(name="nightly"), "nightly"),
            (RecoveryCodeAuditScheduler(name="yearly"), "yearly"),
        ],
    )
    def test_a_row_names_itself(self, row, text):
        assert str(row) == text

    def test_a_row_of_the_past_says_when(self, clock):
        clock.move_to("2026-01-02 03:04:00+00:00")
        assert str(RecoveryCodeEmailLog(state="sent")) == "sent 2026-01-02 03:04"
        assert str(RecoveryCodePurgeHistory(policy_name="x")) == "x 2026-01-02 03:04"

    def test_a_schedule_never_runs_before_it_starts(self, db):
        from django.core.exceptions import ValidationError

        now = timezone.now()
        policy = RecoveryCodeCleanUpScheduler(name="nightly", run_at=now)
        policy.full_clean()
        policy.next_run = now + timedelta(days=1)
        policy.full_clean()
        policy.next_run = now - timedelta(seconds=1)
        with pytest.raises(ValidationError) as caught:
            policy.full_clean()
        assert list(caught.value.message_dict) == ["next_run"]


def member_environment():
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.users.member_settings"}


def test_a_user_model_of_ones_own_works():
    """A UUID key, a renamed e-mail field, no `is_active`: see tests/users/member_journeys.py."""
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *("--ds", "tests.users.member_settings", "tests/users/member_journeys.py"),
        ],
        cwd=ROOT,
        env=member_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout and "skipped" not in done.stdout


class TestDelivery:
    """R-74, R-76, R-81: each of these is True for one of any number of callers."""

    @pytest.fixture
    def batch(self, user, codes):
        return RecoveryCodeBatch.objects.get()

    @pytest.fixture
    def twin(self, batch):
        """The same batch as another process has it, read before anything changed."""
        return RecoveryCodeBatch.objects.get(pk=batch.pk)

    @pytest.mark.parametrize(
        ("claim", "field"), [("mark_viewed", "has_viewed"), ("mark_downloaded", "has_downloaded")]
    )
    def test_a_claim_is_won_once(self, batch, twin, claim, field, clock):
        issued_at = batch.modified_at
        clock.shift(10)
        assert [getattr(batch, claim)(), getattr(twin, claim)()] == [True, False]
        assert (getattr(batch, field), getattr(twin, field)) == (True, False)
        batch.refresh_from_db()
        assert getattr(batch, field) is True
        assert batch.modified_at == timezone.now() > issued_at

    @pytest.mark.parametrize("claim", ["mark_viewed", "mark_downloaded", "queue_email"])
    def test_of_a_batch_that_is_not_active_nothing_can_be_claimed(self, user, batch, claim):
        create(user)
        assert getattr(batch, claim)() is False

    def test_an_e_mail_goes_from_queued_to_sending_to_sent(self, batch, twin, clock):
        assert (batch.shown_email_state, batch.has_emailed) == ("none", False)
        assert [batch.queue_email(), twin.queue_email()] == [True, False]
        assert (batch.shown_email_state, batch.has_emailed) == ("queued", True)
        assert batch.email_queued_at == timezone.now()
        assert [batch.start_email(), twin.start_email()] == [True, False]
        assert batch.shown_email_state == "queued"
        batch.close_email(batch.EmailState.SENT)
        assert (batch.shown_email_state, batch.has_emailed) == ("sent", True)
        assert batch.queue_email() is False

    def test_a_failed_e_mail_can_be_queued_again(self, batch):
        batch.queue_email()
        batch.start_email()
        batch.close_email(batch.EmailState.FAILED)
        assert (batch.shown_email_state, batch.has_emailed) == ("failed", False)
        assert batch.queue_email() is True

    @pytest.mark.parametrize("is_started", [True, False])
    def test_one_that_never_left_can_be_queued_again(self, batch, clock, is_started):
        batch.queue_email()
        if is_started:
            batch.start_email()
        clock.shift(899)
        assert (batch.shown_email_state, batch.queue_email()) == ("queued", False)
        clock.shift(1)
        assert (batch.shown_email_state, batch.queue_email()) == ("failed", True)
        assert batch.shown_email_state == "queued"

    def test_what_was_not_queued_is_not_sent(self, batch):
        assert batch.start_email() is False
        batch.close_email(batch.EmailState.SENT)
        batch.refresh_from_db()
        assert batch.email_state == "none"

    def test_an_e_mail_on_its_way_is_closed_also_when_new_codes_came(self, user, batch):
        batch.queue_email()
        batch.start_email()
        create(user)
        batch.close_email(batch.EmailState.SENT)
        batch.refresh_from_db()
        assert (batch.status, batch.email_state) == ("superseded", "sent")

    def test_the_log_of_an_e_mail_is_closed_once(self, user, batch, clock):
        row = {"user": user, "batch": batch.public_id, "recipient": user.email}
        log = RecoveryCodeEmailLog.objects.create(**row, state="queued")
        RecoveryCodeEmailLog.close(batch, True)
        RecoveryCodeEmailLog.close(batch, False)
        log.refresh_from_db()
        assert (log.state, log.sent_at) == ("sent", timezone.now())
        assert user.email not in str(log)


class TestRetirement:
    """R-46"""

    @pytest.fixture
    def row(self, user, codes):
        return RecoveryCode.objects.first()

    def test_a_code_is_invalidated_once_and_may_be_deleted_then(self, row, clock):
        status = RecoveryCode.Status
        assert [row.retire(status.INVALIDATED), row.retire(status.INVALIDATED)] == [True, False]
        assert [row.retire(status.DELETED), row.retire(status.DELETED)] == [True, False]
        row.refresh_from_db()
        assert (row.status, row.retired_at) == ("deleted", timezone.now())
        assert row.retire(status.INVALIDATED) is False

    @pytest.mark.parametrize("status", ["invalidated", "deleted"])
    def test_a_used_code_stays_used(self, row, status):
        assert row.spend()
        assert row.retire(RecoveryCode.Status(status)) is False
        row.refresh_from_db()
        assert row.status == "used"

    @pytest.mark.parametrize("status", ["invalidated", "deleted"])
    def test_a_retired_code_is_not_spent(self, row, status):
        assert row.retire(RecoveryCode.Status(status))
        assert row.spend() is False

    def test_deleting_all_says_how_many_ended(self, user, codes, clock):
        used, invalidated, usable = RecoveryCode.objects.order_by("pk")
        used.spend()
        invalidated.retire(RecoveryCode.Status.INVALIDATED)
        clock.shift(5)
        batch = RecoveryCodeBatch.objects.get()
        twin = RecoveryCodeBatch.objects.get()
        assert [batch.delete_codes(), twin.delete_codes()] == [1, None]
        states = RecoveryCode.objects.order_by("pk").values_list("status", flat=True)
        assert list(states) == ["used", "deleted", "deleted"]
        batch.refresh_from_db()
        assert (batch.status, batch.retired_at) == ("deleted", timezone.now())
        usable.refresh_from_db()
        assert usable.retired_at == timezone.now()

    def test_only_the_own_batch_is_deleted(self, user, codes, make_user, make_codes):
        other = make_user()
        make_codes(other)
        RecoveryCodeBatch.objects.get(user=user).delete_codes()
        assert RecoveryCode.objects.usable().of_user(other).count() == 3

    def test_the_active_batch_is_the_users_own(self, user, codes, make_user, make_codes):
        other = make_user()
        assert RecoveryCodeBatch.objects.active_of(other) is None
        make_codes(other)
        assert RecoveryCodeBatch.objects.active_of(user).user == user

    def test_what_was_issued_shows_no_code_when_it_is_printed(self, user):
        """R-84"""
        issued = RecoveryCodeBatch.issue(user)
        assert not any(code[:6] in repr(issued) for code in issued.codes)
