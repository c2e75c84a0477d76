"""R-40, R-81 to R-83: what owners are told and sent, and that telling them never stops anything."""

from __future__ import annotations

import email
from datetime import UTC, datetime, timedelta, timezone
from email import policy
from html.parser import HTMLParser

import django
import pytest
from django.contrib import admin
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.timezone import override
from django.views.debug import ExceptionReporter
from django_q.models import OrmQ

from recovery_backend import audit, emails, tasks
from recovery_backend import codes as code_room
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.codes import canonicalise
from recovery_backend.emails import Notice
from recovery_backend.exceptions import NoAddress
from recovery_backend.exports import CodeSheet
from recovery_backend.models import RecoveryCode
from tests.conftest import WRONG_CODE

NOT_ONE_ADDRESS = [
    "",
    " ",
    "nobody",
    "a@example.com, b@example.com",
    "a@example.com;b@example.com",
    "a@example.com b@example.com",
    "a@example.com (b@example.com)",
    "a@b@example.com",
    "a@example.com\r\nBcc: b@example.com",
    "a@example.com\nSubject: x",
    "Name <a@example.com>",
    '"Name" a@example.com',
    '"a,b"@example.com',
    "friends:a@example.com",
    "a@example.com>",
    "a\x00@example.com",
    "a@example.com\u2028b@example.com",
    "=?utf-8?q?b=40example.com=2C?=@example.com",
]
LINKS = ("href", "http", "www.", "src=", "url(", "<img", "<script", "<link")
HOSTILE_NAMES = [
    "<script>alert(1)</script>",
    "\"'>&<b>",
    "A & B",
    "%s {} {{ codes }}",
    "\u202eelpmaxE",
    "Example\r\nBcc: b@example.com\r\n\r\n1. forged",
    "Пример",
    "😀" * 300,
]


class BrokenMail(BaseEmailBackend):
    """A mail server that is down."""

    def send_messages(self, messages):
        raise ConnectionRefusedError("mail server is down")


