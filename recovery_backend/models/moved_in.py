"""What codes of other packages have in common once they are ours: their list, and its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
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
from recovery_backend.models.batches import RecoveryCodeBatch, Seal
from recovery_backend.models.codes import RecoveryCode

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was taken over: nothing, if all of it had been before."""

    batch: RecoveryCodeBatch | None = None
    number_unused: int = 0
    number_ended: int = 0
    entry: RecoveryCodeAudit | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose request it happens, and when the codes were made, if that is known."""

    client: Client = NOBODY
    actor: AbstractBaseUser | None = None
    issued_at: datetime | None = None


def known_digests(digests: set[UUID]) -> set[UUID]:
    """Those of these digests that a row has."""
    found = RecoveryCode.objects.filter(digest__in=digests)
    return set(found.values_list("digest", flat=True)) if digests else set()


@sensitive_variables()
def joined_batch(
    user: User,
    codes: Sequence[str],
    origin: Origin,
    *,
    end: datetime | None = None,
    seal: Seal | None = None,
) -> RecoveryCodeBatch:
    """The active batch, made larger by these codes, or a new one, of which who listens is told.

    Of a new one `end` is when it expires. An active one keeps its own: its owner is reminded of
    the codes that were generated. Under the user's lock.
    """
    active = RecoveryCodeBatch.objects.active_of(user)
    if active is None:
        return _new_batch(user, codes, end, origin, seal)
    RecoveryCodeBatch.objects.filter(pk=active.pk).update(
        number_issued=F("number_issued") + len(codes), modified_at=timezone.now()
    )
    return active


@sensitive_variables()
def _new_batch(
    user: User, codes: Sequence[str], end: datetime | None, origin: Origin, seal: Seal | None
) -> RecoveryCodeBatch:
    public_id = uuid4()
    batch = RecoveryCodeBatch.objects.create(
        public_id=public_id,
        user=user,
        issued_at=origin.issued_at or timezone.now(),
        expires_at=end,
        number_issued=len(codes),
        sealed=seal(public_id, codes) if seal else "",
    )
    transaction.on_commit(
        lambda: signals.codes_generated.send_robust(RecoveryCodeBatch, user=user, batch=batch),
        robust=True,
    )
    return batch


def store(
    batch: RecoveryCodeBatch, rows: Sequence[RecoveryCode], origin: Origin, *, replaced: int = 0
) -> Adopted:
    """Save the rows of codes that were taken over, and record it."""
    RecoveryCode.objects.bulk_create(rows)
    number_unused = sum(row.is_usable for row in rows)
    number_ended = len(rows) - number_unused
    entries = _entries(batch, number_unused, number_ended, replaced, origin)
    audit.record(*entries)
    return Adopted(batch, number_unused, number_ended, entries[0])


def _entries(
    batch: RecoveryCodeBatch, unused: int, ended: int, replaced: int, origin: Origin
) -> list[RecoveryCodeAudit]:
    data = {"number_of_codes": unused, "number_ended": ended, "is_replacement": bool(replaced)}
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
