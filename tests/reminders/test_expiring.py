"""Owners are told before their codes expire (R-48), and the end is recorded."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone

from recovery_backend import reminders
from recovery_backend.history import overview_of
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
)
from recovery_backend.reminders import Reminded, send_due
from tests.reminders.conftest import DAY, EXPIRE_SOON, MOMENT, expire_at, reminded_of, subjects
from tests.test_emails import as_read


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
