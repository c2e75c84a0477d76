"""The authentication backend: e-mail address and recovery code in, user or None out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from recovery_backend import accounts, audit, cooldown, signals, tasks
from recovery_backend.addresses import canonical_email
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit, logger
from recovery_backend.clients import Client, client_of
from recovery_backend.codes import PresentedCode
from recovery_backend.conf import conf
from recovery_backend.cooldown import Charge, Refusal
from recovery_backend.emails import Notice
from recovery_backend.models import RecoveryCode, owners_of_email
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One charged try: what was typed, from where, and what it has cost."""

    email: str
    code: PresentedCode
    client: Client
    charge: Charge


class RecoveryCodeBackend(ModelBackend):
    """Signs in the owner of an unused recovery code. Permissions are Django's own."""

    @sensitive_variables()
    def authenticate(  # type: ignore[override]  # exact, so that password logins pass us by (R-27)
        self,
        request: HttpRequest | None,
        email: Any = None,
        recovery_code: Any = None,
    ) -> User | None:
        """The owner of this code if it may sign them in, once; else None (R-21 to R-29).

        `recovery_code` is a `PresentedCode`, or the typed text. While the account has to wait on
        this network, `request.recovery_wait_seconds` says how long. Raises
        `ImproperlyConfigured` without a usable key, and nothing else.
        """
        if email is None or recovery_code is None:
            return None
        code = recovery_code
        if not isinstance(code, PresentedCode):
            code = PresentedCode(recovery_code)
        return guarded(lambda: _attempt(request, email, code))

    @sensitive_variables()
    async def aauthenticate(  # type: ignore[override]
        self,
        request: HttpRequest | None,
        email: Any = None,
        recovery_code: Any = None,
    ) -> User | None:
        """As `authenticate`, for async callers (R-30)."""
        return await sync_to_async(self.authenticate)(request, email, recovery_code)


def guarded(journey: Callable[[], Result | None]) -> Result | None:
    """The journey's result, or None when the database or the cache fails: closed, unspent (R-31).

    Raises `ImproperlyConfigured`, and nothing else.
    """
    try:
        return journey()
    except ImproperlyConfigured:
        raise
    except Exception as error:  # cache clients raise exceptions of their own
        # Its type only: a database names values in its messages.
        logger.error("sign-in refused: %s", type(error).__name__)
        return None


def _attempt(request: HttpRequest | None, email: Any, code: PresentedCode) -> User | None:
    """One try in one transaction: what it costs and what it gives commit together."""

    def work() -> User | None:
        attempt = open_attempt(request, email, code)
        if attempt is None:
            return None
        row, reason = judge(attempt)
        owner = None if row is None or reason else row.user
        return close_attempt(attempt, request, row, reason or _policy_refusal(owner))

    return in_transaction(work)


def open_attempt(request: HttpRequest | None, email: Any, code: PresentedCode) -> Attempt | None:
    """Charge a try before its code is looked at; None when it is refused unseen (R-51)."""
    address = canonical_email(email)
    client = client_of(request)
    if request is not None and (refusal := cooldown.count_request(request, client.network)):
        _refuse(request, client, address, refusal, Reason.CLIENT_RATE)
        return None
    outcome = cooldown.charge(address, client.network)
    if isinstance(outcome, Refusal):
        reason = Reason.CLOSED if outcome.is_closed else Reason.COOLDOWN
        _refuse(request, client, address, outcome, reason)
        return None
    return Attempt(address, code, client, outcome)


def judge(attempt: Attempt) -> tuple[RecoveryCode | None, Reason | None]:
    """The row of a charged try, and why it must not sign anybody in. Changes nothing."""
    row = RecoveryCode.objects.presented(attempt.code)
    if row is not None:
        return row, row.refusal(attempt.code, attempt.email)
    return None, Reason.UNKNOWN if attempt.code.is_well_formed else Reason.MALFORMED


def close_attempt(
    attempt: Attempt,
    request: HttpRequest | None,
    row: RecoveryCode | None,
    reason: Reason | None,
) -> User | None:
    """Spend the code of a judged try and return its owner, or record why not."""
    if row is not None and reason is None:
        if row.spend():
            _accept(attempt, row)
            owner: User = row.user
            return owner
        reason = Reason.USED
    if row is not None and reason is Reason.UNVERIFIED:
        _leave_unspent(attempt, request, row)
        return None
    _reject(attempt, row, reason or Reason.UNKNOWN)
    if request is not None and attempt.charge.wait_seconds:
        request.recovery_next_try_seconds = attempt.charge.wait_seconds  # type: ignore[attr-defined]
    return None


