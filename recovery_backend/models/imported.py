"""Codes of django-auth-recovery-codes, taken over by the keyed digest that it keeps of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.views.decorators.debug import sensitive_variables

from recovery_backend.codes import FOREIGN_DIGEST, imported_digests
from recovery_backend.models.batches import lock
from recovery_backend.models.codes import RecoveryCode
from recovery_backend.models.moved_in import Adopted, Origin, joined_batch, known_digests, store
from recovery_backend.moments import is_over
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True, slots=True)
class ImportedCode:
    """One code as its former package keeps it: a digest, and what became of it."""

    digest: str = field(repr=False)
    status: RecoveryCode.Status = RecoveryCode.Status.ACTIVE
    expires_at: datetime | None = None
    retired_at: datetime | None = None

    @property
    def is_readable(self) -> bool:
        """Whether the digest is one at all."""
        return FOREIGN_DIGEST.fullmatch(self.digest) is not None

    @property
    def is_usable(self) -> bool:
        """Whether it works from the moment when it is taken over."""
        return self.status == RecoveryCode.Status.ACTIVE and not is_over(self.expires_at)


@sensitive_variables()
def import_codes(
    user: AbstractBaseUser, codes: Sequence[ImportedCode], *, issued_at: datetime | None = None
) -> Adopted:
    """Codes that are known by their digests only, beside the codes that the user has.

    They work wherever ours do, once each, while IMPORTED_KEY is what they were made under. What
    was taken over before stays as it is now. Raises `ValueError`, with nothing changed, for a
    digest that is none.
    """

    @sensitive_variables()  # a lambda would show the digests in an error report
    def work() -> Adopted:
        return _import(cast("User", user), codes, issued_at)

    return in_transaction(work)


@sensitive_variables()
def importable(codes: Sequence[ImportedCode]) -> Adopted:
    """The counts that `import_codes` would give, with nothing changed."""
    fresh = _unknown(codes)
    number_unused = sum(code.is_usable for code in fresh)
    return Adopted(number_unused=number_unused, number_ended=len(fresh) - number_unused)


@sensitive_variables()
def _import(user: User, codes: Sequence[ImportedCode], issued_at: datetime | None) -> Adopted:
    lock(user)
    fresh = _unknown(codes)
    if not fresh:
        return Adopted()
    origin = Origin(issued_at=issued_at)
    batch = joined_batch(user, [code.digest for code in fresh], origin, end=_end_of(fresh))
    rows = []
    for code in fresh:
        rows.append(RecoveryCode.imported_from(code, batch))
    return store(batch, rows, origin)


@sensitive_variables()
def _unknown(codes: Sequence[ImportedCode]) -> list[ImportedCode]:
    """Those that no row stands for."""
    digests = {code.digest: set(imported_digests(code.digest)) for code in codes}
    known = known_digests({digest for each in digests.values() for digest in each})
    return [code for code in codes if not digests[code.digest] & known]


def _end_of(codes: Sequence[ImportedCode]) -> datetime | None:
    """When the last of the unspent ones ends; None: never, or there are none."""
    ends = [code.expires_at for code in codes if code.status == RecoveryCode.Status.ACTIVE]
    return None if None in ends else max(filter(None, ends), default=None)
