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

from recovery_backend import audit, cooldown, emails, runs, signals, stash
from recovery_backend.addresses import email_of
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit, logger
from recovery_backend.conf import conf
from recovery_backend.emails import Notice
from recovery_backend.exports import CodeSheet
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeEmailLog
from recovery_backend.schedules import RunKind
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
    Notice.FACTOR_ADDED,
    Notice.FACTOR_REMOVED,
    Notice.API_KEY_CREATED,
    Notice.API_KEY_REVOKED,
}


# Told to ADMIN_EMAIL at once. The two that only a genuine code can cause are told by `posture`:
# the queue's insert would tell whoever tries codes that this one is.
ALERTS = {
    Event.LOGIN_SUSPENDED,
    Event.ROW_TAMPER,
    Event.AUTHZ_DENIED,
    Event.BATCH_EMERGENCY,
    Event.KEY_RETIRED,
    Event.KEY_ROTATED,
    Event.KEY_UNKNOWN,
    Event.SCHEDULER_CREATED,
    Event.SCHEDULER_CHANGED,
    Event.AUDIT_PURGED,
}
# Of these some only, by their data.
ALARMING: dict[str, Callable[[dict[str, Any]], bool]] = {
    Event.KEY_UNKNOWN: lambda data: data.get("key_ids") != [],
    Event.SCHEDULER_CREATED: lambda data: data.get("kind") == RunKind.AUDIT,
    Event.SCHEDULER_CHANGED: lambda data: data.get("kind") == RunKind.AUDIT,
    Event.AUDIT_PURGED: lambda data: _is_early(data),
}


def notify(notice: Notice, row: RecoveryCodeAudit) -> None:
    """Tell the owner of an audit row about it once the transaction commits.

    A failure is logged; it neither delays nor undoes what happened.
    """
    if conf.NOTIFY:
        transaction.on_commit(partial(_notify, notice, row), robust=True)
        send_on_commit(signals.owner_notified, user=row.user, notice=notice, audit=row)


def alert(sender: object, *, audit: RecoveryCodeAudit, **kwargs: Any) -> None:
    """Tell the site's administrator of an alarming event (R-122).

    In an hour, five of a kind by one person and thirty by all; the next one of either says that
    it is the last.
    """
    if not conf.ADMIN_EMAIL or not _is_alarming(audit):
        return
    by = f"admin {audit.actor_id or audit.user_id or audit.account}"
    is_due = _is_due(audit.event, by)
    if is_due or _is_last(audit.event, by):
        if _is_counted(cooldown.is_alert_due, audit.event):
            _hand_over("send_alert", audit.pk, not is_due)
        elif _is_last(audit.event, "admin"):
            _hand_over("send_alert", audit.pk, True)


def send_on_commit(signal: Signal, **payload: Any) -> None:
    """Send a signal once the transaction commits; a receiver that fails harms nobody else."""
    transaction.on_commit(partial(signal.send_robust, RecoveryCode, **payload), robust=True)


def email_codes(batch_pk: int, sealed: str) -> None:
    """Have the sealed codes of a batch e-mailed once the transaction commits.

    In the active language: the owner is reading our page in it.
    """
    arguments = (batch_pk, sealed, get_language())
    transaction.on_commit(partial(_hand_over, "send_codes", *arguments), robust=True)


def email_emergency_code(batch_pk: int, sealed: str) -> None:
    """As `email_codes`, in the site's language: it is not the owner who is reading a page."""
    transaction.on_commit(partial(_hand_over, "send_codes", batch_pk, sealed), robust=True)


def is_queued() -> bool:
    """Whether messages go through the django-q2 queue (EMAIL_ASYNC)."""
    wanted = not settings.DEBUG if conf.EMAIL_ASYNC is None else conf.EMAIL_ASYNC
    return wanted and apps.is_installed("django_q")


def send_notice(notice: str, audit_pk: int) -> bool:
    """Send one notice now; whether it left. Raises what the mail backend raises."""
    row = RecoveryCodeAudit.objects.select_related("user").filter(pk=audit_pk).first()
    return row is not None and emails.send(Notice(notice), row)


def send_alert(audit_pk: int, is_last: bool = False) -> bool:
    """Send one alert now; whether it left. Raises what the mail backend raises."""
    row = RecoveryCodeAudit.objects.filter(pk=audit_pk).first()
    return row is not None and emails.send_alert(row, is_last=is_last)


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


def run_cleanup(scheduler_pk: int) -> str:
    """Run one RecoveryCodeCleanUpScheduler, if it may run and is due; how that ended."""
    return runs.run(RunKind.CODES, scheduler_pk)


def run_audit_cleanup(scheduler_pk: int) -> str:
    """Run one RecoveryCodeAuditScheduler, likewise."""
    return runs.run(RunKind.AUDIT, scheduler_pk)


def run_reminders(scheduler_pk: int) -> str:
    """Run one RecoveryCodeReminderScheduler, likewise."""
    return runs.run(RunKind.REMINDERS, scheduler_pk)


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
    send = emails.send_emergency_code if batch.is_emergency else emails.send_codes
    try:
        send(batch.user, sheet_of(batch, stashed))
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
    if notice := _notice_of_email(batch, has_left):
        notify(notice, entry)
    if has_left:
        send_on_commit(signals.codes_delivered, user=batch.user, batch=batch, how="email")


def _notice_of_email(batch: RecoveryCodeBatch, has_left: bool) -> Notice | None:
    if not batch.is_emergency:
        return Notice.CODES_EMAILED if has_left else None
    # The message that brings the code says itself that the older ones have ended, and so does
    # whatever ended a batch meanwhile.
    is_lost = not has_left and batch.status == batch.Status.ACTIVE
    return Notice.EMERGENCY_LOST if is_lost and _has_ended_codes(batch) else None


def _has_ended_codes(batch: RecoveryCodeBatch) -> bool:
    ended = RecoveryCode.objects.of_user(batch.user).filter(retired_at=batch.issued_at)
    return ended.filter(status=RecoveryCode.Status.INVALIDATED).exists()


def _notify(notice: Notice, row: RecoveryCodeAudit) -> None:
    is_repeatable = row.user is not None and notice in REPEATABLE
    if not is_repeatable or _is_due(notice, row.user_id):
        _hand_over("send_notice", str(notice), row.pk)


def _is_alarming(row: RecoveryCodeAudit) -> bool:
    holds = ALARMING.get(row.event)
    return row.event in ALERTS and (holds is None or holds(row.data))


def _is_early(data: dict[str, Any]) -> bool:
    """Whether a purge of the audit took what the settings keep."""
    return (
        data.get("retention_days", 0) < conf.AUDIT_RETENTION_DAYS and data.get("audit_rows") != 0
    )


def _is_due(notice: str, user_id: object) -> bool:
    return _is_counted(cooldown.is_notice_due, notice, user_id)


def _is_last(event: str, by: str) -> bool:
    """Whether to say now that there is no more to come: once an hour."""
    return _is_counted(cooldown.is_event_due, f"{event} last", by)


def _is_counted(is_due: Callable[..., bool], *arguments: object) -> bool:
    try:
        return is_due(*arguments)
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


TASKS: dict[str, Callable[..., bool]] = {
    "send_notice": send_notice,
    "send_alert": send_alert,
    "send_codes": send_codes,
}
