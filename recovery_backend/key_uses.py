"""What else needs a key: rows of other apps that were made with one of the keyring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyUse:
    """Rows of one kind. They keep a key from being retired as codes do."""

    name: str
    """What they are, in the plural, as in "API keys"."""
    numbers: Callable[[], Mapping[str, int]]
    """How many usable rows need each key, by the key's id; none: absent."""
    end: Callable[[str], int]
    """Takes the rows that need this key out of service and tells their owners; how many."""

    @property
    def field(self) -> str:
        """Their number's name in the `data` of an audit row."""
        return f"number_of_{self.name.lower().replace(' ', '_')}"


_uses: dict[str, KeyUse] = {}


def register(use: KeyUse) -> None:
    """Have these rows counted, from `AppConfig.ready()` of the app that they belong to."""
    _uses[use.name] = use


def registered() -> list[KeyUse]:
    """The uses of all apps, without the codes."""
    return list(_uses.values())
