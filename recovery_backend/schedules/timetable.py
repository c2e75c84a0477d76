"""When something is due: moments counted from the first one, on the calendar of the site."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class ScheduleType(models.TextChoices):
    ONCE = "once", _("once")
    HOURLY = "hourly", _("hourly")
    DAILY = "daily", _("daily")
    WEEKLY = "weekly", _("weekly")
    MONTHLY = "monthly", _("monthly")
    QUARTERLY = "quarterly", _("quarterly")
    YEARLY = "yearly", _("yearly")


MONTHS = {ScheduleType.MONTHLY: 1, ScheduleType.QUARTERLY: 3, ScheduleType.YEARLY: 12}
DAYS = {ScheduleType.DAILY: 1, ScheduleType.WEEKLY: 7}


def next_after(first: datetime, schedule_type: str, moment: datetime) -> datetime | None:
    """The first occurrence after `moment` of what began at `first`; None when there is none.

    Each one is counted from the first, so that the 31st comes back after a shorter month, which
    gets its last day. Days and months keep the hour of TIME_ZONE over a change of clocks.
    """
    if first > moment:
        return first
    kind = ScheduleType(schedule_type)
    if kind == ScheduleType.ONCE:
        return None
    number = _number_before(first, kind, moment)
    while (found := _occurrence(first, kind, number)) <= moment:
        number += 1
    return found


def _number_before(first: datetime, kind: ScheduleType, moment: datetime) -> int:
    """The number of an occurrence not after `moment`, and near it."""
    longest = {ScheduleType.HOURLY: timedelta(hours=1)}
    longest |= {name: timedelta(days=days) for name, days in DAYS.items()}
    longest |= {name: timedelta(days=31 * months) for name, months in MONTHS.items()}
    return max(0, (moment - first) // longest[kind] - 1)


def _occurrence(first: datetime, kind: ScheduleType, number: int) -> datetime:
    if kind == ScheduleType.HOURLY:
        if timezone.is_naive(first):
            return first + timedelta(hours=number)
        return first.astimezone(UTC) + timedelta(hours=number)
    is_aware = timezone.is_aware(first)
    zone = timezone.get_default_timezone()
    # An hour that the change of clocks repeats is its first one, whichever `first` was.
    local = timezone.make_naive(first, zone).replace(fold=0) if is_aware else first
    if kind in MONTHS:
        local = _months_later(local, MONTHS[kind] * number)
    else:
        local += timedelta(days=DAYS[kind] * number)
    # An hour that the change of clocks leaves out is read with the offset before it.
    return timezone.make_aware(local, zone).astimezone(UTC) if is_aware else local


def _months_later(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    last_day = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last_day))
