"""Who is reminded, at which address, and in what words."""

from __future__ import annotations

import pytest
from django.core import mail
from django.utils import timezone, translation

from recovery_backend.emails import Notice
from recovery_backend.models import (
    RecoveryCodeBatch,
)
from recovery_backend.reminders import Reminded, send_due
from tests.reminders.conftest import DAY, expire_at, recipients, reminded_of, spend
from tests.test_emails import LINKS, bodies


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