@pytest.fixture
def at_once(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False


def use_mail_backend(settings, backend):
    if django.VERSION >= (6, 1):
        settings.MAILERS = {"default": {"BACKEND": backend}}
    else:
        settings.EMAIL_BACKEND = backend


@pytest.fixture
def broken_mail(settings):
    use_mail_backend(settings, "tests.test_emails.BrokenMail")


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


class Page(HTMLParser):
    """What a person reads of an HTML text, its elements, and what stands in its <code> elements."""

    def __init__(self, source):
        super().__init__()
        self.text, self.tags, self.codes = "", [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1] == "code" and data.strip():
            self.codes.append(data)


def as_read(message):
    """The text part, and the words of the HTML part, as a mail program shows them."""
    text, html = bodies(message)
    return [text, " ".join(Page(html).text.split())]


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
        for part in LINKS:
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
            (
                Notice.CODES_GENERATED,
                {"number_of_codes": 10, "is_replacement": True},
                "New recovery",
            ),
            (Notice.CODES_DOWNLOADED, {"format": "PDF"}, "Your recovery codes were downloaded"),
            (Notice.CODES_EMAILED, {}, "Your recovery codes were sent by e-mail"),
            (
                Notice.CODES_INVALIDATED,
                {"number_of_codes": 3},
                "Recovery codes of yours no longer",
            ),
            (Notice.CODES_DELETED, {"number_of_codes": 3}, "Recovery codes of yours were deleted"),
            (Notice.CODES_EXPIRING, {"days": 13}, "Your recovery codes expire soon"),
            (Notice.FEW_LEFT, {}, "You have few recovery codes left"),
            (Notice.STILL_THERE, {}, "Do you still have your recovery codes?"),
        ],
    )
    def test_every_notice_can_be_sent(self, user, codes, notice_row, notice, data, subject):
        """R-40, R-95: to its owner, with its data, without a link."""
        assert emails.send(notice, notice_row(**data)) is True
        [message] = mail.outbox
        assert subject in message.subject and message.subject
        assert "\n" not in message.subject
        for value in data.values():
            if value is not True:
                assert all(str(value) in body for body in as_read(message))
        for body in bodies(message):
            assert user.email in body
            assert not any(link in body for link in LINKS)

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

    @pytest.mark.parametrize(
        ("notice", "data", "said", "not_said"),
        [
            (
                Notice.CODES_GENERATED,
                {"number_of_codes": 1, "is_replacement": False},
                "1 new recovery code was generated for your account.",
                "no longer work",
            ),
            (
                Notice.CODES_GENERATED,
                {"number_of_codes": 10, "is_replacement": True},
                "10 new recovery codes were generated for your account. "
                "The codes that you had before no longer work.",
                "You need not do anything else",
            ),
            (Notice.CODES_DOWNLOADED, {"format": "csv"}, "as a file (CSV).", "csv"),
            (Notice.CODES_DOWNLOADED, {"format": "<b>"}, "as a file (<B>).", "&lt;"),
            (Notice.CODES_EMAILED, {}, "delete the message with the codes", "http"),
            (
                Notice.CODES_INVALIDATED,
                {"number_of_codes": 1},
                "1 recovery code of your account was taken out of service. It cannot",
                "codes of your account were",
            ),
            (
                Notice.CODES_DELETED,
                {"number_of_codes": 1},
                "1 recovery code of your account was deleted. It cannot",
                "All",
            ),
            (
                Notice.CODES_DELETED,
                {"number_of_codes": 2},
                "2 recovery codes of your account were deleted. They cannot",
                "All",
            ),
        ],
    )
    def test_text_and_html_say_the_same_and_count_right(
        self, notice_row, notice, data, said, not_said
    ):
        emails.send(notice, notice_row(**data))
        for body in as_read(mail.outbox[0]):
            assert said in body
            assert not_said not in body

    @pytest.mark.parametrize(
        ("event", "number_of_codes", "subject", "said"),
        [
            (
                Event.CODE_DELETED,
                1,
                "A recovery code of yours was deleted",
                "1 recovery code of your account was deleted.",
            ),
            (
                Event.BATCH_DELETED,
                1,
                "All your recovery codes were deleted",
                "All recovery codes of your account were deleted: 1 code. It cannot",
            ),
            (
                Event.BATCH_DELETED,
                7,
                "All your recovery codes were deleted",
                "All recovery codes of your account were deleted: 7 codes. They cannot",
            ),
        ],
    )
    def test_a_deletion_says_whether_one_or_all_codes_are_gone(
        self, notice_row, event, number_of_codes, subject, said
    ):
        emails.send(Notice.CODES_DELETED, notice_row(event, number_of_codes=number_of_codes))
        [message] = mail.outbox
        assert message.subject == subject
        for body in as_read(message):
            assert said in body
            assert ("cross it off" in body) is (event == Event.CODE_DELETED)

    @pytest.mark.parametrize("notice", Notice)
    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_no_name_can_forge_a_line_or_an_element(self, notice_row, monkeypatch, notice, name):
        """R-82, R-99: a name from the sites framework may be any text."""
        row = notice_row(number_of_codes=2, failures=2, days=2, format="txt", is_replacement=True)
        emails.send(notice, row)
        monkeypatch.setattr(emails, "site_name", lambda: name)
        emails.send(notice, row)
        plain, named = mail.outbox
        assert len(plain.body.splitlines()) == len(named.body.splitlines())
        tags, named_tags = (Page(bodies(message)[1]).tags for message in mail.outbox)
        assert named_tags == [*tags[: tags.index("h1")], "p", *tags[tags.index("h1") :]]
        assert "\u202e" not in "".join([named.subject, *bodies(named)])
        assert named.message()["Bcc"] is None

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
            if admin.site.is_registered(sites.Site):  # by autodiscover, for all later tests
                admin.site.unregister(sites.Site)


class TestRecipient:
    """R-82"""

    @pytest.mark.parametrize("address", NOT_ONE_ADDRESS)
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
        assert "ConnectionRefusedError" in caplog.text
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


