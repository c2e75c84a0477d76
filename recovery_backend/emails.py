"""Messages to owners: what happened to their account (R-40), and their codes, once (R-81)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.utils.translation import override
from django.views.decorators.debug import sensitive_variables

from recovery_backend import accounts
from recovery_backend.addresses import canonical_email, email_of
from recovery_backend.audit import Event, RecoveryCodeAudit, logger
from recovery_backend.clients import masked_network, printable
from recovery_backend.conf import conf
from recovery_backend.exceptions import NoAddress
from recovery_backend.models import RecoveryCode, RecoveryCodePurgeHistory

if TYPE_CHECKING:
    from recovery_backend.exports import CodeSheet

# No comma, bracket, quote or colon, which could make two recipients of one row, and no "=?",
# which mail libraries decode into another address.
PLAIN_ADDRESS = re.compile(r"""(?!.*=\?)[^\s@,;:<>()\[\]\\"]+@[^\s@,;:<>()\[\]\\"]+""")
MAX_NAME_LENGTH = 254


class Notice(StrEnum):
    """The messages that exist; each is a subject, a text and an HTML template of that name."""

    CODE_USED = "code_used"
    FAILED_ATTEMPTS = "failed_attempts"
    SIGN_IN_CLOSED = "sign_in_closed"
    CODES_GENERATED = "codes_generated"
    CODES_DOWNLOADED = "codes_downloaded"
    CODES_EMAILED = "codes_emailed"
    CODES_INVALIDATED = "codes_invalidated"
    CODES_DELETED = "codes_deleted"
    CODES_REQUIRED = "codes_required"
    CODES_EXPIRING = "codes_expiring"
    FACTOR_ADDED = "factor_added"
    FACTOR_REMOVED = "factor_removed"
    SESSION_MOVED = "session_moved"
    API_KEY_CREATED = "api_key_created"
    API_KEY_REVOKED = "api_key_revoked"
    EMERGENCY_LOST = "emergency_lost"
    FEW_LEFT = "few_left"
    STILL_THERE = "still_there"


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


def address_of(user: AbstractBaseUser) -> str:
    """The one plain address in this user row; "" when there is none, or more than one (R-82)."""
    return _plain(email_of(user))


def delivery_address(user: AbstractBaseUser) -> str:
    """The address that codes may be sent to; "" when none is known to be the owner's (R-81)."""
    return _plain(accounts.of_site().delivery_address(user))


def _plain(address: str) -> str:
    address = address.strip()
    is_plain = canonical_email(address) and PLAIN_ADDRESS.fullmatch(address)
    return address if is_plain else ""


def send(notice: Notice, row: RecoveryCodeAudit, **details: Any) -> bool:
    """Send the notice about an audit row to its owner's own address. False without an address.

    `details` are said, and not recorded. Carries no code and no link, so it is worth nothing to
    whoever else reads it. Raises what the mail backend raises.
    """
    user = row.user
    address = address_of(user) if user else ""
    if user is None or not address:
        return False
    accounts.of_site().send_notice(str(notice), address, _about_event(user, row) | details)
    if conf.EMAIL_SENDER_LOGGING:
        logger.info("notice %s sent user=%s audit=%s", notice, row.user_id, row.pk or "-")
    return True


@sensitive_variables()
def send_codes(user: AbstractBaseUser, sheet: CodeSheet) -> None:
    """Send the codes to the user's own address (R-81).

    Raises `NoAddress` without one, and what the mail backend raises.
    """
    address = delivery_address(user)
    if not address:
        raise NoAddress
    accounts.send_message("codes", address, _about_codes(sheet))
    if conf.EMAIL_SENDER_LOGGING:
        logger.info("codes sent user=%s", user.pk)


@sensitive_variables()
def send_emergency_code(user: AbstractBaseUser, sheet: CodeSheet) -> None:
    """Send the one code that support asked for to the user's own address.

    Raises `NoAddress` without one, and what the mail backend raises.
    """
    address = delivery_address(user)
    if not address:
        raise NoAddress
    needs_password = conf.LOGIN_MODE == "second_factor"
    context = {**_about_codes(sheet), "needs_password": needs_password}
    accounts.send_message("emergency", address, context)
    if conf.EMAIL_SENDER_LOGGING:
        logger.info("emergency code sent user=%s", user.pk)


def send_report(record: RecoveryCodePurgeHistory, next_run: datetime | None) -> bool:
    """Send the record of a run to the site's administrator. False without ADMIN_EMAIL.

    Counts only (R-112). Raises what the mail backend raises.
    """
    if not conf.ADMIN_EMAIL:
        return False
    context = _about_run(record, next_run)
    accounts.send_message("report", conf.ADMIN_EMAIL, context, conf.ADMIN_EMAIL_HOST_USER)
    if conf.EMAIL_SENDER_LOGGING:
        logger.info("report sent run=%s", record.pk)
    return True


def send_alert(row: RecoveryCodeAudit, **details: Any) -> bool:
    """Tell the site's administrator of an audit row, and these details of others of its kind.

    Primary keys and a network only. False without ADMIN_EMAIL. Raises what the mail backend raises.
    """
    if not conf.ADMIN_EMAIL:
        return False
    with override(settings.LANGUAGE_CODE):  # not in the language of whoever was refused
        context = _about_alert(row) | details
        accounts.send_message("alert", conf.ADMIN_EMAIL, context, conf.ADMIN_EMAIL_HOST_USER)
    if conf.EMAIL_SENDER_LOGGING:
        logger.info("alert %s sent audit=%s", row.event, row.pk)
    return True


def _about_event(user: AbstractBaseUser, row: RecoveryCodeAudit) -> dict[str, Any]:
    return {
        "site_name": _one_line(site_name()),
        "account": email_of(user),
        "at": row.at,
        "at_utc": row.at.astimezone(UTC),
        # Where support sits is no business of the owner.
        "network": "" if row.is_by_another else masked_network(row.address or ""),
        "is_by_support": row.is_by_another,
        "codes_left": RecoveryCode.objects.usable().of_user(user).count(),
        "low": conf.LOW_CODES_WARNING,
        "is_all": row.event == Event.BATCH_DELETED,
        **row.data,
    }


def _about_run(record: RecoveryCodePurgeHistory, next_run: datetime | None) -> dict[str, Any]:
    return {
        "site_name": _one_line(site_name()),
        "greeted": _one_line(conf.ADMIN_USERNAME),
        "policy": _one_line(record.policy_name),
        "run": record,
        "next_run": next_run,
    }


def _about_alert(row: RecoveryCodeAudit) -> dict[str, Any]:
    return {
        "site_name": _one_line(site_name()),
        "event": row.get_event_display(),
        "event_name": row.event,
        "at_utc": row.at.astimezone(UTC),
        "user": row.user_id,
        "actor": row.actor_id,
        "network": masked_network(row.address or ""),
        "row": row.pk,
    }


@sensitive_variables()
def _about_codes(sheet: CodeSheet) -> dict[str, Any]:
    return {
        "site_name": _one_line(sheet.site_name),
        "account": _one_line(sheet.account),
        "issued_at": sheet.issued_at,
        "expires_at": sheet.expires_at,
        "codes": sheet.codes,
    }


def _one_line(text: str) -> str:
    # A line break in a name could forge a line of the message, or a header.
    return " ".join(printable(text, MAX_NAME_LENGTH).split())
