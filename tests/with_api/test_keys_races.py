"""What holds of API keys when requests arrive together."""

from __future__ import annotations

from threading import Event

import pytest
from django.db import connection
from recovery_backend_api.keys import flows
from recovery_backend_api.keys.models import ApiKey

from recovery_backend.audit import RecoveryCodeAudit
from tests.test_races import together
from tests.with_api.keys_site import ask, make_key, request_of

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.with_api.keys_site"),
]
ROUNDS = 20 if connection.vendor != "sqlite" else 4
CALLERS = 12


@pytest.fixture(autouse=True)
def without_limits(keys_on, settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "100000/m"
    settings.DJANGO_AUTH_RECOVERY_CODES_NOTIFY = False


def recorded(event):
    return RecoveryCodeAudit.objects.filter(event=f"recovery.api_key.{event}").count()


def test_of_many_who_revoke_one_key_one_does(user):
    request = request_of(user)
    for number in range(1, ROUNDS + 1):
        key, _text = make_key(user)
        ends = together(CALLERS, lambda _position, key=key: flows.revoke_for_owner(request, key))
        assert ends.count(True) == 1
        assert recorded("revoked") == number


def test_of_many_uses_at_once_one_is_noted_and_recorded(user):
    for number in range(1, ROUNDS + 1):
        key, text = make_key(user)
        statuses = together(CALLERS, lambda _position, text=text: ask(text).status_code)
        assert statuses == [200] * CALLERS
        assert recorded("used") == number
        assert ApiKey.objects.get(pk=key.pk).last_used_at is not None


def test_no_use_that_begins_after_the_key_was_revoked_succeeds(user):
    """Whatever goes on at the same time, in every round."""
    for _ in range(ROUNDS):
        key, text = make_key(user)
        is_revoked = Event()

        def work(position, key=key, text=text, is_revoked=is_revoked):
            if position == 0:
                flows.revoke(request_of(user), key.prefix)
                is_revoked.set()
                return None
            statuses = []
            for _ in range(4):
                began_after = is_revoked.is_set()
                statuses.append((began_after, ask(text).status_code))
            is_revoked.wait()
            return [*statuses, (True, ask(text).status_code)]

        _revoker, *users = together(5, work)
        seen = {pair for statuses in users for pair in statuses}
        assert seen <= {(False, 200), (False, 401), (True, 401)}
        assert (True, 401) in seen


def test_a_use_that_waits_for_the_revocation_is_not_noted(user):
    """The one UPDATE looks again once it has the row."""
    key, text = make_key(user)
    stale = ApiKey.objects.get(pk=key.pk)
    flows.revoke(request_of(user), key.prefix)
    assert stale.is_use_due and not stale.note_use()
    assert ApiKey.objects.get(pk=key.pk).last_used_at is None
    assert ask(text).status_code == 401


def test_many_who_make_keys_at_once_each_get_one(user):
    made = together(CALLERS, lambda _position: make_key(user)[1])
    assert len(set(made)) == CALLERS
    assert ApiKey.objects.usable().of_user(user).count() == CALLERS


def test_waits_between_keys_hold_for_parallel_requests(user, settings):
    """R-62: of twelve at once as many as are free."""
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 3

    def work(_position):
        try:
            return make_key(user)[1]
        except flows.CooldownActive:
            return None

    assert len([text for text in together(CALLERS, work) if text]) == 3
