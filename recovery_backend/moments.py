"""When something ends: codes, lists and API keys may, or may go on for ever."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def is_over(end: datetime | None) -> bool:
    """Whether that moment has come; None never comes."""
    return end is not None and end <= timezone.now()
