"""Messages to owners: what happened to their account, and what to do about it (R-40)."""

from __future__ import annotations

from datetime import UTC
from enum import StrEnum
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string

from recovery_backend.addresses import canonical_email
from recovery_backend.audit import RecoveryCodeAudit, logger
from recovery_backend.clients import masked_network
from recovery_backend.conf import conf
from recovery_backend.models import RecoveryCode, email_of


class Notice(StrEnum):
    """The messages that exist; each is a subject, a text and an HTML template of that name."""

    CODE_USED = "code_used"
    FAILED_ATTEMPTS = "failed_attempts"
    SIGN_IN_CLOSED = "sign_in_closed"
    CODES_INVALIDATED = "codes_invalidated"


def site_name() -> str:
    """The site's name for people: SITE_NAME, else the one of django.contrib.sites, else ""."""
    if conf.SITE_NAME:
        return conf.SITE_NAME
    if apps.is_installed("django.contrib.sites") and getattr(settings, "SITE_ID", None):
        from django.contrib.sites.models import Site  # a model: importable only when installed

        try:
            return str(Site.objects.get_current().name)
        except Site.DoesNotExist:
            return ""
    return ""


def send(notice: Notice, row: RecoveryCodeAudit) -> bool:
    """Send the notice about an audit row to its owner's own address. False without an address.

    Carries no code and no link, so it is worth nothing to whoever else reads it. Raises what the
    mail backend raises.
    """
    user = row.user
    address = email_of(user) if user else ""
    if user is None or not _is_single(address):
        return False
    context = _context(user, row)
    subject = render_to_string(f"recovery_backend/email/{notice}_subject.txt", context)
    message = EmailMultiAlternatives(
        subject=" ".join(subject.split()),
        body=render_to_string(f"recovery_backend/email/{notice}.txt", context),
        to=[address],
        headers={"Auto-Submitted": "auto-generated"},
    )
    message.attach_alternative(
        render_to_string(f"recovery_backend/email/{notice}.html", context), "text/html"
    )
    message.send()
    if conf.EMAIL_SENDER_LOGGING:
        logger.info("notice %s sent user=%s audit=%s", notice, row.user_id, row.pk)
    return True


def _context(user: AbstractBaseUser, row: RecoveryCodeAudit) -> dict[str, Any]:
    return {
        "site_name": site_name(),
        "account": email_of(user),
        "at": row.at,
        "at_utc": row.at.astimezone(UTC),
        "network": masked_network(row.address or ""),
        "codes_left": RecoveryCode.objects.usable().of_user(user).count(),
        "low": conf.LOW_CODES_WARNING,
        **row.data,
    }


def _is_single(address: str) -> bool:
    # "a@x, b@y" in a user row would become a header with two recipients.
    return bool(canonical_email(address)) and not set(address) & set(",;<>\r\n")
