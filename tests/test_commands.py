"""R-14: keys are made, looked at and retired from the command line."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.utils import timezone

from recovery_backend import signals
from recovery_backend.keys import generate_key, keyring, write_key
from recovery_backend.models import RecoveryCode, RecoveryCodeAudit, RecoveryCodeBatch
from recovery_backend.setting_types import key_problem

ROOT = Path(__file__).parent.parent


def run(*args, **options):
    out = io.StringIO()
    call_command(*args, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def rotated(user, codes, settings):
    """The id of a key that is a fallback now, and that the user's three codes need."""
    old = write_key().id
    settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = [settings.DJANGO_AUTH_RECOVERY_KEY]
    settings.DJANGO_AUTH_RECOVERY_KEY = generate_key()
    return old


def test_a_generated_key_is_printed_alone_and_can_be_used():
    first, second = run("generate_recovery_key"), run("generate_recovery_key")
    assert first != second
    assert first.endswith("\n") and key_problem(first.strip()) is None


def test_a_key_can_be_generated_before_there_is_one():
    script = """
from django.conf import settings
from django.core.management import execute_from_command_line

names = ["auth", "contenttypes", "sessions"]
installed = [*(f"django.contrib.{name}" for name in names), "recovery_backend"]
settings.configure(INSTALLED_APPS=installed)
execute_from_command_line(["manage.py", "generate_recovery_key"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert key_problem(done.stdout.strip()) is None


class TestStatus:
    def test_it_shows_who_writes_and_how_many_codes_need_each(
        self, rotated, make_user, make_codes
    ):
        make_codes(make_user(), 2)
        assert run("recovery_keys", "status").splitlines() == [
            f"{write_key().id}  writes   2 usable codes",
            f"{rotated}  reads    3 usable codes",
        ]

    def test_it_shows_keys_that_are_missing(self, rotated, settings):
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        assert f"{rotated}  missing  3 usable codes" in run("recovery_keys", "status")

    def test_it_shows_no_key_and_no_spent_code(self, rotated, settings):
        """R-84"""
        RecoveryCode.objects.update(expires_at=timezone.now() - timedelta(days=1))
        text = run("recovery_keys", "status")
        assert f"{rotated}  reads    0 usable codes" in text
        for key in (
            settings.DJANGO_AUTH_RECOVERY_KEY,
            *settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS,
        ):
            assert key not in text
        assert not any(key.material.hex() in text for key in keyring())


class TestRetire:
    def test_a_key_that_codes_need_is_kept(self, rotated, user, codes, try_code, events):
        with pytest.raises(CommandError, match=f"^3 usable codes need key {rotated}") as caught:
            run("recovery_keys", "retire", rotated)
        assert "--force" in str(caught.value)
        assert try_code(user.email, codes[0]) == user
        assert ("key.retired", "") not in events()

    def test_a_key_that_no_code_needs_may_go(self, rotated, user, make_codes, events):
        plain_codes = make_codes(user)
        assert "may now be removed" in run("recovery_keys", "retire", rotated)
        assert events()[-1] == ("key.retired", "")
        row = RecoveryCodeAudit.objects.latest("pk")
        assert row.data == {"key_id": rotated, "number_of_codes": 0}
        assert len(plain_codes) == RecoveryCode.objects.usable().count()

    def test_force_invalidates_and_tells_the_owners(
        self, rotated, user, codes, make_user, make_codes, try_code, settings, events,
        django_capture_on_commit_callbacks,
    ):  # fmt: skip
        settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False
        other = make_user()
        other_codes = make_codes(other)
        before = len(events())
        with django_capture_on_commit_callbacks(execute=True):
            text = run("recovery_keys", "retire", rotated, force=True)
        assert text.startswith("3 codes invalidated.")
        assert events()[before:] == [("code.invalidated", ""), ("key.retired", "")]
        assert [message.to for message in mail.outbox] == [[user.email]]
        assert not any(code in mail.outbox[0].body for code in codes)
        batch = RecoveryCodeBatch.objects.get(user=user)
        assert (batch.status, batch.codes_left()) == ("invalidated", 0)
        assert batch.retired_at is not None
        assert set(batch.codes.values_list("status", flat=True)) == {"invalidated"}
        assert try_code(user.email, codes[0]) is None
        assert try_code(other.email, other_codes[0]) == other

    def test_used_codes_stay_used(self, rotated, user, codes, try_code):
        try_code(user.email, codes[0])
        assert run("recovery_keys", "retire", rotated, force=True).startswith("2 codes")
        assert RecoveryCode.objects.filter(status="used").count() == 1

    def test_a_lost_key_can_be_retired(self, rotated, settings):
        settings.DJANGO_AUTH_RECOVERY_KEY_FALLBACKS = []
        assert run("recovery_keys", "retire", rotated, force=True).startswith("3 codes")
        assert "missing" not in run("recovery_keys", "status")

    def test_a_signal_tells_who_lost_codes(
        self, rotated, user, django_capture_on_commit_callbacks
    ):
        heard = []

        def receiver(signal, sender, **payload):
            heard.append(payload)

        signals.code_invalidated.connect(receiver)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                run("recovery_keys", "retire", rotated, force=True)
        finally:
            signals.code_invalidated.disconnect(receiver)
        [payload] = heard
        assert (payload["user"], payload["number_of_codes"]) == (user, 3)

    def test_the_key_that_writes_stays(self, rotated, codes):
        for options in ({}, {"force": True}):
            with pytest.raises(CommandError, match="makes the new codes"):
                run("recovery_keys", "retire", write_key().id, **options)
        assert RecoveryCode.objects.usable().count() == 3

    @pytest.mark.parametrize("kid", ["unknown", ""])
    def test_a_key_that_does_not_exist_is_no_key(self, rotated, kid):
        with pytest.raises(CommandError, match="No key"):
            run("recovery_keys", "retire", kid)

    def test_without_an_action_it_says_what_it_can_do(self, db):
        with pytest.raises(CommandError, match="action"):
            run("recovery_keys")
