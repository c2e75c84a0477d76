"""R-21 to R-35: who is signed in by a code, and what every refusal leaves behind."""

from __future__ import annotations

import hmac
import inspect
import itertools
import logging
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import aauthenticate, authenticate
from django.core import serializers
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils import timezone

from recovery_backend import signals
from recovery_backend.backends import RecoveryCodeBackend
from recovery_backend.codes import ALPHABET, PresentedCode
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.keys import framed
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeQuerySet,
)
from tests.conftest import WRONG_CODE

ROOT = Path(__file__).parent.parent
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
OURS = "recovery_backend.backends.RecoveryCodeBackend"
ELSEWHERE = "203.0.113.50"


def usable(user):
    return RecoveryCode.objects.usable().of_user(user).count()


def everything_stored():
    models = (RecoveryCode, RecoveryCodeBatch, RecoveryCodeAudit, RecoveryCodeCooldown)
    return "".join(serializers.serialize("json", model.objects.all()) for model in models)


class TestOneUse:
    def test_a_code_signs_its_owner_in_once(self, user, codes, try_code):
        """R-21"""
        assert try_code(user.email, codes[0]) == user
        assert try_code(user.email, codes[0]) is None
        assert usable(user) == 2

    def test_each_code_works(self, user, codes, try_code):
        assert [try_code(user.email, code) for code in codes] == [user] * 3

    def test_a_wrong_code_signs_nobody_in(self, user, codes, try_code):
        assert try_code(user.email, WRONG_CODE) is None
        assert usable(user) == 3

    def test_typed_text_is_accepted_too(self, user, codes):
        assert authenticate(None, email=user.email, recovery_code=codes[0]) == user

    def test_a_pasted_line_is_accepted(self, user, codes, try_code):
        """R-04"""
        assert try_code(user.email, f" 3. {codes[0].replace('-', ' – ')}\u200b\n") == user

    def test_a_spelling_of_the_address_is_accepted(self, user, codes, try_code):
        """R-24"""
        assert try_code("  OWNER@Example.COM ", codes[0]) == user

    def test_without_a_request_it_works_and_is_recorded(self, user, codes, events):
        """R-29"""
        assert authenticate(None, email=user.email, recovery_code=codes[0]) == user
        assert authenticate(None, email=user.email, recovery_code=codes[0]) is None
        assert events()[1:] == [("login.success", ""), ("code.replay", "used")]

    def test_async_callers_get_the_same(self, user, codes, make_request, events):
        """R-30"""
        call = async_to_sync(aauthenticate)
        assert call(make_request(), email=user.email, recovery_code=codes[0]) == user
        assert call(None, email=user.email, recovery_code=codes[0]) is None
        assert call(None, email=user.email, recovery_code=codes[1]) == user
        assert call(None, username="owner", password="correct horse") == user
        assert usable(user) == 1
        assert [event for event, _ in events()][1:] == [
            "login.success",
            "code.replay",
            "login.success_after_fail",
        ]

    def test_the_user_says_which_backend_it_came_through(self, user, codes, try_code):
        assert try_code(user.email, codes[0]).backend == OURS

    def test_two_missing_credentials_are_none_of_our_business(self, user, codes, statements):
        with statements() as queries:
            assert RecoveryCodeBackend().authenticate(None) is None
            assert RecoveryCodeBackend().authenticate(None, email=user.email) is None
            assert RecoveryCodeBackend().authenticate(None, recovery_code=codes[0]) is None
        assert queries == []

    def test_the_signature_is_exact(self):
        """R-27"""
        parameters = inspect.signature(RecoveryCodeBackend.authenticate).parameters
        assert list(parameters) == ["self", "request", "email", "recovery_code"]


