"""Support ends all codes of a user."""

from __future__ import annotations

import pytest
from django.core import mail

from recovery_backend import flows, history, signals
from recovery_backend.audit import Event
from recovery_backend.exceptions import NoActiveBatch
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch
from tests.support.conftest import active, newest

pytestmark = pytest.mark.django_db(transaction=True)


class TestRevoke:
    def test_all_codes_end_and_the_owner_is_told(
        self, help_request, helper, user, codes, try_code
    ):
        """R-46: support ends codes, and sees none."""
        batch = active(user)
        RecoveryCodeBatch.objects.update(sealed="ciphertext")
        assert flows.revoke_codes(help_request, user) == 3
        batch.refresh_from_db()
        assert (batch.status, batch.sealed) == ("invalidated", "")
        assert batch.retired_at is not None
        assert try_code(user.email, codes[0]) is None
        row = newest(Event.CODE_INVALIDATED)
        assert (row.user, row.actor, row.batch) == (user, helper, batch.pk)
        assert row.data == {"number_of_codes": 3}
        [message] = mail.outbox
        assert message.to == [user.email]
        assert "The people who run the site did this." in message.body

    def test_the_owner_is_not_told_where_support_sits(self, help_request, user, codes):
        flows.revoke_codes(help_request, user)
        assert "203.0.113" not in mail.outbox[0].body
        [shown] = [entry for entry in history.overview_of(user).activity if "out of" in entry.text]
        assert shown.network == ""

    def test_used_codes_stay_used(self, help_request, user, codes, try_code):
        try_code(user.email, codes[0])
        assert flows.revoke_codes(help_request, user) == 2
        assert RecoveryCode.objects.filter(status="used").count() == 1

    def test_a_list_without_a_code_left_ends_and_nobody_is_mailed(
        self, help_request, user, make_codes, try_code, settings
    ):
        [code] = make_codes(user, number_of_codes=1)
        try_code(user.email, code)
        mail.outbox.clear()
        assert flows.revoke_codes(help_request, user) == 0
        assert active(user) is None
        assert newest(Event.CODE_INVALIDATED).data == {"number_of_codes": 0}
        assert mail.outbox == []

    def test_without_codes_there_is_nothing_to_revoke(self, help_request, user, events):
        with pytest.raises(NoActiveBatch):
            flows.revoke_codes(help_request, user)
        assert events() == []

    def test_receivers_are_told(self, help_request, user, codes):
        heard = []

        def receiver(signal, sender, **payload):
            heard.append(payload)

        signals.code_invalidated.connect(receiver)
        try:
            flows.revoke_codes(help_request, user)
        finally:
            signals.code_invalidated.disconnect(receiver)
        assert [(entry["user"], entry["number_of_codes"]) for entry in heard] == [(user, 3)]
