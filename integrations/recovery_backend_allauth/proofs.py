"""Who a request speaks for, and what they have proven: by cookie, and by allauth's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from allauth.account.internal.userkit import str_to_user_id, user_id_to_str
from django.contrib.auth import SESSION_KEY, get_user, get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse

from recovery_backend_allauth import records, tokens
from recovery_backend_allauth.records import Record


@dataclass(frozen=True)
class Proof:
    """A user, and the steps that they have completed in the session that the request brings."""

    user: AbstractBaseUser
    records: Sequence[Record] = field(default=(), repr=False)
    session: SessionBase | None = field(default=None, repr=False)


class TwoUsers(PermissionDenied):
    """The request speaks for two users; which one a view would believe, cannot be known before."""


def proof_of(request: HttpRequest) -> Proof | None:
    """What the user of this request has proven; None if nobody is signed in.

    Raises `TwoUsers` where cookie and token name different users: a proof of the one must not
    open what the view shows to the other.
    """
    proofs = proofs_of(request)
    if len({proof.user.pk for proof in proofs}) > 1:
        raise TwoUsers("This request speaks for two users.")
    return _best(proofs)


def proof_of_user(request: HttpRequest, user: AbstractBaseUser, auth: object = None) -> Proof:
    """What exactly this user has proven, of all that the request brings.

    `auth` is what a framework has authenticated by: the session or the payload of a token.
    """
    proofs = (*proofs_of(request), *_by_auth(auth))
    return _best([proof for proof in proofs if proof.user.pk == user.pk]) or Proof(user)


def proofs_of(request: HttpRequest) -> tuple[Proof, ...]:
    """What every signed-in session proves that this request brings."""
    return (*_by_cookie(request), *_by_session_token(request), *_by_access_token(request))


def proofs_noting(request: HttpRequest, key: str) -> Iterator[Proof]:
    """As `proofs_of`; the cookie's only if its session has noted something under `key`."""
    if key in request.session:  # its user need not be loaded otherwise
        yield from _by_cookie(request)
    yield from _by_session_token(request)
    yield from _by_access_token(request)


def first_answer(
    request: HttpRequest, key: str, ask: Callable[[HttpRequest, Proof], HttpResponse | None]
) -> HttpResponse | None:
    """The first answer that `ask` gives to one of `proofs_noting`; None if it gives none."""
    answers = (ask(request, proof) for proof in proofs_noting(request, key))
    return next(filter(None, answers), None)


def _best(proofs: Sequence[Proof]) -> Proof | None:
    # Of one user: who holds the better session could leave the other one at home.
    return max(proofs, key=lambda proof: records.mfa_at(proof.records) or 0, default=None)


def _by_cookie(request: HttpRequest) -> Iterator[Proof]:
    user = request.user
    if user.is_authenticated:
        yield _proof(user, request.session)


def _by_session_token(request: HttpRequest) -> Iterator[Proof]:
    token = tokens.session_token(request)
    if not token:
        return
    from allauth.headless import app_settings

    yield from _by_session(app_settings.TOKEN_STRATEGY.lookup_session(token))


def _by_access_token(request: HttpRequest) -> Iterator[Proof]:
    token = tokens.access_token(request)
    if not token:
        return
    from allauth.headless.tokens.strategies.jwt.internal import validate_access_token

    try:
        valid = validate_access_token(token)
    except ValidationError:  # signed with our key, for a user of some other kind
        return
    if valid:
        yield from _by_payload(valid[1])


def _by_auth(auth: object) -> Iterator[Proof]:
    if isinstance(auth, SessionBase):
        yield from _by_session(auth)
    elif isinstance(auth, dict) and isinstance(auth.get("sid"), str):  # else it is not allauth's
        yield from _by_payload(auth)


def _by_session(session: SessionBase | None) -> Iterator[Proof]:
    if session is not None and (user := _user_of(session)):
        yield _proof(user, session)


def _by_payload(payload: dict[str, Any]) -> Iterator[Proof]:
    """A token outlives its session: it still names its user then, and proves nothing."""
    from allauth.headless.tokens.strategies.jwt.internal import get_token_session

    session = get_token_session(payload)
    user = _user_of(session) if session is not None else None
    if user is not None and user_id_to_str(user) == payload.get("sub"):
        yield _proof(user, session)
    elif named := _named(payload.get("sub")):
        yield Proof(named)


def _proof(user: AbstractBaseUser, session: SessionBase | None) -> Proof:
    # A framework may have set another user than that of the session.
    if session is None or session.get(SESSION_KEY) != user_id_to_str(user):
        return Proof(user)
    return Proof(user, records.of_session(session, user), session)


def _user_of(session: SessionBase) -> AbstractBaseUser | None:
    request = HttpRequest()
    request.session = session
    user = get_user(request)
    return user if isinstance(user, AbstractBaseUser) else None


def _named(sub: object) -> AbstractBaseUser | None:
    try:
        user_id = str_to_user_id(sub)
    except ValidationError:  # a token of somebody else's
        return None
    return get_user_model()._default_manager.filter(pk=user_id).first()
