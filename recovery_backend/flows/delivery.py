"""How new codes reach their owner: on the page once, as a file once, by e-mail once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, cooldown, emails, exports, signals, stash, tasks
from recovery_backend.audit import Event, Reason, logger
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.exceptions import (
    AlreadyDelivered,
    EmailTurnedOff,
    NoAddress,
    PlaintextGone,
)
from recovery_backend.exports import ExportFile
from recovery_backend.flows.guards import entry_for, throttle
from recovery_backend.models import RecoveryCodeBatch, RecoveryCodeEmailLog
from recovery_backend.stash import Stashed
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User

UNREADABLE_KEY = "recovery_backend_stash_unreadable"


@dataclass(frozen=True, slots=True)
class Plaintext:
    """The codes that this session may still deliver; `codes` is empty once they were shown."""

    number: int
    expires_at: datetime
    codes: tuple[str, ...] = field(repr=False)

    @property
    def seconds_left(self) -> int:
        return max(0, int((self.expires_at - timezone.now()).total_seconds()))


@sensitive_variables()
def plaintext_of(request: HttpRequest, *, may_show: bool) -> Plaintext | None:
    """What this session still holds of the user's codes: shown to one request only (R-74).

    None when there is nothing, or nothing that this browser's cookie opens. With `may_show` False
    the codes stay unseen.
    """
    batch, stashed = _held(request)
    if batch is None or stashed is None:
        return None
    is_first = may_show and _claim_view(request, batch)
    codes = stashed.codes if is_first else ()
    return Plaintext(len(stashed.codes), stashed.expires_at, codes)


def _claim_view(request: HttpRequest, batch: RecoveryCodeBatch) -> bool:
    def work() -> bool:
        if not batch.mark_viewed():
            return False
        audit.record(entry_for(request, Event.BATCH_VIEWED, batch=batch.pk))
        return True

    return in_transaction(work)


@sensitive_variables()
def download(request: HttpRequest, batch: RecoveryCodeBatch, file_format: str) -> ExportFile:
    """The codes of a batch as a file, once (R-76).

    Raises `PlaintextGone` and `AlreadyDelivered`; `ValueError` for a format that does not exist.
    """
    if batch.has_downloaded:
        raise AlreadyDelivered("download")
    stashed = _deliverable(request, batch)
    # Made before the one download is claimed, so that a fault costs nobody their codes.
    file = exports.render(file_format, tasks.sheet_of(batch, stashed))

    def work() -> None:
        if not batch.mark_downloaded():
            raise AlreadyDelivered("download")
        data = {"format": file_format}
        entry = entry_for(request, Event.BATCH_DOWNLOADED, batch=batch.pk, data=data)
        audit.record(entry)
        tasks.notify(Notice.CODES_DOWNLOADED, entry)
        tasks.send_on_commit(
            signals.codes_delivered, user=request.user, batch=batch, how="download"
        )

    in_transaction(work)
    _forget_if_all_delivered(request, batch)
    return file


@sensitive_variables()
def email_codes(request: HttpRequest, batch: RecoveryCodeBatch) -> None:
    """Send the codes of a batch to the account's own address, once; again if that failed (R-81).

    Raises `EmailTurnedOff`, `NoAddress`, `PlaintextGone`, `AlreadyDelivered` and `CooldownActive`.
    """
    user = _user(request)
    if not conf.EMAIL_CODES:
        raise EmailTurnedOff
    if not (address := emails.delivery_address(user)):
        raise NoAddress
    if batch.has_emailed:
        raise AlreadyDelivered("email")
    stashed = _deliverable(request, batch)
    if refusal := cooldown.count_repeat("email", user):
        throttle(request, refusal, Reason.COOLDOWN)
    expires_at = timezone.now() + timedelta(seconds=conf.STASH_TTL)
    sealed = stash.seal("email", user, batch.public_id, expires_at, stashed.codes)

    def work() -> None:
        if not batch.queue_email():
            raise AlreadyDelivered("email")
        audit.record(entry_for(request, Event.BATCH_EMAIL_QUEUED, batch=batch.pk))
        if conf.STORE_EMAIL_LOG:
            RecoveryCodeEmailLog.queue(batch, address)
        tasks.email_codes(batch.pk, sealed)

    in_transaction(work)


def email_state(request: HttpRequest) -> str:
    """How the e-mail of the user's active codes stands: none, queued, sent or failed."""
    batch = RecoveryCodeBatch.objects.active_of(_user(request))
    return batch.shown_email_state if batch else "none"


