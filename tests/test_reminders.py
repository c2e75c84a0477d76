"""R-48: owners are told in time, once, and of what is so at that moment."""

from __future__ import annotations

import itertools
import smtplib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from types import SimpleNamespace

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.utils import timezone, translation

from recovery_backend import reminders, runs
from recovery_backend.emails import Notice
from recovery_backend.history import overview_of
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
    RecoveryCodeSetup,
)
from recovery_backend.reminders import Reminded, send_due
from recovery_backend.schedules import RunKind
from tests.test_emails import LINKS, as_read, bodies, use_mail_backend

DAY = timedelta(days=1)
MOMENT = timedelta(microseconds=1)
EXPIRE_SOON = "Your recovery codes expire soon"
FEW_LEFT = "You have few recovery codes left"
NONE_LEFT = "You have no recovery codes left"
STILL_THERE = "Do you still have your recovery codes?"
REMINDER = ("code.reminder", "")


class FailingMail(EmailBackend):
    """A mail server that answers as `error` says, and delivers what is not refused."""

    error: Exception = ConnectionRefusedError("down")
    refused: set[str] | None = None
    tried = 0

    def send_messages(self, messages):
        for message in messages:
            type(self).tried += 1
            if self.refused is None or self.refused.intersection(message.to):
                raise self.error
        return super().send_messages(messages)


class MailThatChanges(EmailBackend):
    """A mail server during whose work something else happens."""

    meanwhile = staticmethod(lambda: None)

    def send_messages(self, messages):
        self.meanwhile()
        return super().send_messages(messages)


@pytest.fixture
def schedule():
    """A schedule that reminds of everything, as far as it is not told otherwise."""

    def schedule(**fields):
        fields = {"asks_yearly": True, "schedule_type": "daily", **fields}
        return RecoveryCodeReminderScheduler(name="reminders", **fields)

    return schedule


@pytest.fixture
def make_batch(make_user):
    """A batch of five codes, of which some are used, that expires in so many days."""

    def make(user=None, *, days=None, left=5, issued=5, **fields):
        _, batch = RecoveryCodeBatch.create_recovery_batch(
            user or make_user(), days_to_expire=None, number_of_codes=issued
        )
        spend(batch, issued - left)
        if days is not None:
            expire_at(batch, timezone.now() + days * DAY)
        RecoveryCodeBatch.objects.filter(pk=batch.pk).update(**fields)
        return batch

    return make


@pytest.fixture
def use_failing_mail(settings, monkeypatch):
    def use(error=None, refused=None):
        monkeypatch.setattr(FailingMail, "error", error or ConnectionRefusedError("down"))
        monkeypatch.setattr(FailingMail, "refused", refused)
        monkeypatch.setattr(FailingMail, "tried", 0)
        use_mail_backend(settings, "tests.test_reminders.FailingMail")

    return use


@pytest.fixture
def use_working_mail(settings):
    return lambda: use_mail_backend(settings, "django.core.mail.backends.locmem.EmailBackend")


@pytest.fixture
def while_mailing(settings, monkeypatch):
    """What happens at the moment in which a message leaves."""

    def use(meanwhile):
        monkeypatch.setattr(MailThatChanges, "meanwhile", staticmethod(meanwhile))
        use_mail_backend(settings, "tests.test_reminders.MailThatChanges")

    return use


def expire_at(batch, moment):
    RecoveryCodeBatch.objects.filter(pk=batch.pk).update(expires_at=moment)
    RecoveryCode.objects.filter(batch=batch).update(expires_at=moment)


def spend(batch, number):
    for code in RecoveryCode.objects.usable().filter(batch=batch)[:number]:
        assert code.spend()


def subjects():
    return [message.subject for message in mail.outbox]


def recipients():
    return [message.to[0] for message in mail.outbox]


def reminded_of():
    """What the audit says that owners were reminded of."""
    rows = RecoveryCodeAudit.objects.filter(event="recovery.code.reminder").order_by("pk")
    return [row.data for row in rows]


