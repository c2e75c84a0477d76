"""Batches of recovery codes and their rows. Cooldown and audit rows live beside their rules."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import connection, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from recovery_backend import audit, codes, cooldown, signals
from recovery_backend.addresses import is_same_email
from recovery_backend.audit import Event, Reason, RecoveryCodeAudit
from recovery_backend.conf import conf
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.keys import write_key
from recovery_backend.schedules import (
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
)
from recovery_backend.transactions import in_transaction

if TYPE_CHECKING:
    from django.contrib.auth.models import User

__all__ = [
    "RecoveryCode",
    "RecoveryCodeAudit",
    "RecoveryCodeAuditScheduler",
    "RecoveryCodeBatch",
    "RecoveryCodeCleanUpScheduler",
    "RecoveryCodeCooldown",
    "RecoveryCodeEmailLog",
    "RecoveryCodePurgeHistory",
    "RecoveryCodeSetup",
]

MAX_DAYS_TO_EXPIRE = 3650


class PartialIndex(models.Index):
    """An index with a condition, or without it where the database has no partial indexes."""

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        if schema_editor.connection.features.supports_partial_indexes:
            return super().create_sql(model, schema_editor, using, **kwargs)
        plain = models.Index(fields=self.fields, name=self.name)
        return plain.create_sql(model, schema_editor, using, **kwargs)


class RecoveryCodeBatch(models.Model):
    """The codes that a user got at one time. A user has at most one active batch."""

    class Status(models.TextChoices):
        ACTIVE = "active", _("active")
        SUPERSEDED = "superseded", _("replaced by a newer batch")
        INVALIDATED = "invalidated", _("invalidated")
        DELETED = "deleted", _("deleted")

    public_id = models.UUIDField(_("batch id"), default=uuid.uuid4, unique=True, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="recovery_code_batches",
    )
    status = models.CharField(
        _("status"), max_length=12, choices=Status.choices, default=Status.ACTIVE
    )
    issued_at = models.DateTimeField(_("issued"), default=timezone.now)
    modified_at = models.DateTimeField(_("modified"), auto_now=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True)
    number_issued = models.PositiveSmallIntegerField(_("codes issued"))
    has_viewed = models.BooleanField(_("has viewed"), default=False)
    has_downloaded = models.BooleanField(_("has downloaded"), default=False)
    has_emailed = models.BooleanField(_("has e-mailed"), default=False)

    class Meta:
        verbose_name = _("batch of recovery codes")
        verbose_name_plural = _("batches of recovery codes")
        constraints = [
            models.UniqueConstraint(
                fields=["user"],
                condition=Q(status="active"),
                name="recovery_batch_one_active",
            )
        ]
        indexes = [models.Index(fields=["user", "-issued_at"], name="recovery_batch_user_issued")]

    def __str__(self) -> str:
        return str(self.public_id)

    @classmethod
    @sensitive_variables()
    def create_recovery_batch(
        cls,
        user: AbstractBaseUser,
        days_to_expire: int | None = None,
        number_of_codes: int | None = None,
    ) -> tuple[list[str], RecoveryCodeBatch]:
        """New codes in display form, and their saved batch; the user's old codes end (R-44).

        The codes exist in the returned list only. `days_to_expire=None` means that they do not
        expire; `number_of_codes=None` means NUMBER_OF_CODES. Raises `ValueError` for a number out
        of bounds (R-06), `ImproperlyConfigured` without a usable key, and for a user who is not in
        the database the user model's `DoesNotExist`, or `IntegrityError` on SQLite.
        """
        days = _bounded("days_to_expire", days_to_expire, MAX_DAYS_TO_EXPIRE)
        count = _bounded("number_of_codes", number_of_codes, 100) or conf.NUMBER_OF_CODES
        return in_transaction(lambda: cls._create(user, days, count))

    @classmethod
    @sensitive_variables()
    def _create(
        cls, user: AbstractBaseUser, days: int | None, count: int
    ) -> tuple[list[str], RecoveryCodeBatch]:
        _lock(user)
        now = timezone.now()
        replaced = cls._retire_active(user, now)
        batch = cls.objects.create(
            user=user,
            issued_at=now,
            expires_at=now + timedelta(days=days) if days else None,
            number_issued=count,
        )
        plain_codes, rows = [], []
        for _number in range(count):  # a generator's variables would show in an error report
            plain_codes.append(codes.generate())
            rows.append(RecoveryCode.made_from(plain_codes[-1], batch))
        RecoveryCode.objects.bulk_create(rows)
        events = _generated_events(batch, user, replaced)
        if cooldown.open_account(email_of(user)):
            events.append(audit.entry(Event.COOLDOWN_CLEARED, user=user, email=email_of(user)))
        audit.record(*events)
        transaction.on_commit(
            lambda: signals.codes_generated.send_robust(cls, user=user, batch=batch), robust=True
        )
        return plain_codes, batch

    @classmethod
    def _retire_active(cls, user: AbstractBaseUser, now: datetime) -> int:
        retired = cls.objects.filter(user=user, status=cls.Status.ACTIVE).update(
            status=cls.Status.SUPERSEDED, retired_at=now, modified_at=now
        )
        if retired:
            RecoveryCode.objects.filter(
                batch__in=cls.objects.filter(user=user).values("pk"),
                status=RecoveryCode.Status.ACTIVE,
            ).update(status=RecoveryCode.Status.INVALIDATED, retired_at=now)
        return retired

    def codes_left(self) -> int:
        """How many codes of this batch can still be used."""
        return RecoveryCode.objects.usable().filter(batch=self).count()


class RecoveryCodeQuerySet(models.QuerySet["RecoveryCode"]):
    def usable(self) -> RecoveryCodeQuerySet:
        """Codes that could be spent now, by what stands on their own rows."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()),
            status=RecoveryCode.Status.ACTIVE,
        )

    def of_user(self, user: AbstractBaseUser) -> RecoveryCodeQuerySet:
        """All codes of a user, whatever their state."""
        return self.filter(user_id=user.pk)

    def presented(self, code: codes.PresentedCode) -> RecoveryCode | None:
        """The row of a presented code with its owner, whatever its state. One query."""
        found = self.filter(digest__in=code.digests()).select_related("user")
        return next(iter(found), None)


