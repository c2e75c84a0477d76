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
        from recovery_backend.keyed_rows import KeyedRows, register
        from recovery_backend_api import authentication
        from recovery_backend_api.keys import checks, flows, schema  # noqa: F401  # it registers itself
        from recovery_backend_api.keys.authentication import ApiKeyAuthentication
        from recovery_backend_api.keys.models import ApiKey

        keys = ApiKey.objects
        register(
            KeyedRows("API keys", keys.number_by_key_id, flows.end_made_with, keys.ended_before)
        )
        authentication.register(ApiKeyAuthentication)
        for check in checks.CHECKS:
            django_checks.register(check, django_checks.Tags.security)
        for check in checks.DEPLOY_CHECKS:
            django_checks.register(check, django_checks.Tags.security, deploy=True)
        for check in checks.DATABASE_CHECKS:
            django_checks.register(check, django_checks.Tags.database)
