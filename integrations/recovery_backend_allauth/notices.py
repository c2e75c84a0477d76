"""What an owner is told of their second factors: one that is new, one that is gone (R-40)."""

from __future__ import annotations

from typing import Any

from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete
from django.http import HttpRequest

from recovery_backend import audit
from recovery_backend.audit import Event, RecoveryCodeAudit, logger
from recovery_backend.emails import Notice
from recovery_backend.flows.guards import entry_of
from recovery_backend.transactions import in_transaction
from recovery_backend_allauth import mail
from recovery_backend_allauth.marker import PRIMARY

NOTICES = {
    Event.MFA_FACTOR_ADDED: Notice.FACTOR_ADDED,
    Event.MFA_FACTOR_REMOVED: Notice.FACTOR_REMOVED,
}


def connect() -> None:
    """Record and tell of factors that come and go."""
    uid = "recovery_backend_allauth.notices"
    authenticator_added.connect(_on_added, dispatch_uid=uid)
    # Not allauth's own signal, which an administrator who deletes the row does not send.
    post_delete.connect(_on_deleted, sender=Authenticator, dispatch_uid=uid)


def _on_added(
    sender: object, *, request: HttpRequest | None, authenticator: Authenticator, **kwargs: Any
) -> None:
    _tell(Event.MFA_FACTOR_ADDED, authenticator, request)


def _on_deleted(
    sender: object, *, instance: Authenticator, origin: Model | QuerySet[Any], **kwargs: Any
) -> None:
    # Where the account goes, and its factors with it, there is nobody to tell.
    model = origin.model if isinstance(origin, QuerySet) else type(origin)
    if model is Authenticator:
        _tell(Event.MFA_FACTOR_REMOVED, instance, context.request)


def _tell(event: Event, factor: Authenticator, request: HttpRequest | None) -> None:
    if factor.type not in PRIMARY:
        return
    try:
        in_transaction(lambda: _record(_entry(event, factor, request)))
    except Exception as error:  # a factor comes and goes, whether or not that can be recorded
        logger.error("%s not recorded user=%s: %s", event, factor.user_id, type(error).__name__)


def _record(entry: RecoveryCodeAudit) -> None:
    audit.record(entry)
    mail.tell(NOTICES[Event(entry.event)], entry)


def _entry(event: Event, factor: Authenticator, request: HttpRequest | None) -> RecoveryCodeAudit:
    user, data = factor.user, {"type": str(factor.type)}
    return entry_of(user, event, request, actor=_actor(request, user), data=data)


def _actor(request: HttpRequest | None, owner: AbstractBaseUser) -> AbstractBaseUser | None:
    """Who is signed in; the owner while they sign up; None outside of requests."""
    if request is None:
        return None
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else owner
