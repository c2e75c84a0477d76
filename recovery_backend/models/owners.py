"""What is kept of the owners of codes, and how they are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import models, transaction
from django.db.models import Q, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recovery_backend import audit
from recovery_backend.addresses import email_of, is_same_email
from recovery_backend.models.batches import RecoveryCodeBatch

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class RecoveryCodeSetup(models.Model):
    """Whether a user has proven that a printed code can be read back, and has to get new ones."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="recovery_code_setup",
    )
    verified_at = models.DateTimeField(_("verified"), null=True, blank=True)
    new_batch_required_at = models.DateTimeField(
        _("new codes required"),
        null=True,
        blank=True,
        help_text=_("When an administrator last asked this user to generate new codes."),
    )

    codes_offered_at = models.DateTimeField(
        _("codes offered"),
        null=True,
        blank=True,
        help_text=_("When this user was last led to generate codes, after adding a factor."),
    )
    factor_due_at = models.DateTimeField(
        _("second factor due"),
        null=True,
        blank=True,
        help_text=_("When a restricted session removed a second factor; none was added since."),
    )

    class Meta:
        verbose_name = _("set-up state")
        verbose_name_plural = _("set-up states")

    def __str__(self) -> str:
        return str(self.user_id)

    @classmethod
    def require_new_batch(cls, user: AbstractBaseUser) -> bool:
        """Have the user asked for new codes from now on. True for one of any number of callers.

        A batch that is issued later is the answer, so nothing has to be written then.
        """
        cls.objects.get_or_create(user_id=user.pk)
        batches = RecoveryCodeBatch.objects.filter(user_id=user.pk, status="active")
        is_answered = Q(new_batch_required_at__lt=Subquery(batches.values("issued_at")[:1]))
        rows = cls.objects.filter(
            is_answered | Q(new_batch_required_at__isnull=True), user_id=user.pk
        )
        return rows.update(new_batch_required_at=timezone.now()) == 1

    @classmethod
    def claim_offer(cls, user: AbstractBaseUser) -> bool:
        """Say that codes were offered. True for one of any number of callers, once in all."""
        cls.objects.get_or_create(user_id=user.pk)
        offered = cls.objects.filter(user_id=user.pk, codes_offered_at__isnull=True)
        return offered.update(codes_offered_at=timezone.now()) == 1

    @classmethod
    def is_factor_due(cls, user: AbstractBaseUser) -> bool:
        """Whether sign-ins by code are to be restricted, although the user has no factor."""
        return cls.objects.filter(user_id=user.pk, factor_due_at__isnull=False).exists()

    @classmethod
    def require_factor(cls, user_id: Any) -> None:
        """Have sign-ins by code restricted until this user adds a second factor."""
        cls.objects.get_or_create(user_id=user_id)
        rows = cls.objects.filter(user_id=user_id, factor_due_at__isnull=True)
        rows.update(factor_due_at=timezone.now())

    @classmethod
    def release_factor(cls, user_id: Any) -> None:
        """Ask this user for a second factor no more."""
        rows = cls.objects.filter(user_id=user_id, factor_due_at__isnull=False)
        rows.update(factor_due_at=None)


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
        indexes = [
            models.Index(fields=["queued_at"], name="recovery_email_queued"),
            models.Index(fields=["state", "queued_at"], name="recovery_email_state"),
            models.Index(fields=["batch"], name="recovery_email_batch"),
        ]

    def __str__(self) -> str:
        return f"{self.state} {self.queued_at:%Y-%m-%d %H:%M}"

    @classmethod
    def queue(cls, batch: RecoveryCodeBatch, recipient: str) -> None:
        """Say that the codes of a batch are on their way to an address."""
        cls.objects.create(
            user_id=batch.user_id,
            batch=batch.public_id,
            recipient=recipient,
            state=cls.State.QUEUED,
        )

    @classmethod
    def close(cls, batch: RecoveryCodeBatch, has_left: bool) -> None:
        """Say how the queued e-mail of a batch ended, where there is a row of it."""
        cls.objects.filter(batch=batch.public_id, state=cls.State.QUEUED).update(
            state=cls.State.SENT if has_left else cls.State.FAILED,
            sent_at=timezone.now() if has_left else None,
        )


def owners_of_email(email: str) -> Sequence[User]:
    """Active users with this address, of at most ten. A scan: not on the way of every sign-in.

    None for a user model whose address no query can find: encrypted, or a property.
    """
    return [user for user in users_of_email(email) if getattr(user, "is_active", True)]


def users_of_email(email: str) -> Sequence[User]:
    """As `owners_of_email`, with those who are not active."""
    try:
        with transaction.atomic():
            return _users_of_email(email)
    except Exception as error:  # fields raise what they like; a try stays charged all the same
        # Its type only: a database names values in its messages.
        audit.logger.error("owners not looked up: %s", type(error).__name__)
        return []


def _users_of_email(email: str) -> list[User]:
    users = get_user_model()._default_manager.filter(
        **{f"{get_user_model().get_email_field_name()}__iexact": email}
    )
    return [user for user in users[:10] if is_same_email(email, email_of(user))]
