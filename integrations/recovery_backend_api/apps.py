from __future__ import annotations

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

REQUIRED = ("recovery_backend", "rest_framework")


class RecoveryBackendApiConfig(AppConfig):
    name = "recovery_backend_api"
    verbose_name = _("Recovery codes as JSON")

    def ready(self) -> None:
        require_apps()


def require_apps() -> None:
    """Raise `ImproperlyConfigured`, with what to add, where an app is missing."""
    missing = [f'"{name}"' for name in REQUIRED if not apps.is_installed(name)]
    if missing:
        raise ImproperlyConfigured(
            f'"recovery_backend_api" needs {", ".join(missing)} in INSTALLED_APPS. Django REST '
            'framework comes with `pip install "django-recovery-backend[api]"`.'
        )
