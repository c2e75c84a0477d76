"""Sessions with a second factor, bound to the browser and the network that proved it.

Each proof adds its client to what the session knows. A client that it does not know is told of,
has to prove the second factor, or ends the session, as the site decides for each of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from allauth.account.signals import authentication_step_completed
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from recovery_backend import audit, cooldown, tasks
from recovery_backend.audit import Event, Reason, logger
from recovery_backend.conf import BINDING, conf
from recovery_backend.emails import Notice
from recovery_backend.flows.guards import entry_of, is_due
from recovery_backend.transactions import in_transaction
from recovery_backend_allauth import places, repair
from recovery_backend_allauth.ending import end, ended, ended_before, keep
from recovery_backend_allauth.fingerprints import KINDS, Kind, fingerprint, is_among
from recovery_backend_allauth.proofs import Proof, first_answer
from recovery_backend_allauth.refusals import is_program, refuse

KEY = "recovery_backend_bound"
CODE = "session_moved"
# Of each kind, the latest: home, work, the phone's own network, each with IPv4 and IPv6, and two
# more. A carrier that changes addresses faster than that is one for "warn".
REMEMBERED = 8


def connect() -> None:
    """Bind a session whenever a second factor, or a code in its place, is proven in it."""
    # Not `authenticator_used`: the last code of a list leaves no row of which that could tell.
    authentication_step_completed.connect(bind, dispatch_uid="recovery_backend_allauth.binding")


def bind(
    sender: object,
    *,
    request: HttpRequest,
    user: AbstractBaseUser | None,
    method: str,
    **kwargs: Any,
) -> None:
    """Let the session know the client that has just proven the second factor."""
    kinds = [kind for kind in KINDS if policy_of(kind) != "off"]
    if user is None or method != "mfa" or not kinds or not places.has_factor(user):
        return
    known = _noted(request.session, user, "known")
    for kind in kinds:
        known[kind] = _with(known.get(kind, []), fingerprint(request, user, kind))
    request.session[KEY] = {"user": str(user.pk), "known": known, "told": {}}


def answer(request: HttpRequest) -> HttpResponse | None:
    """What a session gets that came to an unknown client; None lets the view run."""
    if all(policy_of(kind) == "off" for kind in KINDS):
        return None
    return first_answer(request, KEY, _answer)


def policy_of(kind: Kind) -> str:
    """What happens when a session is seen in another browser, or in another network."""
    policy: str = conf.MFA_BIND_BROWSER if kind == "browser" else conf.MFA_BIND_NETWORK
    return policy


def _answer(request: HttpRequest, proof: Proof) -> HttpResponse | None:
    if proof.session is None:
        is_held = any(policy_of(kind) in ("step_up", "end") for kind in KINDS)
        is_closed = is_held and not repair.is_open(request)
        return ended_before(request, proof) if is_closed else None
    moves = list(_moves(request, proof.session, proof.user))
    if not moves:
        return None
    policy = max((policy_of(kind) for kind in moves), key=BINDING.index)
    for kind in moves:
        _tell(request, proof.session, proof.user, kind, policy)
    if policy == "end":
        return _end(request, proof.session)
    return _ask(request, proof) if policy == "step_up" else None


def _moves(request: HttpRequest, session: SessionBase, user: AbstractBaseUser) -> Iterator[Kind]:
    """In what the client is none that this session knows."""
    known = _noted(session, user, "known")
    for kind in KINDS:
        is_bound = policy_of(kind) != "off" and kind in known
        if is_bound and not is_among(known[kind], request, user, kind):
            yield kind


def _ask(request: HttpRequest, proof: Proof) -> HttpResponse | None:
    # Not all that repairs an account: whoever took a session could get codes on the dashboard,
    # and prove the second factor with one.
    if repair.is_way_in(request):
        return None
    if not places.has_factor(proof.user):  # there is nothing left that could be proven
        return _end(request, proof.session) if proof.session is not None else None
    detail = _("This session came to another browser or network. Confirm that it is you.")
    if is_program(request):
        return refuse(request, CODE, detail, "")
    url = places.to_second_factor(request, places.wanted_by(request))
    return refuse(request, CODE, detail, url)


def _end(request: HttpRequest, session: SessionBase) -> HttpResponse:
    end(request, session)
    detail = _(
        "You were signed out, because your session was used from another browser or network. "
        "Please sign in again."
    )
    return ended(request, "session_ended", detail)


def _tell(
    request: HttpRequest, session: SessionBase, user: AbstractBaseUser, kind: Kind, policy: str
) -> None:
    """Tell audit and owner of a new client, once; the session goes on to know that."""
    told = _noted(session, user, "told")
    if is_among(told.get(kind, []), request, user, kind):
        return
    client = fingerprint(request, user, kind)
    if is_due(Event.SESSION_MOVED, f"{user.pk} {client}") and _is_bearable(user):
        _record(request, user, Reason(kind), policy)
    told[kind] = _with(told.get(kind, []), client)
    session[KEY] = {**session[KEY], "told": told}
    keep(request, session)


def _is_bearable(user: AbstractBaseUser) -> bool:
    # A client can name itself anew with each request: five an hour.
    try:
        return cooldown.is_notice_due(str(Event.SESSION_MOVED), user.pk)
    except Exception as error:  # one row too many is better than an owner who is not told
        logger.error("events not counted: %s", type(error).__name__)
        return True


def _record(request: HttpRequest, user: AbstractBaseUser, reason: Reason, policy: str) -> None:
    data = {"policy": policy}
    entry = entry_of(user, Event.SESSION_MOVED, request, reason=reason, data=data)

    def work() -> None:
        audit.record(entry)
        tasks.notify(Notice.SESSION_MOVED, entry)

    in_transaction(work)


def _noted(session: SessionBase, user: AbstractBaseUser, what: str) -> dict[Kind, list[str]]:
    """What the session has noted of this user's clients; nothing of another user's."""
    bound = session.get(KEY)
    if not isinstance(bound, dict) or bound.get("user") != str(user.pk):
        return {}
    return dict(bound[what])


def _with(clients: list[str], latest: str) -> list[str]:
    return [*(client for client in clients if client != latest), latest][-REMEMBERED:]
