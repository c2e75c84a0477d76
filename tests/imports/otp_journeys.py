"""Static tokens of django-otp, made by its own command, and what they are worth afterwards."""

from __future__ import annotations

import os
import signal

import pytest
from django.db import OperationalError, connection
from django_otp import devices_for_user, match_token
from django_otp.plugins.otp_static.lib import add_static_token
from django_otp.plugins.otp_static.models import StaticDevice, StaticToken

from recovery_backend import flows, imports
from recovery_backend.codes import PresentedCode
from recovery_backend.imports import django_otp, source_of
from recovery_backend.models import RecoveryCode
from recovery_backend.signals import codes_generated
from tests.commands import Terminal
from tests.imports.command import counts, counts_of, run
from tests.imports.every_source import TestAnswer, TestFaults, TestPrintedCodes, TestRaces

__all__ = ["TestAnswer", "TestFaults", "TestPrintedCodes", "TestRaces"]


pytestmark = pytest.mark.django_db(transaction=True)

OTP = "django-otp"


class Otp:
    """Kept in clear, deleted when used, and good for a second step only."""

    name = OTP
    model = StaticToken
    secret = "token"
    is_weak, keeps_used = True, False
    refused = "mfa.fallback_fail"

    def make(self, user, number=3):
        return [add_static_token(user.username).token for _ in range(number)]

    def rows(self):
        return list(StaticToken.objects.order_by("pk").values())

    def use(self, user, token):
        return flows.use_at_step(None, user, PresentedCode(token))

    def use_there(self, user, token):
        return match_token(user, token) is not None

    def about_to_use_there(self, user, token):
        def use_there():
            try:
                return self.use_there(user, token)
            except OperationalError:  # on SQLite: "database is locked"
                assert connection.vendor == "sqlite"
                return False

        return use_there

    def spoil(self, user, token):
        StaticToken.objects.filter(token=token).update(token="p@ss wörd")
        return "p@ss wörd"

    def date_back(self, moment):
        StaticDevice.objects.update(created_at=moment)


@pytest.fixture
def source():
    return Otp()


@pytest.fixture(
    params=[
        "recovery_backend.codes.stored_short_form",
        "recovery_backend.models.adopted.known_digests",
        "recovery_backend.audit.record",
        "recovery_backend.imports.django_otp._moved",
    ]
)
def holder(request):
    """What fails while it holds a code."""
    return request.param


def test_a_token_that_was_used_without_a_lock_is_not_moved(theirs, monkeypatch):
    """R-21: nothing of that user is, until the next run."""
    adopt = django_otp.adopt

    def adopt_late(*args, **kwargs):
        adopted = adopt(*args, **kwargs)
        assert StaticToken.objects.filter(token=theirs[0]).delete()[0] == 1
        return adopted

    monkeypatch.setattr(django_otp, "adopt", adopt_late)
    assert counts(OTP)["unreadable"] == 1
    assert not RecoveryCode.objects.exists()


class TestTokens:
    def test_they_do_not_sign_in_with_the_address(self, user, source, theirs, post_code, client):
        """They are too short for that."""
        run(OTP)
        assert post_code(user.email, theirs[0]).status_code == 200
        assert "_auth_user_id" not in client.session
        assert source.use(user, theirs[0])

    def test_tokens_of_several_devices_and_of_any_writing(self, user, source, theirs):
        add_static_token(user.username, "AbCd-1234")
        StaticDevice.objects.create(user=user, name="safe").token_set.create(token="4711 0815")
        assert counts(OTP)["codes"] == 5
        assert source.use(user, "AbCd-1234") and source.use(user, "47110815")
        assert not source.use(user, "abcd-1234")

    def test_a_device_that_was_never_confirmed_opens_nothing(self, user, source, theirs):
        StaticDevice.objects.update(confirmed=False)
        assert not list(devices_for_user(user))
        assert counts(OTP) == counts_of()
        assert [row["token"] for row in source.rows()] == theirs


class TestOwnAnswer:
    def test_it_counts_them_as_weak_and_says_that_no_step_asks_for_them(self, theirs):
        out, _err, code = run(OTP)
        first, second = out.splitlines()
        assert first == "Moved in: 1 user, 3 usable codes, 0 ended codes." and code == 0
        assert "Weak: 3." in second and '"recovery_backend_allauth"' in second

    def test_a_page_at_a_time_with_a_bar_for_who_waits(self, make_user, source):
        for _number in range(3):
            source.make(make_user())
        theirs = source_of(OTP)
        assert imports.run(theirs, is_dry_run=True, page_size=2).seen == 3
        assert "[##############################] 100%" in run(OTP, stderr=Terminal())[1]


class TestStopping:
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_a_signal_waits_for_the_user_at_hand(self, make_user, source, number, code):
        owners = [make_user() for _ in range(3)]
        printed = [source.make(owner)[0] for owner in owners]

        def stop(**kwargs):
            os.kill(os.getpid(), number)

        codes_generated.connect(stop)
        try:
            _out, err, ended = run(OTP)
        finally:
            codes_generated.disconnect(stop)
        assert ended == code and "Until then: 1 user, 3 usable codes" in err
        assert RecoveryCode.objects.count() == 3 and StaticToken.objects.count() == 6
        assert counts(OTP) == counts_of(seen=2, users=2, codes=6, weak=6)
        assert all(source.use(*pair) for pair in zip(owners, printed, strict=True))
