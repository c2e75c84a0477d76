"""What is kept of the owners of codes, and how they are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recovery_backend import audit
from recovery_backend.addresses import email_of, is_same_email
from recovery_backend.models.batches import RecoveryCodeBatch

if TYPE_CHECKING:
    from django.contrib.auth.models import User


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

    @classmethod
    def close(cls, batch: RecoveryCodeBatch, has_left: bool) -> None:
        """Say how the queued e-mail of a batch ended, where there is a row of it."""
        cls.objects.filter(batch=batch.public_id, state=cls.State.QUEUED).update(
            state=cls.State.SENT if has_left else cls.State.FAILED,
            sent_at=timezone.now() if has_left else None,
        )


def owners_of_email(email: str) -> Sequence[User]:
    """Active users with this address, at most ten. A scan: never on the way of every sign-in.

    None for a user model whose address no query can find: encrypted, or a property.
    """
    try:
        with transaction.atomic():
            return _owners_of_email(email)
    except Exception as error:  # fields raise what they like; a try stays charged all the same
        # Its type only: a database names values in its messages.
        audit.logger.error("owners not looked up: %s", type(error).__name__)
        return []


def _owners_of_email(email: str) -> list[User]:
    users = get_user_model()._default_manager.filter(
        **{f"{get_user_model().get_email_field_name()}__iexact": email}
    )
    return [
        user
        for user in users[:10]
        if getattr(user, "is_active", True) and is_same_email(email, email_of(user))
    ]
