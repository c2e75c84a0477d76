"""Sessions that began with e-mail and code alone, and may only repair the account (R-38).

What is restricted, stands in the session: it survives the stages of a sign-in and a change of the
password, and ends with a factor that was added or proven in this very session, or with its time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_used
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from recovery_backend import audit
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event
from recovery_backend.clients import client_of
from recovery_backend.conf import conf
from recovery_backend.flows.guards import is_due
from recovery_backend.transactions import in_transaction
from recovery_backend_allauth import places, records, repair
from recovery_backend_allauth.ending import end, ended, ended_before
from recovery_backend_allauth.marker import PRIMARY
from recovery_backend_allauth.records import Record
from recovery_backend_allauth.refusals import has_token, is_program, refuse
from recovery_backend_allauth.tokens import Proof, proofs_of

KEY = "recovery_backend_restricted"
CODE = "restricted_session"


@dataclass(frozen=True, slots=True)
class Restriction:
    """Since when a session is restricted."""

    at: float

    @property
    def seconds_left(self) -> int:
        return max(0, math.ceil(self.at + conf.RESTRICTED_SESSION_AGE - time.time()))


def connect() -> None:
    """Restrict sessions as they begin, and lift that when a factor is added or proven."""
    uid = "recovery_backend_allauth.restricted"
    user_logged_in.connect(begin, dispatch_uid=uid)
    authenticator_used.connect(_on_used, dispatch_uid=uid)
    # Not allauth's own signal: with ATOMIC_REQUESTS it comes when the session of an app's token
    # is no longer the request's.
    post_save.connect(_on_saved, sender=Authenticator, dispatch_uid=uid)


def begin(sender: object, *, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
    """Restrict the session of a user with a factor, who has proven none beside a code."""
    if conf.RECOVERY_SESSION != "restricted":
        return
    steps = records.user_records(request, user)
    if not _is_by_code_alone(steps) or restriction_of(request.session, user):  # its time goes on
        return
    if places.has_factor(user):
        request.session[KEY] = {"user": str(user.pk), "at": time.time()}
        _record(Event.SESSION_RESTRICTED, request, user, request.session)


def restriction_of(session: SessionBase, user: AbstractBaseUser) -> Restriction | None:
    """How this session of this user is restricted; None if it is not."""
    noted = session.get(KEY) if conf.RECOVERY_SESSION == "restricted" else None
    if not isinstance(noted, dict) or noted.get("user") != str(user.pk):
        return None
    return Restriction(noted["at"])


def holds(request: HttpRequest) -> bool:
    """Whether a session that this request brings is restricted."""
    return any(
        proof.session is not None and restriction_of(proof.session, proof.user)
        for proof in _proofs(request)
    )


def answer(request: HttpRequest) -> HttpResponse | None:
    """What a restricted session gets in place of the view; None lets the view run.

    Every session that the request brings is asked, and the view is judged, not the path: what is
    not known to repair something, is closed.
    """
    for proof in _proofs(request):
        if response := _answer(request, proof):
            return response
    return None


def lift(request: HttpRequest, session: SessionBase, user: AbstractBaseUser) -> None:
    """Let the session do everything again."""
    if restriction_of(session, user) is None:
        return
    _record(Event.SESSION_LIFTED, request, user, session)
    del session[KEY]


def _is_by_code_alone(steps: Sequence[Record]) -> bool:
    # What came before the last beginning, was a try that its user gave up.
    is_by_code = False
    for step in steps:
        if records.is_code_sign_in(step) or records.is_first_factor(step):
            is_by_code = records.is_code_sign_in(step)
    return is_by_code and not records.is_satisfied(steps)


def _proofs(request: HttpRequest) -> tuple[Proof, ...]:
    # Most sessions know of nothing: their user need not be loaded for this.
    if conf.RECOVERY_SESSION != "restricted":
        return ()
    may_hold = has_token(request) or KEY in request.session
    return proofs_of(request) if may_hold else ()


def _answer(request: HttpRequest, proof: Proof) -> HttpResponse | None:
    if proof.session is None:
        return None if repair.is_open(request) else ended_before(request, proof)
    restriction = restriction_of(proof.session, proof.user)
    if restriction is None:
        return None
    if restriction.seconds_left == 0:
        return _expire(request, proof.session, proof.user)
    if repair.is_open(request):
        return None
    return _refuse(request)


def _expire(request: HttpRequest, session: SessionBase, user: AbstractBaseUser) -> HttpResponse:
    _record(Event.SESSION_EXPIRED, request, user, session)
    end(request, session)
    detail = _(
        "Your session has ended. After signing in with a recovery code you have a limited time. "
        "Please sign in again."
    )
    return ended(request, "session_expired", detail)


def _refuse(request: HttpRequest) -> HttpResponse:
    is_page = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    if request.method == "GET" and is_page and not is_program(request):
        request.session[places.WANTED] = request.get_full_path()
    detail = _("First add a second factor, or use one that you have. Then you can go on.")
    return refuse(request, CODE, detail, reverse("recovery_restricted"))


def _on_used(
    sender: object,
    *,
    request: HttpRequest,
    user: AbstractBaseUser,
    authenticator: Authenticator,
    **kwargs: Any,
) -> None:
    if authenticator.type in PRIMARY:
        lift(request, request.session, user)


def _on_saved(
    sender: object, *, instance: Authenticator, created: bool, raw: bool, **kwargs: Any
) -> None:
    request = context.request
    if not created or raw or instance.type not in PRIMARY or not hasattr(request, "session"):
        return
    if KEY in request.session:
        free = partial(_lift_and_save, request, request.session, instance.user)
        transaction.on_commit(free, robust=True)


def _lift_and_save(request: HttpRequest, session: SessionBase, user: AbstractBaseUser) -> None:
    # Whoever saves sessions may have done so before the commit.
    lift(request, session, user)
    session.save()


def _record(
    event: Event, request: HttpRequest, user: AbstractBaseUser, session: SessionBase
) -> None:
    # Once, also where two requests of a session come at the same moment.
    if is_due(event, f"{user.pk} {session[KEY]['at']}"):
        entry = audit.entry(
            event, client=client_of(request), email=email_of(user), user=user, actor=user
        )
        in_transaction(lambda: audit.record(entry))
