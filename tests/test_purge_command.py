"""The purge commands: what they say, how they end, and what they leave in the record."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import django
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from django.utils import timezone, translation

from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.management import stop_signals
from recovery_backend.management.progress_bar import ProgressBar
from recovery_backend.models import RecoveryCode, RecoveryCodePurgeHistory
from tests.commands import Terminal, call
from tests.purge.conftest import DAY, add_batch

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "purge.md"


def run(**options):
    """What it wrote, what it wrote as errors, and its exit code."""
    return call("purge_recovery_codes", **options)


@pytest.fixture
def ended(user):
    return add_batch(user, *[("used", 31 * DAY)] * 6)


def record():
    return RecoveryCodePurgeHistory.objects.get()


class TestAnswer:
    def test_it_says_what_went(self, ended):
        said = "Removed: 6 codes, 1 empty batch.\n"
        assert run(delete_empty_batches=True) == (said, "", 0)

    def test_and_when_there_was_nothing(self, db):
        assert run() == ("Removed: nothing.\n", "", 0)

    def test_a_dry_run_says_what_would_go(self, ended):
        assert run(dry_run=True) == ("Would be removed: 6 codes.\n", "", 0)
        assert ended.codes.count() == 6
        assert not RecoveryCodePurgeHistory.objects.exists()
        assert not RecoveryCodeAudit.objects.exists()

    def test_another_retention_than_the_setting(self, ended):
        assert run(retention_days=32)[0] == "Removed: nothing.\n"
        assert run(retention_days=0)[0] == "Removed: 6 codes.\n"

    def test_where_the_limit_of_a_run_was_reached_there_is_more(self, ended, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_DELETIONS_PER_RUN = 1
        out, err, code = run()
        assert out.splitlines() == [
            "Removed: 1 code.",
            "There are more: MAX_DELETIONS_PER_RUN was reached.",
        ]
        assert (err, code) == ("", 3)
        assert run(dry_run=True)[2] == 0

    def test_when_time_was_over_it_is_to_be_run_again(self, ended):
        out, _err, code = run(max_seconds=0.0, batch_size=4)
        assert out.startswith("Removed: 4 codes.\nThere are more: the time was over.")
        assert code == 3
        assert run(max_seconds=60.0) == ("Removed: 2 codes.\n", "", 0)

    def test_it_speaks_the_language_of_the_site(self, ended):
        with translation.override("de"):
            assert "6" in run()[0]

    def test_programs_get_one_object(self, ended):
        expected = {
            "codes": 6,
            "batches": 0,
            "audit_rows": 0,
            "other_rows": 0,
            "stopped": "",
            "has_more": False,
            "retention_days": 30,
            "is_dry_run": True,
        }
        assert json.loads(run(json=True, dry_run=True)[0]) == expected
        assert json.loads(run(json=True)[0]) == expected | {"is_dry_run": False}
        out, _err, code = run(json=True, max_seconds=1.0, retention_days=5)
        assert json.loads(out)["retention_days"] == 5 and code == 0


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"retention_days": -1}, "retention_days"),
            ({"retention_days": 36_501}, "retention_days"),
            ({"batch_size": 0}, "batch_size"),
            ({"max_seconds": -1.0}, "max_seconds"),
            ({"max_seconds": float("nan")}, "max_seconds"),
        ],
    )
    @pytest.mark.parametrize("is_dry_run", [True, False])
    def test_what_is_out_of_bounds_is_refused(self, ended, options, name, is_dry_run):
        """R-110"""
        with pytest.raises(CommandError, match=f"^{name} must be"):
            run(**options, dry_run=is_dry_run)
        assert ended.codes.count() == 6
        assert not RecoveryCodePurgeHistory.objects.exists()

    @pytest.mark.parametrize("typed", ["x", "1.5", ""])
    def test_what_is_no_number_is_refused(self, db, typed):
        with pytest.raises(CommandError, match="--retention-days"):
            call_command("purge_recovery_codes", f"--retention-days={typed}")


class TestRecord:
    def test_a_run_is_recorded(self, ended):
        run(delete_empty_batches=True, retention_days=7)
        row = record()
        assert (row.kind, row.trigger, row.retention_days) == ("codes", "command", 7)
        assert (row.codes_removed, row.batches_removed, row.error) == (6, 1, "")
        assert row.finished_at >= row.started_at
        assert row.has_more is False

    def test_one_that_stopped_says_so(self, ended):
        run(max_seconds=0.0, batch_size=4)
        assert (record().codes_removed, record().has_more) == (4, True)

    def test_one_that_fails_is_recorded_with_what_it_did(self, ended, monkeypatch):
        """R-111: the type of the error only, since databases name values in their messages."""

        def show(self, number):
            if number == 4:
                raise ConnectionError("secret")

        monkeypatch.setattr(ProgressBar, "show", show)
        with pytest.raises(ConnectionError):
            run(batch_size=4)
        assert (record().codes_removed, record().error) == (4, "ConnectionError")

    def test_ctrl_c_says_what_was_done(self, ended, monkeypatch):
        def show(self, number):
            if number == 4:
                raise KeyboardInterrupt

        monkeypatch.setattr(ProgressBar, "show", show)
        out, err, code = run(batch_size=4)
        assert (out, code) == ("", 130)
        assert err.startswith("Interrupted. Removed until then, for good: 4 codes.")
        assert (record().codes_removed, record().error) == (4, "KeyboardInterrupt")
        assert RecoveryCode.objects.count() == 2

    def test_it_is_there_before_the_first_row_goes(self, ended, statements):
        with statements() as sent:
            run()
        tables = [sql.replace("`", '"') for sql in sent]
        begun = next(n for n, sql in enumerate(tables) if sql.startswith("INSERT"))
        gone = next(n for n, sql in enumerate(tables) if sql.startswith("DELETE"))
        assert "purgehistory" in tables[begun]
        assert begun < gone

    def test_a_record_that_cannot_be_closed_hides_no_error(self, ended, monkeypatch, caplog):
        def fail(execute, sql, params, many, context):
            if "SET" in sql and "finished_at" in sql:
                raise OperationalError("no more room")
            return execute(sql, params, many, context)

        def show(self, number):
            raise ConnectionError

        monkeypatch.setattr(ProgressBar, "show", show)
        with connection.execute_wrapper(fail), pytest.raises(ConnectionError):
            run()
        assert "run not closed: OperationalError" in caplog.text


# The command as it is, which says when its fourth page is in hand, and waits.
CHILD = """
import sys
import django
django.setup()
from django.core.management import execute_from_command_line
from django.db import connection
from recovery_backend.runs import progress

