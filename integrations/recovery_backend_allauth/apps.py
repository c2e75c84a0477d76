from __future__ import annotations

from django.apps import AppConfig, apps
from django.core import checks as django_checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

REQUIRED = ("recovery_backend", "allauth.account", "allauth.mfa")


class RecoveryBackendAllauthConfig(AppConfig):
    name = "recovery_backend_allauth"
    verbose_name = _("Recovery codes for allauth")

    def ready(self) -> None:
        require_apps()
        from recovery_backend import accounts
        from recovery_backend_allauth import (
            added,
            adoption,
            binding,
            bound_records,
            checks,
            marker,
            notices,
            restricted,
            step,
            takeover,
        )
        from recovery_backend_allauth.accounts import AllauthAccounts, note_logins

        # First: before allauth 65.21 a step is bound to its user here, and whoever else hears of
        # it, a receiver of the site's too, must find it so. The rest may come in any order.
        bound_records.connect()
        accounts.use(AllauthAccounts())
        note_logins()
        step.install()
        marker.connect()
        added.connect()
        adoption.connect()
        takeover.register()
        notices.connect()
        restricted.connect()
        binding.connect()
        for check in checks.CHECKS:
            django_checks.register(check, django_checks.Tags.security)


def require_apps() -> None:
    """Raise `ImproperlyConfigured`, with what to add, where an app is missing."""
    missing = [f'"{name}"' for name in REQUIRED if not apps.is_installed(name)]
    if missing:
        raise ImproperlyConfigured(
            f'"recovery_backend_allauth" needs {", ".join(missing)} in INSTALLED_APPS. allauth '
            'itself comes with `pip install "django-recovery-backend[allauth]"`.'
        )
