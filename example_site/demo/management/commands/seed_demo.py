from __future__ import annotations

import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management.base import BaseCommand
from django.urls import reverse

from recovery_backend.models import RecoveryCodeBatch, RecoveryCodeCooldown

TEXT = """
  {title}

  {site}
      Open this first.

  {recovery}
      Sign in as {email} with the code
      {code}
      It works once. Try it again, and then some wrong ones: after five failures
      the page says how long to wait.

  {admin}
      Sign in as {admin_name} with the password {admin_password}
      and search the cooldowns for {email} to clear her wait.

  {login}
      The ordinary way in: {name} with the password {password}

  E-mails to Ada are printed below by the worker. Ctrl-C ends everything.
"""


class Command(BaseCommand):
    help = (
        "Make the demo's two accounts, with new passwords and new codes, and say how to use them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000)

    def handle(self, *args: Any, **options: Any) -> None:
        _admin, admin_password = _account("admin", is_admin=True)
        ada, password = _account("ada", is_admin=False)
        plain_codes, _batch = RecoveryCodeBatch.create_recovery_batch(ada, days_to_expire=365)
        RecoveryCodeCooldown.objects.all().delete()
        cache.clear()
        base = f"http://127.0.0.1:{options['port']}"
        text = TEXT.format(
            title=self.style.SUCCESS("The example site is starting."),
            site=f"{base}{reverse('home')}",
            recovery=f"{base}{reverse('login_user')}",
            admin=f"{base}{reverse('admin:index')}",
            login=f"{base}{reverse('login')}",
            email=ada.email,
            code=self.style.SUCCESS(plain_codes[0]),
            name=ada.username,
            password=password,
            admin_name="admin",
            admin_password=admin_password,
        )
        self.stdout.write(text)


def _account(name: str, *, is_admin: bool) -> tuple[User, str]:
    password = secrets.token_urlsafe(9)
    user, _created = User.objects.get_or_create(
        username=name, defaults={"email": f"{name}@example.com"}
    )
    user.is_staff = user.is_superuser = is_admin
    user.set_password(password)
    user.save()
    return user, password
