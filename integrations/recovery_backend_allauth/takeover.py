"""Every list of codes that allauth keeps, taken over: one user at a time, a page in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from allauth.mfa.models import Authenticator
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import DatabaseError
from django.db.models import QuerySet
from django.views.decorators.debug import sensitive_variables

from recovery_backend import imports
from recovery_backend.audit import logger
from recovery_backend.imports import Moved, Source
from recovery_backend.models import Adopted
from recovery_backend_allauth import adoption, marker

PAGE = 500


@dataclass(frozen=True, slots=True)
class Taken:
    """How far it is: users, and the codes of those whose list was taken over."""

    users: int = 0
    codes: int = 0
    """Unused ones, which go on working."""
    spent: int = 0
    skipped: int = 0
    """Rows that are ours already."""
    without_factor: int = 0
    """Of the users: those without TOTP or a passkey, who are not asked for a code now."""
    unreadable: int = 0
    """Rows that were left as they are."""

    @property
    def rows(self) -> int:
        return self.users + self.skipped + self.unreadable


def run(
    take: Callable[[Authenticator], Adopted | None],
    *,
    page_size: int = PAGE,
    on_row: Callable[[Taken], None] = lambda taken: None,
) -> Taken:
    """Have `take` do its work on each row of recovery codes, and count."""
    taken = Taken()
    for row, has_factor in _rows(page_size):
        taken = _counted(taken, row, take, has_factor=has_factor)
        on_row(taken)
    return taken


def number_of_rows() -> int:
    """How many rows `run` looks at."""
    return int(_lists().count())


def take(row: Authenticator) -> Adopted | None:
    """Take one row over; None if it is ours already."""
    return None if marker.is_marker(row) else adoption.take_over(row.pk)


@sensitive_variables()
def look(row: Authenticator) -> Adopted | None:
    """What `take` would do, with nothing changed."""
    return None if marker.is_marker(row) else adoption.would_adopt(row)


def register() -> None:
    """Have `import_recovery_codes --from allauth` take lists over, too."""
    imports.register("allauth", Source(_owners, _take_of, _look_at))


def _owners() -> QuerySet[Authenticator]:
    return _lists().values("user_id")


@sensitive_variables()
def _take_of(user: AbstractBaseUser) -> Moved:
    return _moved(take(_lists().get(user_id=user.pk)))


@sensitive_variables()
def _look_at(user: AbstractBaseUser) -> Moved:
    return _moved(look(_lists().get(user_id=user.pk)))


def _moved(adopted: Adopted | None) -> Moved:
    if adopted is None:
        return Moved()
    unused, spent = adopted.number_unused, adopted.number_spent
    return Moved(users=bool(unused or spent), codes=unused, weak=unused, ended=spent)


def _rows(page_size: int) -> Iterator[tuple[Authenticator, bool]]:
    """Rows of recovery codes, and whether their users have another factor."""
    last = 0
    lists = _lists().select_related("user").order_by("pk")
    while page := list(lists.filter(pk__gt=last)[:page_size]):
        users = [row.user_id for row in page]
        factors = Authenticator.objects.filter(user_id__in=users, type__in=marker.PRIMARY)
        enrolled = set(factors.values_list("user_id", flat=True))
        for row in page:
            yield row, row.user_id in enrolled
        last = page[-1].pk


def _lists() -> QuerySet[Authenticator]:
    lists: QuerySet[Authenticator] = Authenticator.objects.filter(
        type=Authenticator.Type.RECOVERY_CODES
    )
    return lists


@sensitive_variables()
def _counted(
    taken: Taken,
    row: Authenticator,
    take: Callable[[Authenticator], Adopted | None],
    *,
    has_factor: bool,
) -> Taken:
    try:
        adopted = take(row)
    except DatabaseError:
        raise
    except Exception as error:  # an adapter that decrypts raises what it likes
        # Its type only: what cannot be read may be named in its message.
        logger.error("codes not taken over user=%s: %s", row.user_id, type(error).__name__)
        return replace(taken, unreadable=taken.unreadable + 1)
    if adopted is None:
        return replace(taken, skipped=taken.skipped + 1)
    return replace(
        taken,
        users=taken.users + 1,
        codes=taken.codes + adopted.number_unused,
        spent=taken.spent + adopted.number_spent,
        without_factor=taken.without_factor + (not has_factor),
    )