class TestStates:
    """R-22"""

    @pytest.mark.parametrize(
        ("change", "event"),
        [
            ({"status": "used"}, ("code.replay", "used")),
            ({"status": "invalidated"}, ("login.fail", "revoked")),
            ({"status": "deleted"}, ("login.fail", "revoked")),
            ({"expires_at": timedelta(seconds=-1)}, ("login.fail", "expired")),
            ({"expires_at": timedelta(0)}, ("login.fail", "expired")),
            ({"status": "used", "expires_at": timedelta(days=-1)}, ("code.replay", "used")),
            ({"key_id": "unknown"}, ("row.tamper", "tamper")),
            ({"bind": b"\x00" * 32}, ("row.tamper", "tamper")),
            ({"bind": b""}, ("row.tamper", "tamper")),
        ],
    )
    def test_a_code_in_another_state_is_refused(
        self, user, codes, try_code, events, clock, change, event
    ):
        if "expires_at" in change:
            change = {**change, "expires_at": timezone.now() + change["expires_at"]}
        RecoveryCode.objects.update(**change)
        before = list(RecoveryCode.objects.values())
        assert try_code(user.email, codes[0]) is None
        assert list(RecoveryCode.objects.values()) == before
        assert events()[1:] == [event]

    def test_a_code_works_until_the_moment_it_expires(self, user, make_codes, try_code, clock):
        codes = make_codes(user, days_to_expire=1)
        clock.shift(timedelta(days=1) - timedelta(seconds=1))
        assert try_code(user.email, codes[0]) == user
        clock.shift(1)
        assert try_code(user.email, codes[1]) is None

    def test_a_code_of_a_replaced_batch_is_refused(
        self, user, codes, make_codes, try_code, events
    ):
        make_codes(user)
        assert try_code(user.email, codes[0]) is None
        assert events()[-1] == ("login.fail", "revoked")

    def test_a_purged_code_is_unknown(self, user, codes, try_code, events):
        RecoveryCode.objects.all().delete()
        assert try_code(user.email, codes[0]) is None
        assert events()[-1] == ("login.fail", "unknown")

    def test_a_code_of_a_deleted_user_is_unknown(self, user, codes, try_code, events):
        email = user.email
        user.delete()
        assert try_code(email, codes[0]) is None
        assert events()[-1] == ("login.fail", "unknown")

    def test_a_code_used_by_somebody_faster_is_refused(
        self, user, codes, try_code, events, monkeypatch
    ):
        """R-21: between look-up and update the row was spent."""
        presented = RecoveryCodeQuerySet.presented

        def slow(self, code):
            row = presented(self, code)
            RecoveryCode.objects.filter(pk=row.pk).update(status="used")
            return row

        monkeypatch.setattr(RecoveryCodeQuerySet, "presented", slow)
        assert try_code(user.email, codes[0]) is None
        assert events()[1:] == [("code.replay", "used")]


