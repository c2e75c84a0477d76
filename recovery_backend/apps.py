from __future__ import annotations

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.core import checks as django_checks
from django.db.models.signals import post_delete, post_save
from django.utils.translation import gettext_lazy as _


class RecoveryBackendConfig(AppConfig):
    name = "recovery_backend"
    verbose_name = _("Recovery codes")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from recovery_backend import checks, flows, runs, tasks
        from recovery_backend.schedules import SCHEDULERS
        from recovery_backend.signals import audit_recorded

        for check in checks.CHECKS:
            django_checks.register(check, django_checks.Tags.security)
        for check in checks.DEPLOY_CHECKS:
            django_checks.register(check, django_checks.Tags.security, deploy=True)
        for check in checks.DATABASE_CHECKS:
            django_checks.register(check, django_checks.Tags.database)
        user_logged_in.connect(flows.note_sign_in, dispatch_uid="recovery_backend.note_sign_in")
        user_logged_out.connect(
            flows.forget_on_sign_out, dispatch_uid="recovery_backend.forget_on_sign_out"
        )
        user_logged_in.connect(flows.reopen_on_sign_in, dispatch_uid="recovery_backend.reopen")
        for rows in SCHEDULERS.values():
            uid = f"recovery_backend.{rows.kind}"
            post_save.connect(runs.note_saved, sender=rows, dispatch_uid=f"{uid}.saved")
            post_delete.connect(runs.note_deleted, sender=rows, dispatch_uid=f"{uid}.deleted")
        audit_recorded.connect(tasks.alert, dispatch_uid="recovery_backend.alert")
