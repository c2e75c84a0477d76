"""Codes of django-auth-recovery-codes, which keeps a keyed digest of each beside a slow hash.

They are as long as ours, of 175 random bits at least, so the digest alone finds and proves them;
the slow hash is not needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend.imports.run import Moved, Source
from recovery_backend.models import (
    Adopted,
    ImportedCode,
    RecoveryCode,
    import_codes,
    importable,
    lock,
)
from recovery_backend.transactions import in_transaction

APP = "django_auth_recovery_codes"
ACTIVE, INVALIDATED = "a", "i"
USABLE = {"is_used": False, "is_deactivated": False, "mark_for_deletion": False}


@dataclass(frozen=True, slots=True)
class Held:
    """What one user has: codes by the primary key of their rows, and how many cannot be read."""

    codes: dict[Any, ImportedCode] = field(repr=False)
    unreadable: int
    issued_at: datetime | None


@sensitive_variables()
def take(user: AbstractBaseUser) -> Moved:
    """Move the codes of a user's current list: into our table, and out of the other one.

    Without its row the other package refuses a code, also one that it has just looked up: it
    cannot note that it was used, and signs nobody in.
    """
    return in_transaction(lambda: _take(user))


@sensitive_variables()
def look(user: AbstractBaseUser) -> Moved:
    """The counts that `take` would give, with nothing changed."""
    held = _held(_rows("RecoveryCode").filter(user=user))
    return _moved(importable(list(held.codes.values())), held)


def owners() -> QuerySet[Any, Any]:
    """The users who have something to move, by primary key."""
    current = Q(**USABLE) | Q(batch__status=ACTIVE)
    return _rows("RecoveryCode").filter(current).values("user_id")


@sensitive_variables()
def _take(user: AbstractBaseUser) -> Moved:
    lock(user)
    held = _held(_rows("RecoveryCode").filter(user=user).select_for_update())
    adopted = import_codes(user, list(held.codes.values()), issued_at=held.issued_at)
    _rows("RecoveryCode").filter(pk__in=held.codes).delete()
    return _moved(adopted, held)


@sensitive_variables()
def _held(rows: Iterable[Any]) -> Held:
    rows = list(rows)
    batches = _rows("RecoveryCodesBatch").in_bulk({row.batch_id for row in rows})
    codes, unreadable = {}, 0
    for row in rows:
        if not _is_current(row, batches):
            continue
        code = _code_of(row, batches[row.batch_id].expiry_date)
        if code.is_readable:
            codes[row.pk] = code
        else:
            unreadable += 1
    made = [batches[row.batch_id].created_at for row in rows if row.pk in codes]
    return Held(codes, unreadable, max(made, default=None))


def _is_current(row: Any, batches: Mapping[Any, Any]) -> bool:
    """Whether it belongs to a list that its owner still has: former lists stay where they are."""
    return _is_usable(row) or batches[row.batch_id].status == ACTIVE


def _is_usable(row: Any) -> bool:
    return all(getattr(row, name) == value for name, value in USABLE.items())


@sensitive_variables()
def _code_of(row: Any, expiry_date: date | None) -> ImportedCode:
    status = _status_of(row)
    return ImportedCode(
        row.look_up_hash,
        status,
        expires_at=_end_of(expiry_date),
        retired_at=None if status == RecoveryCode.Status.ACTIVE else row.modified_at,
    )


def _status_of(row: Any) -> RecoveryCode.Status:
    status = RecoveryCode.Status
    if row.is_used:
        return status.USED
    if _is_usable(row):
        return status.ACTIVE
    return status.INVALIDATED if row.status == INVALIDATED else status.DELETED


def _end_of(day: date | None) -> datetime | None:
    """The first moment after that day, on the site's own clock; None: there is none."""
    if day is None or day == date.max:
        return None
    moment = datetime.combine(day + timedelta(days=1), time.min)
    return (
        timezone.make_aware(moment, timezone.get_default_timezone()) if settings.USE_TZ else moment
    )


def _moved(adopted: Adopted, held: Held) -> Moved:
    unused, ended = adopted.number_unused, adopted.number_ended
    return Moved(
        users=bool(unused or ended), codes=unused, ended=ended, unreadable=held.unreadable
    )


def _rows(name: str) -> QuerySet[Any]:
    rows: QuerySet[Any] = apps.get_model(APP, name)._default_manager.all()
    return rows


SOURCE = Source("django-auth-recovery-codes", owners, take, look)
