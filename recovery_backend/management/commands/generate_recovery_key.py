from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from recovery_backend.keys import generate_key


class Command(BaseCommand):
    help = "Print a new key for DJANGO_AUTH_RECOVERY_KEY. It is stored nowhere."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(generate_key())
