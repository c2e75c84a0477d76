"""R-40, R-82, R-83: what owners are told, and that telling them never stops anything."""

from __future__ import annotations

import django
import pytest
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django_q.models import OrmQ

from recovery_backend import audit, emails, tasks
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.emails import Notice
from recovery_backend.models import RecoveryCode
from tests.conftest import WRONG_CODE


class BrokenMail(BaseEmailBackend):
    """A mail server that is down."""

    def send_messages(self, messages):
        raise ConnectionRefusedError("mail server is down")


@pytest.fixture
def at_once(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False


@pytest.fixture
def broken_mail(settings):
    backend = "tests.test_emails.BrokenMail"
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": backend}}
    else:
        settings.EMAIL_BACKEND = backend


@pytest.fixture
def use_code(user, codes, try_code, django_capture_on_commit_callbacks):
    """Sign in with a code, and let everything happen that follows the commit."""

    def use_code(address="198.51.100.7"):
        with django_capture_on_commit_callbacks(execute=True):
            assert try_code(user.email, codes.pop(), address) == user

    return use_code


@pytest.fixture
def notice_row(user):
    """An audit row to tell the user about."""

    def notice_row(event=Event.LOGIN_SUCCESS, **data):
        audit.record(audit.entry(event, user=user, data=data))
        return RecoveryCodeAudit.objects.select_related("user").get(
            event=event, data=data, user=user
        )

    return notice_row


def bodies(message):
    [alternative] = message.alternatives
    return [message.body, alternative[0]]


class TestNotice:
    def test_a_use_is_told_to_the_owner_alone(self, user, at_once, use_code):
        """R-40, R-82"""
        use_code()
        [message] = mail.outbox
        assert message.to == message.recipients() == [user.email]
        assert (message.cc, message.bcc, message.reply_to) == ([], [], [])
        assert message.subject == "A recovery code was used to sign in"
        assert message.extra_headers == {"Auto-Submitted": "auto-generated"}

    def test_it_says_when_where_how_many_are_left_and_what_to_do(
        self, user, at_once, use_code, clock
    ):
        """R-40"""
        clock.move_to("2026-01-02 03:04:05+00:00")
        use_code("203.0.113.9")
        for body in bodies(mail.outbox[0]):
            assert user.email in body
            assert "2026-01-02 03:04" in body and "UTC" in body
            assert "203.0.113.0/24" in body and "203.0.113.9" not in body
            assert "If this was not you" in body
            assert "Change your password" in body
        assert "Codes left: 2" in mail.outbox[0].body
        assert "generate new ones soon" in mail.outbox[0].body

    def test_it_holds_no_code_and_no_link(self, user, codes, at_once, use_code):
        """R-40, R-81"""
        plain_codes = list(codes)
        use_code()
        source = str(mail.outbox[0].message())
        for code in plain_codes:
            assert code not in source and code[:6] not in source
        for part in ("href", "http://", "https://", "www.", "<img", "<script"):
            assert part not in "".join(bodies(mail.outbox[0]))

    def test_the_last_code_is_said_to_be_the_last(
        self, user, make_codes, at_once, use_code, codes
    ):
        for _ in range(3):
            use_code()
        assert "Codes left: 0" in mail.outbox[-1].body
        assert "generate new ones when you are signed in" in mail.outbox[-1].body

    def test_a_refused_code_sends_nothing(
        self, user, at_once, try_code, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=True):
            try_code(user.email, WRONG_CODE)
        assert mail.outbox == []

    @pytest.mark.parametrize(
        ("notice", "data", "subject"),
        [
            (Notice.CODE_USED, {}, "A recovery code was used to sign in"),
            (Notice.FAILED_ATTEMPTS, {"failures": 100}, "Failed tries to sign in to your account"),
            (Notice.SIGN_IN_CLOSED, {"failures": 7}, "Signing in with recovery codes is closed"),
            (Notice.CODES_INVALIDATED, {"number_of_codes": 3}, ""),
        ],
    )
    def test_every_notice_can_be_sent(self, user, codes, notice_row, notice, data, subject):
        assert emails.send(notice, notice_row(**data)) is True
        [message] = mail.outbox
        assert subject in message.subject and message.subject
        assert "\n" not in message.subject
        for number in data.values():
            assert all(str(number) in body for body in bodies(message))

    @pytest.mark.parametrize("name", ["Example", "A & B", "<b>Bold</b>", "%s {}"])
    def test_the_sites_name_is_in_subject_and_text(self, notice_row, settings, name):
        """R-99: escaped where it is HTML, and only there."""
        settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = name
        emails.send(Notice.CODE_USED, notice_row())
        [message] = mail.outbox
        assert message.subject.startswith(f"[{name}] ")
        text, html = bodies(message)
        assert name in text
        assert "<b>Bold" not in html

    def test_without_a_name_the_one_of_the_sites_framework_is_used(self, db, settings):
        assert emails.site_name() == ""
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django.contrib.sites"]
        assert emails.site_name() == ""
        from django.contrib.sites import models as sites  # needs its app to be installed

        settings.SITE_ID = 1
        sites.SITE_CACHE[1] = sites.Site(1, "example.com", "Example of sites")
        try:
            assert emails.site_name() == "Example of sites"
            settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = "Example of settings"
            assert emails.site_name() == "Example of settings"
        finally:
            sites.SITE_CACHE.clear()


class TestRecipient:
    """R-82"""

    @pytest.mark.parametrize(
        "address",
        [
            "",
            "a@example.com, b@example.com",
            "a@example.com;b@example.com",
            "a@example.com\r\nBcc: b@example.com",
            "a@example.com\nSubject: x",
            "Name <a@example.com>",
            "a@example.com>",
            "a\x00@example.com",
            " ",
        ],
    )
    def test_an_address_that_is_not_one_address_gets_nothing(self, user, notice_row, address):
        user.email = address
        user.save()
        assert emails.send(Notice.CODE_USED, notice_row()) is False
        assert mail.outbox == []

    def test_the_address_is_read_when_it_is_sent(self, user, notice_row):
        row = notice_row()
        user.email = "new@example.com"
        user.save()
        assert tasks.send_notice("code_used", row.pk) is True
        assert mail.outbox[0].to == ["new@example.com"]

    def test_an_event_without_an_owner_is_told_to_nobody(self, db):
        audit.record(audit.entry(Event.LOGIN_ALERTED))
        row = RecoveryCodeAudit.objects.get()
        assert emails.send(Notice.FAILED_ATTEMPTS, row) is False
        assert tasks.send_notice("failed_attempts", row.pk) is False

    def test_a_deleted_event_is_told_to_nobody(self, db):
        assert tasks.send_notice("code_used", 10**6) is False
        assert mail.outbox == []


class TestDelivery:
    def test_the_queue_holds_a_name_and_a_key_only(self, user, settings, use_code, codes):
        """R-83"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        plain_codes = list(codes)
        use_code()
        assert mail.outbox == []
        task = OrmQ.objects.get().task
        row = RecoveryCodeAudit.objects.get(event="recovery.login.success")
        assert task["func"] == "recovery_backend.tasks.send_notice"
        assert task["args"] == ("code_used", row.pk)
        assert not task["kwargs"]
        assert not any(code in repr(task) for code in (*plain_codes, user.email))
        assert tasks.send_notice(*task["args"]) is True
        assert mail.outbox[0].to == [user.email]

    @pytest.mark.parametrize(
        ("wanted", "debug", "expected"),
        [
            (None, False, True),
            (None, True, False),
            (True, True, True),
            (False, False, False),
        ],
    )
    def test_messages_are_queued_as_the_setting_says(self, settings, wanted, debug, expected):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = wanted
        settings.DEBUG = debug
        assert tasks.is_queued() is expected

    def test_without_the_queue_messages_are_sent_at_once(self, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_q"]
        assert tasks.is_queued() is False

    def test_notices_can_be_switched_off(self, settings, at_once, use_code):
        settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False
        use_code()
        assert mail.outbox == []

    def test_nothing_is_sent_before_the_commit(
        self, user, codes, at_once, try_code, django_capture_on_commit_callbacks
    ):
        with django_capture_on_commit_callbacks(execute=False):
            try_code(user.email, codes[0])
        assert mail.outbox == []

    def test_a_mail_failure_does_not_undo_the_sign_in(
        self, user, at_once, broken_mail, use_code, caplog, events
    ):
        use_code()
        assert RecoveryCode.objects.filter(status="used").count() == 1
        assert ("login.success", "") in events()
        assert "not sent" in caplog.text and "ConnectionRefusedError" in caplog.text
        assert user.email not in caplog.text

    def test_a_mail_failure_does_not_keep_anybody_out(
        self, user, codes, at_once, broken_mail, post_code, client,
        django_capture_on_commit_callbacks,
    ):  # fmt: skip
        with django_capture_on_commit_callbacks(execute=True):
            assert post_code(user.email, codes[0]).status_code == 302
        assert "_auth_user_id" in client.session

    def test_a_broken_queue_does_not_undo_the_sign_in_and_the_owner_is_told_at_once(
        self, settings, use_code, monkeypatch, caplog, mailoutbox
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True

        def broken(*args, **kwargs):
            raise ConnectionError("broker is gone")

        monkeypatch.setattr("django_q.tasks.async_task", broken)
        use_code()
        assert RecoveryCode.objects.filter(status="used").count() == 1
        assert "ConnectionError" in caplog.text
        assert len(mailoutbox) == 1

    def test_the_worker_sees_the_failure_and_may_try_again(self, notice_row, broken_mail):
        row = notice_row()
        with pytest.raises(ConnectionRefusedError):
            tasks.send_notice("code_used", row.pk)

    @pytest.mark.parametrize("is_logged", [True, False])
    def test_each_mail_is_logged_where_the_site_wants_it(
        self, user, notice_row, settings, caplog, is_logged
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_SENDER_LOGGING = is_logged
        caplog.set_level("INFO", logger="recovery_backend")
        emails.send(Notice.CODE_USED, notice_row())
        assert ("notice code_used sent" in caplog.text) is is_logged
        assert user.email not in caplog.text