def _policy_refusal(owner: User | None) -> Reason | None:
    if conf.LOGIN_MODE != "sole_login":
        return Reason.POLICY
    if owner is None:
        return None
    is_staff = getattr(owner, "is_staff", False) or getattr(owner, "is_superuser", False)
    if is_staff and not conf.SOLE_LOGIN_FOR_STAFF:
        return Reason.POLICY
    return None if accounts.of_site().is_verified(owner) else Reason.UNVERIFIED


def _accept(attempt: Attempt, row: RecoveryCode) -> None:
    cooldown.give_back(attempt.charge)
    owner = row.user
    had_failures = attempt.charge.has_failed_before
    entry = audit.entry(
        Event.LOGIN_SUCCESS_AFTER_FAIL if had_failures else Event.LOGIN_SUCCESS,
        client=attempt.client,
        email=attempt.email,
        user=owner,
        actor=owner,
        batch=row.batch_id,
        code=row.pk,
    )
    audit.record(entry)
    tasks.notify(Notice.CODE_USED, entry)
    tasks.send_on_commit(signals.code_used, user=owner, code=row, audit=entry)


def _leave_unspent(attempt: Attempt, request: HttpRequest | None, row: RecoveryCode) -> None:
    """Take back what a right code has cost whose owner has to be verified first."""
    cooldown.refund(attempt.charge)
    # It costs nothing, so its holder can repeat it at will: recorded once an hour.
    if cooldown.is_event_due(str(Reason.UNVERIFIED), row.user_id):
        entry = _refusal_entry(attempt, row, Reason.UNVERIFIED)
        audit.record(entry)
        reason = str(Reason.UNVERIFIED)
        tasks.send_on_commit(signals.code_rejected, user=row.user, reason=reason, audit=entry)
    if request is not None:
        request.recovery_refused_owner = row.user  # type: ignore[attr-defined]


def _reject(attempt: Attempt, row: RecoveryCode | None, reason: Reason) -> None:
    owner = row.user if row else None
    entry = _refusal_entry(attempt, row, reason)
    # By the count alone, so that a refusal costs the same whatever its reason.
    if cooldown.is_recorded(attempt.charge.failures):
        audit.record(entry, *alerts(attempt))
    else:
        audit.log_only(entry)
    tasks.send_on_commit(signals.code_rejected, user=owner, reason=str(reason), audit=entry)
    if wait := attempt.charge.wait_seconds:
        tasks.send_on_commit(signals.cooldown_started, user=owner, wait_seconds=wait)


def _refusal_entry(
    attempt: Attempt, row: RecoveryCode | None, reason: Reason
) -> RecoveryCodeAudit:
    return audit.entry(
        _refusal_event(row, reason),
        client=attempt.client,
        email=attempt.email,
        reason=reason,
        user=row.user if row else None,
        batch=row.batch_id if row else None,
        code=row.pk if row else None,
        data=_flood(attempt),
    )


def _flood(attempt: Attempt) -> dict[str, int]:
    failures = attempt.charge.failures
    return {"failures": failures} if failures > cooldown.MAX_RECORDED else {}


def _refusal_event(row: RecoveryCode | None, reason: Reason) -> Event:
    if reason is Reason.USED:
        return Event.CODE_REPLAY
    if reason is Reason.TAMPER:
        return Event.ROW_TAMPER
    if reason is Reason.MISMATCH and row is not None and row.status == RecoveryCode.Status.ACTIVE:
        return Event.LOGIN_OWNER_MISMATCH
    return Event.LOGIN_FAIL


def alerts(attempt: Attempt) -> list[RecoveryCodeAudit]:
    """The row, to be recorded, that tells an owner of failures: at 10, 100 ..., and at HARD_CAP.

    An address that nobody has gets its row too, and costs the same.
    """
    charge = attempt.charge
    if not charge.closes_account and not cooldown.is_alert_threshold(charge.failures):
        return []
    owners = owners_of_email(attempt.email)
    row = audit.entry(
        Event.LOGIN_SUSPENDED if charge.closes_account else Event.LOGIN_ALERTED,
        client=attempt.client,
        email=attempt.email,
        user=owners[0] if owners else None,
        data={"failures": charge.failures},
    )
    closes = charge.closes_account
    tasks.notify(Notice.SIGN_IN_CLOSED if closes else Notice.FAILED_ATTEMPTS, row)
    return [row]


def _refuse(
    request: HttpRequest | None, client: Client, email: str, refusal: Refusal, reason: Reason
) -> None:
    if request is not None:
        request.recovery_wait_seconds = refusal.wait_seconds  # type: ignore[attr-defined]
    if refusal.is_first:  # a flood of refusals is one event, not a table full of them
        audit.record(audit.entry(Event.LOGIN_THROTTLED, client=client, email=email, reason=reason))
