"""A made-up month, so that the administration of the demo has something to show."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from recovery_backend import audit
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit
from recovery_backend.models import RecoveryCodeBatch

DAYS = 30
ATTACKED = (9, 10)
NEIGHBOURS = ("bea", "cyd", "dot", "eve", "fay", "gil", "hal")
REFUSALS = (Reason.UNKNOWN, Reason.UNKNOWN, Reason.UNKNOWN, Reason.USED, Reason.MALFORMED)
STRANGER = "nobody@example.com"


def make_up(user: User) -> None:
    """Neighbours of this user, some with codes, and events of the last month; once."""
    for number, name in enumerate(NEIGHBOURS):
        neighbour, is_new = User.objects.get_or_create(
            username=name, defaults={"email": f"{name}@example.com"}
        )
        if is_new and number % 2:
            RecoveryCodeBatch.create_recovery_batch(neighbour, number_of_codes=number)
    if not RecoveryCodeAudit.objects.filter(at__lt=timezone.now() - timedelta(days=1)).exists():
        RecoveryCodeAudit.objects.bulk_create(_events(user))


def _events(user: User) -> Iterator[RecoveryCodeAudit]:
    chance = random.Random(2)  # noqa: S311  # the same month at each start
    for days_ago in range(DAYS, 0, -1):
        day = timezone.now() - timedelta(days=days_ago)
        busy = 4 if days_ago in ATTACKED else 1
        for _sign_in in range(chance.randint(0, 3)):
            at = _moment(day, chance)
            yield audit.entry(Event.LOGIN_SUCCESS, at=at, user=user, email=user.email)
        for _failure in range(busy * chance.randint(1, 6)):
            at, reason = _moment(day, chance), chance.choice(REFUSALS)
            yield audit.entry(Event.LOGIN_FAIL, at=at, reason=reason, email=STRANGER)
        for _wait in range(busy // 2):
            at, reason = _moment(day, chance), Reason.COOLDOWN
            yield audit.entry(Event.LOGIN_THROTTLED, at=at, reason=reason, email=STRANGER)


def _moment(day: datetime, chance: random.Random) -> datetime:
    return day + timedelta(minutes=chance.randint(-719, 0))
