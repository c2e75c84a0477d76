"""A code as the second factor of a sign-in whose first factor is proven."""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, backends, signals, tasks
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit
from recovery_backend.clients import client_of
from recovery_backend.codes import PresentedCode
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.models import RecoveryCode
from recovery_backend.transactions import in_transaction


@sensitive_variables("code")
def use_at_step(request: HttpRequest | None, user: AbstractBaseUser, code: PresentedCode) -> bool:
    """Spend a code of this user, once, and say so to audit and owner; False when it is refused.

    Counts nothing: whoever asks for the second factor limits its tries, by a counter of its own,
    so that nobody can use up the tries of another page (R-50). A failing database refuses (R-31).
    """
    if conf.LOGIN_MODE == "off":
        return False
    spent = backends.guarded(lambda: in_transaction(lambda: _use(request, user, code)))
    return bool(spent)


def _use(request: HttpRequest | None, user: AbstractBaseUser, code: PresentedCode) -> bool:
    row = RecoveryCode.objects.presented_by(user, code)
    reason = row.refusal_at_step(code, user) if row else Reason.UNKNOWN
    if row is not None and reason is None:
        if row.spend():
            _accept(request, user, row)
            return True
        reason = Reason.USED
    if row is not None or _is_guess(user, code):  # else it was meant for another factor
        _reject(request, user, row, reason or Reason.UNKNOWN)
    return False


def _is_guess(user: AbstractBaseUser, code: PresentedCode) -> bool:
    """Whether a code that nobody was given could have been a code of this user (R-115)."""
    if code.is_well_formed or not code.is_short:
        return code.is_well_formed
    return (
        RecoveryCode.objects.usable().of_user(user).filter(kind=RecoveryCode.Kind.SHORT).exists()
    )


def _accept(request: HttpRequest | None, user: AbstractBaseUser, row: RecoveryCode) -> None:
    entry = _entry(request, user, Event.MFA_FALLBACK_USED, row)
    audit.record(entry)
    tasks.notify(Notice.CODE_USED, entry)
    tasks.send_on_commit(signals.code_used, user=user, code=row, audit=entry)


def _reject(
    request: HttpRequest | None, user: AbstractBaseUser, row: RecoveryCode | None, reason: Reason
) -> None:
    event = Event.ROW_TAMPER if reason is Reason.TAMPER else Event.MFA_FALLBACK_FAIL
    entry = _entry(request, user, event, row, reason)
    audit.record(entry)
    tasks.send_on_commit(signals.code_rejected, user=user, reason=str(reason), audit=entry)


def _entry(
    request: HttpRequest | None,
    user: AbstractBaseUser,
    event: Event,
    row: RecoveryCode | None,
    reason: Reason | None = None,
) -> RecoveryCodeAudit:
    is_theirs = row is not None and row.user_id == user.pk
    return audit.entry(
        event,
        client=client_of(request),
        email=email_of(user),
        reason=reason,
        user=user,
        actor=user,
        batch=row.batch_id if row is not None and is_theirs else None,
        code=row.pk if row is not None and is_theirs else None,
    )