connection.settings_dict["NAME"], table = sys.argv[1:3]
progress.NOTE_SECONDS = 0
pages = []

def watch(execute, sql, params, many, context):
    if f'DELETE FROM "{table}"' in sql.replace("`", '"'):
        pages.append(sql)
        if len(pages) == 4:
            print("here", flush=True)
            sys.stdin.readline()
    return execute(sql, params, many, context)

with connection.execute_wrapper(watch):
    execute_from_command_line(["manage.py", *sys.argv[3:]])
"""
COMMANDS = {
    "codes": (RecoveryCode, "purge_recovery_codes"),
    "audit": (RecoveryCodeAudit, "recovery_audit", "--cleanup", "--force"),
}


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", COMMANDS)
class TestSignals:
    """R-111: real processes, which are asked to stop in the middle."""

    @pytest.fixture(autouse=True)
    def old(self, make_user):
        add_batch(make_user(), *[("used", 31 * DAY)] * 120)
        at = timezone.now() - 100 * DAY
        RecoveryCodeAudit.objects.bulk_create(
            RecoveryCodeAudit(event=Event.LOGIN_FAIL, outcome="refused", at=at)
            for _number in range(120)
        )

    def end(self, kind, *numbers):
        """What it wrote as errors, and its exit code, when it got these signals in its fourth page."""
        model, *arguments = COMMANDS[kind]
        name, table = str(connection.settings_dict["NAME"]), model._meta.db_table
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, name, table, *arguments, "--batch-size=10"],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                assert child.stdout.readline() == "here\n"
                for number in numbers:
                    child.send_signal(number)
                _out, err = child.communicate("go on\n", timeout=60)
            finally:
                child.kill()
        return err, child.returncode

    def counted(self, kind):
        row = record()
        return row.codes_removed if kind == "codes" else row.audit_rows_removed

    def left(self, kind):
        rows = {
            "codes": RecoveryCode.objects.all(),
            "audit": RecoveryCodeAudit.objects.filter(event=Event.LOGIN_FAIL),
        }
        return rows[kind].count()

    @pytest.mark.parametrize(
        ("number", "code", "error"),
        [(signal.SIGTERM, 143, "Terminated"), (signal.SIGINT, 130, "KeyboardInterrupt")],
    )
    def test_it_ends_after_its_page_and_records_all_of_it(self, kind, number, code, error):
        err, ended = self.end(kind, number)
        assert err.splitlines()[-1].startswith("Interrupted. Removed until then, for good: 40 ")
        assert ended == code
        assert (self.counted(kind), self.left(kind)) == (40, 80)
        assert (record().kind, record().error, record().finished_at is None) == (
            kind,
            error,
            False,
        )
        event = {"codes": Event.PURGE_DONE, "audit": Event.AUDIT_PURGED}[kind]
        done = RecoveryCodeAudit.objects.filter(event=event).latest("pk")
        assert done.data["codes" if kind == "codes" else "audit_rows"] == 40

    def test_a_second_signal_does_not_wait(self, kind):
        _err, ended = self.end(kind, signal.SIGTERM, signal.SIGTERM)
        assert ended in {-signal.SIGTERM, 143}  # they may be taken for one
        assert self.left(kind) == (90 if ended < 0 else 80)

    def test_a_killed_one_is_on_record_as_unfinished(self, kind):
        assert self.end(kind, signal.SIGKILL)[1] == -signal.SIGKILL
        assert (self.counted(kind), self.left(kind)) == (30, 90)
        assert (record().finished_at, record().error) == (None, "")


@pytest.mark.parametrize("number", stop_signals.ERRORS)
def test_a_signal_waits_to_be_asked_for(number):
    with stop_signals.waiting() as raise_if_asked:
        raise_if_asked()
        signal.raise_signal(number)
        with pytest.raises(stop_signals.ERRORS[number]) as caught:
            raise_if_asked()
    assert stop_signals.exit_code(caught.value) == 128 + number


class TestOthersSignals:
    """A command that is called in a worker or a server."""

    def test_who_has_an_answer_to_a_signal_keeps_it(self, ended):
        heard = []

        def answer(number, frame):
            heard.append(number)

        usual = signal.signal(signal.SIGTERM, answer)
        try:
            with stop_signals.waiting() as raise_if_asked:
                signal.raise_signal(signal.SIGTERM)
                raise_if_asked()
            assert signal.getsignal(signal.SIGTERM) is answer
        finally:
            signal.signal(signal.SIGTERM, usual)
        assert heard == [signal.SIGTERM]

    def test_afterwards_all_is_as_it_was(self, ended):
        before = [signal.getsignal(number) for number in stop_signals.ERRORS]
        run()
        assert [signal.getsignal(number) for number in stop_signals.ERRORS] == before

    def test_other_threads_leave_signals_alone(self):
        found = []

        def look():
            with stop_signals.waiting():
                found.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert found == [signal.getsignal(signal.SIGTERM)]


class TestProgress:
    def test_a_terminal_sees_how_far_it_is(self, ended):
        terminal = Terminal()
        run(stderr=terminal, batch_size=3)
        drawn = terminal.getvalue().split("\r")
        assert f"[{'#' * 15:30}]  50%" in drawn
        assert f"[{'#' * 30}] 100%" in drawn
        assert drawn[-1] == ""
        assert max(map(len, drawn)) < 40
        assert "\x1b" not in terminal.getvalue()

    def test_nothing_to_do_draws_nothing(self, db):
        terminal = Terminal()
        run(stderr=terminal)
        assert terminal.getvalue() == ""

    def test_a_file_gets_no_bar(self, ended):
        assert run()[1] == ""


@pytest.mark.skipif(not PAGE.exists(), reason="this is about a checkout, and this is none")
class TestOtherQueues:
    """The examples of docs/purge.md, as they stand there."""

    def example(self, package):
        blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
        (block,) = (block for block in blocks if f"from {package} import" in block)
        names = {"__name__": "tests.test_purge_command"}
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102  # our own page
        return names["purge_recovery_codes"]

    def test_celery_runs_a_purge(self, ended):
        pytest.importorskip("celery")
        assert self.example("celery").apply().get()["codes"] == 6

    @pytest.mark.skipif(django.VERSION < (6, 0), reason="Django has tasks since 6.0")
    def test_djangos_own_tasks_run_a_purge(self, ended, monkeypatch):
        purge = self.example("django.tasks")
        # Where a worker finds it: a module of the project.
        monkeypatch.setattr(sys.modules[__name__], "purge_recovery_codes", purge, raising=False)
        result = purge.enqueue()
        assert (result.status, result.return_value["codes"]) == ("SUCCESSFUL", 6)