class RudeMail(BaseEmailBackend):
    """A mail server that is down, behind a library that keeps the message in its variables."""

    def send_messages(self, messages):
        source = [message.message().as_string() for message in messages]
        raise ConnectionRefusedError(f"{len(source)} not sent")


def break_template(settings, name):
    """A project's own version of the template, which fails when it is rendered."""
    own = ("django.template.loaders.locmem.Loader", {name: "{% include codes.no_such_part %}"})
    packaged = "django.template.loaders.app_directories.Loader"
    [engine] = settings.TEMPLATES
    options = {**engine["OPTIONS"], "loaders": [own, packaged]}
    settings.TEMPLATES = [{**engine, "APP_DIRS": False, "OPTIONS": options}]


@pytest.fixture
def make_sheet():
    def make(number_of_codes=10, **fields):
        return CodeSheet(
            codes=tuple(code_room.generate() for _ in range(number_of_codes)),
            site_name=fields.pop("site_name", "Example"),
            account=fields.pop("account", "owner@example.com"),
            issued_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            expires_at=fields.pop("expires_at", None),
        )

    return make


def delivered():
    """The last message as it travels, read again with the standard library: it and its parts."""
    parsed = email.message_from_bytes(mail.outbox[-1].message().as_bytes(), policy=policy.default)
    text, html = (
        parsed.get_body([kind]).get_content().replace("\r\n", "\n") for kind in ("plain", "html")
    )
    return parsed, text, html


