"""How new codes reach their owner: shown, as a file, by e-mail (R-74, R-76, R-81)."""

from __future__ import annotations

import csv
import io

import pytest
from django.core import mail
from django_q.models import OrmQ, Task

from recovery_backend import codes as code_room
from recovery_backend import signals, tasks
from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.models import (
    RecoveryCodeEmailLog,
)
from tests.conftest import DASHBOARD
from tests.owner import active, codes_in, row_of, set_up, state
from tests.test_emails import use_mail_backend

TTL = 900


class TestShown:
    """R-74: to exactly one request."""

    @pytest.fixture(autouse=True)
    def generate(self, browser):
        browser.send("recovery_generate")

    def test_codes_are_shown_to_one_get(self, user, browser, events):
        first, second = browser.open(), browser.open()
        codes = first.context["plaintext"].codes
        assert len(codes) == 10 and all(row_of(code).user == user for code in codes)
        assert code_room.canonicalise(codes[0])
        assert second.context["plaintext"].codes == ()
        assert second.context["plaintext"].number == 10
        assert not any(code[:13] in second.text for code in codes)
        assert events().count(("batch.viewed", "")) == 1
        assert active(user).has_viewed

    def test_a_head_does_not_use_it_up(self, browser):
        browser.head(DASHBOARD)
        assert browser.open().context["plaintext"].codes

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("Sec-Purpose", "prefetch"),
            ("Sec-Purpose", "prefetch;prerender"),
            ("Purpose", "prefetch"),
        ],
    )
    def test_loading_ahead_does_not_use_it_up(self, browser, header, value):
        ahead = browser.open(headers={header: value})
        assert ahead.context["plaintext"].codes == ()
        assert browser.open().context["plaintext"].codes

    @pytest.mark.parametrize(
        ("site", "destination"),
        [
            ("same-site", "image"),
            ("same-origin", "image"),
            ("same-origin", "iframe"),
            ("same-origin", "empty"),
            ("same-site", "document"),
            ("cross-site", "document"),
        ],
    )
    def test_what_no_person_asked_for_here_does_not_use_it_up(self, browser, site, destination):
        """An image on a sibling's page, or a window that it opened."""
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination}
        elsewhere = browser.open(headers=headers)
        assert elsewhere.context["plaintext"].codes == ()
        assert "Your new codes are waiting" in elsewhere.text
        assert browser.open().context["plaintext"].codes

    @pytest.mark.parametrize("site", ["same-origin", "none"])
    def test_a_page_that_its_owner_opens_shows_them(self, browser, site):
        page = browser.open(headers={"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document"})
        assert page.context["plaintext"].codes

    def test_an_answer_to_a_post_does_not_use_it_up(self, browser, settings):
        set_up(settings, CLIENT_RATE="1/m")
        browser.send("recovery_invalidate", recovery_code="x")
        response = browser.send("recovery_invalidate", recovery_code="x")
        assert response.status_code == 429
        assert response.context["plaintext"].codes == ()
        assert browser.open().context["plaintext"].codes

    def test_another_browser_of_the_same_user_sees_none(self, user, browser, make_browser):
        assert make_browser(user).open().context["plaintext"] is None
        assert browser.open().context["plaintext"].codes

    def test_what_can_be_done_with_them_is_said(self, browser, settings):
        delivery = browser.open().context["delivery"]
        assert (delivery.can_download, delivery.can_email) == (True, True)
        assert [value for value, _name in delivery.formats] == ["txt", "csv", "pdf"]
        assert delivery.default_format == "txt"
        set_up(settings, EMAIL_CODES=False)
        assert browser.open().context["delivery"].can_email is False


