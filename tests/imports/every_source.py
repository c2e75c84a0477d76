"""What holds of the codes of every package; its journeys say, as `source`, how those are used."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django.views.debug import ExceptionReporter

from recovery_backend import audit
from recovery_backend.imports import source_of
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from recovery_backend.transactions import in_transaction
from tests.imports.command import counts, counts_of, ours, run
from tests.test_canary import every_cell
from tests.test_races import together


def expected(source, *, codes, is_dry_run=False, **numbers):
    """The counts of so many usable codes."""
    weak = codes if source.is_weak else 0
    return counts_of(codes=codes, weak=weak, is_dry_run=is_dry_run, **numbers)


class TestPrintedCodes:
    def test_they_go_on_working_once_each(self, user, source, theirs):
        """R-21"""
        first, second, _third = theirs
        run(source.name)
        assert [source.use(user, code) for code in (first, first, second)] == [True, False, True]

    def test_they_leave_the_other_table_and_what_it_held_is_in_none(self, user, source, theirs):
        """R-10"""
        stored = [row[source.secret] for row in source.rows()]

        def tables():
            return {table for table, cell in every_cell() for it in stored if it.encode() in cell}

        assert tables() == {source.model._meta.db_table}
        run(source.name)
        assert tables() == set() and source.rows() == []
        assert not source.use_there(user, theirs[0])

    def test_used_ones_stay_used(self, user, source, theirs):
        assert source.use_there(user, theirs[0])
        assert counts(source.name)["codes"] == 2
        assert not source.use(user, theirs[0]) and source.use(user, theirs[1])

    def test_codes_of_an_inactive_owner_come_too_and_are_refused(
        self, user, source, theirs, events
    ):
        """R-23"""
        user.is_active = False
        user.save()
        assert counts(source.name)["codes"] == 3
        assert not source.use(user, theirs[0])
        assert (source.refused, "inactive") in events()

    def test_nobody_else_can_use_them(self, user, source, theirs, make_user):
        """R-24"""
        run(source.name)
        assert not source.use(make_user(), theirs[0])
        assert source.use(user, theirs[0])

    def test_who_has_codes_of_ours_keeps_them(self, user, source, theirs, make_codes, post_code):
        mine = make_codes(user)
        run(source.name)
        batch = RecoveryCodeBatch.objects.get()
        assert batch.number_issued == batch.codes_left() == 6
        assert source.use(user, theirs[0])
        assert post_code(user.email, mine[0]).status_code == 302

    def test_their_owner_can_end_them_on_the_dashboard(self, user, source, theirs, browser):
        """R-46"""
        run(source.name)
        for action, code in zip(("invalidate", "delete"), theirs, strict=False):
            answer = browser.send_json(f"recovery_{action}", recovery_code=code)
            assert answer.status_code == 200
        assert [source.use(user, code) for code in theirs] == [False, False, True]

    def test_the_owner_sees_when_they_were_made(self, source, theirs):
        made_at = timezone.now() - timedelta(days=400)
        source.date_back(made_at)
        run(source.name)
        assert RecoveryCodeBatch.objects.get().issued_at == made_at


class TestAnswer:
    def test_a_dry_run_counts_the_same_and_changes_nothing(
        self, user, source, theirs, make_user, statements
    ):
        source.make(make_user())
        assert source.use_there(user, theirs[0])
        source.spoil(user, theirs[1])
        before = source.rows()
        numbers = {"seen": 2, "users": 2, "codes": 4, "unreadable": 1}
        numbers["ended"] = 1 if source.keeps_used else 0
        with statements() as said:
            answer = counts(source.name, dry_run=True)
        assert answer == expected(source, **numbers, is_dry_run=True)
        assert said and not [sql for sql in said if not sql.startswith("SELECT")]
        assert run(source.name, dry_run=True)[0].startswith("Would be moved in: 2 users,")
        assert source.rows() == before
        assert counts(source.name) == expected(source, **numbers)

    def test_a_second_run_changes_nothing(self, user, source, theirs):
        run(source.name)
        source.use(user, theirs[0])
        before = ours()
        assert counts(source.name) == counts_of()
        assert ours() == before

    def test_neither_does_a_backup_of_the_other_table_that_comes_back(self, user, source, theirs):
        rows = list(source.model.objects.all())
        run(source.name)
        source.use(user, theirs[0])
        before = ours()
        source.model.objects.bulk_create(rows)
        assert counts(source.name, dry_run=True) == counts_of(seen=1, is_dry_run=True)
        assert counts(source.name) == counts_of(seen=1)
        assert ours() == before and source.rows() == []
        assert not source.use(user, theirs[0])

    def test_what_cannot_be_read_is_left_and_named_by_its_owner_only(
        self, user, source, theirs, caplog
    ):
        spoiled = source.spoil(user, theirs[0])
        out, err, code = run(source.name)
        assert code == 1 and "cannot be read: 1" in out
        assert f"user={user.pk}: rows=1" in caplog.text
        assert spoiled not in out + err + caplog.text
        assert [row[source.secret] for row in source.rows()] == [spoiled]
        assert source.use(user, theirs[1])

    def test_it_tells_no_code_and_nothing_that_the_table_held(self, source, theirs, caplog):
        """R-119"""
        caplog.set_level(logging.DEBUG)
        secrets = [*theirs, *(row[source.secret] for row in source.rows())]
        said = "".join(map(str, run(source.name, dry_run=True) + run(source.name)))
        assert not [secret for secret in secrets if secret in said + caplog.text]


class TestFaults:
    def test_one_in_the_middle_of_a_user_undoes_that_user(self, source, theirs, monkeypatch):
        record = audit.record

        def fail_once(*entries):
            monkeypatch.setattr(audit, "record", record)
            raise RuntimeError(theirs[0])

        before = source.rows()
        monkeypatch.setattr(audit, "record", fail_once)
        assert counts(source.name) == counts_of(seen=1, unreadable=1)
        batches, codes, _audit = ours()
        assert source.rows() == before and batches == codes == []

    def test_so_does_one_of_whoever_calls_it(self, user, source, theirs):
        def work():
            source_of(source.name).take(user)
            raise RuntimeError

        before = source.rows()
        with pytest.raises(RuntimeError):
            in_transaction(work)
        assert source.rows() == before and ours() == [[], [], []]

    def test_one_leaves_no_code_in_its_report_and_moves_nothing(
        self, source, theirs, holder, monkeypatch
    ):
        """R-84: a database that is gone stops the run."""

        def fail(*args, **kwargs):
            raise OperationalError

        before = source.rows()
        secrets = [*theirs, *(row[source.secret] for row in before)]
        monkeypatch.setattr(holder, fail)
        with pytest.raises(OperationalError) as caught:
            run(source.name)
        below_this_test = caught.tb.tb_next  # which holds them
        report = ExceptionReporter(None, caught.type, caught.value, below_this_test)
        text = report.get_traceback_text() + report.get_traceback_html()
        assert "_take" in text
        assert not [secret for secret in secrets if secret in text]
        assert source.rows() == before and ours() == [[], [], []]


@pytest.mark.services
class TestRaces:
    def test_a_code_that_is_used_meanwhile_works_once(self, make_user, source):
        """R-21: accepted by their package or by us, and by one only, in every round."""
        accepted = []
        for number in range(30 if connection.vendor != "sqlite" else 8):
            user = make_user()
            (code,) = source.make(user, 1)
            use_there = source.about_to_use_there(user, code)

            def work(position, user=user, code=code, use_there=use_there, number=number):
                if position == 0:
                    time.sleep(number % 5 * 0.01)  # so that each of them is the first at times
                    source_of(source.name).take(user)
                    return False
                return use_there() if position == 1 else source.use(user, code)

            results = together(3, work)
            results.append(source.use(user, code))
            assert sum(results) == 1
            accepted.append(results[1])
        if connection.vendor != "sqlite":
            assert any(accepted)

    def test_two_runs_at_once_move_each_code_once(self, make_user, source):
        for _round in range(10):
            user = make_user()
            source.make(user, 5)
            moved = together(
                2, lambda position, user=user: source_of(source.name).take(user).codes
            )
            assert sorted(moved) == [0, 5]
            assert RecoveryCode.objects.filter(user=user).count() == 5
            assert RecoveryCodeBatch.objects.get(user=user).number_issued == 5