@pytest.mark.django_db
class TestExpiring:
    """R-48"""

    @pytest.mark.parametrize(
        ("until_end", "expected"),
        [
            (14 * DAY + MOMENT, []),
            (14 * DAY, [{"what": "expiring", "days": 14}]),
            (13 * DAY + MOMENT, [{"what": "expiring", "days": 14}]),
            (13 * DAY, [{"what": "expiring", "days": 13}]),
            (MOMENT, [{"what": "expiring", "days": 1}]),
            (timedelta(), []),
        ],
    )
    def test_it_is_sent_in_the_days_before_the_end(
        self, make_batch, schedule, clock, until_end, expected
    ):
        expire_at(make_batch(), timezone.now() + until_end)
        assert send_due(schedule(days_before_expiry=14)).sent == len(expected)
        assert reminded_of() == expected
        assert subjects() == [EXPIRE_SOON] * len(expected)

    def test_it_says_when_and_what_to_do(self, make_batch, schedule, clock):
        clock.move_to("2026-01-02 03:04:05+00:00")
        batch = make_batch(days=10, left=4)
        send_due(schedule())
        for body in as_read(mail.outbox[0]):
            assert "Your recovery codes expire within 10 days." in body
            assert batch.user.email in body
            assert "2026-01-02 03:04 UTC" in body and "2026-01-12 03:04 UTC" in body
            assert "generate new recovery codes" in body
            assert "none of them lets you in" in body
        assert "Codes left: 4" in mail.outbox[0].body

    def test_one_day_is_one_day(self, make_batch, schedule, clock):
        make_batch(days=1)
        send_due(schedule())
        for body in as_read(mail.outbox[0]):
            assert "expire within 1 day." in body

    def test_codes_without_an_end_are_left_alone(self, make_batch, schedule):
        make_batch()
        assert send_due(schedule(days_before_expiry=365)) == Reminded()

    def test_it_can_be_switched_off(self, make_batch, schedule):
        make_batch(days=1)
        assert send_due(schedule(days_before_expiry=0)) == Reminded()

    def test_a_batch_of_which_nothing_is_left_does_not_expire(self, make_batch, schedule):
        make_batch(days=1, left=0)
        send_due(schedule(reminds_of_few_left=False))
        assert subjects() == []

    @pytest.mark.parametrize("status", ["superseded", "invalidated", "deleted"])
    def test_a_batch_that_has_ended_is_left_alone(self, make_batch, schedule, status):
        make_batch(days=1, left=1, status=status, issued_at=timezone.now() - 400 * DAY)
        make_batch(days=-1, status=status)
        assert send_due(schedule()) == Reminded()