class TestDownload:
    """R-76"""

    def test_a_text_file_has_the_codes(self, user, generated, events):
        response = generated.send("recovery_download", format="txt")
        assert response.status_code == 200
        assert response["Content-Disposition"] == 'attachment; filename="recovery_codes.txt"'
        assert response["Content-Type"] == "text/plain; charset=utf-8"
        assert all(code in response.text for code in generated.codes)
        assert events()[-1] == ("batch.downloaded", "")
        assert RecoveryCodeAudit.objects.latest("pk").data == {"format": "txt"}
        assert active(user).has_downloaded

    def test_a_table_has_the_codes(self, generated):
        response = generated.send("recovery_download", format="csv")
        assert response["Content-Disposition"] == 'attachment; filename="recovery_codes.csv"'
        cells = [cell for row in csv.reader(io.StringIO(response.text)) for cell in row]
        assert set(generated.codes) <= set(cells)

    def test_a_pdf_is_one(self, generated):
        response = generated.send("recovery_download", format="pdf")
        assert response["Content-Disposition"] == 'attachment; filename="recovery_codes.pdf"'
        assert response["Content-Type"] == "application/pdf"
        assert response.content.startswith(b"%PDF-")

    @pytest.mark.parametrize("chosen", [{}, {"format": ""}])
    def test_format_and_name_have_defaults(self, generated, settings, chosen):
        set_up(settings, DEFAULT_FORMAT="csv", DEFAULT_FILE_NAME="my-codes")
        response = generated.send("recovery_download", **chosen)
        assert response["Content-Disposition"] == 'attachment; filename="my-codes.csv"'

    @pytest.mark.parametrize("chosen", ["exe", "TXT", "../txt", "\x00", "x" * 10_000])
    def test_another_format_is_a_problem_and_uses_nothing_up(self, user, generated, chosen):
        answer = generated.send_json("recovery_download", format=chosen)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
        assert not active(user).has_downloaded
        assert generated.send("recovery_download").status_code == 200

    def test_once_means_once_whatever_the_format(self, generated):
        assert generated.send("recovery_download", format="txt").status_code == 200
        for chosen in ("txt", "csv", "pdf"):
            answer = generated.send_json("recovery_download", format=chosen)
            assert (answer.status_code, answer.json()["code"]) == (400, "AlreadyDelivered")
        generated.send("recovery_download")
        assert "download" in generated.open().context["problems"]

    def test_codes_may_be_downloaded_unseen_and_are_then_shown(self, browser):
        browser.send("recovery_generate")
        text = browser.send("recovery_download").text
        shown = browser.open().context["plaintext"].codes
        assert shown and all(code in text for code in shown)

    def test_after_their_time_they_are_gone(self, user, browser, clock):
        browser.generate()
        clock.shift(TTL)
        assert browser.send_json("recovery_download").json()["code"] == "PlaintextGone"
        assert not active(user).has_downloaded

    def test_another_browser_of_the_same_user_gets_nothing(self, user, generated, make_browser):
        other = make_browser(user)
        assert other.send_json("recovery_download").json()["code"] == "PlaintextGone"
        assert generated.send("recovery_download").status_code == 200

    def test_without_codes_there_is_nothing_to_download(self, browser):
        assert browser.send_json("recovery_download").json()["code"] == "NoActiveBatch"

    def test_a_fault_while_writing_the_file_costs_nothing(self, user, generated, monkeypatch):
        def broken(*args, **kwargs):
            raise RuntimeError("a fault")

        generated.raise_request_exception = False
        with monkeypatch.context() as patched:
            patched.setattr("recovery_backend.exports.render", broken)
            assert generated.send("recovery_download").status_code == 500
        assert not active(user).has_downloaded
        assert generated.send("recovery_download").status_code == 200

    def test_receivers_hear_of_it(self, user, generated, committed):
        heard = []

        def receiver(sender, **payload):
            heard.append((payload["user"], payload["batch"], payload["how"]))

        signals.codes_delivered.connect(receiver)
        try:
            with committed():
                generated.send("recovery_download")
        finally:
            signals.codes_delivered.disconnect(receiver)
        assert heard == [(user, active(user), "download")]