class TestCodes:
    @pytest.mark.parametrize("number_of_codes", [1, 10, 100])
    @pytest.mark.parametrize("name", ["", "Example", "Пример", "=3D=\n", "😀" * 254])
    def test_codes_arrive_exactly_as_they_are(self, user, make_sheet, number_of_codes, name):
        """R-81: in both parts, each on a line of its own, whatever encoding the message travels in."""
        sheet = make_sheet(number_of_codes, site_name=name)
        emails.send_codes(user, sheet)
        _, text, html = delivered()
        lines = [line for line in text.splitlines() if line[-41:] in sheet.codes]
        assert [line.split() for line in lines] == [
            [f"{number}.", code] for number, code in enumerate(sheet.codes, start=1)
        ]
        assert tuple(Page(html).codes) == sheet.codes

    def test_a_line_can_be_pasted_whole_where_a_code_is_asked_for(self, user, make_sheet):
        sheet = make_sheet(100)
        emails.send_codes(user, sheet)
        lines = [line for line in delivered()[1].splitlines() if line[-41:] in sheet.codes]
        assert [canonicalise(line) for line in lines] == [canonicalise(c) for c in sheet.codes]

    def test_one_message_goes_to_the_owner_alone_and_no_header_holds_a_code(
        self, user, make_sheet
    ):
        """R-81, R-82"""
        sheet = make_sheet(account="other@example.com")
        emails.send_codes(user, sheet)
        [message] = mail.outbox
        assert message.to == message.recipients() == [user.email]
        assert (message.cc, message.bcc, message.reply_to) == ([], [], [])
        assert message.extra_headers == {"Auto-Submitted": "auto-generated"}
        assert message.subject == "[Example] Your recovery codes"
        parsed, _, _ = delivered()
        headers = [header for part in parsed.walk() for header in part.items()]
        assert ("Auto-Submitted", "auto-generated") in headers
        for code in sheet.codes:
            assert code not in repr(headers) and code[:6] not in repr(headers)

    def test_it_says_what_to_do_and_what_it_is_worth(self, user, make_sheet):
        """R-81, R-95"""
        emails.send_codes(user, make_sheet())
        for body in as_read(mail.outbox[0]):
            for said in (
                "Example",
                "owner@example.com",
                "2026-01-02 03:04 UTC",
                "no end date",
                "Each code works once.",
                "Print the codes, or copy them into a password manager.",
                "delete this message",
                "Whoever can read this mailbox could sign in with these codes",
                "If you did not ask for this:",
                "Generate new recovery codes.",
                "Change your password.",
            ):
                assert said in body
        for body in bodies(mail.outbox[0]):
            assert not any(link in body for link in LINKS)

    def test_times_are_given_in_utc_wherever_the_site_is(self, user, make_sheet):
        tokyo = timezone(timedelta(hours=9))
        with override(tokyo):
            emails.send_codes(
                user, make_sheet(expires_at=datetime(2026, 3, 1, 0, 30, tzinfo=tokyo))
            )
        for body in as_read(mail.outbox[0]):
            assert "2026-01-02 03:04 UTC" in body
            assert "2026-02-28 15:30 UTC" in body
            assert "no end date" not in body

    @pytest.mark.parametrize("name", HOSTILE_NAMES)
    def test_no_name_can_forge_a_line_or_an_element(self, user, make_sheet, name):
        """R-82, R-99"""
        emails.send_codes(user, make_sheet())
        emails.send_codes(user, make_sheet(site_name=name, account=name))
        plain, named = mail.outbox
        assert len(plain.body.splitlines()) == len(named.body.splitlines())
        assert Page(bodies(plain)[1]).tags == Page(bodies(named)[1]).tags
        assert "\u202e" not in "".join([named.subject, *bodies(named)])
        parsed, _, _ = delivered()
        assert parsed["Bcc"] is None
        assert named.recipients() == [user.email]

    def test_names_are_readable_in_both_parts(self, user, make_sheet):
        """R-99: escaped where it is HTML, and only there."""
        emails.send_codes(user, make_sheet(site_name="<A> & 'B'", account='"c" <d@x>'))
        for body in as_read(mail.outbox[0]):
            assert "<A> & 'B'" in body
            assert '"c" <d@x>' in body

    @pytest.mark.parametrize("address", NOT_ONE_ADDRESS)
    def test_an_address_that_is_not_one_address_gets_no_codes(self, user, make_sheet, address):
        """R-82"""
        user.email = address
        with pytest.raises(NoAddress) as raised:
            emails.send_codes(user, make_sheet())
        assert mail.outbox == []
        assert emails.address_of(user) == ""
        assert str(raised.value) == ""

    @pytest.mark.parametrize(
        "address",
        ["a@example.com", "Ada.O'Hara+x@sub.example.com", "a_b%c=d@example.com", "ü@exämple.de"],
    )
    def test_an_ordinary_address_is_taken_as_it_is(self, user, address):
        user.email = f" {address} "
        assert emails.address_of(user) == address

    @pytest.mark.parametrize("is_logged", [True, False])
    def test_the_log_names_the_owner_and_no_code(
        self, user, make_sheet, settings, caplog, is_logged
    ):
        """R-119"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_SENDER_LOGGING = is_logged
        caplog.set_level("DEBUG")
        sheet = make_sheet()
        emails.send_codes(user, sheet)
        assert (f"codes sent user={user.pk}" in caplog.text) is is_logged
        assert user.email not in caplog.text
        assert not any(code in caplog.text for code in sheet.codes)

    def test_a_mail_server_that_is_down_is_the_callers_to_know(
        self, user, make_sheet, broken_mail
    ):
        with pytest.raises(ConnectionRefusedError):
            emails.send_codes(user, make_sheet())

    @pytest.mark.parametrize("fault", ["server", "template", "address"])
    def test_the_report_of_a_fault_shows_no_code(self, user, make_sheet, settings, fault):
        """R-84, R-85: with the variables of every function down to the mail library."""
        sheet = make_sheet()
        if fault == "server":
            use_mail_backend(settings, "tests.test_emails.RudeMail")
        elif fault == "template":
            break_template(settings, "recovery_backend/email/codes_message.html")
        else:
            user.email = ""
        with pytest.raises(Exception) as raised:  # noqa: B017
            emails.send_codes(user, sheet)
        below_this_test = raised.value.__traceback__.tb_next  # whose own `sheet` holds the codes
        reporter = ExceptionReporter(None, raised.type, raised.value, below_this_test)
        report = reporter.get_traceback_html() + reporter.get_traceback_text()
        assert {"server": "send_messages", "template": "no_such_part", "address": "NoAddress"}[
            fault
        ] in report
        for code in sheet.codes:
            assert code[:6] not in report and code[-6:] not in report
