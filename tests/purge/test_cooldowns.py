"""When a purge removes the counters of the cooldown."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from django.utils import timezone

from recovery_backend import cooldown
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.purge import Purged, purge_codes
from tests.purge.conftest import DAY, SECOND


class TestCooldowns:
    names = (f"{number:064x}" for number in itertools.count())

    def row(self, ago, **fields):
        key = next(self.names)
        fields.setdefault("account", key)
        return RecoveryCodeCooldown.objects.create(
            key=key, updated_at=timezone.now() - ago, **fields
        )

    @pytest.mark.parametrize(
        ("retention", "cutoff", "kept_for"),
        [(30, 3600, 30 * DAY), (0, 3600, DAY), (0, 86_400, 2 * DAY)],
    )
    def test_counters_go_after_a_long_rest(self, db, settings, clock, retention, cutoff, kept_for):
        settings.DJANGO_AUTH_RECOVERY_CODES_COOLDOWN_CUTOFF_POINT = cutoff
        self.row(kept_for, failures=7)
        kept = self.row(kept_for - SECOND, failures=7)
        assert purge_codes(retention, is_dry_run=True) == Purged(other_rows=1)
        assert purge_codes(retention) == Purged(other_rows=1)
        assert RecoveryCodeCooldown.objects.get() == kept

    def test_who_waited_lately_is_remembered(self, db, clock):
        now = timezone.now()
        self.row(40 * DAY, blocked_until=now + SECOND)
        self.row(40 * DAY, blocked_until=now - 29 * DAY)
        self.row(40 * DAY, blocked_until=now - 30 * DAY)
        assert purge_codes(30).other_rows == 1
        assert RecoveryCodeCooldown.objects.count() == 2

    def test_what_keeps_an_account_closed_stays(self, user, try_code, settings, clock):
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = 100
        account = cooldown.account_key(user.email)
        RecoveryCodeCooldown.objects.create(key=account, account=account, failures=100)
        self.row(timedelta(), account=account, failures=100)
        self.row(timedelta(), failures=99)
        clock.shift(300 * DAY)
        assert purge_codes(0).other_rows == 2
        assert RecoveryCodeCooldown.objects.get().key == account
        settings.DJANGO_AUTH_RECOVERY_CODES_HARD_CAP = None
        assert purge_codes(0).other_rows == 1
