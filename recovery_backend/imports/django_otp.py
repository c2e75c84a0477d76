"""Static tokens of django-otp: short, kept in clear, deleted when they are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.apps import apps
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import QuerySet
from django.views.decorators.debug import sensitive_variables

from recovery_backend.codes import canonicalise_short
from recovery_backend.imports.run import Moved, Source
from recovery_backend.models import Adopted, adopt, adoptable, lock
from recovery_backend.transactions import in_transaction

APP = "django_otp.plugins.otp_static"


class UsedMeanwhile(Exception):
    """Raised when a token was accepted by something that does not lock its device."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one user has: tokens that can be one of our short codes, and how many cannot."""

    tokens: dict[Any, str] = field(repr=False)
    unreadable: int
    issued_at: datetime | None

    @property
    def codes(self) -> list[tuple[str, bool]]:
        """The tokens for `adopt`: each of them is unspent, or it would not be there."""
        return [(token, False) for token in self.tokens.values()]


@sensitive_variables()
def take(user: AbstractBaseUser) -> Moved:
    """Move the tokens of a user: as digests into our table, and out of django-otp's.

    The devices are locked meanwhile, as django-otp locks them, so a token that it accepts at the
    same moment is not moved, and one that was moved is refused there.
    """
    return in_transaction(lambda: _take(user))


@sensitive_variables()
def look(user: AbstractBaseUser) -> Moved:
    """The counts that `take` would give, with nothing changed."""
    held = _held(_devices().filter(user=user))
    return _moved(adoptable(user, held.codes), held)


def owners() -> QuerySet[Any, Any]:
    """The users who have something to move, by primary key."""
    return _devices().filter(token_set__isnull=False).values("user_id")


@sensitive_variables()
def _take(user: AbstractBaseUser) -> Moved:
    lock(user)
    held = _held(_devices().filter(user=user).select_for_update())
    adopted = adopt(user, held.codes, replaces=False, issued_at=held.issued_at)
    number, _by_model = _model("StaticToken").filter(pk__in=held.tokens).delete()
    if number != len(held.tokens):
        raise UsedMeanwhile
    return _moved(adopted, held)


@sensitive_variables()
def _held(devices: QuerySet[Any]) -> Held:
    tokens, unreadable, made = {}, 0, []
    for device in devices:
        made.append(device.created_at)
        for pk, token in device.token_set.values_list("pk", "token"):
            if canonicalise_short(token) is None:
                unreadable += 1
            else:
                tokens[pk] = token
    return Held(tokens, unreadable, max(filter(None, made), default=None))


def _moved(adopted: Adopted, held: Held) -> Moved:
    unused = adopted.number_unused
    return Moved(users=bool(unused), codes=unused, weak=unused, unreadable=held.unreadable)


def _devices() -> QuerySet[Any]:
    # Those that are not confirmed open nothing in django-otp either.
    return _model("StaticDevice").filter(confirmed=True)


def _model(name: str) -> QuerySet[Any]:
    rows: QuerySet[Any] = apps.get_model("otp_static", name)._default_manager.all()
    return rows


SOURCE = Source("django-otp", owners, take, look)
