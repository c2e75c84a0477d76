"""The codes of every user, moved in: one user is one transaction, a page of users in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import DatabaseError
from django.db.models import QuerySet
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit
from recovery_backend.audit import Event, logger

PAGE = 500


@dataclass(frozen=True, slots=True)
class Moved:
    """How far it is: users, and what became of their codes."""

    seen: int = 0
    """Users that were looked at."""
    users: int = 0
    """Of these: users of whom codes were moved."""
    codes: int = 0
    """Codes that can be used from now on."""
    weak: int = 0
    """Of these: too short for anything but a second step."""
    ended: int = 0
    """Codes that were spent, withdrawn or over before, and stay so."""
    unreadable: int = 0
    """Rows that were left where they are."""

    def __add__(self, other: Moved) -> Moved:
        return Moved(
            self.seen + other.seen,
            self.users + other.users,
            self.codes + other.codes,
            self.weak + other.weak,
            self.ended + other.ended,
            self.unreadable + other.unreadable,
        )


Step: TypeAlias = Callable[[AbstractBaseUser], Moved]


@dataclass(frozen=True, slots=True)
class Source:
    """A package that keeps codes: whose they are, and how those of one user are moved."""

    name: str
    """As `import_recovery_codes --from` has it."""
    owners: Callable[[], QuerySet[Any, Any]]
    """Primary keys of the users who may have codes there."""
    take: Step
    """Move what one user has: all of it, or nothing and an exception."""
    look: Step
    """The counts that `take` would give, with nothing changed."""

    def number_of_owners(self) -> int:
        """How many users `run` looks at."""
        return _owning(self).count()


def run(
    source: Source,
    *,
    is_dry_run: bool = False,
    page_size: int = PAGE,
    on_user: Callable[[Moved], None] = lambda moved: None,
) -> Moved:
    """Move the codes of each user, or only count them; what was done is recorded.

    `on_user` is called with the sum after each user; what it raises ends the run.
    """
    step, moved = (source.look if is_dry_run else source.take), Moved()
    with nullcontext() if is_dry_run else audit.recorded(lambda: _record(source, moved)):
        for user in _users(source, page_size):
            moved += Moved(seen=1) + _moved(user, step)
            on_user(moved)
    return moved


def _record(source: Source, moved: Moved) -> None:
    if moved != Moved(seen=moved.seen):
        data = {"source": source.name, **asdict(moved)}
        audit.record(audit.entry(Event.IMPORT_DONE, data=data))


def _users(source: Source, page_size: int) -> Iterator[AbstractBaseUser]:
    users = _owning(source).order_by("pk")
    page = list(users[:page_size])
    while page:
        yield from page
        page = list(users.filter(pk__gt=page[-1].pk)[:page_size])


def _owning(source: Source) -> QuerySet[Any]:
    # Everybody's, also of those whom the default manager of the project leaves out.
    return get_user_model()._base_manager.filter(pk__in=source.owners())


@sensitive_variables()
def _moved(user: AbstractBaseUser, step: Step) -> Moved:
    try:
        moved = step(user)
    except DatabaseError:
        raise
    except Exception as error:  # what decrypts raises what it likes
        # Its type only: what cannot be read may be named in its message.
        logger.error("codes not imported user=%s: %s", user.pk, type(error).__name__)
        return Moved(unreadable=1)
    if moved.unreadable:
        logger.error("codes not imported user=%s: rows=%d", user.pk, moved.unreadable)
    return moved
