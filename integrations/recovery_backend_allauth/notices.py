"""What an owner is told of their second factors: one that is new, one that is gone (R-40)."""

from __future__ import annotations

from typing import Any

from allauth.account import app_settings as account_settings
from allauth.core import context
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from django.contrib.auth.base_user import AbstractBaseUser
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete
from django.http import HttpRequest

from recovery_backend import audit, signals, tasks
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, RecoveryCodeAudit, logger
from recovery_backend.clients import client_of
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.transactions import in_transaction
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
    notice = NOTICES[Event(entry.event)]
    if not account_settings.EMAIL_NOTIFICATIONS:
        tasks.notify(notice, entry)
    elif conf.NOTIFY:  # allauth sends the message itself; messengers hear of it from us
        tasks.send_on_commit(signals.owner_notified, user=entry.user, notice=notice, audit=entry)


def _entry(event: Event, factor: Authenticator, request: HttpRequest | None) -> RecoveryCodeAudit:
    user = factor.user
    return audit.entry(
        event,
        client=client_of(request),
        email=email_of(user),
        user=user,
        actor=_actor(request, user),
        data={"type": str(factor.type)},
    )


def _actor(request: HttpRequest | None, owner: AbstractBaseUser) -> AbstractBaseUser | None:
    """Who is signed in; the owner while they sign up; None outside of requests."""
    if request is None:
        return None
    user = getattr(request, "user", None)
    return user if user is not None and user.is_authenticated else owner
