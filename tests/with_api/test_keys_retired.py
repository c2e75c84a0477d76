"""A key of the keyring that API keys need does not go unnoticed (R-13)."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from recovery_backend_api.keys.models import ApiKey

from recovery_backend import posture
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.keys import generate_key, write_key
from tests.with_api.keys_site import ask, make_key

pytestmark = [
    pytest.mark.urls("tests.with_api.keys_site"),
    pytest.mark.services,
    pytest.mark.usefixtures("keys_on"),
]


@pytest.fixture
def rotated(user, settings):
    """The id of the key with which `rotated.text` was made; it is a fallback now."""
    row, text = make_key(user)
    settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [settings.DJANGO_AUTH_RECOVERY_KEY]
    settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
    row.text = text
    return row


def run(*arguments, **options):
    out = StringIO()
    call_command("recovery_keys", *arguments, stdout=out, **options)
    return out.getvalue()


def test_status_counts_them_beside_the_codes(rotated, user, make_codes):
    """R-14"""
    make_codes(user, 2)
    make_key(user)
    make_key(user)
    assert run("status").splitlines() == [
        f"{write_key().id}  writes   2 usable codes, 2 API keys",
        f"{rotated.key_id}  reads    0 usable codes, 1 API keys",
    ]


def test_status_shows_a_key_that_only_they_miss(rotated, settings):
    settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
    assert f"{rotated.key_id}  missing  0 usable codes, 1 API keys" in run("status")


def test_a_key_that_they_need_is_kept(rotated, events):
    with pytest.raises(CommandError, match=f"^1 API keys need key {rotated.key_id}"):
        run("retire", rotated.key_id)
    assert ask(rotated.text).status_code == 200
    assert ("key.retired", "") not in events()


def test_also_while_they_are_off(rotated, settings):
    """They work again once they are on."""
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = False
    with pytest.raises(CommandError, match="API keys need"):
        run("retire", rotated.key_id)


def test_codes_and_keys_are_named_together(rotated, user, make_codes, settings):
    new, settings.DJANGO_AUTH_RECOVERY_KEY = (
        settings.DJANGO_AUTH_RECOVERY_KEY,
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS[0],
    )
    make_codes(user, 2)
    settings.DJANGO_AUTH_RECOVERY_KEY = new
    with pytest.raises(CommandError, match="^2 usable codes and 1 API keys need key"):
        run("retire", rotated.key_id)


@pytest.mark.parametrize("days", [0, 31])
def test_revoked_and_expired_ones_need_no_key(rotated, clock, days):
    if days:
        clock.shift(days * 86_400)
    else:
        rotated.revoke()
    assert "may now be removed" in run("retire", rotated.key_id)


def test_force_revokes_them_and_tells_their_owners(rotated, make_user, committed, at_once, events):
    """R-14"""
    other, text = make_key(make_user())
    mail.outbox.clear()
    with committed():
        said = run("retire", rotated.key_id, force=True)
    assert said.startswith("0 codes and 1 API keys invalidated.")
    assert events()[-2:] == [("api_key.revoked", ""), ("key.retired", "")]
    data = RecoveryCodeAudit.objects.latest("pk").data
    assert data == {"key_id": rotated.key_id, "number_of_codes": 0, "number_of_api_keys": 1}
    assert [message.to for message in mail.outbox] == [["owner@example.com"]]
    assert (ask(rotated.text).status_code, ask(text).status_code) == (401, 200)
    assert ApiKey.objects.usable().get() == other


def test_a_scheduled_run_notices_that_their_key_is_lost(rotated, settings):
    older = settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS
    settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
    posture.look()
    posture.look()
    settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = older
    posture.look()
    lost = {"number_of_codes": 0, "number_of_api_keys": 1, "key_ids": [rotated.key_id]}
    back = {"number_of_codes": 0, "number_of_api_keys": 0, "key_ids": []}
    rows = RecoveryCodeAudit.objects.filter(event=Event.KEY_UNKNOWN).order_by("pk")
    assert list(rows.values_list("data", flat=True)) == [lost, back]


def test_the_administrator_is_told_of_it(rotated, settings, committed, at_once):
    settings.DJANGO_AUTH_RECOVERY_CODE_ADMIN_EMAIL = "admin@example.com"
    settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
    mail.outbox.clear()
    with committed():
        posture.look()
    told = [message for message in mail.outbox if "unknown_kid" in message.body]
    assert [message.to for message in told] == [["admin@example.com"]]
