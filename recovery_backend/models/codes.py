"""One recovery code, as digests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from recovery_backend import codes
from recovery_backend.addresses import email_of, is_same_email
from recovery_backend.audit import Reason
from recovery_backend.keys import write_key
from recovery_backend.moments import is_over

if TYPE_CHECKING:
    from recovery_backend.models.batches import RecoveryCodeBatch
    from recovery_backend.models.imported import ImportedCode


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


class RecoveryCodeQuerySet(models.QuerySet["RecoveryCode"]):
    def usable(self) -> RecoveryCodeQuerySet:
        """Codes that could be spent now, by what stands on their own rows."""
        return self.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()),
            status=RecoveryCode.Status.ACTIVE,
        )

    def ended_before(self, moment: datetime) -> RecoveryCodeQuerySet:
        """Codes that were used, invalidated or deleted at that moment or before."""
        status = RecoveryCode.Status
        ended = [status.USED, status.INVALIDATED, status.DELETED]
        return self.filter(status__in=ended, retired_at__lte=moment)

    def expired_before(self, moment: datetime) -> RecoveryCodeQuerySet:
        """Codes that expired unused at that moment or before."""
        return self.filter(status=RecoveryCode.Status.ACTIVE, expires_at__lte=moment)

    def imported(self) -> RecoveryCodeQuerySet:
        """Codes that work while IMPORTED_KEY is what they were made under."""
        return self.filter(kind=RecoveryCode.Kind.IMPORTED)

    def of_user(self, user: AbstractBaseUser) -> RecoveryCodeQuerySet:
        """All codes of a user, whatever their state."""
        return self.filter(user_id=user.pk)

    def number_usable(self, after: int, last: int) -> dict[int, int]:
        """How many codes of each batch of a range can be used, by its primary key; none: absent."""
        usable = self.usable().filter(batch__gt=after, batch__lte=last)
        return dict(usable.values_list("batch").annotate(Count("pk")).order_by())

    def presented(self, code: codes.PresentedCode) -> RecoveryCode | None:
        """The row of a presented code with its owner, whatever its state. One query."""
        found = self.filter(digest__in=code.digests()).select_related("user")
        return next(iter(found), None)

    def presented_by(
        self, user: AbstractBaseUser, code: codes.PresentedCode
    ) -> RecoveryCode | None:
        """As `presented`, for a user whose first factor is proven: short codes of theirs too."""
        digests = [*code.digests(), *code.short_digests(user.pk)]
        return next(iter(self.filter(digest__in=digests).select_related("user")), None)


class RecoveryCode(models.Model):
    """One code, as digests. Nothing may point to this table: rows are purged without cascades."""

    class Status(models.TextChoices):
        ACTIVE = "active", _("active")
        USED = "used", _("used")
        INVALIDATED = "invalidated", _("invalidated")
        DELETED = "deleted", _("deleted")

    class Kind(models.TextChoices):
        OWN = "own", _("ours")
        # Of another package: too weak to be a sign-in by itself.
        SHORT = "short", _("second step only")
        # Of django-auth-recovery-codes: under the key that it had.
        IMPORTED = "imported", _("moved in")

    batch = models.ForeignKey(
        "recovery_backend.RecoveryCodeBatch",
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
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices, default=Kind.OWN)
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
        return cls._stored(codes.stored_form, code, batch, expires_at=batch.expires_at)

    @classmethod
    @sensitive_variables()
    def adopted_from(cls, code: str, batch: RecoveryCodeBatch, *, is_used: bool) -> RecoveryCode:
        """The row of a short code of another package, not yet saved; spent if it was.

        It never expires, as in the package that it comes from, whatever its batch does.
        """
        return cls._stored(
            codes.stored_short_form,
            code,
            batch,
            kind=cls.Kind.SHORT,
            status=cls.Status.USED if is_used else cls.Status.ACTIVE,
            retired_at=timezone.now() if is_used else None,
        )

    @classmethod
    @sensitive_variables()
    def imported_from(cls, code: ImportedCode, batch: RecoveryCodeBatch) -> RecoveryCode:
        """The row of a code that is known by its digest elsewhere, not yet saved."""
        return cls._stored(
            codes.stored_imported_form,
            code.digest,
            batch,
            kind=cls.Kind.IMPORTED,
            status=code.status,
            expires_at=code.expires_at,
            retired_at=code.retired_at,
        )

    @classmethod
    @sensitive_variables()
    def _stored(
        cls,
        form: Callable[..., tuple[UUID, bytes]],
        code: str,
        batch: RecoveryCodeBatch,
        **fields: Any,
    ) -> RecoveryCode:
        key = write_key()
        digest, bind = form(code, key, user_id=batch.user_id, batch_id=batch.pk)
        return cls(
            batch=batch, user_id=batch.user_id, digest=digest, bind=bind, key_id=key.id, **fields
        )

    @property
    def is_step_only(self) -> bool:
        """Whether it works after the first factor only."""
        return self.kind == self.Kind.SHORT

    @property
    def is_usable(self) -> bool:
        """Whether it could be spent now, by what stands on its own row."""
        return self.status == self.Status.ACTIVE and not is_over(self.expires_at)

    def retire(self, status: Status) -> bool:
        """Invalidate or delete the code, unless it was used. True for one caller (R-46)."""
        unused = [self.Status.ACTIVE]
        if status == self.Status.DELETED:
            unused.append(self.Status.INVALIDATED)
        retired = RecoveryCode.objects.filter(pk=self.pk, status__in=unused).update(
            status=status, retired_at=timezone.now()
        )
        return retired == 1

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

    def is_sealed(self, code: codes.PresentedCode) -> bool:
        """Whether this row was made for its owner and batch, with this code (R-17)."""
        return code.is_bound_to(
            bytes(self.bind),
            key_id=self.key_id,
            user_id=self.user_id,
            batch_id=self.batch_id,
            is_short=self.is_step_only,
        )

    def refusal(self, code: codes.PresentedCode, email: str) -> Reason | None:
        """Why this presented code must not sign its owner in; None when it may (R-22, R-23)."""
        if not self.is_sealed(code):
            return Reason.TAMPER
        if not is_same_email(email, email_of(self.user)):
            return Reason.MISMATCH
        return Reason.POLICY if self.is_step_only else self._state_refusal()

    def refusal_at_step(self, code: codes.PresentedCode, user: AbstractBaseUser) -> Reason | None:
        """Why it must not complete the sign-in of this user, whose first factor is proven."""
        if self.user_id != user.pk:
            return Reason.FOREIGN
        return self._state_refusal() if self.is_sealed(code) else Reason.TAMPER

    def _state_refusal(self) -> Reason | None:
        if self.status == self.Status.USED:
            return Reason.USED
        if self.status != self.Status.ACTIVE:
            return Reason.REVOKED
        if is_over(self.expires_at):
            return Reason.EXPIRED
        return None if getattr(self.user, "is_active", True) else Reason.INACTIVE
