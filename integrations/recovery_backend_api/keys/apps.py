from __future__ import annotations

from django.apps import AppConfig, apps
from django.core import checks as django_checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _


class RecoveryBackendApiKeysConfig(AppConfig):
    name = "recovery_backend_api.keys"
    label = "recovery_backend_api_keys"
    verbose_name = _("API keys")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        if not apps.is_installed("recovery_backend"):
            raise ImproperlyConfigured(
                '"recovery_backend_api.keys" needs "recovery_backend" in INSTALLED_APPS.'
            )
        from recovery_backend import key_uses
        from recovery_backend_api.keys import checks, flows, schema  # noqa: F401  # it registers itself
        from recovery_backend_api.keys.models import ApiKey

        numbers = ApiKey.objects.number_by_key_id
        key_uses.register(key_uses.KeyUse("API keys", numbers=numbers, end=flows.end_made_with))
        for check in checks.CHECKS:
            django_checks.register(check, django_checks.Tags.security)
        for check in checks.DEPLOY_CHECKS:
            django_checks.register(check, django_checks.Tags.security, deploy=True)
        for check in checks.DATABASE_CHECKS:
            django_checks.register(check, django_checks.Tags.database)
