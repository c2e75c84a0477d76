from __future__ import annotations

import secrets
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management.base import BaseCommand
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from example_site.demo import month
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAuditScheduler,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeCooldown,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.schedules import ScheduleType

TEXT = """
  {title}

  {login}
      Open this first. The whole way, in about two minutes:
      1. Sign in as {name} with the password {password}
         Ada has a list that she has used for a while, and an older one.
      2. "Replace my codes": the new ones are shown once. Have them sent by e-mail.
         The e-mail is printed below by the worker, and the page says that it was sent.
      3. Sign out, and sign in as {email} with one of the new codes.

  {recovery}
      Ada's list of today has this code, which works once, and until she replaces it:
      {code}
      Try it again, and then some wrong ones: after five failures the page says how long to wait.

  {second}
      Sign in as {grace_name} with the password {grace_password}
      Grace has an authenticator app:
      .venv/bin/python example_site/manage.py demo_totp {grace_name}    prints what it shows.
      Say that she has lost it, and type one of her recovery codes instead. Each works once:
      {grace_codes}

  {spec}
      What programs may ask. docs/headless.md does it by curl, as {grace_name}.

  {admin}
      Sign in as {admin_name} with the password {admin_password}; the admin asks for a second factor:
      .venv/bin/python example_site/manage.py demo_totp {admin_name}    or this recovery code, once:
      {admin_code}
      "Security overview": how a made-up month of this site went.
      "Help for a user": find {email}, clear her wait, or send her an emergency code;
      the e-mail with it is printed below.
      "Code purge schedules": choose "Every night", run it now, and see its result in "Runs".

  Ctrl-C ends everything.
"""

DAYS_TO_EXPIRE = 365


class Command(BaseCommand):
    help = "Make the demo's three accounts, with new passwords and new codes, and say how to use them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)

    @sensitive_variables()
    def handle(self, *args: Any, **options: Any) -> None:
        admin, admin_password = _account("admin", is_admin=True)
        grace, grace_password = _account("grace", is_admin=False)
        ada, password = _account("ada", is_admin=False)
        code = _history(ada)
        month.make_up(ada)
        _schedules()
        RecoveryCodeCooldown.objects.all().delete()
        cache.clear()
        base = f"http://localhost:{options['port']}"  # browsers let passkeys work there
        text = TEXT.format(
            title=self.style.SUCCESS("The example site is starting."),
            recovery=f"{base}{reverse('login_user')}",
            admin=f"{base}{reverse('admin:index')}",
            login=f"{base}{reverse('account_login')}?next={reverse('recovery_dashboard')}",
            second=f"{base}{reverse('account_login')}",
            email=ada.email,
            code=self._codes([code]),
            name=ada.username,
            password=password,
            admin_name=admin.username,
            admin_password=admin_password,
            admin_code=self._codes(_second_factor(admin)[:1]),
            grace_name=grace.username,
            grace_password=grace_password,
            grace_codes=self._codes(_second_factor(grace)[:3]),
            spec=f"{base}{reverse('headless:openapi_json')}",
        )
        self.stdout.write(text)

    @sensitive_variables()
    def _codes(self, codes: list[str]) -> str:
        return "\n      ".join(map(self.style.SUCCESS, codes))


def _account(name: str, *, is_admin: bool) -> tuple[User, str]:
    password = secrets.token_urlsafe(9)
    user, _created = User.objects.get_or_create(
        username=name, defaults={"email": f"{name}@example.com"}
    )
    user.is_staff = user.is_superuser = is_admin
    user.set_password(password)
    user.save()
    return user, password


@sensitive_variables()
def _second_factor(user: User) -> list[str]:
    """An authenticator app, kept from the last start, and a new list of codes."""
    if not Authenticator.objects.filter(user=user, type=Authenticator.Type.TOTP).exists():
        TOTP.activate(user, generate_totp_secret())
    codes, batch = RecoveryCodeBatch.create_recovery_batch(user, DAYS_TO_EXPIRE)
    batch.mark_viewed()
    return codes


def _schedules() -> None:
    """One schedule of each kind, unless they were changed: their first run is next night."""
    tonight = timezone.localtime().replace(hour=3, minute=0, second=0, microsecond=0)
    quiet = {"run_at": tonight + timedelta(days=1), "sends_report": False}
    RecoveryCodeCleanUpScheduler.objects.get_or_create(
        name="Every night", defaults={**quiet, "delete_empty_batch": True}
    )
    RecoveryCodeAuditScheduler.objects.get_or_create(
        name="Audit, every week",
        defaults={**quiet, "schedule_type": ScheduleType.WEEKLY},
    )
    RecoveryCodeReminderScheduler.objects.get_or_create(
        name="Reminders, every day", defaults=quiet
    )


@sensitive_variables()
def _history(user: User) -> str:
    """Two lists in place of those of the last start, and a code of the newer one."""
    RecoveryCodeBatch.objects.filter(user=user).delete()
    now = timezone.now()
    _older_batch(user, used=6, issued_at=now - timedelta(days=400))
    codes = _older_batch(user, used=2, issued_at=now - timedelta(days=40))
    # Long enough ago for the purge to remove them.
    ended = RecoveryCode.objects.of_user(user).filter(batch__status="superseded")
    ended.update(retired_at=now - timedelta(days=40))
    return codes[-1]


@sensitive_variables()
def _older_batch(user: User, *, used: int, issued_at: datetime) -> list[str]:
    plain_codes, batch = RecoveryCodeBatch.create_recovery_batch(user, DAYS_TO_EXPIRE)
    batch.mark_viewed()
    batch.mark_downloaded()
    rows = RecoveryCode.objects.filter(batch=batch).order_by("pk")
    for row in rows[:used]:
        row.spend()
    expires_at = issued_at + timedelta(days=DAYS_TO_EXPIRE)
    rows.update(expires_at=expires_at)
    RecoveryCodeBatch.objects.filter(pk=batch.pk).update(
        issued_at=issued_at, expires_at=expires_at
    )
    return plain_codes
