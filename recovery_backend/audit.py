"""What happened, for good: the catalogue of events and the one recorder (R-115 to R-119)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recovery_backend.addresses import canonical_email
from recovery_backend.clients import NOBODY, Client
from recovery_backend.keys import write_key
from recovery_backend.signals import audit_recorded
from recovery_backend.transactions import in_transaction

logger = logging.getLogger("recovery_backend")


class Event(models.TextChoices):
    """Every event that is recorded. Names are stable; see docs/audit.md."""

    LOGIN_SUCCESS = "recovery.login.success", _("signed in with a code")
    LOGIN_SUCCESS_AFTER_FAIL = (
        "recovery.login.success_after_fail",
        _("signed in with a code after failures"),
    )
    LOGIN_FAIL = "recovery.login.fail", _("code refused")
    LOGIN_OWNER_MISMATCH = "recovery.login.owner_mismatch", _("code of another account")
    LOGIN_THROTTLED = "recovery.login.throttled", _("refused while waiting")
    LOGIN_SUSPENDED = "recovery.login.suspended", _("closed after too many failures")
    LOGIN_ALERTED = "recovery.login.alerted", _("owner told of failures")
    COOLDOWN_CLEARED = "recovery.cooldown.cleared", _("cooldown cleared")
    CODE_REPLAY = "recovery.code.replay", _("used code presented again")
    CODE_INVALIDATED = "recovery.code.invalidated", _("code invalidated")
    ROW_TAMPER = "recovery.row.tamper", _("code row does not belong to its owner")
    BATCH_GENERATED = "recovery.batch.generated", _("codes generated")
    BATCH_REGENERATED = "recovery.batch.regenerated", _("codes generated anew")
    BATCH_SUPERSEDED = "recovery.batch.superseded", _("codes replaced")
    BATCH_VIEWED = "recovery.batch.viewed", _("codes shown")
    BATCH_DOWNLOADED = "recovery.batch.downloaded", _("codes downloaded")
    BATCH_EMAIL_QUEUED = "recovery.batch.email_queued", _("e-mail of codes asked for")
    BATCH_EMAILED = "recovery.batch.emailed", _("codes e-mailed")
    BATCH_EMAIL_FAILED = "recovery.batch.email_failed", _("e-mail of codes failed")
    BATCH_VERIFIED = "recovery.batch.verified", _("set-up test passed")
    BATCH_VERIFY_FAIL = "recovery.batch.verify_fail", _("set-up test failed")
    BATCH_DELETED = "recovery.batch.deleted", _("all codes deleted")
    CODE_DELETED = "recovery.code.deleted", _("code deleted")
    STASH_WIPED = "recovery.stash.wiped", _("plaintext forgotten")
    STASH_EXPIRED = "recovery.stash.expired", _("plaintext expired")
    STASH_DECRYPT_FAIL = "recovery.stash.decrypt_fail", _("plaintext not readable")
    ACTION_THROTTLED = "recovery.action.throttled", _("change refused while waiting")
    REAUTH_FAIL = "recovery.reauth.fail", _("sign-in too long ago")
    AUTHZ_DENIED = "recovery.authz.denied", _("tried without permission")
    BATCH_REQUIRED = "recovery.batch.required", _("new codes required")
    BATCH_EMERGENCY = "recovery.batch.emergency", _("emergency code sent")
    BATCH_ADOPTED = "recovery.batch.adopted", _("codes of another package adopted")
    MFA_FALLBACK_USED = "recovery.mfa.fallback_used", _("code used as second factor")
    MFA_FALLBACK_FAIL = "recovery.mfa.fallback_fail", _("code refused as second factor")
    MFA_FACTOR_ADDED = "recovery.mfa.factor_added", _("second factor added")
    MFA_FACTOR_REMOVED = "recovery.mfa.factor_removed", _("second factor removed")
    SESSION_RESTRICTED = "recovery.session.restricted", _("session restricted")
    SESSION_LIFTED = "recovery.session.lifted", _("restriction of a session lifted")
    SESSION_EXPIRED = "recovery.session.expired", _("restricted session expired")
    SESSION_MOVED = "recovery.session.moved", _("session seen from another client")
    CODE_REMINDER = "recovery.code.reminder", _("owner reminded")
    CODE_EXPIRED = "recovery.code.expired", _("codes expired")
    CSRF_FAIL = "recovery.csrf.fail", _("request without a valid token")
    API_KEY_CREATED = "recovery.api_key.created", _("API key made")
    API_KEY_USED = "recovery.api_key.used", _("API key used")
    API_KEY_REVOKED = "recovery.api_key.revoked", _("API key revoked")
    API_KEY_REFUSED = "recovery.api_key.refused", _("API key refused")
    KEY_RETIRED = "recovery.key.retired", _("key retired")
    KEY_ROTATED = "recovery.key.rotated", _("new key in use")
    KEY_UNKNOWN = "recovery.key.unknown_kid", _("codes of an unknown key")
    SCHEDULER_CREATED = "recovery.scheduler.created", _("schedule created")
    SCHEDULER_CHANGED = "recovery.scheduler.changed", _("schedule changed")
    SCHEDULER_DELETED = "recovery.scheduler.deleted", _("schedule deleted")
    SCHEDULER_RUN = "recovery.scheduler.run", _("scheduled run")
    SCHEDULER_FAILED = "recovery.scheduler.failed", _("scheduled run failed")
    PURGE_DONE = "recovery.purge.done", _("codes purged")
    AUDIT_PURGED = "recovery.audit.purged", _("audit events purged")
    IMPORT_DONE = "recovery.import.done", _("codes of another package moved in")
    SETTINGS_INSECURE = "recovery.settings.insecure", _("settings with a warning")


class Reason(models.TextChoices):
    """Why a code was refused. Recorded, never shown to the person who tried (R-26)."""

    UNKNOWN = "unknown", _("no such code")
    MALFORMED = "malformed", _("not a code")
    MISMATCH = "mismatch", _("another account's code")
    USED = "used", _("used before")
    EXPIRED = "expired", _("expired")
    REVOKED = "revoked", _("taken out of service")
    INACTIVE = "inactive", _("account not active")
    POLICY = "policy", _("not allowed by the site")
    PASSWORD = "password", _("wrong password")
    TAMPER = "tamper", _("row altered")
    COOLDOWN = "cooldown", _("waiting time")
    CLOSED = "closed", _("closed after too many failures")
    CLIENT_RATE = "client_rate", _("too many requests")
    STALE = "stale", _("too long ago")
    FOREIGN = "foreign", _("not the user's own")
    DELIVERY = "delivery", _("not delivered")
    CSRF = "csrf", _("no valid token")
    UNPROVEN = "unproven", _("second factor not proven")
    UNVERIFIED = "unverified", _("address not verified")
    BROWSER = "browser", _("another browser")
    NETWORK = "network", _("another network")
    ERROR = "error", _("error")


class Outcome(models.TextChoices):
    DONE = "done", _("done")
    REFUSED = "refused", _("refused")


LEVELS = {
    Event.LOGIN_SUCCESS_AFTER_FAIL: logging.WARNING,
    Event.LOGIN_FAIL: logging.WARNING,
    Event.LOGIN_OWNER_MISMATCH: logging.ERROR,
    Event.LOGIN_THROTTLED: logging.WARNING,
    Event.LOGIN_SUSPENDED: logging.ERROR,
    Event.LOGIN_ALERTED: logging.WARNING,
    Event.CODE_REPLAY: logging.WARNING,
    Event.BATCH_EMAIL_FAILED: logging.WARNING,
    Event.BATCH_VERIFY_FAIL: logging.WARNING,
    Event.STASH_DECRYPT_FAIL: logging.WARNING,
    Event.ACTION_THROTTLED: logging.WARNING,
    Event.REAUTH_FAIL: logging.WARNING,
    Event.AUTHZ_DENIED: logging.WARNING,
    Event.ROW_TAMPER: logging.CRITICAL,
    Event.BATCH_EMERGENCY: logging.WARNING,
    Event.MFA_FALLBACK_FAIL: logging.WARNING,
    Event.MFA_FACTOR_REMOVED: logging.WARNING,
    Event.SESSION_MOVED: logging.WARNING,
    Event.CSRF_FAIL: logging.WARNING,
    Event.API_KEY_REFUSED: logging.WARNING,
    Event.KEY_RETIRED: logging.WARNING,
    Event.KEY_ROTATED: logging.WARNING,
    Event.KEY_UNKNOWN: logging.WARNING,
    Event.SCHEDULER_FAILED: logging.WARNING,
    Event.AUDIT_PURGED: logging.WARNING,
    Event.SETTINGS_INSECURE: logging.WARNING,
}

# Names of the OWASP Logging Vocabulary Cheat Sheet, the nearest where it has none of its own
# (it has none for CSRF), so that a SIEM reads ours beside those of other applications.
OWASP = {
    Event.LOGIN_SUCCESS: "authn_login_success",
    Event.LOGIN_SUCCESS_AFTER_FAIL: "authn_login_successafterfail",
    Event.LOGIN_FAIL: "authn_login_fail",
    Event.LOGIN_OWNER_MISMATCH: "authn_login_fail",
    Event.LOGIN_THROTTLED: "excess_rate_limit_exceeded",
    Event.LOGIN_SUSPENDED: "authn_login_lock",
    Event.LOGIN_ALERTED: "authn_login_fail_max",
    Event.COOLDOWN_CLEARED: "authz_admin",
    Event.CODE_REPLAY: "authn_token_reuse",
    Event.CODE_INVALIDATED: "authn_token_revoked",
    Event.ROW_TAMPER: "sensitive_update",
    Event.BATCH_GENERATED: "authn_token_created",
    Event.BATCH_REGENERATED: "authn_token_created",
    Event.BATCH_SUPERSEDED: "authn_token_revoked",
    Event.BATCH_VIEWED: "sensitive_read",
    Event.BATCH_DOWNLOADED: "sensitive_read",
    Event.BATCH_EMAIL_QUEUED: "sensitive_read",
    Event.BATCH_EMAILED: "sensitive_read",
    Event.BATCH_EMAIL_FAILED: "sensitive_read",
    Event.BATCH_VERIFIED: "authn_login_success",
    Event.BATCH_VERIFY_FAIL: "authn_login_fail",
    Event.BATCH_DELETED: "authn_token_delete",
    Event.CODE_DELETED: "authn_token_delete",
    Event.STASH_WIPED: "sensitive_delete",
    Event.STASH_EXPIRED: "sensitive_delete",
    Event.STASH_DECRYPT_FAIL: "crypt_decrypt_fail",
    Event.ACTION_THROTTLED: "excess_rate_limit_exceeded",
    Event.REAUTH_FAIL: "authz_fail",
    Event.AUTHZ_DENIED: "malicious_direct_reference",
    Event.BATCH_REQUIRED: "authz_admin",
    Event.BATCH_EMERGENCY: "authz_admin",
    Event.BATCH_ADOPTED: "authn_token_created",
    Event.MFA_FALLBACK_USED: "authn_login_success",
    Event.MFA_FALLBACK_FAIL: "authn_login_fail",
    Event.MFA_FACTOR_ADDED: "authn_token_created",
    Event.MFA_FACTOR_REMOVED: "authn_token_delete",
    Event.SESSION_RESTRICTED: "session_created",
    Event.SESSION_LIFTED: "session_renewed",
    Event.SESSION_EXPIRED: "session_expired",
    Event.SESSION_MOVED: "authn_impossible_travel",
    Event.CODE_REMINDER: "session_renewed",
    Event.CODE_EXPIRED: "authn_token_revoked",
    Event.CSRF_FAIL: "malicious_cors",
    Event.API_KEY_CREATED: "authn_token_created",
    Event.API_KEY_USED: "authn_login_success",
    Event.API_KEY_REVOKED: "authn_token_revoked",
    Event.API_KEY_REFUSED: "authn_login_fail",
    Event.KEY_RETIRED: "authn_token_revoked",
    Event.KEY_ROTATED: "sensitive_update",
    Event.KEY_UNKNOWN: "crypt_decrypt_fail",
    Event.SCHEDULER_CREATED: "authz_admin",
    Event.SCHEDULER_CHANGED: "authz_admin",
    Event.SCHEDULER_DELETED: "authz_admin",
    Event.SCHEDULER_RUN: "authz_admin",
    Event.SCHEDULER_FAILED: "sys_crash",
    Event.PURGE_DONE: "sensitive_delete",
    Event.AUDIT_PURGED: "sensitive_delete",
    Event.IMPORT_DONE: "authn_token_created",
    Event.SETTINGS_INSECURE: "sys_monitor_disabled",
}


class AppendOnlyQuerySet(models.QuerySet["RecoveryCodeAudit"]):
    """Rows that may be added and read, and nothing else."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit rows are never changed (R-117).")

    def delete(self) -> NoReturn:
        raise TypeError("Audit rows are removed by the retention purge only (R-117).")

    def bulk_create(
        self,
        objs: Iterable[RecoveryCodeAudit],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[RecoveryCodeAudit]:
        # By Django's names, so that none of them slips through by its place.
        if update_conflicts or update_fields or unique_fields:
            raise TypeError("Audit rows are never changed (R-117).")
        return super().bulk_create(objs, batch_size, ignore_conflicts)


class RecoveryCodeAudit(models.Model):
    """One event. Rows are added and never changed; they hold no code, digest or key."""

    at = models.DateTimeField(_("time"), default=timezone.now)
    event = models.CharField(_("event"), max_length=40, choices=Event.choices)
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome.choices)
    reason = models.CharField(_("reason"), max_length=20, choices=Reason.choices, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("owner"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("done by"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    account = models.CharField(
        _("account"),
        max_length=64,
        blank=True,
        help_text=_("HMAC of the e-mail address that was typed."),
    )
    batch = models.BigIntegerField(_("batch row"), null=True, blank=True)
    code = models.BigIntegerField(_("code row"), null=True, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    user_agent = models.CharField(_("browser"), max_length=256, blank=True)
    request_id = models.CharField(_("request id"), max_length=64, blank=True)
    path = models.CharField(_("path"), max_length=128, blank=True)
    data = models.JSONField(_("details"), default=dict, blank=True)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes = [
            models.Index(fields=["at"], name="recovery_audit_at"),
            models.Index(fields=["event", "at"], name="recovery_audit_event_at"),
            models.Index(fields=["outcome", "at"], name="recovery_audit_outcome_at"),
            # Refusals, the bulk of the rows, mostly name nobody.
            models.Index(
                fields=["user", "at"],
                condition=models.Q(user__isnull=False),
                name="recovery_audit_user_at",
            ),
            # For deleting users; refusals, the bulk of the rows, have no actor.
            models.Index(
                fields=["actor"],
                condition=models.Q(actor__isnull=False),
                name="recovery_audit_actor",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.reason}".strip()

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise TypeError("Audit rows are never changed (R-117).")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Audit rows are removed by the retention purge only (R-117).")

    @property
    def is_by_another(self) -> bool:
        """Whether somebody else did this to the owner's account: support, an administrator."""
        return self.actor_id is not None and self.actor_id != self.user_id


def entry(
    event: Event,
    *,
    client: Client = NOBODY,
    email: object = None,
    reason: Reason | None = None,
    **fields: Any,
) -> RecoveryCodeAudit:
    """An audit row, not yet saved. A row with a reason is a refusal."""
    return RecoveryCodeAudit(
        event=event,
        outcome=Outcome.REFUSED if reason else Outcome.DONE,
        reason=reason or "",
        account="" if email is None else account_of(email),
        address=client.address or None,
        user_agent=client.user_agent,
        request_id=client.request_id,
        path=client.path,
        **fields,
    )


def account_of(email: object) -> str:
    """How an address is named in the audit: the same for all its spellings, readable for none."""
    return write_key().mac("audit", canonical_email(email)).hex()


def record(*rows: RecoveryCodeAudit) -> None:
    """Write the rows in the caller's transaction; log and signal each of them once it commits."""
    if len(rows) == 1:
        rows[0].save(force_insert=True)
    else:
        RecoveryCodeAudit.objects.bulk_create(rows)
    for row in rows:
        transaction.on_commit(partial(_log, row), robust=True)
        transaction.on_commit(partial(_send, row), robust=True)


def log_only(row: RecoveryCodeAudit) -> None:
    """One log line once the transaction commits, and no row: there are enough of its kind (R-122)."""
    transaction.on_commit(partial(_log, row), robust=True)


@contextmanager
def recorded(record: Callable[[], None]) -> Iterator[None]:
    """Record what the block did, also when it ends with an error, which stays the one raised."""
    try:
        yield
    except BaseException:
        try:
            in_transaction(record)
        except Exception as error:  # the database is gone, most likely
            logger.error("what was done is not recorded: %s", type(error).__name__)
        raise
    in_transaction(record)


def level_of(event: str) -> int:
    """The level at which an event is logged."""
    return LEVELS.get(Event(event), logging.INFO)


def _log(row: RecoveryCodeAudit) -> None:
    logger.log(
        level_of(row.event),
        "%s reason=%s user=%s batch=%s code=%s audit=%s",
        row.event,
        row.reason or "-",
        row.user_id or "-",
        row.batch or "-",
        row.code or "-",
        row.pk or "-",
        extra={"recovery_event": str(row.event), "recovery_reason": str(row.reason)},
    )


def _send(row: RecoveryCodeAudit) -> None:
    level, name = level_of(row.event), OWASP[Event(row.event)]
    audit_recorded.send_robust(RecoveryCodeAudit, audit=row, level=level, owasp=name)
