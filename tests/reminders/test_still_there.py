"""Owners are asked each year whether they still have their codes."""

from __future__ import annotations

import pytest
from django.core import mail
from django.utils import timezone

from recovery_backend.models import (
    RecoveryCodeSetup,
)
from recovery_backend.reminders import Reminded, send_due
from tests.reminders.conftest import DAY, MOMENT, STILL_THERE, reminded_of, subjects
from tests.test_emails import as_read


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