class TestOwners:
    def test_another_accounts_code_is_refused_and_kept(
        self, user, codes, make_user, try_code, events
    ):
        """R-24"""
        thief = make_user("thief@example.com")
        assert try_code(thief.email, codes[0]) is None
        assert events(user=user)[-1] == ("login.owner_mismatch", "mismatch")
        assert try_code(user.email, codes[0]) == user

    def test_a_used_code_of_another_account_is_no_alarm(self, user, codes, try_code, events):
        try_code(user.email, codes[0])
        assert try_code("thief@example.com", codes[0]) is None
        assert events()[-1] == ("login.fail", "mismatch")

    @pytest.mark.parametrize(
        "typed",
        [
            "owner@example.com.",
            "owner+codes@example.com",
            "\uff4fwner@example.com",
            "owner@example.com,thief@example.com",
            "own\u0435r@example.com",
        ],
    )
    def test_a_look_alike_of_the_address_is_refused(self, user, codes, try_code, typed):
        """R-24"""
        assert try_code(typed, codes[0]) is None
        assert usable(user) == 3

    def test_one_address_for_three_accounts_is_told_apart_by_the_code(
        self, make_user, make_codes, try_code
    ):
        """R-25"""
        spellings = ["team@example.com", "Team@example.com", "TEAM@EXAMPLE.COM"]
        members = [make_user(spelling) for spelling in spellings]
        batches = [make_codes(member) for member in members]
        for member, codes in zip(members, batches, strict=True):
            for spelling, code in zip(spellings, codes, strict=True):
                assert try_code(spelling, code) == member

    def test_an_inactive_owner_is_refused_and_the_code_is_kept(
        self, user, codes, try_code, events
    ):
        """R-23"""
        user.is_active = False
        user.save()
        assert try_code(user.email, codes[0]) is None
        assert events()[-1] == ("login.fail", "inactive")
        user.is_active = True
        user.save()
        assert try_code(user.email, codes[0]) == user

    def test_get_user_knows_active_users_only(self, user, make_user):
        """R-23"""
        backend = RecoveryCodeBackend()
        inactive = make_user(is_active=False)
        assert backend.get_user(user.pk) == user
        assert backend.get_user(inactive.pk) is None
        assert backend.get_user(10**6) is None

    @pytest.mark.parametrize(
        ("moves", "presented_by"),
        [(["user", "batch"], "victim"), (["user"], "victim"), (["batch"], "thief")],
    )
    def test_a_row_moved_to_another_user_is_refused_and_reported(
        self, make_user, make_codes, try_code, events, moves, presented_by
    ):
        """R-17: with SQL alone nobody makes a code of theirs open another account."""
        people = {"victim": make_user(), "thief": make_user()}
        make_codes(people["victim"])
        plain_codes = make_codes(people["thief"])
        place = {
            "user": people["victim"],
            "batch": RecoveryCodeBatch.objects.get(user=people["victim"]),
        }
        RecoveryCode.objects.of_user(people["thief"]).update(
            **{column: place[column] for column in moves}
        )
        owner = people[presented_by]
        assert try_code(owner.email, plain_codes[0]) is None
        assert events(user=owner)[-1] == ("row.tamper", "tamper")
        assert RecoveryCode.objects.usable().count() == 6

    def test_a_row_under_a_key_that_nobody_has_opens_nothing(
        self, make_user, make_codes, try_code, events
    ):
        """R-13, R-17: an unknown key is no key, not an empty one that anybody can compute with."""
        victim, thief = make_user(), make_user()
        make_codes(victim)
        plain_codes = make_codes(thief)
        batch = RecoveryCodeBatch.objects.get(user=victim)
        forged = hmac.digest(b"", framed("bind", str(victim.pk), str(batch.pk)), "sha256")
        RecoveryCode.objects.of_user(thief).update(
            user=victim, batch=batch, key_id="unknown", bind=forged
        )
        assert try_code(victim.email, plain_codes[0]) is None
        assert events(user=victim)[-1] == ("row.tamper", "tamper")

    def test_a_batch_moved_to_another_user_opens_no_other_account(
        self, make_user, make_codes, try_code
    ):
        """R-17"""
        victim, thief = make_user(), make_user()
        plain_codes = make_codes(thief)
        RecoveryCodeBatch.objects.filter(user=thief).update(user=victim)
        assert [try_code(victim.email, code) for code in plain_codes] == [None] * 3

    def test_a_user_without_an_address_cannot_be_reached(self, make_user, make_codes, try_code):
        user = make_user()
        codes = make_codes(user)
        user.email = ""
        user.save()
        for typed in ("", " ", "user1@example.com"):
            assert try_code(typed, codes[0]) is None

    def test_the_new_address_counts_after_a_change(self, user, codes, try_code):
        user.email = "new@example.com"
        user.save()
        assert try_code("owner@example.com", codes[0]) is None
        assert try_code("new@example.com", codes[0]) == user


class TestPolicy:
    @pytest.mark.parametrize(
        ("mode", "is_signed_in"), [("sole_login", True), ("second_factor", False), ("off", False)]
    )
    @pytest.mark.parametrize("has_request", [True, False])
    def test_the_mode_holds_in_the_backend_itself(
        self, user, codes, settings, make_request, events, mode, is_signed_in, has_request
    ):
        """R-35"""
        settings.DJANGO_AUTH_RECOVERY_CODES_LOGIN_MODE = mode
        request = make_request() if has_request else None
        signed_in = authenticate(request, email=user.email, recovery_code=codes[0])
        assert (signed_in == user) is is_signed_in
        assert usable(user) == (2 if is_signed_in else 3)
        if not is_signed_in:
            assert signed_in is None
            assert events()[1:] == [("login.fail", "policy")]

    @pytest.mark.parametrize("kind", ["is_staff", "is_superuser"])
    @pytest.mark.parametrize("is_allowed", [True, False])
    def test_staff_sign_in_where_the_site_allows_it(
        self, make_user, make_codes, settings, try_code, events, kind, is_allowed
    ):
        """R-39"""
        settings.DJANGO_AUTH_RECOVERY_CODES_SOLE_LOGIN_FOR_STAFF = is_allowed
        staff = make_user(**{kind: True})
        codes = make_codes(staff)
        assert (try_code(staff.email, codes[0]) == staff) is is_allowed
        assert usable(staff) == (2 if is_allowed else 3)
        if not is_allowed:
            assert events()[-1] == ("login.fail", "policy")

    def test_the_staff_policy_leaves_others_alone(self, user, codes, settings, try_code):
        settings.DJANGO_AUTH_RECOVERY_CODES_SOLE_LOGIN_FOR_STAFF = False
        assert try_code(user.email, codes[0]) == user