class RecoveryCode(models.Model):
    """One code, as digests. Nothing may point to this table: rows are purged without cascades."""

    class Status(models.TextChoices):
        ACTIVE = "active", _("active")
        USED = "used", _("used")
        INVALIDATED = "invalidated", _("invalidated")
        DELETED = "deleted", _("deleted")

    batch = models.ForeignKey(
        RecoveryCodeBatch,
        verbose_name=_("batch"),
        on_delete=models.CASCADE,
        related_name="codes",
    )
    # The batch's owner once more: one join less in each sign-in, and sealed by `bind`.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="+",
    )
    digest = models.UUIDField(unique=True, editable=False)
    bind = models.BinaryField(max_length=32, editable=False)
    key_id = models.CharField(max_length=12, editable=False)
    status = models.CharField(
        _("status"), max_length=12, choices=Status.choices, default=Status.ACTIVE
    )
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    retired_at = models.DateTimeField(_("retired"), null=True, blank=True)

    objects = RecoveryCodeQuerySet.as_manager()

    class Meta:
        verbose_name = _("recovery code")
        verbose_name_plural = _("recovery codes")
        indexes = [
            PartialIndex(
                fields=["retired_at", "id"],
                condition=Q(retired_at__isnull=False),
                name="recovery_code_retired",
            ),
            PartialIndex(
                fields=["status", "expires_at"],
                condition=Q(status="active", expires_at__isnull=False),
                name="recovery_code_expiring",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    @classmethod
    @sensitive_variables()
    def made_from(cls, code: str, batch: RecoveryCodeBatch) -> RecoveryCode:
        """The row of a new code, not yet saved."""
        key = write_key()
        digest, bind = codes.stored_form(code, key, user_id=batch.user_id, batch_id=batch.pk)
        return cls(
            batch=batch,
            user_id=batch.user_id,
            digest=digest,
            bind=bind,
            key_id=key.id,
            expires_at=batch.expires_at,
        )

    def spend(self) -> bool:
        """Use the code up. True for exactly one of any number of callers (R-21).

        One conditional UPDATE of one row: a filter across the batch would make it
        `id IN (SELECT ...)`, which PostgreSQL lets several transactions pass at once.
        """
        used = (
            RecoveryCode.objects.usable()
            .filter(pk=self.pk)
            .update(status=self.Status.USED, retired_at=timezone.now())
        )
        return used == 1

    def refusal(self, code: codes.PresentedCode, email: str) -> Reason | None:
        """Why this presented code must not sign its owner in; None when it may (R-22, R-23)."""
        owner = self.user
        if not code.is_bound_to(
            bytes(self.bind), key_id=self.key_id, user_id=owner.pk, batch_id=self.batch_id
        ):
            return Reason.TAMPER
        if not is_same_email(email, email_of(owner)):
            return Reason.MISMATCH
        if self.status == self.Status.USED:
            return Reason.USED
        if self.status != self.Status.ACTIVE:
            return Reason.REVOKED
        if self.expires_at is not None and self.expires_at <= timezone.now():
            return Reason.EXPIRED
        return None if getattr(owner, "is_active", True) else Reason.INACTIVE


class RecoveryCodeSetup(models.Model):
    """Whether a user has proven, once, that a printed code can be read back."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="recovery_code_setup",
    )
    verified_at = models.DateTimeField(_("verified"), null=True, blank=True)

    class Meta:
        verbose_name = _("set-up state")
        verbose_name_plural = _("set-up states")

    def __str__(self) -> str:
        return str(self.user_id)


class RecoveryCodeEmailLog(models.Model):
    """One e-mail of codes: to whom, and whether it left. Never the codes."""

    class State(models.TextChoices):
        QUEUED = "queued", _("queued")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="+",
    )
    batch = models.UUIDField(_("batch"))
    recipient = models.EmailField(_("recipient"))
    state = models.CharField(_("state"), max_length=10, choices=State.choices)
    queued_at = models.DateTimeField(_("queued"), default=timezone.now)
    sent_at = models.DateTimeField(_("sent"), null=True, blank=True)

    class Meta:
        verbose_name = _("e-mail of codes")
        verbose_name_plural = _("e-mails of codes")

    def __str__(self) -> str:
        return f"{self.state} {self.queued_at:%Y-%m-%d %H:%M}"


def email_of(user: AbstractBaseUser) -> str:
    """The user's e-mail address, whatever the user model calls it; "" when there is none."""
    return getattr(user, user.get_email_field_name(), "") or ""


def owners_of_email(email: str) -> Sequence[User]:
    """Active users with this address, at most ten. A scan: never on the way of every sign-in."""
    users = get_user_model()._default_manager.filter(
        **{f"{get_user_model().get_email_field_name()}__iexact": email}
    )
    return [
        user
        for user in users[:10]
        if getattr(user, "is_active", True) and is_same_email(email, email_of(user))
    ]


def _lock(user: AbstractBaseUser) -> None:
    # Two tabs must not leave two active batches. SQLite has one writer anyway, and reading first
    # would only make its transaction fail.
    if connection.features.has_select_for_update:
        get_user_model()._base_manager.select_for_update().values("pk").get(pk=user.pk)


def _generated_events(
    batch: RecoveryCodeBatch, user: AbstractBaseUser, replaced: int
) -> list[RecoveryCodeAudit]:
    event = Event.BATCH_REGENERATED if replaced else Event.BATCH_GENERATED
    rows = [
        audit.entry(
            event,
            user=user,
            email=email_of(user),
            batch=batch.pk,
            data={"number_of_codes": batch.number_issued},
        )
    ]
    if replaced:
        rows.append(audit.entry(Event.BATCH_SUPERSEDED, user=user, email=email_of(user)))
    return rows


def _bounded(name: str, value: int | None, maximum: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= maximum:
        raise ValueError(f"{name} must be None or a whole number from 1 to {maximum}.")
    return value
