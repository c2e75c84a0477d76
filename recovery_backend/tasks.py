"""What runs in the background. Arguments are names and primary keys, never secrets (R-83)."""

from __future__ import annotations

from django.apps import apps
from django.conf import settings
from django.db import transaction

from recovery_backend import emails
from recovery_backend.audit import RecoveryCodeAudit, logger
from recovery_backend.conf import conf
from recovery_backend.emails import Notice


def notify(notice: Notice, row: RecoveryCodeAudit) -> None:
    """Tell the owner of an audit row about it once the transaction commits.

    A failure is logged; it neither delays nor undoes what happened.
    """
    if conf.NOTIFY:
        transaction.on_commit(lambda: _hand_over(notice, row.pk), robust=True)


def is_queued() -> bool:
    """Whether messages go through the django-q2 queue (EMAIL_ASYNC)."""
    wanted = not settings.DEBUG if conf.EMAIL_ASYNC is None else conf.EMAIL_ASYNC
    return wanted and apps.is_installed("django_q")


def send_notice(notice: str, audit_pk: int) -> bool:
    """Send one notice now; whether it left. Raises what the mail backend raises."""
    row = RecoveryCodeAudit.objects.select_related("user").filter(pk=audit_pk).first()
    return row is not None and emails.send(Notice(notice), row)


def _hand_over(notice: Notice, audit_pk: int) -> None:
    # An owner who is not told is worse than a person who waits for a mail server.
    if not (is_queued() and _is_enqueued(notice, audit_pk)):
        _send_now(notice, audit_pk)


def _is_enqueued(notice: Notice, audit_pk: int) -> bool:
    from django_q.tasks import async_task  # needs its app to be installed

    try:
        # Inside a transaction the queue's own broker keeps the connection: 450 against 46
        # enqueues a second on PostgreSQL without persistent connections.
        with transaction.atomic():
            async_task("recovery_backend.tasks.send_notice", str(notice), audit_pk)
    except Exception as error:  # brokers raise what they like
        logger.error("notice %s not queued audit=%s: %s", notice, audit_pk, type(error).__name__)
        return False
    return True


def _send_now(notice: Notice, audit_pk: int) -> None:
    try:
        send_notice(notice, audit_pk)
    except Exception as error:  # mail libraries raise what they like
        logger.error("notice %s not sent audit=%s: %s", notice, audit_pk, type(error).__name__)
