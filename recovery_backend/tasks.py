"""What runs in the background. Arguments are names, primary keys and sealed text (R-83)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.dispatch import Signal
from django.utils.translation import get_language, override
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, cooldown, emails, signals, stash
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit, logger
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.exports import CodeSheet
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeEmailLog
from recovery_backend.stash import Stashed
from recovery_backend.transactions import in_transaction

# A sign-in costs a code, and HARD_CAP closes once; these can be repeated for nothing, an alert by
# whoever brings the count back to nothing with a code of their own account.
REPEATABLE = {
    Notice.FAILED_ATTEMPTS,
    Notice.CODES_GENERATED,
    Notice.CODES_DOWNLOADED,
    Notice.CODES_EMAILED,
    Notice.CODES_INVALIDATED,
    Notice.CODES_DELETED,
}


def notify(notice: Notice, row: RecoveryCodeAudit) -> None:
    """Tell the owner of an audit row about it once the transaction commits.

    A failure is logged; it neither delays nor undoes what happened.
    """
    if conf.NOTIFY:
        transaction.on_commit(partial(_notify, notice, row), robust=True)


def send_on_commit(signal: Signal, **payload: Any) -> None:
    """Send a signal once the transaction commits; a receiver that fails harms nobody else."""
    transaction.on_commit(partial(signal.send_robust, RecoveryCode, **payload), robust=True)


def email_codes(batch_pk: int, sealed: str) -> None:
    """Have the sealed codes of a batch e-mailed once the transaction commits.

    In the active language: the owner is reading our page in it.
    """
    arguments = (batch_pk, sealed, get_language())
    transaction.on_commit(partial(_hand_over, "send_codes", *arguments), robust=True)


def is_queued() -> bool:
    """Whether messages go through the django-q2 queue (EMAIL_ASYNC)."""
    wanted = not settings.DEBUG if conf.EMAIL_ASYNC is None else conf.EMAIL_ASYNC
    return wanted and apps.is_installed("django_q")


def send_notice(notice: str, audit_pk: int) -> bool:
    """Send one notice now; whether it left. Raises what the mail backend raises."""
    row = RecoveryCodeAudit.objects.select_related("user").filter(pk=audit_pk).first()
    return row is not None and emails.send(Notice(notice), row)


def send_codes(batch_pk: int, sealed: str, language: str | None = None) -> bool:
    """Send the codes of a batch to their owner now; whether they left.

    Sends once, whoever calls it how often. A failure is recorded and raises nothing, since the
    queue keeps what a task raises and would repeat it.
    """
    batch = RecoveryCodeBatch.objects.select_related("user").filter(pk=batch_pk).first()
    if batch is None or not batch.start_email():
        return False
    with override(language or settings.LANGUAGE_CODE):
        has_left = _has_left(batch, sealed)
    in_transaction(lambda: _close_email(batch, has_left))
    return has_left


@sensitive_variables()
def sheet_of(batch: RecoveryCodeBatch, stashed: Stashed) -> CodeSheet:
    """What a file or an e-mail says of a batch, with its codes."""
    return CodeSheet(
        codes=stashed.codes,
        site_name=emails.site_name(),
        account=email_of(batch.user) or batch.user.get_username(),
        issued_at=batch.issued_at,
        expires_at=batch.expires_at,
    )


@sensitive_variables()
def _has_left(batch: RecoveryCodeBatch, sealed: str) -> bool:
    is_active = getattr(batch.user, "is_active", True) and batch.status == batch.Status.ACTIVE
    if not is_active:
        logger.warning("codes not sent batch=%s: batch or owner not active", batch.pk)
        return False
    # Bound to the password and the address of the moment when the owner asked for it.
    stashed = stash.unseal("email", batch.user, batch.public_id, sealed)
    if stashed is None:
        logger.warning("codes not sent batch=%s: expired", batch.pk)
        return False
    try:
        emails.send_codes(batch.user, sheet_of(batch, stashed))
    except Exception as error:  # mail libraries raise what they like
        logger.error("codes not sent batch=%s: %s", batch.pk, type(error).__name__)
        return False
    return True


def _close_email(batch: RecoveryCodeBatch, has_left: bool) -> None:
    batch.close_email(batch.EmailState.SENT if has_left else batch.EmailState.FAILED)
    RecoveryCodeEmailLog.close(batch, has_left)
    entry = audit.entry(
        Event.BATCH_EMAILED if has_left else Event.BATCH_EMAIL_FAILED,
        reason=None if has_left else Reason.DELIVERY,
        user=batch.user,
        email=email_of(batch.user),
        batch=batch.pk,
    )
    audit.record(entry)
    if has_left:
        notify(Notice.CODES_EMAILED, entry)
        send_on_commit(signals.codes_delivered, user=batch.user, batch=batch, how="email")


def _notify(notice: Notice, row: RecoveryCodeAudit) -> None:
    is_repeatable = row.user is not None and notice in REPEATABLE
    if not is_repeatable or _is_due(notice, row.user_id):
        _hand_over("send_notice", str(notice), row.pk)


def _is_due(notice: Notice, user_id: object) -> bool:
    try:
        return cooldown.is_notice_due(notice, user_id)
    except Exception as error:  # one mail too many is better than an owner who is not told
        logger.error("notices not counted: %s", type(error).__name__)
        return True


def _hand_over(task: str, *arguments: Any) -> None:
    # An owner who is not told is worse than a person who waits for a mail server.
    if not (is_queued() and _is_enqueued(task, *arguments)):
        _run_now(task, *arguments)


def _is_enqueued(task: str, *arguments: Any) -> bool:
    from django_q.tasks import async_task  # needs its app to be installed

    try:
        # Inside a transaction the queue's own broker keeps the connection: 450 against 46
        # enqueues a second on PostgreSQL without persistent connections. Nothing of a message is
        # kept after it was sent.
        with transaction.atomic():
            async_task(f"recovery_backend.tasks.{task}", *arguments, save=False)
    except Exception as error:  # brokers raise what they like
        logger.error("%s not queued: %s", task, type(error).__name__)
        return False
    return True


def _run_now(task: str, *arguments: Any) -> None:
    try:
        TASKS[task](*arguments)
    except Exception as error:  # mail libraries raise what they like
        logger.error("%s failed for %s: %s", task, arguments[0], type(error).__name__)


TASKS: dict[str, Callable[..., bool]] = {"send_notice": send_notice, "send_codes": send_codes}
