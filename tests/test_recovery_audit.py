"""The audit from the command line: a report, a file of events, a clean-up, a check of the seals."""

from __future__ import annotations

import csv
import io
import json
import stat
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from recovery_backend import seals
from recovery_backend.audit import Event, Outcome, Reason, RecoveryCodeAudit
from recovery_backend.management import event_file, report_text
from recovery_backend.models import RecoveryCodeAuditSeal, RecoveryCodePurgeHistory
from recovery_backend.statistics import Period
from tests.commands import Terminal

NOW = datetime(2026, 3, 31, 12, 30, 15, 123456, tzinfo=UTC)


def run(**options):
    out = io.StringIO()
    call_command("recovery_audit", stdout=out, **options)
    return out.getvalue()


@pytest.fixture(autouse=True)
def now():
    with time_machine.travel(NOW, tick=False):
        yield NOW


@pytest.fixture
def add(db):
    def add_(days_ago=0, number=1, event=Event.LOGIN_SUCCESS, reason="", **fields):
        outcome = Outcome.REFUSED if reason else Outcome.DONE
        at = NOW - timedelta(days=days_ago)
        RecoveryCodeAudit.objects.bulk_create(
            RecoveryCodeAudit(at=at, event=event, outcome=outcome, reason=reason, **fields)
            for _ in range(number)
        )

    return add_


def squeezed(text):
    """Lines with single spaces between their cells."""
    return [" ".join(line.split()) for line in text.splitlines()]


