"""What was recorded in a period, by event, by reason and by day."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import NamedTuple

from django.db import models
from django.db.models.functions import ExtractMinute, Floor, TruncHour

from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.statistics.period import Period, local_date

SIGN_INS = frozenset({Event.LOGIN_SUCCESS, Event.LOGIN_SUCCESS_AFTER_FAIL})
FAILURES = frozenset(
    {Event.LOGIN_FAIL, Event.LOGIN_OWNER_MISMATCH, Event.CODE_REPLAY, Event.ROW_TAMPER}
)
COOLDOWNS = frozenset({Event.LOGIN_THROTTLED, Event.LOGIN_SUSPENDED})
GENERATED = frozenset({Event.BATCH_GENERATED, Event.BATCH_REGENERATED})


class Recorded(NamedTuple):
    """What events have in common that are counted together."""

    day: date
    event: str
    outcome: str
    reason: str


class Count(NamedTuple):
    """How often something stands in the audit."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Day:
    """The events of one day that are about signing in and generating."""

    date: date
    sign_ins: int
    failures: int
    cooldowns: int
    generated: int


@dataclass(frozen=True, slots=True)
class Activity:
    """The recorded events of a period; each list begins with what there is most of."""

    period: Period
    days: list[Day]
    """Every day of the period, the first one first."""
    events: list[Count]
    outcomes: list[Count]
    reasons: list[Count]
    """Of refusals only."""

    @property
    def total(self) -> int:
        return sum(count.number for count in self.events)


def activity(number_of_days: int) -> Activity:
    """The events of the last days, today among them, in one query."""
    period = Period.of_days(number_of_days)
    tally = _tally(period)
    return Activity(
        period=period,
        days=_days(period, tally),
        events=_counts(tally, "event"),
        outcomes=_counts(tally, "outcome"),
        reasons=_counts(tally, "reason"),
    )


def label(choices: type[models.TextChoices], name: str) -> str:
    """What a counted name means, in the active language; itself where a newer release wrote it."""
    return str(choices(name).label) if name in choices.values else name


def _tally(period: Period) -> Counter[Recorded]:
    # The database counts by quarters of an hour in UTC, of which the days of every time zone are
    # made: to know the zones itself, MariaDB needs tables that are often not there.
    groups = (
        RecoveryCodeAudit.objects.filter(at__gte=period.since, at__lt=period.until)
        .annotate(
            hour=TruncHour("at", tzinfo=UTC),
            quarter=Floor(ExtractMinute("at", tzinfo=UTC) / 15),
        )
        .order_by()
        .values_list("hour", "quarter", "event", "outcome", "reason")
        .annotate(number=models.Count("pk"))
    )
    tally: Counter[Recorded] = Counter()
    for hour, quarter, event, outcome, reason, number in groups.iterator():
        day = local_date(hour + timedelta(minutes=15 * int(quarter)))
        tally[Recorded(day, event, outcome, reason)] += number
    return tally


def _days(period: Period, tally: Counter[Recorded]) -> list[Day]:
    by_day: Counter[tuple[date, str]] = Counter()
    for recorded, number in tally.items():
        by_day[recorded.day, recorded.event] += number

    def total(day: date, events: frozenset[Event]) -> int:
        return sum(by_day[day, event] for event in events)

    return [
        Day(
            day,
            sign_ins=total(day, SIGN_INS),
            failures=total(day, FAILURES),
            cooldowns=total(day, COOLDOWNS),
            generated=total(day, GENERATED),
        )
        for day in period.dates()
    ]


def _counts(tally: Counter[Recorded], field: str) -> list[Count]:
    counter: Counter[str] = Counter()
    for recorded, number in tally.items():
        counter[getattr(recorded, field)] += number
    counter.pop("", None)
    return [Count(*pair) for pair in sorted(counter.items(), key=lambda pair: (-pair[1], pair[0]))]
