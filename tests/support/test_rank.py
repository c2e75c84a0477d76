"""Staff are helped by superusers, and never by themselves."""

from __future__ import annotations

import pytest
from django.core import mail

from recovery_backend import flows
from recovery_backend.audit import Event
from recovery_backend.exceptions import NotAllowed
from recovery_backend.models import RecoveryCode
from tests.support.conftest import newest

pytestmark = pytest.mark.django_db(transaction=True)

HELP = {
    "revoke": flows.revoke_codes,
    "require": flows.require_new_batch,
    "emergency": flows.send_emergency_code,
}


class TestRank:
    @pytest.mark.parametrize("give", HELP.values(), ids=HELP)
    @pytest.mark.parametrize("rank", ["is_staff", "is_superuser"])
    def test_staff_are_left_to_superusers(
        self, helper, help_request, make_user, make_codes, request_of, events, give, rank
    ):
        """R-108: support cannot reach for the account of those above it."""
        owner = make_user(**{rank: True})
        make_codes(owner)
        before = len(events())
        for _ in range(2):
            with pytest.raises(NotAllowed) as caught:
                give(help_request, owner)
        assert caught.value.why == "staff"
        assert events()[before:] == [("authz.denied", "policy")]
        assert newest(Event.AUTHZ_DENIED).actor == helper
        assert RecoveryCode.objects.usable().of_user(owner).count() == 3
        assert mail.outbox == []
        give(request_of(make_user(is_superuser=True)), owner)

    def test_nobody_on_the_staff_helps_themselves(self, helper, help_request):
        with pytest.raises(NotAllowed):
            flows.send_emergency_code(help_request, helper)