class TestReport:
    def test_it_counts_by_event_outcome_reason_and_day(self, add, user):
        add(0, 3, user=user, account="a" * 64)
        add(1, 1200, Event.LOGIN_FAIL, Reason.UNKNOWN, account="b" * 64)
        add(1, 1, Event.LOGIN_THROTTLED, Reason.COOLDOWN, account="c" * 64)
        add(7)
        lines = squeezed(run(days=7))
        assert lines[0] == "Recovery codes from 2026-03-25 to 2026-03-31 (7 days)"
        assert lines[2:5] == ["1,204 events", "1 known owner", "3 e-mail addresses"]
        for line in (
            "recovery.login.fail: code refused 1,200",
            "recovery.login.success: signed in with a code 3",
            "refused 1,201",
            "done 3",
            "unknown: no such code 1,200",
            "cooldown: waiting time 1",
            "Day Sign-ins Failures While waiting Generated",
            "2026-03-30 0 1,200 1 0",
            "2026-03-31 3 0 0 0",
        ):
            assert line in lines
        assert not any(line.startswith("2026-03-29") for line in lines)

    def test_it_has_the_runs(self, db):
        RecoveryCodePurgeHistory.objects.create(codes_removed=1000, batches_removed=2)
        RecoveryCodePurgeHistory.objects.create(
            started_at=NOW - timedelta(hours=1), kind="audit", error="OperationalError"
        )
        lines = squeezed(run())
        assert "2026-03-31 12:30 purge of codes 1,000 2 0 0 0" in lines
        assert "The run of 2026-03-31 11:30 failed: OperationalError." in lines

    def test_it_says_that_a_flood_is_not_recorded_in_full(self, db):
        assert "Counts are of recorded events" in run()

    def test_without_events_it_is_short(self, db):
        assert squeezed(run(days=1))[:5] == [
            "Recovery codes from 2026-03-31 to 2026-03-31 (1 day)",
            "",
            "0 events",
            "0 known owners",
            "0 e-mail addresses",
        ]

    @pytest.mark.parametrize("columns", [40, 80, 200])
    def test_it_is_no_wider_than_the_terminal(self, add, monkeypatch, columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        for event in Event:
            add(event=event)
        lines = run().splitlines()
        # Five columns of numbers need their room; the others give way.
        assert max(map(len, lines[1:-1])) <= max(columns, 62)
        assert any("…" in line for line in lines) == (columns == 40)

    def test_columns_stand_below_each_other_in_wide_scripts_too(self, add, monkeypatch):
        names = {"unknown": "\u7b26\u53f7", "used": "e\u0301te\u0301"}
        monkeypatch.setattr(report_text, "label", lambda choices, name: names.get(name, name))
        add(0, 12, Event.LOGIN_FAIL, Reason.UNKNOWN)
        add(0, 3, Event.CODE_REPLAY, Reason.USED)
        lines = run().splitlines()
        assert "unknown: \u7b26\u53f7      12" in lines
        assert "used: e\u0301te\u0301           3" in lines

    @pytest.mark.parametrize("days", [0, -1, 3651])
    def test_a_senseless_number_of_days_is_refused(self, db, days):
        with pytest.raises(CommandError, match="--days must be from 1 to 3650"):
            run(days=days)


class TestExport:
    @pytest.fixture
    def target(self, tmp_path):
        return tmp_path / "events.csv"

    def test_csv_has_each_event_of_the_period_oldest_first(self, add, target, user):
        add(0, user=user, address="2001:db8::1", data={"codes": 3}, batch=7)
        add(1, 1, Event.LOGIN_FAIL, Reason.UNKNOWN, address="198.51.100.7", account="b" * 64)
        add(2)
        said = run(export=str(target), days=2)
        assert said == f"2 events written to {target}.\n"
        content = target.read_bytes()
        assert content.startswith(b"\xef\xbb\xbf") and content.count(b"\r\n") == 3
        refused, signed_in = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        assert refused["at"] == "2026-03-30T12:30:15.123456+00:00"
        assert (refused["event"], refused["outcome"]) == ("recovery.login.fail", "refused")
        assert (refused["reason"], refused["user_id"]) == ("unknown", "")
        assert (refused["address"], refused["account"]) == ("198.51.100.7", "b" * 64)
        assert (signed_in["address"], signed_in["user_id"]) == ("2001:db8::1", str(user.pk))
        assert (signed_in["batch"], signed_in["data"]) == ("7", '{"codes": 3}')

    def test_json_has_the_same_with_types(self, add, tmp_path, user):
        target = tmp_path / "events.JSON"
        add(0, 2, user=user, data={"codes": 3})
        run(export=str(target), days=1)
        rows = json.loads(target.read_text(encoding="utf-8"))
        assert len(rows) == 2
        assert rows[0]["data"] == {"codes": 3}
        assert (rows[0]["user_id"], rows[0]["code"]) == (user.pk, None)
        assert rows[0]["at"] == "2026-03-31T12:30:15.123456+00:00"

    @pytest.mark.parametrize("name", ["events.csv", "events.json"])
    def test_no_event_makes_an_empty_file_of_its_format(self, db, tmp_path, name):
        target = tmp_path / name
        assert run(export=str(target)) == f"0 events written to {target}.\n"
        text = target.read_text(encoding="utf-8-sig")
        assert json.loads(text) == [] if name.endswith("json") else len(text.splitlines()) == 1

    @pytest.mark.parametrize("hostile", ['=HYPERLINK("x")', "+1", "@SUM(A1)", "a;=1+1", "\uff1d1"])
    def test_no_cell_is_a_formula(self, add, target, hostile):
        """R-78"""
        add(user_agent=hostile, path=hostile, data={hostile: hostile})
        run(export=str(target))
        [row] = csv.DictReader(io.StringIO(target.read_text(encoding="utf-8-sig")))
        for cell in row.values():
            assert not any(
                part.lstrip(' "')[:1] in set("=+@\uff1d") - {""} for part in _parts(cell)
            )

    def test_it_can_be_piped(self, add):
        add(0, 2)
        assert len(json.loads(run(export="-", format="json"))) == 2
        assert len(list(csv.reader(io.StringIO(run(export="-", format="csv"))))) == 3

    def test_only_its_owner_may_read_it(self, add, target):
        run(export=str(target))
        assert stat.S_IMODE(target.stat().st_mode) == 0o600

    def test_an_old_file_stays_until_the_new_one_is_complete(self, add, target, monkeypatch):
        target.write_text("old")

        def fail(stream, period):
            stream.write("half")
            assert target.read_text() == "old"
            raise OperationalError("gone away")

        monkeypatch.setitem(event_file.FORMATS, "csv", fail)
        with pytest.raises(OperationalError):
            run(export=str(target))
        assert [path.read_text() for path in target.parent.iterdir()] == ["old"]
        monkeypatch.undo()
        run(export=str(target))
        assert target.read_text(encoding="utf-8-sig").startswith('"id"')

    @pytest.mark.parametrize("name", ["events.txt", "events", "events.csv.gz", ".csv", ""])
    def test_an_unknown_ending_is_refused(self, db, tmp_path, name):
        with pytest.raises(CommandError, match="neither .csv nor .json"):
            run(export=str(tmp_path / name) if name else "")
        assert list(tmp_path.iterdir()) == []

    def test_the_format_can_be_said(self, db, tmp_path):
        target = tmp_path / "events.txt"
        run(export=str(target), format="json")
        assert json.loads(target.read_text()) == []

    def test_a_place_that_cannot_be_written_is_said(self, db, tmp_path):
        with pytest.raises(CommandError, match="No such file or directory"):
            run(export=str(tmp_path / "missing" / "events.csv"))
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(CommandError, match="is a folder"):
            run(export=str(tmp_path / "folder.csv"))

    @pytest.mark.services
    def test_each_event_is_there_once_however_many_pages(self, add, monkeypatch):
        monkeypatch.setattr(event_file, "PAGE", 3)
        add(1, 4)
        add(0, 7)
        add(1, 2)
        found = [event["id"] for event in event_file.events(Period.of_days(2))]
        expected = RecoveryCodeAudit.objects.order_by("at", "pk").values_list("pk", flat=True)
        assert found == list(expected)

    def test_memory_holds_a_page_at_a_time(self, add, django_assert_num_queries, monkeypatch):
        monkeypatch.setattr(event_file, "PAGE", 3)
        add(0, 7)
        events = event_file.events(Period.of_days(1))
        with django_assert_num_queries(1):
            next(events)
        with django_assert_num_queries(3):
            list(events)

    def test_no_code_and_no_address_is_in_it(self, user, codes, try_code, target):
        """R-20, R-119"""
        try_code(user.email, codes[0])
        try_code(user.email, codes[0])
        run(export=str(target), days=1)
        text = target.read_text(encoding="utf-8-sig")
        assert "recovery.code.replay" in text
        assert user.email not in text
        assert not any(code in text for code in codes)


def _parts(cell):
    return cell.replace("|", ";").replace(",", ";").split(";")


class TestCleanup:
    @pytest.fixture
    def old(self, add):
        add(91, 5)
        add(89, 2)

    def left(self):
        return RecoveryCodeAudit.objects.exclude(event=Event.AUDIT_PURGED).count()

    def test_it_is_a_dry_run_unless_forced(self, old):
        """R-123"""
        said = run(cleanup=True)
        assert said.startswith("5 events would be removed, 0 records of e-mails or runs; older")
        assert "older than 90 days." in said
        assert "Run again with --force" in said
        assert self.left() == 7
        assert not RecoveryCodePurgeHistory.objects.exists()

    def test_force_removes_and_leaves_a_record(self, old, events):
        """R-123"""
        assert run(cleanup=True, force=True).startswith("5 events removed,")
        assert self.left() == 2
        assert ("audit.purged", "") in events()
        record = RecoveryCodePurgeHistory.objects.get()
        assert (record.kind, record.trigger, record.retention_days) == ("audit", "command", 90)
        assert (record.audit_rows_removed, record.error, record.has_more) == (5, "", False)
        assert record.finished_at is not None

    def test_another_retention_can_be_said(self, old):
        assert run(cleanup=True, retention_days=10).startswith("7 events would")
        assert run(cleanup=True, retention_days=91).startswith("5 events would")
        assert run(cleanup=True, retention_days=92).startswith("0 events would")

    def test_the_setting_is_what_is_meant_otherwise(self, old, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_AUDIT_RETENTION_DAYS = 30
        assert run(cleanup=True).startswith("7 events would be removed")

    def test_the_limit_of_one_run_is_said(self, old, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_DELETIONS_PER_RUN = 3
        out = io.StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("recovery_audit", cleanup=True, force=True, stdout=out)
        assert ended.value.code == 3
        assert out.getvalue().startswith("3 events removed")
        assert "There are more: MAX_DELETIONS_PER_RUN was reached." in out.getvalue()
        assert RecoveryCodePurgeHistory.objects.get().has_more

    @pytest.mark.parametrize("days", [-1, 10**9])
    def test_a_senseless_retention_is_refused(self, old, days):
        """R-110"""
        for is_forced in (False, True):
            with pytest.raises(CommandError, match="retention_days must be"):
                run(cleanup=True, force=is_forced, retention_days=days)
        assert self.left() == 7
        assert not RecoveryCodePurgeHistory.objects.exists()

    def test_when_time_was_over_it_is_to_be_run_again(self, old):
        out = io.StringIO()
        options = {"cleanup": True, "force": True, "max_seconds": 0.0, "batch_size": 4}
        with pytest.raises(SystemExit) as ended:
            call_command("recovery_audit", stdout=out, **options)
        assert ended.value.code == 3
        assert out.getvalue().startswith("4 events removed")
        assert "There are more: the time was over." in out.getvalue()
        assert RecoveryCodePurgeHistory.objects.get().has_more

    def test_a_dry_run_that_finds_more_is_done(self, old, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_DELETIONS_PER_RUN = 3
        assert "There are more" in run(cleanup=True)

    def test_programs_get_one_object(self, old):
        expected = {
            "codes": 0,
            "batches": 0,
            "audit_rows": 5,
            "other_rows": 0,
            "stopped": "",
            "has_more": False,
            "retention_days": 90,
            "is_dry_run": True,
        }
        assert json.loads(run(cleanup=True, json=True)) == expected
        done = json.loads(run(cleanup=True, force=True, json=True))
        assert done == expected | {"is_dry_run": False}

    def test_a_terminal_sees_how_far_it_is(self, old):
        terminal = Terminal()
        run(cleanup=True, force=True, batch_size=1, stderr=terminal)
        drawn = terminal.getvalue().split("\r")
        assert f"[{'#' * 18:30}]  60%" in drawn
        assert drawn[-1] == ""

    @pytest.mark.parametrize("options", [{"batch_size": 0}, {"max_seconds": -1.0}])
    def test_what_is_out_of_bounds_ends_it_before_anything_is_done(self, old, tmp_path, options):
        """R-110"""
        target = tmp_path / "all.csv"
        with pytest.raises(CommandError, match=f"^{next(iter(options))} must be"):
            run(cleanup=True, force=True, export=str(target), **options)
        assert not target.exists()
        assert not RecoveryCodePurgeHistory.objects.exists()

    def test_one_that_fails_is_recorded_with_what_it_did(self, old):
        """R-111"""
        pages = []

        def fail(execute, sql, params, many, context):
            if sql.startswith("DELETE"):
                pages.append(sql)
                if len(pages) > 1:
                    raise OperationalError("secret-host")
            return execute(sql, params, many, context)

        with connection.execute_wrapper(fail), pytest.raises(OperationalError):
            run(cleanup=True, force=True, batch_size=2)
        record = RecoveryCodePurgeHistory.objects.get()
        assert (record.audit_rows_removed, record.error) == (2, "OperationalError")

    def test_what_cannot_be_exported_is_not_removed(self, old, tmp_path):
        with pytest.raises(CommandError):
            run(export=str(tmp_path / "no" / "x.csv"), cleanup=True, force=True)
        assert self.left() == 7

    def test_an_export_comes_before_it(self, old, tmp_path):
        target = tmp_path / "all.json"
        run(export=str(target), days=100, cleanup=True, force=True)
        assert len(json.loads(target.read_text())) == 7
        assert self.left() == 2


class TestVerify:
    """R-117"""

    @pytest.fixture
    def sealed(self, add):
        add(1, 5)
        assert seals.seal() == 5
        add(0, 2)

    def alter(self):
        table = RecoveryCodeAudit._meta.db_table
        first = RecoveryCodeAudit.objects.order_by("pk").values_list("pk", flat=True)[0]
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET reason = 'used' WHERE id = %s", [first])  # noqa: S608
        return first

    def test_a_sound_audit_is_said_to_be_so(self, sealed):
        lines = run(verify=True).splitlines()
        assert lines[:3] == [
            "5 events compared with their seals.",
            "2 events not sealed yet.",
            "1 seal.",
        ]
        assert lines[-2].startswith("Head: 1:")
        assert lines[-1] == "No problem was found."

    def test_an_altered_event_is_named_and_ends_with_an_error(self, sealed):
        first = self.alter()
        out = io.StringIO()
        with pytest.raises(CommandError, match="1 problem was found") as caught:
            call_command("recovery_audit", verify=True, stdout=out)
        assert caught.value.returncode == 1
        assert f"Row {first} was altered." in out.getvalue()

    def test_a_head_that_was_noted_has_to_be_there(self, sealed):
        head = seals.verify().head
        assert "No problem" in run(verify=True, head=head)
        other = f"9:{head.partition(':')[2]}"
        with pytest.raises(CommandError, match="1 problem was found"):
            run(verify=True, head=other)

    def test_what_is_no_head_is_refused(self, sealed):
        with pytest.raises(CommandError, match="NUMBER:DIGEST"):
            run(verify=True, head="latest")

    def test_owners_who_were_deleted_are_no_problem(self, add, user):
        add(1, 2, user=user)
        seals.seal()
        get_user_model().objects.filter(pk=user.pk).delete()
        assert "2 events of users who were deleted since." in run(verify=True)

    def test_only_the_first_problems_are_listed(self, sealed, monkeypatch):
        verdict = seals.verify()
        verdict.problems, verdict.number_of_problems = ["Row 1 was altered."], 101
        monkeypatch.setattr(seals, "verify", lambda expected_head: verdict)
        out = io.StringIO()
        with pytest.raises(CommandError, match="101 problems were found"):
            call_command("recovery_audit", verify=True, stdout=out)
        assert "… and 100 more problems." in out.getvalue()

    def test_without_seals_it_says_where_they_come_from(self, db):
        assert "AUDIT_CHAIN" in run(verify=True)

    def test_removed_seals_are_a_problem_while_there_should_be_some(self, add, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_AUDIT_CHAIN = True
        add(2, 5)
        seals.seal()
        assert "No problem" in run(verify=True)
        RecoveryCodeAuditSeal.objects.all().delete()
        with pytest.raises(CommandError, match="1 problem was found"):
            run(verify=True)

    def test_an_altered_audit_is_not_cleaned_up(self, sealed):
        self.alter()
        with pytest.raises(CommandError):
            run(verify=True, cleanup=True, force=True, retention_days=0)
        assert RecoveryCodeAudit.objects.count() == 7


@pytest.mark.parametrize(
    "options",
    [
        {"force": True},
        {"retention_days": 0},
        {"head": "1:" + "a" * 64},
        {"format": "csv"},
        {"export": "-", "format": "csv", "cleanup": True},
        {"export": "-", "format": "csv", "verify": True},
        {"batch_size": 5},
        {"max_seconds": 0.0},
        {"json": True},
        {"json": True, "cleanup": True, "verify": True},
        {"json": True, "cleanup": True, "export": "x.csv"},
    ],
    ids=lambda options: "+".join(options),
)
def test_options_that_do_not_go_together_do_nothing(db, options):
    with pytest.raises(CommandError, match="of use with|goes alone"):
        run(**options)
    assert not RecoveryCodePurgeHistory.objects.exists()
