"""What a seal keeps of each audit row: enough to notice a change, and nothing to read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from django.db.models import QuerySet

from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.keys import Key
from recovery_backend.seals.rows import utc_text

# By name and not by `_meta`: a field that is added later must not break the seals that exist.
PEOPLE = ("id", "user_id", "actor_id")
CONTENT = (
    *("at", "event", "outcome", "reason", "account", "batch", "code"),
    *("address", "user_agent", "request_id", "path", "data"),
)
# What says how the audit came to be shorter. A purge keeps these longest, and an event that is left
# out here later has its older rows missed.
TRAIL = frozenset(
    {
        Event.SCHEDULER_CREATED,
        Event.SCHEDULER_CHANGED,
        Event.SCHEDULER_DELETED,
        Event.AUDIT_PURGED,
    }
)
# Nobody can test a forgery without the key, so 64 bits are out of reach.
SIZE = 8
NOBODY = "-"
TRAIL_MARK = "trail"
# What reading a row raises where SQL put into a column what it cannot hold; SQLite keeps it.
UNREADABLE = (AttributeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """HMACs of one row: of what it says, and apart from that of whom it names.

    The database empties `user` and `actor` when their user is deleted; nothing else may change.
    """

    pk: int
    content: str
    user: str
    actor: str
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.pk} {self.content} {self.user} {self.actor} {self.mark}".rstrip()

    @property
    def is_trail(self) -> bool:
        """Whether the row is one of TRAIL."""
        return self.mark == TRAIL_MARK

    def is_unchanged(self, now: Fingerprint) -> bool:
        """Whether the row still says the same of the same people, as far as they still exist."""
        return self.content == now.content and not (
            is_other(self.user, now.user) or is_other(self.actor, now.actor)
        )


def is_other(before: str, now: str) -> bool:
    """Whether it is somebody else. Emptied is what the database does when a user is deleted."""
    return now not in (before, NOBODY)


def taken(rows: QuerySet[RecoveryCodeAudit], key: Key) -> Iterator[Fingerprint]:
    """The fingerprints of these rows, in their order."""
    for row in rows.values(*PEOPLE, *CONTENT):
        pk, user, actor = (row.pop(name) for name in PEOPLE)
        mark = TRAIL_MARK if row["event"] in TRAIL else ""
        content = key.mac("seal", "row", _canonical(row))[:SIZE].hex()
        people = _person(key, pk, "user", user), _person(key, pk, "actor", actor)
        yield Fingerprint(pk, content, *people, mark)


def present(rows: QuerySet[RecoveryCodeAudit], key: Key) -> dict[int, Fingerprint]:
    """The fingerprints of these rows as they are now, whatever SQL did to them."""
    try:
        return {found.pk: found for found in taken(rows, key)}
    except UNREADABLE:
        pks = rows.values_list("pk", flat=True)
        return {pk: _readable(rows.filter(pk=pk), key, pk) for pk in pks}


def _readable(row: QuerySet[RecoveryCodeAudit], key: Key, pk: int) -> Fingerprint:
    try:
        return next(taken(row, key))
    except UNREADABLE:
        return Fingerprint(pk, "", NOBODY, NOBODY)


def written(fingerprints: list[Fingerprint]) -> str:
    """The fingerprints as a seal stores them."""
    return "\n".join(map(str, fingerprints))


def read(text: str) -> dict[int, Fingerprint]:
    """The fingerprints that a seal stores, by row and in order. Text that was not altered only."""
    parts = (line.split(" ") for line in text.splitlines())
    return {int(pk): Fingerprint(int(pk), *digests) for pk, *digests in parts}


def _person(key: Key, pk: int, role: str, user_id: object) -> str:
    # With the row's number, so that the rows of a deleted user do not show that they belong together.
    if user_id is None:
        return NOBODY
    return key.mac("seal", role, str(pk), str(user_id))[:SIZE].hex()


def _canonical(content: dict[str, Any]) -> str:
    """The same text for the same row, whichever database it was read from."""
    content["at"] = utc_text(content["at"])
    if address := content["address"]:
        content["address"] = str(ip_address(address))
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
