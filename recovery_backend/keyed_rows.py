"""What else needs a key: rows of other apps that were made with one of the keyring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet


@dataclass(frozen=True, slots=True)
class KeyedRows:
    """Rows of one kind. They keep a key from being retired, and are purged, as codes are.

    Nothing may point to their table: they are purged without cascades.
    """

    name: str
    """What they are, in the plural, as in "API keys"."""
    numbers: Callable[[], Mapping[str, int]]
    """How many usable rows need each key, by the key's id; none: absent."""
    end: Callable[[str], int]
    """Takes the rows that need this key out of service and tells their owners; how many."""
    ended_before: Callable[[datetime], QuerySet[Any]]
    """The rows that were out of service at that moment or before; purged by their `created_at`."""

    @property
    def field(self) -> str:
        """Their number's name in the `data` of an audit row."""
        return f"number_of_{self.name.lower().replace(' ', '_')}"


_kinds: dict[str, KeyedRows] = {}


def register(rows: KeyedRows) -> None:
    """Have these rows counted and purged, from `AppConfig.ready()` of their app."""
    _kinds[rows.name] = rows


def registered() -> list[KeyedRows]:
    """The rows of all apps, without the codes."""
    return list(_kinds.values())
