"""A user's own codes: get new ones, test one, take one or all out of service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, backends, cooldown, signals, stash, tasks
from recovery_backend.addresses import canonical_email, email_of
from recovery_backend.audit import Event, Reason
from recovery_backend.clients import client_of
from recovery_backend.codes import PresentedCode
from recovery_backend.cooldown import Refusal
from recovery_backend.emails import Notice
from recovery_backend.exceptions import (
    CodeRefused,
    CooldownActive,
    NoActiveBatch,
    NoAddress,
)
from recovery_backend.flows.guards import entry_for, throttle
from recovery_backend.models import (
    Issued,
    RecoveryCode,
    RecoveryCodeBatch,
    RecoveryCodeSetup,
    lock,
)
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


RETIREMENTS = {
    RecoveryCode.Status.INVALIDATED: (Event.CODE_INVALIDATED, Notice.CODES_INVALIDATED),
    RecoveryCode.Status.DELETED: (Event.CODE_DELETED, Notice.CODES_DELETED),
}


@sensitive_variables()
def generate(
    request: HttpRequest, *, days_to_expire: int | None = None, may_replace: bool = False
) -> RecoveryCodeBatch:
    """A new batch, with its plaintext in this session; the user's older codes end.

    Raises `WouldReplace` when older codes are active and `may_replace` is False, `CooldownActive`
    when generating comes too often, and `ValueError` for days out of bounds.
    """
    user = _user(request)

    @sensitive_variables()
    def work() -> Issued | Refusal:
        if refusal := cooldown.count_repeat("generate", user):
            return refusal
        issued = RecoveryCodeBatch.issue(
            user,
            days_to_expire,
            client=client_of(request),
            actor=user,
            may_replace=may_replace,
            seal=partial(stash.keep, request, user),
        )
        tasks.notify(Notice.CODES_GENERATED, issued.entry)
        return issued

    issued = in_transaction(work)
    if isinstance(issued, Refusal):
        throttle(request, issued, Reason.COOLDOWN)
    return issued.batch


def verify(request: HttpRequest, code: PresentedCode) -> None:
    """Prove that a code of the current batch works. Spends nothing; same throttle as signing in.

    Raises `NoAddress`, `NoActiveBatch`, `CooldownActive`, and `CodeRefused` for any other code,
    whosever and in whatever state it is (R-33).
    """
    user = _user(request)
    if not canonical_email(email_of(user)):
        raise NoAddress
    if RecoveryCodeBatch.objects.active_of(user) is None:
        raise NoActiveBatch
    if not in_transaction(lambda: _verify(request, user, code)):
        if wait := getattr(request, "recovery_wait_seconds", 0):
            raise CooldownActive(wait)
        raise CodeRefused


def _verify(request: HttpRequest, user: User, code: PresentedCode) -> bool:
    attempt = backends.open_attempt(request, email_of(user), code)
    if attempt is None:
        return False
    row, reason = backends.judge(attempt)
    if reason is None and (row is None or row.user_id != user.pk):
        reason = Reason.FOREIGN
    event = Event.BATCH_VERIFY_FAIL if reason else Event.BATCH_VERIFIED
    batch = row.batch_id if row and not reason else None
    entry = entry_for(request, event, reason=reason, batch=batch)
    if reason:
        audit.record(entry, *backends.alerts(attempt))
        return False
    cooldown.refund(attempt.charge)
    RecoveryCodeSetup.objects.get_or_create(user=user)
    RecoveryCodeSetup.objects.filter(user=user, verified_at__isnull=True).update(
        verified_at=timezone.now()
    )
    audit.record(entry)
    return True


def invalidate_code(request: HttpRequest, code: PresentedCode) -> None:
    """Take one code out of service; it stays in the counts. Raises `CodeRefused`."""
    _retire(request, code, RecoveryCode.Status.INVALIDATED)


def delete_code(request: HttpRequest, code: PresentedCode) -> None:
    """Delete one code softly, until the purge removes it. Raises `CodeRefused`."""
    _retire(request, code, RecoveryCode.Status.DELETED)


def _retire(request: HttpRequest, code: PresentedCode, status: RecoveryCode.Status) -> None:
    # A short code that is guessed here is lost to whoever guessed it. `verify` takes none: it would
    # tell of one that goes on working, past the counter of the second step.
    row = RecoveryCode.objects.presented_by(_user(request), code)
    if row is None or row.user_id != request.user.pk or not row.is_sealed(code):
        raise CodeRefused
    event, notice = RETIREMENTS[status]

    def work() -> None:
        if not row.retire(status):
            raise CodeRefused
        data = {"number_of_codes": 1}
        entry = entry_for(request, event, batch=row.batch_id, code=row.pk, data=data)
        audit.record(entry)
        tasks.notify(notice, entry)
        tasks.send_on_commit(
            signals.code_invalidated, user=row.user, batch=row.batch, number_of_codes=1
        )

    in_transaction(work)


def delete_all(request: HttpRequest, batch: RecoveryCodeBatch) -> None:
    """Delete a batch and its codes softly, until the purge removes them. Raises `NoActiveBatch`."""
    user = _user(request)

    def work() -> None:
        lock(user)
        number = batch.delete_codes()
        if number is None:
            raise NoActiveBatch
        data = {"number_of_codes": number}
        entry = entry_for(request, Event.BATCH_DELETED, batch=batch.pk, data=data)
        audit.record(entry)
        tasks.notify(Notice.CODES_DELETED, entry)
        tasks.send_on_commit(
            signals.code_invalidated, user=user, batch=batch, number_of_codes=number
        )

    in_transaction(work)
    stash.forget(request)


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)