def forget_plaintext(request: HttpRequest) -> None:
    """The owner has saved the codes: nothing of them is kept any longer."""
    batch = RecoveryCodeBatch.objects.active_of(_user(request))
    _forget(request, batch.public_id if batch else None, Event.STASH_WIPED)


def forget_on_sign_out(
    sender: object, *, request: HttpRequest | None = None, user: object = None, **kwargs: Any
) -> None:
    """Whichever view signs the user out, the plaintext that this session may show goes with it."""
    try:
        if request is not None and hasattr(request, "session") and stash.is_noted(request):
            if noted := stash.noted_batch(request):
                RecoveryCodeBatch.objects.filter(public_id=noted).forget_sealed()
            stash.forget(request)
    except Exception as error:  # signing out never fails because of us; the key goes in any case
        logger.error("plaintext not dropped: %s", type(error).__name__)


def drop_stale_plaintext(request: HttpRequest) -> None:
    """Forget plaintext that has expired, or whose owner changed password or address (R-71, R-72).

    Costs nothing for a session that knows of none.
    """
    if not stash.is_noted(request):
        return
    user = request.user
    if not user.is_authenticated:
        stash.forget(request)
    elif stash.is_over(request, user):
        _forget(request, stash.noted_batch(request), Event.STASH_EXPIRED)


def _forget(request: HttpRequest, public_id: UUID | None, event: Event) -> None:
    if public_id is not None:
        in_transaction(lambda: _forget_row(request, public_id, event))
    stash.forget(request)


def _forget_row(request: HttpRequest, public_id: UUID, event: Event) -> None:
    own = RecoveryCodeBatch.objects.filter(public_id=public_id, user=_user(request))
    batch = own.first()
    if batch and own.forget_sealed():
        audit.record(entry_for(request, event, batch=batch.pk))


@sensitive_variables()
def _deliverable(request: HttpRequest, batch: RecoveryCodeBatch) -> Stashed:
    held, stashed = _held(request)
    if stashed is None or held != batch:
        raise PlaintextGone
    return stashed


@sensitive_variables()
def _held(request: HttpRequest) -> tuple[RecoveryCodeBatch | None, Stashed | None]:
    """The active batch and its plaintext, if this session and browser can open it together."""
    drop_stale_plaintext(request)
    if not stash.may_open(request) or stash.is_for_other_pages(request):
        return None, None
    batch = RecoveryCodeBatch.objects.active_of(_user(request))
    if batch is None or not batch.sealed:
        stash.forget(request)  # replaced, deleted or delivered, perhaps in another browser
        return None, None
    stashed = stash.read(request, _user(request), batch.public_id, batch.sealed)
    if stashed is None:
        _note_unreadable(request, batch)
    elif _forget_if_all_delivered(request, batch):
        return batch, None
    return batch, stashed


def _note_unreadable(request: HttpRequest, batch: RecoveryCodeBatch) -> None:
    if stash.noted_batch(request) != batch.public_id:
        stash.forget(request)  # another session's codes, or this one's before they were replaced
    elif batch.issued_at <= timezone.now() - timedelta(seconds=conf.STASH_TTL):
        _forget(request, batch.public_id, Event.STASH_EXPIRED)
    # Once for each batch: a browser with a wrong cookie asks again with every page.
    elif request.session.get(UNREADABLE_KEY) != batch.pk:
        request.session[UNREADABLE_KEY] = batch.pk
        in_transaction(
            lambda: audit.record(entry_for(request, Event.STASH_DECRYPT_FAIL, batch=batch.pk))
        )


def _forget_if_all_delivered(request: HttpRequest, batch: RecoveryCodeBatch) -> bool:
    can_email = conf.EMAIL_CODES and emails.delivery_address(_user(request))
    is_emailed = batch.email_state == batch.EmailState.SENT
    if not (batch.has_viewed and batch.has_downloaded and (is_emailed or not can_email)):
        return False
    RecoveryCodeBatch.objects.filter(pk=batch.pk).forget_sealed()
    stash.forget(request)
    return True


def _user(request: HttpRequest) -> User:
    return cast("User", request.user)