BAD = {
    "int": 12345,
    "float": 1.5,
    "True": True,
    "bytes": b"owner@example.com",
    "list": ["owner@example.com"],
    "dict": {"email": "owner@example.com"},
    "object": object(),
    "empty": "",
    "spaces": "   ",
    "10 MB": "evil" * (10 * 1024 * 1024 // 4),
    "NUL": "evil\x00evil@example.com",
    "lone surrogate": "evil\ud800@example.com",
    "bidi": "\u202eevil@example.com",
    "zero-width": "evil\u200b@example.com",
    "newline": "evil@example.com\r\nBcc: evil@example.com",
    "sql": "evil' OR 1=1 --",
    "format": "%s{0}evil%n",
}


def look_alike(code):
    """The code with one letter that only looks the same, or differs in case alone."""
    for position, character in enumerate(code):
        if (turned := character.swapcase()) != character and turned in ALPHABET:
            return code[:position] + turned + code[position + 1 :]
    raise AssertionError("A code without letters.")


class TestBadInput:
    """R-27: a generic refusal, whatever was sent."""

    @pytest.fixture
    def wrong_code_costs(self, user, codes, make_user, make_codes, statements):
        def cost():
            with statements() as queries:
                authenticate(None, email="somebody@example.com", recovery_code=WRONG_CODE)
            return len(queries)

        return cost

    def refuse(self, statements, request, email, code):
        with statements() as queries:
            assert authenticate(request, email=email, recovery_code=code) is None
        return len(queries)

    @pytest.mark.parametrize("name", BAD)
    def test_a_bad_address_is_refused_like_a_wrong_code(
        self, user, codes, statements, wrong_code_costs, name
    ):
        number = self.refuse(statements, None, BAD[name], codes[0])
        assert number == wrong_code_costs()
        assert usable(user) == 3
        assert "evil" not in everything_stored()

    @pytest.mark.parametrize("name", BAD)
    def test_a_bad_code_is_refused_like_a_wrong_code(
        self, user, codes, statements, wrong_code_costs, name, events
    ):
        number = self.refuse(statements, None, user.email, BAD[name])
        assert number == wrong_code_costs()
        assert usable(user) == 3
        assert "evil" not in everything_stored()
        assert events()[1] == ("login.fail", "malformed")

    @pytest.mark.parametrize("name", BAD)
    def test_both_bad_are_refused_with_a_request_too(self, user, codes, make_request, name):
        request = make_request()
        assert authenticate(request, email=BAD[name], recovery_code=BAD[name]) is None
        assert usable(user) == 3
        assert "evil" not in everything_stored()

    @pytest.mark.parametrize(
        "spoil",
        [
            look_alike,
            lambda code: code.lower(),
            lambda code: code.upper(),
            lambda code: code[:-1],
            lambda code: code + code[-1],
            lambda code: code[::-1],
            lambda code: code.replace("-", "0"),
            lambda code: code[:-1] + "\uff21",
            lambda code: code[:-1] + "\u0410",
            lambda code: code.encode(),
            lambda code: [code],
        ],
    )
    def test_a_code_that_only_looks_right_is_refused(self, user, codes, try_code, spoil):
        assert try_code(user.email, spoil(codes[0])) is None
        assert usable(user) == 3

    @pytest.mark.parametrize(("email", "code"), [(None, WRONG_CODE), ("a@example.com", None)])
    def test_none_is_no_attempt(self, db, statements, email, code):
        assert self.refuse(statements, None, email, code) == 0

    def test_a_wrong_code_leaves_no_address_behind(self, user, try_code):
        """R-119"""
        try_code(user.email, WRONG_CODE)
        try_code("stranger@example.com", WRONG_CODE)
        assert "example.com" not in everything_stored()
        accounts = RecoveryCodeAudit.objects.values_list("account", flat=True)
        assert all(len(account) == 64 for account in accounts)


class BrokenCache(LocMemCache):
    """A cache whose server is gone."""

    def add(self, *args, **kwargs):
        raise ConnectionError("cache is gone")

    get = set = incr = delete_many = add


class TestFailures:
    """R-31: closed, generic, no code spent."""

    @pytest.mark.parametrize(
        "error", [OperationalError, InterfaceError, DatabaseError, ConnectionError, RuntimeError]
    )
    @pytest.mark.parametrize(
        "target",
        [
            "recovery_backend.cooldown._locked_rows",
            "recovery_backend.cooldown.give_back",
            "recovery_backend.models.codes.RecoveryCodeQuerySet.presented",
            "recovery_backend.models.RecoveryCode.spend",
            "recovery_backend.models.RecoveryCode.refusal",
            "recovery_backend.audit.record",
            "recovery_backend.tasks.notify",
        ],
    )
    def test_a_failing_step_refuses_and_spends_nothing(
        self, user, codes, try_code, monkeypatch, caplog, target, error
    ):
        def broken(*args, **kwargs):
            raise error(f"server gone while handling {codes[0]}")

        with monkeypatch.context() as patched:
            patched.setattr(target, broken)
            assert try_code(user.email, codes[0]) is None
        assert usable(user) == 3
        assert f"sign-in refused: {error.__name__}" in caplog.text
        assert codes[0] not in caplog.text and "server gone" not in caplog.text
        assert try_code(user.email, codes[0]) == user

    @pytest.mark.parametrize("target", ["recovery_backend.audit.record"])
    def test_a_refusal_that_cannot_be_recorded_is_still_a_refusal(
        self, user, try_code, monkeypatch, target
    ):
        def broken(*args, **kwargs):
            raise OperationalError("disk full")

        monkeypatch.setattr(target, broken)
        assert try_code(user.email, WRONG_CODE) is None

    def test_a_cache_that_is_gone_refuses_and_spends_nothing(
        self, user, codes, try_code, settings
    ):
        caches = settings.CACHES
        settings.CACHES = {"default": {"BACKEND": "tests.test_backends.BrokenCache"}}
        assert try_code(user.email, codes[0]) is None
        assert usable(user) == 3
        settings.CACHES = caches
        assert try_code(user.email, codes[0]) == user

    @pytest.mark.parametrize("name", ["CODES_BASE_COOLDOWN", "CODES_LOGIN_MODE"])
    def test_a_wrong_setting_is_raised_and_spends_nothing(
        self, user, codes, try_code, settings, name
    ):
        """R-147"""
        setattr(settings, f"DJANGO_AUTH_RECOVERY_{name}", None)
        settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 1
        with pytest.raises(ImproperlyConfigured, match=name):
            try_code(user.email, codes[0])
        assert usable(user) == 3

    def test_a_receiver_that_fails_does_not_undo_the_sign_in(
        self, user, codes, try_code, django_capture_on_commit_callbacks
    ):
        def receiver(**kwargs):
            raise RuntimeError("of the project")

        signals.code_used.connect(receiver)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                assert try_code(user.email, codes[0]) == user
        finally:
            signals.code_used.disconnect(receiver)
        assert usable(user) == 2


class TestEvents:
    """R-115, R-116: each once, in the transaction of what it tells."""

    def test_a_success_says_who_where_and_with_what(self, user, codes, make_request, try_code):
        request = make_request(user_agent="Browser/1.0 \u202etxt.exe", x_request_id="req-1\r\nx")
        try_code(user.email, codes[0], request=request)
        row = RecoveryCodeAudit.objects.get(event="recovery.login.success")
        assert (row.user, row.actor, row.outcome, row.reason) == (user, user, "done", "")
        assert row.batch == RecoveryCodeBatch.objects.get().pk
        assert row.code == RecoveryCode.objects.get(status="used").pk
        assert (row.address, row.path) == ("198.51.100.7", "/auth/recovery-codes/login/")
        assert row.user_agent == "Browser/1.0  txt.exe"
        assert row.request_id == "req-1  x"
        assert abs((timezone.now() - row.at).total_seconds()) < 60

    def test_a_refusal_says_why_and_names_the_address_by_its_hmac_only(self, user, try_code):
        try_code(user.email, WRONG_CODE)
        try_code(f" {user.email.upper()}", WRONG_CODE)
        first, second = RecoveryCodeAudit.objects.filter(event="recovery.login.fail")
        assert (first.user, first.actor, first.outcome) == (None, None, "refused")
        assert first.account == second.account
        assert user.email not in first.account

    def test_a_success_after_failures_is_told_apart(self, user, codes, try_code, events):
        try_code(user.email, WRONG_CODE)
        try_code(user.email, codes[0])
        try_code(user.email, codes[1])
        assert events()[2:] == [("login.success_after_fail", ""), ("login.success", "")]

    def test_one_line_is_logged_for_each_event_after_the_commit(
        self, user, codes, try_code, caplog, django_capture_on_commit_callbacks
    ):
        caplog.set_level(logging.INFO, logger="recovery_backend")
        with django_capture_on_commit_callbacks(execute=True):
            try_code(user.email, codes[0])
            try_code(user.email, codes[0])
            assert caplog.messages == []
        messages = [
            record.getMessage() for record in caplog.records if record.name == "recovery_backend"
        ]
        assert [message.split()[:3] for message in messages] == [
            ["recovery.login.success", "reason=-", f"user={user.pk}"],
            ["recovery.code.replay", "reason=used", f"user={user.pk}"],
        ]
        assert user.email not in caplog.text and codes[0] not in caplog.text

    def test_signals_follow_the_commit_and_hold_no_code(
        self, user, codes, try_code, django_capture_on_commit_callbacks
    ):
        heard = []

        def receiver(signal, sender, **payload):
            heard.append((signal, payload))

        names = ("code_used", "code_rejected", "cooldown_started")
        for name in names:
            getattr(signals, name).connect(receiver)
        try:
            with django_capture_on_commit_callbacks(execute=True):
                try_code(user.email, codes[0])
                for _ in range(5):
                    try_code(user.email, WRONG_CODE)
                assert heard == []
        finally:
            for name in names:
                getattr(signals, name).disconnect(receiver)
        assert [signal for signal, _ in heard] == [
            signals.code_used,
            *[signals.code_rejected] * 5,
            signals.cooldown_started,
        ]
        assert heard[0][1]["user"] == user
        assert heard[1][1]["reason"] == "unknown" and heard[1][1]["user"] is None
        assert heard[-1][1]["wait_seconds"] == 60
        assert codes[0] not in repr(heard) and WRONG_CODE not in repr(heard)

    def test_events_of_a_rolled_back_sign_in_are_gone(self, user, codes, try_code, monkeypatch):
        """R-115"""

        def broken(*args, **kwargs):
            raise OperationalError("lost at the last step")

        monkeypatch.setattr("recovery_backend.tasks.notify", broken)
        assert try_code(user.email, codes[0]) is None
        assert not RecoveryCodeAudit.objects.filter(event="recovery.login.success").exists()


class TestCost:
    """Queries without BEGIN, SAVEPOINT, RELEASE, COMMIT and the queue's own insert."""

    @pytest.mark.parametrize("has_tried_before", [False, True])
    def test_a_wrong_code_costs_four_statements_at_most(
        self, user, codes, try_code, statements, has_tried_before
    ):
        if has_tried_before:
            try_code(user.email, WRONG_CODE)
        with statements() as queries:
            try_code(user.email, WRONG_CODE)
        assert len(queries) <= 4 + is_sqlite_writer(queries)

    @pytest.mark.parametrize("has_tried_before", [False, True])
    def test_a_valid_code_costs_six_statements_at_most(
        self,
        user,
        codes,
        try_code,
        statements,
        has_tried_before,
        django_capture_on_commit_callbacks,
    ):
        if has_tried_before:
            try_code(user.email, WRONG_CODE)
        with statements() as queries, django_capture_on_commit_callbacks(execute=True):
            assert try_code(user.email, codes[0]) == user
        assert len(queries) <= 6 + is_sqlite_writer(queries)

    def test_the_last_code_costs_what_the_first_does(self, user, make_codes, try_code, statements):
        plain_codes = make_codes(user, number_of_codes=100)
        costs = []
        for code in (plain_codes[0], plain_codes[-1]):
            with statements() as queries:
                try_code(user.email, code)
            costs.append(len(queries))
        assert costs[0] == costs[1]

    def test_nobody_is_searched_by_address(self, user, codes, try_code, statements):
        with statements() as queries:
            try_code(user.email, WRONG_CODE)
            try_code("nobody@example.com", WRONG_CODE)
            try_code(user.email, codes[0])
        assert not any("UPPER" in sql or "LIKE" in sql or "ILIKE" in sql for sql in queries)

    def test_all_refusals_cost_the_same(self, make_user, make_codes, try_code, statements, clock):
        """R-26"""
        owner, other, sleeper = make_user(), make_user(), make_user()
        owner_codes, other_codes = make_codes(owner), make_codes(other)
        sleeper_codes = make_codes(sleeper)
        sleeper.is_active = False
        sleeper.save()
        gone = make_user()
        gone_codes = make_codes(gone)
        RecoveryCode.objects.of_user(gone).update(expires_at=timezone.now())
        try_code(owner.email, owner_codes[0])
        attempts = {
            "unknown e-mail": ("nobody@example.com", WRONG_CODE),
            "wrong": (owner.email, WRONG_CODE),
            "used": (owner.email, owner_codes[0]),
            "foreign": (owner.email, other_codes[0]),
            "expired": (gone.email, gone_codes[0]),
            "inactive": (sleeper.email, sleeper_codes[0]),
            "malformed": (owner.email, "not a code"),
        }
        costs = {}
        addresses = (f"10.0.0.{number}" for number in itertools.count())
        for name, (email, code) in attempts.items():
            RecoveryCodeCooldown.objects.all().delete()
            with statements() as queries:
                assert try_code(email, code, next(addresses)) is None
            costs[name] = len(queries)
        assert len(set(costs.values())) == 1, costs


def is_sqlite_writer(queries):
    """SQLite's first write, which makes it the one writer, stands for SELECT ... FOR UPDATE."""
    return sum(
        sql.startswith('UPDATE "recovery_backend_recoverycodecooldown" SET "failures"')
        and '"updated_at"' not in sql
        for sql in queries
    )


class TestNeighbours:
    """Listed first, last or alone, beside whatever else signs people in."""

    @pytest.mark.parametrize(
        "backends", [[OURS], [OURS, MODEL_BACKEND], [MODEL_BACKEND, OURS]], ids=str
    )
    def test_codes_and_passwords_work_in_any_order(
        self, user, codes, settings, try_code, client, backends
    ):
        settings.AUTHENTICATION_BACKENDS = backends
        signed_in = try_code(user.email, codes[0])
        assert signed_in == user and signed_in.backend == OURS
        by_password = authenticate(None, username="owner", password="correct horse")
        assert by_password == (user if MODEL_BACKEND in backends else None)
        assert try_code(user.email, codes[0]) is None

    def test_a_password_sign_in_never_touches_our_tables(self, user, codes, client, statements):
        with statements() as queries:
            client.post("/password/", {"username": "owner", "password": "correct horse"})
            authenticate(None, username="owner", password="wrong")
            authenticate(None, username="nobody", password="wrong")
        assert client.session["_auth_user_id"] == str(user.pk)
        assert any("auth_user" in sql for sql in queries)
        assert not any("recovery_backend_" in sql for sql in queries)

    @pytest.mark.parametrize(
        "credentials",
        [
            {"username": "owner", "password": "correct horse"},
            {"email": "owner@example.com", "password": "correct horse"},
            {"email": "owner@example.com", "recovery_code": WRONG_CODE, "password": "x"},
            {"token": "x"},
            {},
        ],
    )
    def test_other_credentials_do_not_reach_us(self, user, settings, statements, credentials):
        """R-27"""
        settings.AUTHENTICATION_BACKENDS = [OURS]
        with statements() as queries:
            assert authenticate(None, **credentials) is None
        assert queries == []

    def test_permissions_are_djangos_own(self, user, make_user, settings):
        settings.AUTHENTICATION_BACKENDS = [OURS]
        assert not user.has_perm("auth.view_user")
        assert make_user(is_superuser=True).has_perm("auth.view_user")

    def test_beside_the_backends_of_allauth_and_axes(self):
        """See tests/users/neighbour_journeys.py."""
        settings = "tests.users.neighbour_settings"
        done = subprocess.run(
            [
                sys.executable,
                *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
                *("--ds", settings, "tests/users/neighbour_journeys.py"),
            ],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": settings},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        assert " passed" in done.stdout and "skipped" not in done.stdout


def test_a_presented_code_can_be_tried_twice(user, codes, make_request):
    presented = PresentedCode(codes[0])
    backend = RecoveryCodeBackend()
    assert backend.authenticate(make_request(), email=user.email, recovery_code=presented) == user
    assert backend.authenticate(make_request(), email=user.email, recovery_code=presented) is None
