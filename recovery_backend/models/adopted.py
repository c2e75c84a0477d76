"""Short codes of another package, taken over into our tables: for the second step only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend.clients import NOBODY, Client
from recovery_backend.codes import PresentedCode, canonicalise_short
from recovery_backend.models.batches import RecoveryCodeBatch, Seal, lock
from recovery_backend.models.codes import RecoveryCode
from recovery_backend.models.moved_in import Adopted, Origin, joined_batch, known_digests, store
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


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
    return Adopted(number_unused=len(states) - sum(states), number_ended=sum(states))


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
    batch = joined_batch(user, list(fresh), origin, seal=seal)
    rows = []
    for code, is_spent in fresh.items():  # a comprehension's variables would show in a report
        rows.append(RecoveryCode.adopted_from(code, batch, is_used=is_spent))
    return store(batch, rows, origin, replaced=replaced)


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
    known = known_digests({digest for each in digests.values() for digest in each})
    for code in digests:
        if digests[code] & known:
            del states[code]
    return states
