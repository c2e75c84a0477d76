from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from allauth.mfa import app_settings
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.mfa.utils import decrypt
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Print what the authenticator app of a demo user shows now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        apps = Authenticator.objects.filter(
            user__username=options["name"], type=Authenticator.Type.TOTP
        )
        app = apps.first()
        if app is None:
            raise CommandError(f"{options['name']} has no authenticator app.")
        counter = int(time.time()) // app_settings.TOTP_PERIOD
        value = hotp_value(decrypt(app.data["secret"]), counter)
        self.stdout.write(format_hotp_value(value))
