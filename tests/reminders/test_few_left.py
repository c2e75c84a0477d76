"""Owners are told when few codes are left, or none."""

from __future__ import annotations

import pytest
from django.core import mail

from recovery_backend.models import (
    RecoveryCode,
)
from recovery_backend.reminders import Reminded, send_due
from tests.reminders.conftest import FEW_LEFT, NONE_LEFT, recipients, reminded_of, subjects
from tests.test_emails import as_read


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
