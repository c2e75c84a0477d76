"""Sessions that began with e-mail and code alone, and may only repair the account (R-38).

What is restricted, stands in the session: it survives the stages of a sign-in and a change of the
password, and ends with a factor that was added or proven in this very session, or with its time.
Who removes the last factor in one, is restricted at each further sign-in by code, until they add one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_used
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from recovery_backend import audit
from recovery_backend.audit import Event
from recovery_backend.conf import conf
from recovery_backend.flows.guards import entry_of, is_due
from recovery_backend.models import RecoveryCodeSetup
from recovery_backend.transactions import in_transaction
from recovery_backend_allauth import places, records, repair
from recovery_backend_allauth.ending import end, ended, ended_before
from recovery_backend_allauth.marker import PRIMARY
from recovery_backend_allauth.proofs import Proof, first_answer, proofs_noting
from recovery_backend_allauth.refusals import is_part, is_program, refuse

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
    post_delete.connect(_on_deleted, sender=Authenticator, dispatch_uid=uid)


def begin(sender: object, *, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
    """Restrict the session of a user with a factor, or with one due, who came by code alone."""
    if conf.RECOVERY_SESSION != "restricted" or _is_beside_a_try(request):
        return
    steps = records.of_user(request, user)
    if not records.is_by_code_alone(steps) or restriction_of(
        request.session, user
    ):  # its time goes on
        return
    # In this order: a factor that is removed meanwhile is due as soon as it is gone.
    if places.has_factor(user) or RecoveryCodeSetup.is_factor_due(user):
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
    return next(_held(request), None) is not None


def answer(request: HttpRequest) -> HttpResponse | None:
    """What a restricted session gets in place of the view; None lets the view run.

    Every session that the request brings is asked, and the view is judged, not the path: what is
    not known to repair something, is closed.
    """
    if conf.RECOVERY_SESSION != "restricted":
        return None
    return first_answer(request, KEY, _answer)


def lift(request: HttpRequest, session: SessionBase, user: AbstractBaseUser) -> None:
    """Let the session do everything again."""
    if restriction_of(session, user) is None:
        return
    _record(Event.SESSION_LIFTED, request, user, session)
    del session[KEY]


def _is_beside_a_try(request: HttpRequest) -> bool:
    # Django's own sign-in records no step, so those of a try that was given up look like its own.
    # allauth has left that one in the session, and has not looked at it in this request.
    return LOGIN_SESSION_KEY in request.session and not hasattr(request, "_account_login_accessed")


def _held(request: HttpRequest) -> Iterator[Proof]:
    """The restricted sessions that the request brings."""
    if conf.RECOVERY_SESSION != "restricted":
        return
    for proof in proofs_noting(request, KEY):
        if proof.session is not None and restriction_of(proof.session, proof.user):
            yield proof


def _answer(request: HttpRequest, proof: Proof) -> HttpResponse | None:
    if proof.session is None:
        return None if repair.is_open(request) else ended_before(request, proof)
    restriction = restriction_of(proof.session, proof.user)
    if restriction is None:
        return None
    if restriction.seconds_left == 0:
        return _expire(request, proof.session, proof.user)
    if repair.is_open(request) and not repair.is_first_password(request, proof.user):
        return None
    return _refuse(request)  # a first password, too, would be a second way in for a thief


def _expire(request: HttpRequest, session: SessionBase, user: AbstractBaseUser) -> HttpResponse:
    _record(Event.SESSION_EXPIRED, request, user, session)
    end(request, session)
    detail = _(
        "Your session has ended. After signing in with a recovery code you have a limited time. "
        "Please sign in again."
    )
    return ended(request, "session_expired", detail)


def _refuse(request: HttpRequest) -> HttpResponse:
    if request.method == "GET" and not (is_part(request) or is_program(request)):
        request.session[places.WANTED] = places.wanted_by(request)
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
    if not created or raw or instance.type not in PRIMARY:
        return
    RecoveryCodeSetup.release_factor(instance.user_id)
    request = context.request
    if hasattr(request, "session") and KEY in request.session:
        free = partial(_lift_and_save, request, request.session, instance.user)
        transaction.on_commit(free, robust=True)


def _on_deleted(sender: object, *, instance: Authenticator, origin: object, **kwargs: Any) -> None:
    # Within the transaction of the removal. Of several the last one decides, so nobody has to
    # know, while others remove too, which factor is the last. Without the account no row is due.
    if instance.type not in PRIMARY or isinstance(origin, AbstractBaseUser):
        return
    if _is_at_work(instance.user_id):
        RecoveryCodeSetup.require_factor(instance.user_id)
    else:
        RecoveryCodeSetup.release_factor(instance.user_id)


def _is_at_work(user_id: Any) -> bool:
    """Whether this is done by a restricted session of the user."""
    request = context.request
    if not hasattr(request, "session"):
        return False
    return any(proof.user.pk == user_id for proof in _held(request))


def _lift_and_save(request: HttpRequest, session: SessionBase, user: AbstractBaseUser) -> None:
    # Whoever saves sessions may have done so before the commit.
    lift(request, session, user)
    session.save()


def _record(
    event: Event, request: HttpRequest, user: AbstractBaseUser, session: SessionBase
) -> None:
    # Once, also where two requests of a session come at the same moment.
    if is_due(event, f"{user.pk} {session[KEY]['at']}"):
        in_transaction(lambda: audit.record(entry_of(user, event, request)))
