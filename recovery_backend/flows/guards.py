"""What is asked before a change: a recent sign-in, a pace, and that the object is the user's own."""

from __future__ import annotations

from typing import Any, NoReturn
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils import timezone

from recovery_backend import accounts, audit, cooldown
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit, logger
from recovery_backend.clients import client_of
from recovery_backend.conf import conf
from recovery_backend.cooldown import Refusal
from recovery_backend.exceptions import (
    CooldownActive,
    FactorUnproven,
    NoActiveBatch,
    NotCounted,
    NotTheirs,
    SignInTooOld,
)
from recovery_backend.flows.entry import SIGNED_IN_AT
from recovery_backend.models import RecoveryCodeBatch
from recovery_backend.transactions import in_transaction


def require_recent_sign_in(request: HttpRequest) -> None:
    """Raise `SignInTooOld` when this session's sign-in is older than REAUTH_MAX_AGE (R-43)."""
    max_age = conf.REAUTH_MAX_AGE
    if max_age is None:
        return
    signed_in_at = request.session.get(SIGNED_IN_AT, 0)
    if timezone.now().timestamp() - signed_in_at > max_age:
        _record_hourly(request, Event.REAUTH_FAIL, Reason.STALE)
        raise SignInTooOld


def confirm_url(request: HttpRequest, wanted: str) -> str | None:
    """Where the user of a stale session confirms that it is them; None: they sign in anew."""
    is_signed_in = request.user.is_authenticated
    return accounts.of_site().confirm_url(request, wanted) if is_signed_in else None


def require_second_factor(
    request: HttpRequest, wanted: str, *, outlives_session: bool = False
) -> None:
    """Raise `FactorUnproven` where the site's accounts ask this session for more (R-43)."""
    site_accounts = accounts.of_site()
    if url := site_accounts.step_up_url(request, wanted, outlives_session=outlives_session):
        _record_hourly(request, Event.REAUTH_FAIL, Reason.UNPROVEN)
        raise FactorUnproven(url)


def count_action(request: HttpRequest) -> None:
    """Count one request of this user (R-62).

    Raises `CooldownActive` beyond CLIENT_RATE, and `NotCounted` while the cache is down: closed,
    as signing in is (R-31).
    """
    try:
        refusal = cooldown.count_action(request, request.user)  # type: ignore[arg-type]
    except ImproperlyConfigured:
        raise
    except Exception as error:  # cache clients raise what they like
        logger.error("action not counted: %s", type(error).__name__)
        raise NotCounted from None
    if refusal:
        throttle(request, refusal, Reason.CLIENT_RATE)


def throttle(request: HttpRequest, refusal: Refusal, reason: Reason) -> NoReturn:
    """Raise `CooldownActive`. The first refusal of a wait is recorded, a flood is not (R-122)."""
    if refusal.is_first:
        _record(request, Event.ACTION_THROTTLED, reason)
    raise CooldownActive(refusal.wait_seconds)


def active_batch(request: HttpRequest, public_id: str = "") -> RecoveryCodeBatch:
    """The user's active batch.

    A page that was loaded earlier names the batch it means by `public_id`, so that it never acts
    on newer codes. Raises `NoActiveBatch` when that one is not active any more, and `NotTheirs`
    for one of somebody else or of nobody (R-97).
    """
    named = _named(request, public_id) if public_id else None
    batch = RecoveryCodeBatch.objects.active_of(request.user)  # type: ignore[arg-type]
    if batch is None or (named is not None and named != batch):
        raise NoActiveBatch
    return batch


def _named(request: HttpRequest, public_id: str) -> RecoveryCodeBatch:
    try:
        return RecoveryCodeBatch.objects.get(user=request.user, public_id=UUID(public_id))  # type: ignore[misc]
    except (ValueError, RecoveryCodeBatch.DoesNotExist):
        _record_hourly(request, Event.AUTHZ_DENIED, Reason.FOREIGN)
        raise NotTheirs from None


def entry_for(request: HttpRequest, event: Event, **fields: Any) -> RecoveryCodeAudit:
    """An audit row of what a signed-in user does to their own account, not yet saved."""
    return entry_of(request.user, event, request, **fields)  # type: ignore[arg-type]


def entry_of(
    user: AbstractBaseUser, event: Event, request: HttpRequest | None, **fields: Any
) -> RecoveryCodeAudit:
    """An audit row of what happens to this account, by its owner where no `actor` is named."""
    by_owner = {"user": user, "actor": user}
    return audit.entry(
        event, client=client_of(request), email=email_of(user), **(by_owner | fields)
    )


def _record_hourly(request: HttpRequest, event: Event, reason: Reason) -> None:
    """Record what a page can ask for again and again: once an hour for each user (R-122)."""
    if is_due(event, request.user.pk):
        _record(request, event, reason)


def is_due(event: Event, subject: object) -> bool:
    """Whether a refusal that can be asked for again and again is recorded: once an hour."""
    try:
        return cooldown.is_event_due(str(event), subject)
    except Exception as error:  # one row too many is better than an event that nobody sees
        logger.error("events not counted: %s", type(error).__name__)
        return True


def _record(request: HttpRequest, event: Event, reason: Reason) -> None:
    in_transaction(lambda: audit.record(entry_for(request, event, reason=reason)))