class TestEmail:
    """R-81 to R-83"""

    @pytest.fixture
    def send(self, generated, committed):
        """Ask for the e-mail; the answer in JSON."""

        def send():
            with committed():
                return generated.send_json("recovery_email")

        return send

    def test_it_is_queued_and_then_sent_once(self, user, generated, send, run_queue, events):
        assert state(generated) == "none"
        assert send().status_code == 200
        assert state(generated) == "queued"
        assert mail.outbox == []
        assert ("send_codes", True) in run_queue()
        assert state(generated) == "sent"
        [message] = [message for message in mail.outbox if codes_in(message, generated.codes)]
        assert codes_in(message, generated.codes) == generated.codes
        assert (message.to, message.cc, message.bcc) == ([user.email], [], [])
        assert not any(code in message.subject for code in generated.codes)
        assert events()[-2:] == [("batch.email_queued", ""), ("batch.emailed", "")]
        assert send().json()["code"] == "AlreadyDelivered"

    def test_the_queue_holds_no_code(self, generated, send, run_queue):
        """R-83"""
        send()
        [task] = [row.task for row in OrmQ.objects.all() if "send_codes" in row.task["func"]]
        assert task["save"] is False and not task["kwargs"]
        assert not any(code in repr(task) for code in generated.codes)
        run_queue()
        assert not Task.objects.exists()

    def test_a_task_that_runs_twice_sends_once(self, generated, send):
        send()
        [row] = [row for row in OrmQ.objects.all() if "send_codes" in row.task["func"]]
        assert tasks.send_codes(*row.task["args"]) is True
        assert tasks.send_codes(*row.task["args"]) is False
        assert len(mail.outbox) == 1
        assert state(generated) == "sent"

    def test_while_it_is_queued_it_cannot_be_asked_for_again(self, generated, send):
        send()
        for _ in range(8):  # more than could be asked for: nothing is counted
            assert send().json()["code"] == "AlreadyDelivered"
        context = generated.open().context
        assert context["delivery"].can_email is False
        assert context["delivery"].email_state == "queued"

    def test_after_a_failure_it_can_be_repeated(
        self, generated, send, settings, run_queue, events
    ):
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        send()
        assert ("send_codes", False) in run_queue()
        assert state(generated) == "failed"
        assert events()[-1] == ("batch.email_failed", "delivery")
        assert generated.open().context["delivery"].can_email is True
        use_mail_backend(settings, "django.core.mail.backends.locmem.EmailBackend")
        assert send().status_code == 200
        run_queue()
        assert state(generated) == "sent"
        assert len([m for m in mail.outbox if codes_in(m, generated.codes)]) == 1

    def test_turned_off_it_is_refused(self, generated, send, settings):
        set_up(settings, EMAIL_CODES=False)
        assert send().json()["code"] == "EmailTurnedOff"
        assert state(generated) == "none"
        assert not OrmQ.objects.exists()

    @pytest.mark.parametrize(
        "address",
        ["", "nobody", "a@example.com,b@example.com", "a@example.com\nBcc: b@example.com"],
    )
    def test_an_account_without_one_plain_address_is_refused(
        self, user, browser, committed, address
    ):
        """R-82"""
        user.email = address
        user.save()
        browser.generate()
        assert browser.open().context["delivery"].can_email is False
        with committed():
            answer = browser.send_json("recovery_email")
        assert answer.json()["code"] == "NoAddress"
        assert state(browser) == "none"
        assert not any("send_codes" in row.task["func"] for row in OrmQ.objects.all())

    @pytest.mark.parametrize("change", ["address", "password"])
    def test_a_change_before_it_leaves_stops_it(
        self, user, generated, send, run_queue, change, make_browser
    ):
        send()
        if change == "address":
            user.email = "thief@example.com"
        else:
            user.set_password("another horse")
        user.save()
        assert ("send_codes", False) in run_queue()
        assert not any(codes_in(message, generated.codes) for message in mail.outbox)
        assert state(make_browser(user)) == "failed"

    def test_one_that_waited_too_long_fails(self, user, browser, committed, clock, run_queue):
        codes = browser.generate()
        with committed():
            browser.send("recovery_email")
        clock.shift(TTL)
        assert state(browser) == "failed"
        assert ("send_codes", False) in run_queue()
        assert state(browser) == "failed"
        assert not any(codes_in(message, codes) for message in mail.outbox)

    def test_an_owner_who_was_deactivated_meanwhile_is_sent_nothing(
        self, user, generated, send, run_queue
    ):
        send()
        type(user).objects.filter(pk=user.pk).update(is_active=False)
        assert ("send_codes", False) in run_queue()
        assert not any(codes_in(message, generated.codes) for message in mail.outbox)
        assert active(user).email_state == "failed"

    def test_of_replaced_codes_nothing_is_sent(self, generated, send, run_queue, settings, events):
        settings.DJANGO_AUTH_RECOVERY_CODE_STORE_EMAIL_LOG = True
        send()
        old = generated.codes
        generated.generate()
        assert ("send_codes", False) in run_queue()
        assert not any(codes_in(message, old) for message in mail.outbox)
        assert state(generated) == "none"
        assert RecoveryCodeEmailLog.objects.get().state == "failed"
        assert ("batch.email_failed", "delivery") in events()

    def test_with_the_queue_down_it_is_sent_at_once(self, generated, send, monkeypatch):
        def broken(*args, **kwargs):
            raise ConnectionError("broker is down")

        monkeypatch.setattr("django_q.tasks.async_task", broken)
        assert send().status_code == 200
        assert state(generated) == "sent"
        assert any(codes_in(message, generated.codes) for message in mail.outbox)

    @pytest.mark.django_db(transaction=True)
    def test_without_a_queue_it_is_sent_at_once(self, generated, send, at_once):
        answer = send()
        assert (answer.status_code, answer.json()["detail"]) == (
            200,
            "The e-mail with your codes was sent.",
        )
        assert state(generated) == "sent"

    @pytest.mark.django_db(transaction=True)
    def test_without_a_queue_a_failure_is_said_at_once(self, generated, send, at_once, settings):
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        answer = send()
        assert (answer.status_code, answer.json()["code"]) == (502, "failed")
        assert state(generated) == "failed"

    @pytest.mark.parametrize("is_broken", [True, False])
    def test_a_row_is_kept_of_it_when_wanted(
        self, user, generated, send, settings, run_queue, is_broken
    ):
        settings.DJANGO_AUTH_RECOVERY_CODE_STORE_EMAIL_LOG = True
        if is_broken:
            use_mail_backend(settings, "tests.test_emails.BrokenMail")
        send()
        log = RecoveryCodeEmailLog.objects.get()
        assert (log.user, log.recipient, log.state) == (user, user.email, "queued")
        assert log.batch == active(user).public_id
        run_queue()
        log.refresh_from_db()
        assert log.state == ("failed" if is_broken else "sent")
        assert (log.sent_at is None) is is_broken
        assert not any(code[:13] in str(vars(log)) for code in generated.codes)

    def test_no_row_is_kept_otherwise(self, send):
        send()
        assert not RecoveryCodeEmailLog.objects.exists()

    def test_another_browser_of_the_same_user_cannot_ask_for_it(
        self, user, generated, make_browser
    ):
        other = make_browser(user)
        assert other.send_json("recovery_email").json()["code"] == "PlaintextGone"
        assert state(other) == "none"

    def test_the_state_is_the_users_own(self, generated, send, make_user, make_browser):
        """R-97"""
        send()
        assert state(make_browser(make_user())) == "none"

    def test_asking_again_and_again_has_to_wait(self, generated, send, at_once, settings, clock):
        """R-62: also when each one fails."""
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        for _ in range(5):
            assert send().status_code == 200
        answer = send()
        assert (answer.status_code, answer["Retry-After"]) == (429, "60")
        clock.shift(60)
        assert send().status_code == 200
