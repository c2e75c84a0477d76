"""What the overview page is made of, kept for some minutes: its queries read many rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime

from django.core.cache import cache
from django.utils import timezone

from recovery_backend.audit import logger
from recovery_backend.conf import conf
from recovery_backend.keys import write_key
from recovery_backend.statistics.activity import Activity, Day, activity
from recovery_backend.statistics.adoption import Adoption, adoption
from recovery_backend.statistics.period import Period

CACHE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts only, so that nothing of it is personal in the cache."""

    computed_at: datetime
    adoption: Adoption
    activity: Activity


KEPT = (Overview, Adoption, Activity, Day)


def overview(number_of_days: int) -> Overview:
    """How codes stand now, and the events of the last days; at most five minutes old."""
    key = cache_key(number_of_days)
    found = _cached(key)
    if found is None:
        found = Overview(timezone.now(), adoption(), activity(number_of_days))
        _remember(key, found)
    return found


def cache_key(number_of_days: int) -> str:
    """Where the entry is: of this day, these settings and this release, under this site's key."""
    period = Period.of_days(number_of_days)
    shape = [field.name for kind in KEPT for field in fields(kind)]
    parts = [
        str(period),
        str(timezone.get_default_timezone()),
        str(conf.LOW_CODES_WARNING),
        *shape,
    ]
    return f"recovery_backend:statistics:{write_key().mac('audit', 'statistics', *parts).hex()}"


def _cached(key: str) -> Overview | None:
    try:
        found = cache.get(key)
    except Exception as error:  # cache clients raise what they like; the rows are the truth
        logger.warning("statistics not read from the cache: %s", type(error).__name__)
        return None
    return found if isinstance(found, Overview) else None


def _remember(key: str, found: Overview) -> None:
    try:
        cache.set(key, found, timeout=CACHE_SECONDS)
    except Exception as error:
        logger.warning("statistics not cached: %s", type(error).__name__)
