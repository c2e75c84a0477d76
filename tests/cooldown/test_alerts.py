"""Who is told of failures and changes, and how often."""

from __future__ import annotations

import itertools

from django.core import mail

from recovery_backend import cooldown
from tests.cooldown.conftest import networks


class TestAlerts:
    def test_thresholds_are_powers_of_ten(self):
        told = [number for number in range(1, 20_000) if cooldown.is_alert_threshold(number)]
        assert told == [10, 100, 1000, 10_000]

    def test_the_owner_is_told_at_10_and_100_failures(
        self, user, fail, events, clock, settings, django_capture_on_commit_callbacks
    ):
        """R-40, R-122"""
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        for count, address in enumerate(itertools.islice(networks(), 120), 1):
            with django_capture_on_commit_callbacks(execute=True):
                fail(user.email, 1, address)
            assert events().count(("login.alerted", "")) == (count >= 10) + (count >= 100)
        assert [message.to for message in mail.outbox] == [[user.email]] * 2
        assert "100" in mail.outbox[1].body

    def test_an_address_of_nobody_is_counted_and_nobody_is_told(
        self, db, fail, events, settings, django_capture_on_commit_callbacks
    ):
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        with django_capture_on_commit_callbacks(execute=True):
            for address in itertools.islice(networks(), 10):
                fail("nobody@example.com", 1, address)
        assert events()[-1] == ("login.alerted", "")
        assert mail.outbox == []

    def test_five_notices_of_a_kind_an_hour_are_due(self, user, make_user, clock):
        """R-122"""
        due = [cooldown.is_notice_due("codes_deleted", user.pk) for _ in range(7)]
        assert due == [True] * 5 + [False] * 2
        assert cooldown.is_notice_due("codes_generated", user.pk)
        assert cooldown.is_notice_due("codes_deleted", make_user().pk)
        clock.shift(3600)
        assert cooldown.is_notice_due("codes_deleted", user.pk)

    def test_one_event_of_a_kind_an_hour_is_recorded(self, user, make_user, clock):
        """R-122"""
        due = [cooldown.is_event_due("recovery.reauth.fail", user.pk) for _ in range(3)]
        assert due == [True, False, False]
        assert cooldown.is_event_due("recovery.authz.denied", user.pk)
        assert cooldown.is_event_due("recovery.reauth.fail", make_user().pk)
        clock.shift(3600)
        assert cooldown.is_event_due("recovery.reauth.fail", user.pk)
