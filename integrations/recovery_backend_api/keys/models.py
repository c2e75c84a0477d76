"""API keys of users, as digests."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.apps import apps
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from recovery_backend.audit import Reason
from recovery_backend.keys import write_key
from recovery_backend.moments import is_over
from recovery_backend_api.keys.tokens import MAX_PREFIX_LENGTH, PresentedKey

MAX_NAME_LENGTH = 100
USE_NOTED_EVERY = timedelta(minutes=1)

# Django would take the table for one of the app around this folder, and never make it.
if not apps.is_installed("recovery_backend_api.keys"):
    raise ImproperlyConfigured(
        'API keys are in use, and "recovery_backend_api.keys" is not in INSTALLED_APPS. Add it, and '
        "run `manage.py migrate`."
    )


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self) -> ApiKeyQuerySet:
        """Keys that are neither revoked nor expired."""
        is_current = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
        return self.filter(is_current, revoked_at__isnull=True)

    def of_user(self, user: AbstractBaseUser) -> ApiKeyQuerySet:
        """All keys of a user, whatever their state."""
        return self.filter(user_id=user.pk)

    def ended_before(self, moment: datetime) -> ApiKeyQuerySet:
        """Keys that were revoked, or expired, at that moment or before."""
        return self.filter(Q(revoked_at__lte=moment) | Q(expires_at__lte=moment))

    def number_by_key_id(self) -> dict[str, int]:
        """How many usable keys were made with each key of the keyring."""
        rows = self.usable().values_list("key_id").annotate(number=Count("pk"))
        return dict(rows.order_by("key_id"))

    def presented(self, key: PresentedKey) -> ApiKey:
        """The row with the prefix of a presented key, and its owner, in one query.

        Where there is none, an unsaved row that no key matches, so that nothing is cheaper.
        """
        found = next(iter(self.filter(prefix=key.prefix).select_related("user")), None)
        return found or ApiKey(key_id=write_key().id, digest=bytes(32))


class ApiKey(models.Model):
    """A key with which programs speak for its owner. Of the secret it keeps a digest."""

    class State(models.TextChoices):
        ACTIVE = "active", _("active")
        EXPIRED = "expired", _("expired")
        REVOKED = "revoked", _("revoked")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="+",
    )
    name = models.CharField(_("name"), max_length=MAX_NAME_LENGTH)
    prefix = models.CharField(_("prefix"), max_length=MAX_PREFIX_LENGTH, editable=False)
    digest = models.BinaryField(max_length=32, editable=False)
    key_id = models.CharField(max_length=12, editable=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        # Not unique=True: PostgreSQL would get a second index, for LIKE, that nobody needs.
        constraints = [models.UniqueConstraint(fields=["prefix"], name="recovery_api_key_prefix")]
        indexes = [models.Index(fields=["created_at"], name="recovery_api_key_created")]
        permissions = [("revoke_apikey", _("Can revoke a user's API keys"))]

    def __str__(self) -> str:
        return self.prefix

    @property
    def state(self) -> State:
        if self.revoked_at is not None:
            return self.State.REVOKED
        return self.State.EXPIRED if is_over(self.expires_at) else self.State.ACTIVE

    def refusal(self, key: PresentedKey) -> Reason | None:
        """Why this presented key must not speak for the owner of this row; None when it may.

        Anything but `Reason.UNKNOWN` is said of the genuine key only.
        """
        digest = bytes(self.digest)
        if not key.is_stored_as(digest, key_id=self.key_id, user_id=self.user_id):
            return Reason.UNKNOWN
        if self.revoked_at is not None:
            return Reason.REVOKED
        if self.state == self.State.EXPIRED:
            return Reason.EXPIRED
        return None if getattr(self.user, "is_active", True) else Reason.INACTIVE

    @property
    def is_use_due(self) -> bool:
        """Whether a use of this key is to be noted again."""
        return self.last_used_at is None or self.last_used_at <= timezone.now() - USE_NOTED_EVERY

    # Each of these is one conditional UPDATE, and True for exactly one of any number of callers.

    def note_use(self) -> bool:
        """Say that the key was used, once a minute, unless it was revoked meanwhile."""
        now = timezone.now()
        is_due = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - USE_NOTED_EVERY)
        rows = ApiKey.objects.filter(is_due, pk=self.pk, revoked_at__isnull=True)
        return rows.update(last_used_at=now) == 1

    def revoke(self) -> bool:
        """Take the key out of service for good."""
        rows = ApiKey.objects.filter(pk=self.pk, revoked_at__isnull=True)
        return rows.update(revoked_at=timezone.now()) == 1
