"""Short codes of another package, taken over into our tables: for the second step only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, signals
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.clients import NOBODY, Client
from recovery_backend.codes import PresentedCode, canonicalise_short
from recovery_backend.models.batches import RecoveryCodeBatch, Seal, lock
from recovery_backend.models.codes import RecoveryCode
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was taken over: nothing, if all of it had been before."""

    batch: RecoveryCodeBatch | None = None
    number_unused: int = 0
    number_spent: int = 0
    entry: RecoveryCodeAudit | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose request it happens, and when the codes were made, if that is known."""

    client: Client = NOBODY
    actor: AbstractBaseUser | None = None
    issued_at: datetime | None = None


@sensitive_variables()
def adopt(
    user: AbstractBaseUser,
    codes: Sequence[tuple[str, bool]],
    *,
    replaces: bool,
    client: Client = NOBODY,
    actor: AbstractBaseUser | None = None,
    issued_at: datetime | None = None,
    seal: Seal | None = None,
) -> Adopted:
    """Codes of another package, each with whether it is spent, as codes of this user.

    With `replaces` they are a new list, and the user's older codes end; without it they join the
    codes that the user has. They work as the second factor only, and never expire. Codes that
    were taken over before stay as they are now. Raises `ValueError`, with nothing changed, for
    what is no short code of digits and letters.
    """
    origin = Origin(client, actor, issued_at)

    @sensitive_variables()  # a lambda would show the codes in an error report
    def work() -> Adopted:
        return _adopt(cast("User", user), codes, replaces, origin, seal)

    return in_transaction(work)


@sensitive_variables()
def adoptable(user: AbstractBaseUser, codes: Sequence[tuple[str, bool]]) -> Adopted:
    """The counts that `adopt` would give, with nothing changed. Raises `ValueError` as it does."""
    states = _unknown(cast("User", user), codes).values()
    return Adopted(number_unused=len(states) - sum(states), number_spent=sum(states))


@sensitive_variables()
def _adopt(
    user: User,
    codes: Sequence[tuple[str, bool]],
    replaces: bool,
    origin: Origin,
    seal: Seal | None,
) -> Adopted:
    lock(user)
    fresh = _unknown(user, codes)
    if not fresh:
        return Adopted()
    now = timezone.now()
    replaced = RecoveryCodeBatch._retire_active(user, now) if replaces else 0
    batch, is_new = batch_of(user, list(fresh), origin, seal=seal)
    rows = []
    for code, is_spent in fresh.items():  # a comprehension's variables would show in a report
        rows.append(RecoveryCode.adopted_from(code, batch, is_used=is_spent))
    adopted = store(batch, rows, origin, replaced=replaced)
    if is_new:
        announce(user, batch)
    return adopted


def store(
    batch: RecoveryCodeBatch, rows: Sequence[RecoveryCode], origin: Origin, *, replaced: int = 0
) -> Adopted:
    """Save the rows of codes that were taken over, and record it."""
    RecoveryCode.objects.bulk_create(rows)
    number_unused = sum(row.is_usable for row in rows)
    number_spent = len(rows) - number_unused
    entries = _entries(batch, number_unused, number_spent, replaced, origin)
    audit.record(*entries)
    return Adopted(batch, number_unused, number_spent, entries[0])


@sensitive_variables()
def _unknown(user: User, codes: Sequence[tuple[str, bool]]) -> dict[str, bool]:
    """Those that no row of the user stands for, in canonical form; spent if all alike are."""
    states: dict[str, bool] = {}
    for code, is_spent in codes:
        if (canonical := canonicalise_short(code)) is None:
            raise ValueError("Not a short code.")
        states[canonical] = states.get(canonical, True) and is_spent
    digests = {}
    for code in states:
        digests[code] = set(PresentedCode(code).short_digests(user.pk))
    known = _stored({digest for each in digests.values() for digest in each})
    for code in digests:
        if digests[code] & known:
            del states[code]
    return states


def _stored(digests: set[UUID]) -> set[UUID]:
    found = RecoveryCode.objects.filter(digest__in=digests)
    return set(found.values_list("digest", flat=True)) if digests else set()


@sensitive_variables()
def batch_of(
    user: User,
    codes: Sequence[str],
    origin: Origin,
    *,
    ends: Sequence[datetime | None] = (),
    seal: Seal | None = None,
) -> tuple[RecoveryCodeBatch, bool]:
    """The active batch, made larger by these codes, or a new one; whether it is new.

    `ends` are those of the unspent ones: a batch ends when the last of its codes does, but for
    short ones, which never end.
    """
    end = None if None in ends else max(filter(None, ends), default=None)
    active = RecoveryCodeBatch.objects.active_of(user)
    if active is None:
        return _new_batch(user, codes, end, origin, seal), True
    changes: dict[str, Any] = {
        "number_issued": F("number_issued") + len(codes),
        "modified_at": timezone.now(),
    }
    if ends and _is_later(end, active.expires_at):
        changes["expires_at"] = end
        changes["expiry_note"] = RecoveryCodeBatch.ExpiryNote.NONE
    RecoveryCodeBatch.objects.filter(pk=active.pk).update(**changes)
    return active, False


def _is_later(end: datetime | None, other: datetime | None) -> bool:
    """Whether an end comes after another one; None never comes."""
    return other is not None and (end is None or end > other)


@sensitive_variables()
def _new_batch(
    user: User, codes: Sequence[str], end: datetime | None, origin: Origin, seal: Seal | None
) -> RecoveryCodeBatch:
    public_id = uuid4()
    return RecoveryCodeBatch.objects.create(
        public_id=public_id,
        user=user,
        issued_at=origin.issued_at or timezone.now(),
        expires_at=end,
        number_issued=len(codes),
        sealed=seal(public_id, codes) if seal else "",
    )


def _entries(
    batch: RecoveryCodeBatch, unused: int, spent: int, replaced: int, origin: Origin
) -> list[RecoveryCodeAudit]:
    data = {"number_of_codes": unused, "number_spent": spent, "is_replacement": bool(replaced)}
    events = [Event.BATCH_ADOPTED, *([Event.BATCH_SUPERSEDED] if replaced else [])]
    return [
        audit.entry(
            event,
            client=origin.client,
            user=batch.user,
            actor=origin.actor,
            email=email_of(batch.user),
            batch=batch.pk if event == Event.BATCH_ADOPTED else None,
            data=data,
        )
        for event in events
    ]


def announce(user: User, batch: RecoveryCodeBatch) -> None:
    """Tell who listens of a new batch, once it is committed."""
    transaction.on_commit(
        lambda: signals.codes_generated.send_robust(RecoveryCodeBatch, user=user, batch=batch),
        robust=True,
    )
