"""Support has an emergency code sent to a user, and sees none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.contrib.auth import authenticate
from django.core import mail
from django.db import connection
from django.test import RequestFactory
from django.utils import timezone, translation

from recovery_backend import cooldown, flows, history, tasks
from recovery_backend.audit import Event
from recovery_backend.codes import PresentedCode
from recovery_backend.exceptions import CooldownActive, EmailTurnedOff, NoAddress, NotAllowed
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeEmailLog
from recovery_backend.purge import purge_codes
from tests.support.conftest import CODE, active, mailed_code, newest, queued, required_at
from tests.test_emails import as_read, use_mail_backend

pytestmark = pytest.mark.django_db(transaction=True)


class TestEmergency:
    def test_the_owner_gets_one_code_that_signs_in_once(
        self, help_request, helper, user, codes, try_code, events, clock
    ):
        """R-40, R-46, R-106"""
        mail.outbox.clear()
        before = len(events())
        flows.send_emergency_code(help_request, user)
        [message] = mail.outbox
        assert message.to == [user.email]
        code = mailed_code()
        batch = active(user)
        assert (batch.is_emergency, batch.number_issued, batch.email_state) == (True, 1, "sent")
        assert batch.expires_at == timezone.now() + timedelta(hours=1)
        assert batch.sealed == ""
        assert events()[before:] == [
            ("batch.emergency", ""),
            ("batch.superseded", ""),
            ("batch.emailed", ""),
        ]
        row = newest(Event.BATCH_EMERGENCY)
        assert (row.user, row.actor, row.batch) == (user, helper, batch.pk)
        assert required_at(user) is not None
        assert try_code(user.email, codes[0]) is None, "the lost list has ended"
        assert try_code(user.email, code) == user
        assert try_code(user.email, code) is None

    def test_it_ends_after_an_hour(self, help_request, user, try_code, clock):
        flows.send_emergency_code(help_request, user)
        code = mailed_code()
        clock.shift(3601)
        assert try_code(user.email, code) is None
        assert history.overview_of(user).is_expired

    def test_the_message_says_what_it_is_and_until_when(self, help_request, user, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = "Example"
        flows.send_emergency_code(help_request, user)
        [message] = mail.outbox
        assert message.subject == "[Example] An emergency code for your account"
        end = active(user).expires_at
        html, _type = message.alternatives[0]
        for text in (message.body, html):
            assert "The people who run Example had this code sent to you" in text
            assert f"{end:%Y-%m-%d %H:%M} UTC" in text
            assert "Your older codes no longer work." in text
            assert "If you did not ask for this:" in text
            assert "Tell nobody this code" in text
            assert mailed_code() in text
            assert "your password" not in text
            assert "http" not in text
        assert CODE.search(message.subject) is None

    def test_the_message_is_in_the_language_of_the_site(self, help_request, user):
        """It is not the owner who is reading a page."""
        with translation.override("de"):
            flows.send_emergency_code(help_request, user)
        assert "An emergency code for your account" in mail.outbox[0].subject

    def test_with_second_factor_the_message_asks_for_the_password_too(
        self, help_request, user, settings
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "second_factor"
        flows.send_emergency_code(help_request, user)
        assert "your password you can sign in once" in mail.outbox[0].body

    def test_waits_and_a_closed_account_are_no_hindrance(
        self, help_request, helper, user, try_code, settings
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 7
        for number in range(7):
            cooldown.charge(user.email, f"198.51.100.{number}/32")
        for _ in range(5):
            cooldown.charge(user.email, "198.51.100.7/32")
        flows.send_emergency_code(help_request, user)
        row = newest(Event.COOLDOWN_CLEARED)
        assert (row.user, row.actor) == (user, helper)
        assert cooldown.standing_of(user) == cooldown.Standing(0, 0, 0, 0, False)
        assert try_code(user.email, mailed_code()) == user

    def test_nothing_is_cleared_where_nobody_waits(self, help_request, user, events):
        flows.send_emergency_code(help_request, user)
        assert "cooldown.cleared" not in [event for event, _reason in events()]

    def test_after_signing_in_the_dashboard_asks_for_codes(
        self, help_request, user, codes, post_code, client
    ):
        flows.send_emergency_code(help_request, user)
        assert post_code(user.email, mailed_code()).status_code == 302
        page = client.get("/auth/recovery-codes/dashboard/").text
        assert "Please generate new codes." in page
        assert "Your list by e-mail" not in page
        assert "had an emergency code sent to you" in page

    def test_in_the_queue_it_is_sealed(self, help_request, user, settings):
        """R-83"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        flows.send_emergency_code(help_request, user)
        assert mail.outbox == []
        assert active(user).shown_email_state == "queued"
        [task] = queued("send_codes")
        assert not any(CODE.search(str(argument)) for argument in task["args"])
        assert tasks.send_codes(*task["args"]) is True
        assert tasks.send_codes(*task["args"]) is False, "a task that runs twice sends once"
        assert len(mail.outbox) == 1

    def test_the_sealed_code_outlives_neither_the_stash_nor_itself(
        self, help_request, user, settings, clock
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        settings.DJANGO_AUTH_RECOVERY_CODES_STASH_TTL = 86_400
        flows.send_emergency_code(help_request, user)
        [task] = queued("send_codes")
        clock.shift(3601)
        assert tasks.send_codes(*task["args"]) is False
        assert active(user).email_state == "failed"

    def test_a_changed_address_gets_nothing(self, help_request, user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        flows.send_emergency_code(help_request, user)
        [task] = queued("send_codes")
        type(user).objects.filter(pk=user.pk).update(email="eve@example.com")
        assert tasks.send_codes(*task["args"]) is False
        assert mail.outbox == []

    def test_one_that_did_not_leave_can_be_sent_again(
        self, help_request, user, settings, try_code, events
    ):
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        flows.send_emergency_code(help_request, user)
        assert active(user).email_state == "failed"
        assert ("batch.email_failed", "delivery") in events()
        use_mail_backend(settings, "django.core.mail.backends.locmem.EmailBackend")
        flows.send_emergency_code(help_request, user)
        assert try_code(user.email, mailed_code()) == user

    def test_the_owner_of_codes_that_a_lost_one_replaced_is_told(
        self, help_request, user, codes, settings, clock
    ):
        """R-40: the task ran too late; a second e-mail may get through."""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        flows.send_emergency_code(help_request, user)
        [task] = queued("send_codes")
        clock.shift(20 * 60)
        assert tasks.send_codes(*task["args"]) is False
        [told] = queued("send_notice")
        assert tasks.send_notice(*told["args"]) is True
        [message] = mail.outbox
        assert message.to == [user.email]
        assert message.subject == "Your recovery codes no longer work"
        for body in as_read(message):
            assert "had an emergency code made for you" in body
            assert "The code could not be sent. Your older codes no longer work." in body
            assert "If you did not ask for this:" in body
            assert "Codes left" not in body, "nobody has the one that is"
            assert CODE.search(body) is None

    def test_a_mail_server_that_is_down_stops_no_notice(self, help_request, user, codes, settings):
        """R-40"""
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        flows.send_emergency_code(help_request, user)
        [task] = queued("send_codes")
        assert tasks.send_codes(*task["args"]) is False
        [told] = queued("send_notice")
        with pytest.raises(ConnectionRefusedError):  # the queue tries it again
            tasks.send_notice(*told["args"])
        use_mail_backend(settings, "django.core.mail.backends.locmem.EmailBackend")
        assert tasks.send_notice(*told["args"]) is True

    def test_a_lost_one_that_replaced_nothing_is_told_to_nobody(
        self, help_request, user, settings, make_codes, try_code
    ):
        [code] = make_codes(user, number_of_codes=1)
        try_code(user.email, code)
        mail.outbox.clear()
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        use_mail_backend(settings, "tests.test_emails.BrokenMail")
        flows.send_emergency_code(help_request, user)
        [task] = queued("send_codes")
        assert tasks.send_codes(*task["args"]) is False
        assert queued("send_notice") == []

    def test_one_that_newer_codes_replaced_is_not_said_to_be_lost(
        self, help_request, user, codes, settings
    ):
        """The newer one brings its own message."""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
        for _ in range(2):
            flows.send_emergency_code(help_request, user)
        late, newest_task = queued("send_codes")
        assert tasks.send_codes(*late["args"]) is False
        assert tasks.send_codes(*newest_task["args"]) is True
        assert queued("send_notice") == []
        assert len(mail.outbox) == 1

    def test_the_e_mail_log_names_it(self, help_request, user, settings):
        settings.DJANGO_AUTH_RECOVERY_CODE_STORE_EMAIL_LOG = True
        flows.send_emergency_code(help_request, user)
        row = RecoveryCodeEmailLog.objects.get()
        assert (row.recipient, row.state, row.batch) == (
            user.email, "sent", active(user).public_id,
        )  # fmt: skip

    def test_five_in_an_hour_are_enough(self, help_request, user, events, clock):
        """R-62: whichever cache is lost meanwhile."""
        for _ in range(5):
            flows.send_emergency_code(help_request, user)
            clock.shift(60)
        newest_batch = active(user)
        cooldown.charge(user.email, "198.51.100.7/32")
        for _ in range(2):
            with pytest.raises(CooldownActive) as caught:
                flows.send_emergency_code(help_request, user)
        assert caught.value.wait_seconds == 3600 - 5 * 60
        assert active(user) == newest_batch
        assert cooldown.standing_of(user).failures == 1, "a refusal changes nothing"
        assert events(event=Event.ACTION_THROTTLED) == [("action.throttled", "cooldown")]
        assert len(mail.outbox) == 5
        purge_codes(0, delete_empty_batches=True)
        with pytest.raises(CooldownActive):
            flows.send_emergency_code(help_request, user)
        clock.shift(3600 - 5 * 60)
        flows.send_emergency_code(help_request, user)
        assert len(mail.outbox) == 6

    def test_nothing_is_sent_that_could_not_be_used(self, help_request, user, settings, codes):
        """R-81"""

        def refused(kind):
            with pytest.raises(kind) as caught:
                flows.send_emergency_code(help_request, user)
            return getattr(caught.value, "why", None)

        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "off"
        assert refused(NotAllowed) == "off"
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = "sole_login"
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_CODES = False
        refused(EmailTurnedOff)
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_CODES = True
        for address in ("", "a@example.com,b@example.com", "a@example.com\nBcc: b@example.com"):
            user.email = address
            refused(NoAddress)
        user.is_active = False
        assert refused(NotAllowed) == "inactive"
        assert RecoveryCode.objects.usable().count() == 3
        assert mail.outbox == []

    def test_staff_who_may_not_sign_in_by_code_get_none(self, make_user, request_of, settings):
        settings.DJANGO_AUTH_RECOVERY_CODES_SOLE_LOGIN_FOR_STAFF = False
        root = make_user(is_superuser=True, is_staff=True)
        with pytest.raises(NotAllowed) as caught:
            flows.send_emergency_code(request_of(root), make_user(is_staff=True))
        assert caught.value.why == "off"

    @pytest.mark.services
    def test_parallel_ones_leave_one_active_batch(self, helper, user, codes, request_of):
        """R-44"""
        barrier = Barrier(4)

        def send(_position):
            barrier.wait()
            try:
                flows.send_emergency_code(request_of(helper), user)
            finally:
                connection.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(send, range(4)))
        batch = RecoveryCodeBatch.objects.get(user=user, status="active")
        assert RecoveryCode.objects.usable().of_user(user).get().batch == batch
        assert len(mail.outbox) in range(1, 5)
        codes_sent = [mailed_code(number) for number in range(len(mail.outbox))]
        request = RequestFactory().post("/")
        working = [
            code
            for code in codes_sent
            if authenticate(request, email=user.email, recovery_code=PresentedCode(code))
        ]
        assert len(working) == 1

    @pytest.mark.services
    def test_one_that_races_with_generating_leaves_one_list(self, helper, user, codes, request_of):
        """R-44"""
        for _ in range(5):
            barrier = Barrier(2)

            def send(position, barrier=barrier):
                barrier.wait()
                try:
                    if position:
                        RecoveryCodeBatch.create_recovery_batch(user)
                    else:
                        flows.send_emergency_code(request_of(helper), user)
                finally:
                    connection.close()

            with ThreadPoolExecutor(2) as pool:
                list(pool.map(send, range(2)))
            batch = RecoveryCodeBatch.objects.get(user=user, status="active")
            usable = RecoveryCode.objects.usable().of_user(user)
            assert set(usable.values_list("batch", flat=True)) == {batch.pk}
            assert bool(required_at(user)) == batch.is_emergency
