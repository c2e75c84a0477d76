"""Heads that the audit itself has noted, so that a chain that was made anew contradicts it.

Whoever removes these rows too is not noticed: for that the head must be kept elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.seals.rows import RecoveryCodeAuditSeal

NOTING = (Event.SCHEDULER_RUN, Event.AUDIT_PURGED)
HEAD = re.compile(r"([1-9][0-9]{0,18}):([0-9a-f]{64})")


class Note(NamedTuple):
    """A seal that existed when an audit row was written."""

    number: int
    digest: str
    row: int

    @property
    def head(self) -> str:
        return f"{self.number}:{self.digest}"


def note() -> dict[str, Any]:
    """What an audit row keeps in its data: the head of the chain; nothing without one."""
    seals = RecoveryCodeAuditSeal.objects.only("number", "digest")
    newest = seals.order_by("number").last()
    return {"head": newest.head} if newest else {}


def parsed(head: str) -> tuple[int, str]:
    """The number and the digest in a head. Raises `ValueError` for what is none."""
    match = HEAD.fullmatch(head)
    if match is None:
        raise ValueError(f"{head!r} is no NUMBER:DIGEST.")
    return int(match[1]), match[2]


def missing() -> list[Note]:
    """The noted seals that are not in the chain, without those that a purge took."""
    noted = dict.fromkeys(_noted())
    if not noted:
        return []
    digests = _digests()
    first = min(digests, default=0)
    return [it for it in noted if it.number >= first and digests.get(it.number) != it.digest]


def _noted() -> Iterator[Note]:
    """Each noted head once, by the first row that has it."""
    rows = RecoveryCodeAudit.objects.filter(event__in=NOTING).order_by("pk")
    heads: dict[str, int] = {}
    for pk, data in rows.values_list("pk", "data"):
        head = data.get("head") if isinstance(data, dict) else None
        if isinstance(head, str) and HEAD.fullmatch(head):
            heads.setdefault(head, pk)
    return (Note(*parsed(head), pk) for head, pk in heads.items())


def _digests() -> dict[int, str]:
    """The digests of all seals, and of the one before the oldest, by their numbers."""
    seals = RecoveryCodeAuditSeal.objects.order_by("number")
    digests = dict(seals.values_list("number", "digest"))
    before = seals.values_list("number", "previous").first()
    if before and before[1]:
        digests[before[0] - 1] = before[1]
    return digests
