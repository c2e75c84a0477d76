"""Every list of codes that allauth keeps, as a source of `import_recovery_codes`."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import QuerySet
from django.views.decorators.debug import sensitive_variables

from recovery_backend import imports
from recovery_backend.imports import Moved, Source
from recovery_backend.models import Adopted
from recovery_backend_allauth import adoption


def register() -> None:
    """Have `import_recovery_codes --from allauth` take lists over."""
    imports.register(Source("allauth", _owners, _take, _look))


def _owners() -> QuerySet[Authenticator]:
    return _lists().values("user_id")


@sensitive_variables()
def _take(user: AbstractBaseUser) -> Moved:
    # One, and none if it was removed meanwhile; more only where no partial index keeps them out.
    return sum((_moved(adoption.take_over(row.pk)) for row in _stock(user)), Moved())


@sensitive_variables()
def _look(user: AbstractBaseUser) -> Moved:
    return sum((_moved(adoption.would_adopt(row)) for row in _stock(user)), Moved())


def _moved(adopted: Adopted | None) -> Moved:
    if adopted is None:  # taken over meanwhile
        return Moved()
    unused, ended = adopted.number_unused, adopted.number_ended
    return Moved(users=bool(unused or ended), codes=unused, weak=unused, ended=ended)


@sensitive_variables()
def _stock(user: AbstractBaseUser) -> list[Authenticator]:
    """The lists of the user that are not ours yet."""
    return list(filter(adoption.is_stock, _lists().filter(user_id=user.pk)))


def _lists() -> QuerySet[Authenticator]:
    lists: QuerySet[Authenticator] = Authenticator.objects.filter(
        type=Authenticator.Type.RECOVERY_CODES
    )
    return lists
