"""Runs of reminders: pages, pieces of a run with little time, the schedule."""

from __future__ import annotations

import itertools
import smtplib
from types import SimpleNamespace

import pytest
from django.core import mail
from django.utils import timezone

from recovery_backend import reminders, runs
from recovery_backend.models import (
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.reminders import Reminded, send_due
from recovery_backend.schedules import RunKind
from tests.reminders.conftest import DAY, EXPIRE_SOON, NONE_LEFT, FailingMail, recipients, subjects


@pytest.mark.django_db
class TestPages:
    @pytest.fixture(autouse=True)
    def short_pages(self, monkeypatch):
        monkeypatch.setattr(reminders, "PAGE", 3)

    def test_every_page_is_read_though_nothing_on_it_can_be_sent(
        self, make_batch, make_user, schedule
    ):
        for _ in range(7):
            make_batch(make_user(is_active=False), days=1)
        last = make_batch(days=1)
        assert send_due(schedule()) == Reminded(sent=1)
        assert recipients() == [last.user.email]

    def test_the_caller_hears_of_each_message_and_page(self, make_batch, schedule):
        for _ in range(4):
            make_batch(days=1)
        heard = []
        send_due(schedule(), on_page=heard.append)
        assert heard == [1, 2, 3, 3, 4, 4]

    def test_the_caller_can_end_the_run(self, make_batch, schedule):
        for _ in range(5):
            make_batch(days=1)

        def lost_lease(sent):
            raise RuntimeError

        with pytest.raises(RuntimeError):
            send_due(schedule(), on_page=lost_lease)
        assert len(mail.outbox) == 1
        assert send_due(schedule()) == Reminded(sent=4)

    def test_the_time_is_looked_at_after_each_message(self, make_batch, schedule):
        """And a run always comes further, whatever time it has."""
        for _ in range(3):
            make_batch(days=1)
        for _ in range(3):
            assert send_due(schedule(), max_seconds=0) == Reminded(sent=1, stopped="time")
        assert send_due(schedule(), max_seconds=60) == Reminded()

    def test_quiet_batches_cost_three_queries_a_page(self, make_batch, schedule, statements):
        for _ in range(6):
            make_batch()
        row = schedule()
        row.save()
        with statements() as seen:
            send_due(row)
        # The expired ones; of two pages the end, the batches, their counts and the place, which
        # is kept; the page that is empty, and the end of the search.
        assert len(seen) == 1 + 2 * 4 + 2


@pytest.mark.django_db
class TestLittleTime:
    """What one piece of a run cannot look at, the next one does."""

    @pytest.fixture
    def row(self, schedule):
        row = schedule()
        row.save()
        return row

    @pytest.fixture
    def pieces(self, monkeypatch):
        """Run until it is done, with time for two steps a piece; what each piece did."""
        monkeypatch.setattr(reminders, "PAGE", 2)

        def pieces():
            results = []
            while not results or results[-1].stopped:
                row = RecoveryCodeReminderScheduler.objects.get()
                steps = SimpleNamespace(monotonic=itertools.count().__next__)
                monkeypatch.setattr(reminders, "time", steps)
                results.append(send_due(row, max_seconds=2))
                assert len(results) < 20
            return results

        return pieces

    @pytest.fixture
    def no_time(self, monkeypatch):
        monkeypatch.setattr(reminders, "PAGE", 2)
        monkeypatch.setattr(runs.work, "budget_seconds", lambda: 0.0)

    @pytest.mark.parametrize("due", [{"left": 1}, {"days": 1}, {"left": 0}])
    def test_the_last_of_many_batches_is_reached(self, row, make_batch, pieces, due):
        for _ in range(11):
            make_batch()
        last = make_batch(**due)
        results = pieces()
        assert [result.sent for result in results] == [0, 0, 1, 0]
        assert recipients() == [last.user.email]

    def test_a_run_goes_on_though_there_was_nothing_to_send(self, row, make_batch, no_time):
        for _ in range(11):
            make_batch()
        make_batch(left=1)
        outcomes = [runs.run(RunKind.REMINDERS, row.pk) for _ in range(7)]
        assert outcomes == ["goes on"] * 6 + ["done"]
        record = RecoveryCodePurgeHistory.objects.get()
        assert (record.messages_sent, record.has_more) == (1, False)

    def test_a_run_goes_on_though_it_only_recorded_what_expired(self, row, make_batch, no_time):
        make_batch(days=-1)
        make_batch(days=-1)
        outcomes = [runs.run(RunKind.REMINDERS, row.pk) for _ in range(3)]
        assert outcomes == ["goes on"] * 3
        row.refresh_from_db()
        assert row.searched_to is not None

    def test_a_search_that_came_to_the_end_begins_anew(self, row, make_batch, pieces):
        """R-82"""
        first, *_others = [make_batch(left=1) for _ in range(5)]
        users = type(first.user).objects.filter(pk=first.user_id)
        users.update(email="")
        assert sum(result.sent for result in pieces()) == 4
        users.update(email="new@example.com")
        assert sum(result.sent for result in pieces()) == 1

    def test_batches_that_cannot_be_told_are_no_obstacle(self, row, make_batch, make_user, pieces):
        for _ in range(11):
            make_batch(make_user(is_active=False), days=1, left=1)
        last = make_batch(days=1)
        pieces()
        assert recipients() == [last.user.email]

    def test_refused_addresses_are_no_obstacle(self, row, make_batch, pieces, use_failing_mail):
        users = [make_batch(days=1).user for _ in range(7)]
        use_failing_mail(smtplib.SMTPRecipientsRefused({}), {user.email for user in users[:6]})
        results = pieces()
        assert sum(result.failed for result in results) == FailingMail.tried - 1 == 6
        assert recipients() == [users[6].email]

    def test_an_edit_meanwhile_leaves_the_place(self, row, make_batch):
        batches = [make_batch(left=1) for _ in range(2)]
        edited = RecoveryCodeReminderScheduler.objects.get()
        assert send_due(row, max_seconds=0) == Reminded(sent=1, stopped="time")
        edited.name = "another"
        edited.save()
        edited.refresh_from_db()
        assert (edited.name, edited.searched_to) == ("another", batches[0].pk)

    def test_the_place_is_the_one_of_whoever_has_the_lease(self, row, make_batch):
        make_batch(left=1)
        make_batch(left=1)
        assert RecoveryCodeReminderScheduler.objects.get().take_lease()
        send_due(row, max_seconds=0)
        row.refresh_from_db()
        assert row.searched_to is None

    def test_a_silent_server_is_not_asked_for_every_owner(
        self, row, make_batch, no_time, use_failing_mail
    ):
        make_batch()
        for _ in range(5):
            make_batch(days=1)
        use_failing_mail(TimeoutError())
        assert runs.run(RunKind.REMINDERS, row.pk) == "failed"
        assert FailingMail.tried == 1

    def test_owners_whose_mail_always_breaks_off_hold_nobody_up(
        self, row, make_batch, use_failing_mail
    ):
        users = [make_batch(days=1).user for _ in range(4)]
        use_failing_mail(TimeoutError(), {user.email for user in users[:3]})
        outcomes = []
        for _ in range(3):
            RecoveryCodeReminderScheduler.objects.update(next_run=timezone.now())
            outcomes.append(runs.run(RunKind.REMINDERS, row.pk))
        assert outcomes == ["failed", "failed", "done"]
        assert users[3].email in recipients()


@pytest.mark.django_db
class TestScheduled:
    @pytest.fixture
    def row(self, db):
        return RecoveryCodeReminderScheduler.objects.create(
            name="reminders", schedule_type="daily", asks_yearly=True
        )

    def test_a_run_reminds_and_is_recorded(self, row, make_batch):
        make_batch(days=1)
        make_batch(left=0)
        assert runs.run(RunKind.REMINDERS, row.pk) == "done"
        record = RecoveryCodePurgeHistory.objects.get(kind=RunKind.REMINDERS)
        assert (record.messages_sent, record.has_more, record.error) == (2, False, "")
        assert sorted(subjects()) == sorted([EXPIRE_SOON, NONE_LEFT])

    def test_a_run_without_a_mail_server_fails_and_is_tried_again(
        self, row, make_batch, use_failing_mail, use_working_mail
    ):
        for _ in range(3):
            make_batch(days=1)
        use_failing_mail()
        assert runs.run(RunKind.REMINDERS, row.pk) == "failed"
        row.refresh_from_db()
        assert row.failures == 1 and row.next_run - timezone.now() < DAY
        use_working_mail()
        RecoveryCodeReminderScheduler.objects.update(next_run=timezone.now())
        assert runs.run(RunKind.REMINDERS, row.pk) == "done"
        assert len(mail.outbox) == 3
