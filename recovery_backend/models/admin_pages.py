"""Pages of the admin that are no table: proxies, so that they have a place and permissions."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from recovery_backend.models.batches import RecoveryCodeBatch


class RecoveryCodeOverview(RecoveryCodeBatch):
    """How the site's recovery codes stand."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = _("security overview")
        verbose_name_plural = _("security overview")


class RecoveryCodeDesk(RecoveryCodeBatch):
    """Where support helps one user."""

    class Meta:
        proxy = True
        default_permissions = ("view",)
        verbose_name = _("help for a user")
        verbose_name_plural = _("help for a user")