@pytest.mark.django_db
class TestFewLeft:
    """R-41"""

    @pytest.mark.parametrize(
        ("left", "expected"),
        [(4, []), (3, [FEW_LEFT]), (1, [FEW_LEFT]), (0, [NONE_LEFT])],
    )
    def test_it_is_sent_from_the_number_in_the_settings_on(
        self, make_batch, schedule, left, expected
    ):
        make_batch(left=left)
        send_due(schedule())
        assert subjects() == expected

    def test_the_number_is_the_settings(self, make_batch, schedule, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOW_CODES_WARNING = 0
        make_batch(left=1)
        out = make_batch(left=0)
        send_due(schedule())
        assert recipients() == [out.user.email]

    @pytest.mark.parametrize(
        ("left", "said"),
        [
            (0, "No recovery code of your account is left."),
            (1, "1 recovery code of your account is left."),
            (2, "2 recovery codes of your account are left."),
        ],
    )
    def test_text_and_html_say_how_many(self, make_batch, schedule, left, said):
        make_batch(left=left)
        send_due(schedule())
        for body in as_read(mail.outbox[0]):
            assert said in body
            assert "If you did not use or delete the others yourself" in body
        assert f"Codes left: {left}" in mail.outbox[0].body
        assert reminded_of() == [{"what": "few_left"}]

    def test_deleted_codes_are_not_left(self, user, make_batch, schedule):
        batch = make_batch(user)
        for code in RecoveryCode.objects.filter(batch=batch)[:3]:
            code.retire(RecoveryCode.Status.DELETED)
        send_due(schedule())
        assert "Codes left: 2" in mail.outbox[0].body

    def test_a_small_batch_that_is_whole_is_not_few(self, make_batch, schedule):
        make_batch(issued=3, left=3)
        assert send_due(schedule()) == Reminded()

    def test_it_can_be_switched_off(self, make_batch, schedule):
        make_batch(left=0)
        assert send_due(schedule(reminds_of_few_left=False)) == Reminded()

    def test_an_emergency_code_is_left_alone(self, make_batch, schedule):
        make_batch(issued=1, left=0, is_emergency=True)
        make_batch(issued=1, left=1, is_emergency=True, days=1)
        assert send_due(schedule()) == Reminded()


@pytest.mark.django_db
class TestStillThere:
    def test_it_is_asked_after_a_year_and_after_each_year(self, make_batch, schedule, clock):
        make_batch()
        for shift, expected in [
            (365 * DAY, 0),
            (MOMENT, 1),
            (365 * DAY, 1),
            (MOMENT, 2),
            (DAY, 2),
            (365 * DAY, 3),
        ]:
            clock.shift(shift)
            send_due(schedule())
            assert subjects() == [STILL_THERE] * expected
        assert reminded_of() == [{"what": "still_there"}] * 3

    def test_it_is_asked_only_where_the_schedule_asks(self, make_batch, schedule):
        make_batch(issued_at=timezone.now() - 400 * DAY)
        assert send_due(schedule(asks_yearly=False)) == Reminded()

    def test_nobody_is_asked_for_codes_that_are_gone(self, make_batch, schedule):
        make_batch(left=0, issued_at=timezone.now() - 400 * DAY)
        assert send_due(schedule(reminds_of_few_left=False)) == Reminded()

    @pytest.mark.parametrize("has_passed", [True, False])
    def test_the_test_is_named_while_the_dashboard_offers_it(
        self, make_batch, schedule, has_passed
    ):
        batch = make_batch(issued_at=timezone.now() - 400 * DAY)
        if has_passed:
            RecoveryCodeSetup.objects.create(user=batch.user, verified_at=timezone.now())
        send_due(schedule())
        for body in as_read(mail.outbox[0]):
            assert ("test one of its codes" in body) is not has_passed
            assert "If you cannot find it" in body
        numbers = [line[:2] for line in mail.outbox[0].body.splitlines() if line[1:3] == ". "]
        assert numbers == (["1.", "2."] if has_passed else ["1.", "2.", "3."])


@pytest.mark.django_db
class TestOnce:
    def test_a_second_run_sends_nothing(self, make_batch, schedule):
        make_batch(days=1)
        make_batch(left=1)
        make_batch(issued_at=timezone.now() - 400 * DAY)
        assert send_due(schedule()) == Reminded(sent=3)
        assert send_due(schedule()) == Reminded()
        assert sorted(subjects()) == sorted([EXPIRE_SOON, FEW_LEFT, STILL_THERE])

    def test_the_most_urgent_one_comes_first_and_the_others_in_later_runs(
        self, make_batch, schedule
    ):
        make_batch(days=1, left=1, issued_at=timezone.now() - 400 * DAY)
        for expected in (EXPIRE_SOON, FEW_LEFT, STILL_THERE):
            mail.outbox.clear()
            assert send_due(schedule()) == Reminded(sent=1)
            assert subjects() == [expected]
        assert send_due(schedule()) == Reminded()

    def test_a_replaced_batch_gets_reminders_of_its_own(self, user, make_batch, schedule):
        for _ in range(2):
            make_batch(user, days=1)
            assert send_due(schedule()).sent == 1

    def test_the_audit_names_owner_and_batch(self, user, make_batch, schedule, events):
        """R-115"""
        batch = make_batch(user, days=1)
        send_due(schedule())
        row = RecoveryCodeAudit.objects.get(event="recovery.code.reminder")
        assert (row.user, row.batch, row.actor, row.outcome) == (user, batch.pk, None, "done")
        assert (
            row.account == RecoveryCodeAudit.objects.get(event="recovery.batch.generated").account
        )

    def test_the_owner_sees_it_on_the_dashboard(self, user, make_batch, schedule):
        make_batch(user, days=1)
        overview_of(user)
        send_due(schedule())
        assert overview_of(user).activity[0].text == (
            "A reminder about your codes was e-mailed to you."
        )


@pytest.mark.django_db
class TestWhoIsTold:
    def test_nobody_who_is_not_active(self, make_batch, make_user, schedule):
        user = make_user(is_active=False)
        make_batch(user, days=1)
        assert send_due(schedule()) == Reminded()
        user.is_active = True
        user.save()
        assert send_due(schedule()) == Reminded(sent=1)

    @pytest.mark.parametrize("address", ["", "nobody", "a@example.com, b@example.com"])
    def test_an_owner_without_an_address_is_told_when_there_is_one(
        self, user, make_batch, schedule, address
    ):
        """R-82"""
        make_batch(user, days=1)
        user.email = address
        user.save()
        assert send_due(schedule()) == Reminded()
        user.email = "new@example.com"
        user.save()
        assert send_due(schedule()) == Reminded(sent=1)
        assert recipients() == ["new@example.com"]

    def test_nobody_where_notices_are_switched_off(self, make_batch, schedule, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False
        make_batch(days=1)
        make_batch(days=-1)
        assert send_due(schedule()) == Reminded(expired=1)
        settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = True
        assert send_due(schedule()) == Reminded(sent=1)

    def test_what_changed_since_the_page_was_read_is_what_counts(
        self, make_batch, schedule, while_mailing
    ):
        """R-82: an address, an end and a code that changed while another message left."""
        make_batch(days=1)
        moved, replaced, spent, inactive = (make_batch(days=1) for _ in range(4))

        def meanwhile():
            if mail.outbox:
                return
            type(moved.user).objects.filter(pk=moved.user_id).update(email="moved@example.com")
            type(moved.user).objects.filter(pk=inactive.user_id).update(is_active=False)
            RecoveryCodeBatch.create_recovery_batch(replaced.user)
            spend(spent, 5)

        while_mailing(meanwhile)
        assert send_due(schedule(reminds_of_few_left=False)).sent == 2
        assert recipients()[1:] == ["moved@example.com"]

    def test_messages_are_in_the_sites_language(self, make_batch, schedule, settings):
        make_batch(days=1)
        settings.LANGUAGE_CODE = "en"
        with translation.override("ar"):
            send_due(schedule())
            assert translation.get_language() == "ar"
        assert '<html lang="en" dir="ltr">' in bodies(mail.outbox[0])[1]

    @pytest.mark.parametrize("notice", ["CODES_EXPIRING", "FEW_LEFT", "STILL_THERE"])
    def test_a_message_goes_to_one_address_and_holds_no_link_and_no_code(
        self, user, schedule, notice, caplog, settings
    ):
        """R-40, R-82, R-95"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_SENDER_LOGGING = True
        caplog.set_level("DEBUG")
        plain_codes, batch = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=5)
        if notice == "CODES_EXPIRING":
            expire_at(batch, timezone.now() + DAY)
        elif notice == "FEW_LEFT":
            spend(batch, 2)
        else:
            RecoveryCodeBatch.objects.update(issued_at=timezone.now() - 400 * DAY)
        assert send_due(schedule()) == Reminded(sent=1)
        [message] = mail.outbox
        assert message.recipients() == [user.email]
        assert message.extra_headers == {"Auto-Submitted": "auto-generated"}
        assert f"notice {Notice[notice]} sent user={user.pk}" in caplog.text
        told = [str(message.message()), caplog.text, repr(reminded_of())]
        assert not any(code[:6] in place for code in plain_codes for place in told)
        assert user.email not in caplog.text + repr(reminded_of())
        assert not any(link in body for link in LINKS for body in bodies(message))


@pytest.mark.django_db
class TestFailure:
    def test_what_did_not_leave_is_sent_by_a_later_run(
        self, make_batch, schedule, use_failing_mail, use_working_mail, caplog
    ):
        make_batch(days=1)
        make_batch(left=1)
        asked_at = timezone.now() - 366 * DAY
        asked = make_batch(issued_at=timezone.now() - 800 * DAY, asked_at=asked_at)
        use_failing_mail(smtplib.SMTPDataError(451, b"later"))
        assert send_due(schedule()) == Reminded(failed=3)
        assert reminded_of() == []
        assert RecoveryCodeBatch.objects.get(pk=asked.pk).asked_at == asked_at
        assert "SMTPDataError" in caplog.text and "@" not in caplog.text
        use_working_mail()
        assert send_due(schedule()) == Reminded(sent=3)
        assert len(reminded_of()) == 3

    def test_a_refused_address_is_no_obstacle_to_the_others(
        self, make_batch, schedule, use_failing_mail
    ):
        users = [make_batch(days=1).user for _ in range(7)]
        refused = {user.email for user in users[:5]}
        use_failing_mail(smtplib.SMTPRecipientsRefused({}), refused)
        assert send_due(schedule()) == Reminded(sent=2, failed=5)
        assert recipients() == [user.email for user in users[5:]]

    def test_without_a_mail_server_not_every_owner_is_tried(
        self, make_batch, schedule, use_failing_mail, use_working_mail
    ):
        for _ in range(5):
            make_batch(days=1)
        use_failing_mail(TimeoutError())
        with pytest.raises(ConnectionError):
            send_due(schedule())
        assert FailingMail.tried == 3
        use_working_mail()
        assert send_due(schedule()) == Reminded(sent=5)

    def test_a_server_that_answers_now_and_then_is_one(
        self, make_batch, schedule, use_failing_mail
    ):
        users = [make_batch(days=1).user for _ in range(6)]
        use_failing_mail(refused={user.email for user in (*users[:2], *users[3:5])})
        assert send_due(schedule()) == Reminded(sent=2, failed=4)

    def test_a_killed_run_loses_one_reminder_at_most(self, make_batch, schedule, while_mailing):
        for _ in range(3):
            make_batch(days=1)

        def killed():
            if len(mail.outbox) == 1 and not was_killed:
                was_killed.append(True)
                raise KeyboardInterrupt

        was_killed = []
        while_mailing(killed)
        with pytest.raises(KeyboardInterrupt):
            send_due(schedule())
        assert send_due(schedule()) == Reminded(sent=1)
        assert len(mail.outbox) == len(reminded_of()) == 2


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
class TestExpired:
    def test_the_end_is_recorded_once_and_sends_nothing(
        self, user, make_batch, schedule, events, clock
    ):
        batch = make_batch(user, left=3)
        expire_at(batch, timezone.now())
        assert send_due(schedule()) == Reminded(expired=1)
        assert send_due(schedule()) == Reminded()
        assert mail.outbox == []
        [row] = RecoveryCodeAudit.objects.filter(event="recovery.code.expired")
        assert (row.user, row.batch, row.data) == (user, batch.pk, {"number_of_codes": 3})
        assert overview_of(user).activity[0].text == "Your codes expired."

    def test_a_batch_of_which_the_owner_was_reminded_expires_too(
        self, make_batch, schedule, clock
    ):
        make_batch(days=1)
        assert send_due(schedule()) == Reminded(sent=1)
        clock.shift(DAY)
        assert send_due(schedule()) == Reminded(expired=1)

    def test_it_does_not_depend_on_what_is_reminded_of(self, make_batch, schedule):
        make_batch(days=-1)
        row = schedule(days_before_expiry=0, reminds_of_few_left=False, asks_yearly=False)
        assert send_due(row) == Reminded(expired=1)

    def test_a_used_up_batch_has_nothing_that_expires(self, make_batch, schedule, events):
        make_batch(days=-1, left=0)
        assert send_due(schedule()) == Reminded(expired=1)
        assert ("code.expired", "") not in events()

    def test_codes_that_were_purged_in_the_meantime_are_counted(self, make_batch, schedule):
        batch = make_batch(days=-1, purged_expired=2)
        RecoveryCode.objects.filter(batch=batch)[0].delete()
        RecoveryCode.objects.filter(batch=batch)[0].delete()
        send_due(schedule())
        assert RecoveryCodeAudit.objects.get(event="recovery.code.expired").data == {
            "number_of_codes": 5
        }

    def test_the_next_page_is_read(self, make_batch, schedule, monkeypatch):
        monkeypatch.setattr(reminders, "PAGE", 2)
        for _ in range(5):
            make_batch(days=-1)
        assert send_due(schedule()) == Reminded(expired=5)


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


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
class TestTogether:
    def test_parallel_runs_remind_everybody_once(self, make_batch, schedule):
        """R-48, R-122: of mail and of audit rows there is one each."""
        owners = [make_batch(days=1).user.email for _ in range(4)]
        owners += [make_batch(left=1).user.email for _ in range(4)]
        owners += [make_batch(issued_at=timezone.now() - 400 * DAY).user.email for _ in range(4)]
        for _ in range(4):
            make_batch(days=-1)
        number = 4
        barrier = Barrier(number)

        def run(_):
            barrier.wait()
            try:
                return send_due(schedule())
            finally:
                connection.close()

        with ThreadPoolExecutor(number) as pool:
            results = list(pool.map(run, range(number)))
        assert sum(result.sent for result in results) == len(owners)
        assert sum(result.expired for result in results) == 4
        assert sorted(recipients()) == sorted(owners)
        assert len(reminded_of()) == len(owners)
        assert RecoveryCodeAudit.objects.filter(event="recovery.code.expired").count() == 4

    def test_a_failed_message_is_sent_by_the_next_run(
        self, make_batch, schedule, use_failing_mail, use_working_mail
    ):
        """The mark comes back as the database stored it."""
        make_batch(left=1)
        make_batch(issued_at=timezone.now() - 800 * DAY, asked_at=timezone.now() - 400 * DAY)
        use_failing_mail()
        assert send_due(schedule()) == Reminded(failed=2)
        use_working_mail()
        assert send_due(schedule()) == Reminded(sent=2)
