"""What support does for a user who asked for help. Nobody but the owner ever sees a code (R-106).

`request.user` acts, and may: permissions are asked for by whoever calls. Only that staff and
superusers are left to superusers is asked for here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, cooldown, emails, signals, stash, tasks
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit
from recovery_backend.clients import NOBODY, Client, client_of
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.exceptions import (
    CooldownActive,
    EmailTurnedOff,
    NoActiveBatch,
    NoAddress,
    NotAllowed,
    RecoveryCodeError,
)
from recovery_backend.flows.entry import clear_cooldown
from recovery_backend.flows.guards import is_due
from recovery_backend.models import (
    EMERGENCY_HOURS,
    Issued,
    RecoveryCodeBatch,
    RecoveryCodeEmailLog,
    RecoveryCodeSetup,
    lock,
)
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User


Result = TypeVar("Result")

HOUR = timedelta(hours=1)
EMERGENCIES_PER_HOUR = 5
# Of one administrator, whoever the users are: a support desk at work stays below, and a stolen
# session of it comes no further. Changes are two full bulk actions of the admin, and some more.
EMERGENCIES_BY_ONE = 20
CHANGES_BY_ONE = 500
CHANGES = (Event.CODE_INVALIDATED, Event.BATCH_REQUIRED)


def end_codes(
    batch: RecoveryCodeBatch, *, client: Client = NOBODY, actor: AbstractBaseUser | None = None
) -> int:
    """Take a batch out of service, and tell its owner; how many codes ended (R-46)."""

    def work() -> int:
        number = batch.invalidate_codes()
        if number is not None:
            _record_end(batch, number, client, actor)
        return number or 0

    return in_transaction(work)


def _record_end(
    batch: RecoveryCodeBatch, number: int, client: Client, actor: AbstractBaseUser | None
) -> None:
    entry = audit.entry(
        Event.CODE_INVALIDATED,
        client=client,
        email=email_of(batch.user),
        user=batch.user,
        actor=actor,
        batch=batch.pk,
        data={"number_of_codes": number},
    )
    audit.record(entry)
    if number:
        tasks.notify(Notice.CODES_INVALIDATED, entry)
        tasks.send_on_commit(
            signals.code_invalidated, user=batch.user, batch=batch, number_of_codes=number
        )


def clear_waits(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Clear every wait of the user's account, also one that HARD_CAP had closed."""
    account = cooldown.account_key(email_of(user))
    clear_cooldown(account, user=user, actor=_actor(request), request=request)


def revoke_codes(request: HttpRequest, user: AbstractBaseUser) -> int:
    """End all codes that the user has; how many.

    Raises `NoActiveBatch`, `NotAllowed`, and `CooldownActive` after CHANGES_BY_ONE in an hour.
    """
    require_rank(request, user)

    def work() -> int:
        _lock_both(request, user)  # or a batch that is generated meanwhile would be left
        _refuse_after(CHANGES_BY_ONE, *CHANGES, actor_id=request.user.pk)
        batch = RecoveryCodeBatch.objects.active_of(user)
        if batch is None:
            raise NoActiveBatch
        return end_codes(batch, client=client_of(request), actor=_actor(request))

    return _limited(request, user, work)


