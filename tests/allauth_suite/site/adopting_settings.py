"""As `beside_settings`, with allauth's own codes adopted as soon as they are made."""

from __future__ import annotations

from beside_settings import *  # noqa: F403

DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = True
