"""Support asks a user for new codes."""

from __future__ import annotations

import pytest
from django.core import mail
from django.utils import timezone

from recovery_backend import flows
from recovery_backend.audit import Event
from recovery_backend.models import RecoveryCodeSetup
from tests.support.conftest import newest, required_at

pytestmark = pytest.mark.django_db(transaction=True)


class TestRequire:
    def test_the_owner_is_asked_and_the_old_codes_work(
        self, help_request, helper, user, codes, try_code
    ):
        flows.require_new_batch(help_request, user)
        assert required_at(user) is not None
        row = newest(Event.BATCH_REQUIRED)
        assert (row.user, row.actor) == (user, helper)
        [message] = mail.outbox
        assert message.to == [user.email]
        assert "The codes that you have work until then." in message.body
        assert "203.0.113" not in message.body
        assert try_code(user.email, codes[0]) == user

    def test_the_owner_is_asked_once(self, help_request, user, events):
        flows.require_new_batch(help_request, user)
        since = required_at(user)
        flows.require_new_batch(help_request, user)
        assert required_at(user) == since
        assert events() == [("batch.required", "")]
        assert len(mail.outbox) == 1

    def test_new_codes_are_the_answer_whoever_made_them(self, help_request, user, make_codes):
        flows.require_new_batch(help_request, user)
        make_codes(user)
        assert required_at(user) is None

    def test_the_passed_set_up_test_is_kept(self, help_request, user, make_codes):
        passed = RecoveryCodeSetup.objects.create(user=user, verified_at=timezone.now())
        flows.require_new_batch(help_request, user)
        make_codes(user)
        assert RecoveryCodeSetup.objects.get().verified_at == passed.verified_at

    def test_the_dashboard_asks_until_there_are_new_codes(
        self, help_request, user, codes, browser
    ):
        assert "Please generate new codes." not in browser.open().text
        flows.require_new_batch(help_request, user)
        page = browser.open().text
        assert "Please generate new codes." in page
        assert "The codes that you have work until then" in page
        assert page.count('action="/auth/recovery-codes/generate/"') == 1
        browser.generate()
        assert "Please generate new codes." not in browser.open().text

    def test_the_dashboard_asks_somebody_without_codes(self, help_request, user, browser):
        flows.require_new_batch(help_request, user)
        page = browser.open().text
        assert "Please generate new codes." in page
        assert "You have no code left." in page