def require_new_batch(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Have the user asked for new codes until they generate some; the old ones go on working.

    Tells the owner, the first time. Raises `NotAllowed`, and `CooldownActive` as `revoke_codes`.
    """
    require_rank(request, user)

    def work() -> None:
        _lock_both(request, user)
        _refuse_after(CHANGES_BY_ONE, *CHANGES, actor_id=request.user.pk)
        if RecoveryCodeSetup.require_new_batch(user):
            entry = _entry(request, user, Event.BATCH_REQUIRED)
            audit.record(entry)
            tasks.notify(Notice.CODES_REQUIRED, entry)

    _limited(request, user, work)


@sensitive_variables()
def send_emergency_code(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Send the user one new code, for EMERGENCY_HOURS, to the account's own address.

    Their older codes end, their waits too, and they are asked to generate new codes. Raises
    `NotAllowed`, `EmailTurnedOff`, `NoAddress`, and `CooldownActive` after EMERGENCIES_PER_HOUR
    for this user, or EMERGENCIES_BY_ONE for anybody (R-62).
    """
    require_rank(request, user)
    if refusal := emergency_refusal(user):
        raise refusal

    @sensitive_variables()
    def work() -> int:
        # Counters before the owner's row, as those who generate lock them.
        _clear_if_any(request, user)
        _lock_both(request, user)
        _refuse_after(EMERGENCIES_BY_ONE, Event.BATCH_EMERGENCY, actor_id=request.user.pk)
        _refuse_after(EMERGENCIES_PER_HOUR, Event.BATCH_EMERGENCY, user_id=user.pk)
        issued = RecoveryCodeBatch.issue_emergency(
            user, client=client_of(request), actor=_actor(request)
        )
        _hand_over(user, issued)
        return issued.batch.pk

    _limited(request, user, work)


def _limited(request: HttpRequest, user: AbstractBaseUser, work: Callable[[], Result]) -> Result:
    """As `in_transaction`; what was done too often is recorded."""
    try:
        return in_transaction(work)
    except CooldownActive:
        actor = request.user.pk
        _record_refusal(request, user, Event.ACTION_THROTTLED, Reason.COOLDOWN, actor)
        raise


def _lock_both(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Hold the rows of who acts and of whom it is done to."""
    # In one order for everybody, or two who help each other would wait for each other.
    for one in sorted((_actor(request), user), key=lambda one: cast(Any, one.pk)):
        lock(one)


def _clear_if_any(request: HttpRequest, user: AbstractBaseUser) -> None:
    # A code that has to wait for an hour, and is good for an hour, helps nobody.
    if cooldown.clear(cooldown.account_key(email_of(user))):
        audit.record(_entry(request, user, Event.COOLDOWN_CLEARED))


def _refuse_after(number: int, *events: Event, **person: Any) -> None:
    """Raise `CooldownActive` if there are so many of a person in the last hour.

    Counted in audit rows, which no cache can lose, and no purge of codes.
    """
    since = timezone.now() - HOUR
    done = RecoveryCodeAudit.objects.filter(event__in=events, at__gt=since, **person)
    newest_first = done.order_by("-at").values_list("at", flat=True)
    for moment in newest_first[number - 1 : number]:
        raise CooldownActive(math.ceil((moment - since).total_seconds()))


@sensitive_variables()
def _hand_over(user: AbstractBaseUser, issued: Issued) -> None:
    batch = issued.batch
    seconds = min(conf.STASH_TTL, 3600 * EMERGENCY_HOURS)
    expires_at = timezone.now() + timedelta(seconds=seconds)
    sealed = stash.seal("email", user, batch.public_id, expires_at, issued.codes)
    batch.queue_email()
    if conf.STORE_EMAIL_LOG:
        RecoveryCodeEmailLog.queue(batch, emails.delivery_address(user))
    tasks.email_emergency_code(batch.pk, sealed)


def require_rank(request: HttpRequest, user: AbstractBaseUser) -> None:
    """Raise `NotAllowed` for a user who is left to superusers; recorded once an hour."""
    if not can_help(request, user):
        pair = f"{request.user.pk} {user.pk}"
        _record_refusal(request, user, Event.AUTHZ_DENIED, Reason.POLICY, pair)
        raise NotAllowed("staff")


def can_help(request: HttpRequest, user: AbstractBaseUser) -> bool:
    """Whether the one who asks is above the user: only superusers are above staff."""
    is_superuser = bool(getattr(request.user, "is_superuser", False))
    return is_superuser or not _is_staff(user)


def emergency_refusal(user: AbstractBaseUser) -> RecoveryCodeError | None:
    """Why a code could not be sent to this user, or could not let them in."""
    if not getattr(user, "is_active", True):
        return NotAllowed("inactive")
    if conf.LOGIN_MODE == "off" or _is_shut_out(user):
        return NotAllowed("off")
    if not conf.EMAIL_CODES:
        return EmailTurnedOff()
    return None if emails.delivery_address(user) else NoAddress()


def _is_shut_out(user: AbstractBaseUser) -> bool:
    is_whole = conf.LOGIN_MODE == "sole_login"
    return is_whole and not conf.SOLE_LOGIN_FOR_STAFF and _is_staff(user)


def _is_staff(user: AbstractBaseUser) -> bool:
    return bool(getattr(user, "is_staff", False) or getattr(user, "is_superuser", False))


def _record_refusal(
    request: HttpRequest,
    user: AbstractBaseUser,
    event: Event,
    reason: Reason,
    subject: object,
) -> None:
    """Record it once an hour for each subject (R-122)."""
    if is_due(event, subject):
        in_transaction(lambda: audit.record(_entry(request, user, event, reason=reason)))


def _entry(
    request: HttpRequest, user: AbstractBaseUser, event: Event, **fields: Any
) -> RecoveryCodeAudit:
    return audit.entry(
        event,
        client=client_of(request),
        email=email_of(user),
        user=user,
        actor=_actor(request),
        **fields,
    )


def _actor(request: HttpRequest) -> User:
    return cast("User", request.user)
