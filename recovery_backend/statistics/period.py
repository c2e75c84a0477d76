"""The last days, as the site's calendar has them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Self

from django.conf import settings
from django.utils import timezone

MAX_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days of TIME_ZONE, both ends included."""

    first: date
    last: date

    @classmethod
    def of_days(cls, number: int) -> Self:
        """Today and the days before it, as many as that."""
        if not 1 <= number <= MAX_DAYS:
            raise ValueError(f"The number of days must be from 1 to {MAX_DAYS}.")
        today = local_date(timezone.now())
        return cls(today - timedelta(days=number - 1), today)

    @property
    def since(self) -> datetime:
        """The first moment of it."""
        return _midnight(self.first)

    @property
    def until(self) -> datetime:
        """The first moment after it."""
        return _midnight(self.last + timedelta(days=1))

    def dates(self) -> list[date]:
        number = (self.last - self.first).days + 1
        return [self.first + timedelta(days=passed) for passed in range(number)]


def local_date(moment: datetime) -> date:
    """The date at that moment where the site is, whatever zone a visitor has."""
    if timezone.is_naive(moment):
        return moment.date()
    return moment.astimezone(timezone.get_default_timezone()).date()


def _midnight(day: date) -> datetime:
    moment = datetime.combine(day, time.min)
    if not settings.USE_TZ:
        return moment
    # In UTC: sums of moments in other zones leave out changes of the clocks.
    return timezone.make_aware(moment, timezone.get_default_timezone()).astimezone(UTC)
