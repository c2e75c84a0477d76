"""A period in numbers, for people who were not watching."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.schedules import RecoveryCodePurgeHistory
from recovery_backend.statistics.activity import Activity, activity
from recovery_backend.statistics.period import Period

NUMBER_OF_RUNS = 10


@dataclass(frozen=True, slots=True)
class Report:
    """What was recorded, whom it was about, and what was purged."""

    activity: Activity
    users: int
    """Owners of codes that are known; a deleted one is not."""
    accounts: int
    """E-mail addresses, typed or owned; what follows from them is in no report."""
    runs: list[RecoveryCodePurgeHistory]


def report(number_of_days: int) -> Report:
    """The last days in numbers, today among them."""
    found = activity(number_of_days)
    affected = _affected(found.period)
    runs = latest_runs(found.period)
    return Report(found, users=affected["users"], accounts=affected["accounts"], runs=runs)


def latest_runs(period: Period | None = None) -> list[RecoveryCodePurgeHistory]:
    """The newest runs of schedules and commands, ten at most; of a period, or at all."""
    runs = RecoveryCodePurgeHistory.objects.order_by("-started_at", "-pk")
    if period is not None:
        runs = runs.filter(started_at__gte=period.since, started_at__lt=period.until)
    return list(runs[:NUMBER_OF_RUNS])


def _affected(period: Period) -> dict[str, int]:
    rows = RecoveryCodeAudit.objects.filter(at__gte=period.since, at__lt=period.until)
    return rows.aggregate(
        users=Count("user", distinct=True),
        accounts=Count("account", distinct=True, filter=~Q(account="")),
    )
