"""System checks of API keys. Without API_KEYS_ENABLED they say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.db.models import F, Q

from recovery_backend.conf import conf
from recovery_backend.keys import keyring
from recovery_backend_api.keys.models import ApiKey

# Schemes that other authentication classes read.
TAKEN = {"basic", "bearer", "digest", "token"}


def warning(number: int, text: str, hint: str) -> Warning:
    return Warning(text, hint=hint, id=f"recovery_backend_api_keys.W{number:03}")


def check_scheme(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W001: a scheme that another authentication class may take for its own."""
    if not _is_on() or conf.API_KEY_SCHEME.lower() not in TAKEN:
        return []
    text = f'API_KEY_SCHEME is "{conf.API_KEY_SCHEME}", which other authentication classes read.'
    return [warning(1, text, "Choose a word of your own, or leave the setting out.")]


def check_expiry(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W002 (`check --deploy`): keys that never expire."""
    if not _is_on() or not conf.API_KEY_ALLOW_NO_EXPIRY:
        return []
    text = "API_KEY_ALLOW_NO_EXPIRY is on: a key that was forgotten somewhere works for ever."
    return [warning(2, text, "Set DJANGO_AUTH_RECOVERY_CODES_API_KEY_ALLOW_NO_EXPIRY = False.")]


def check_stored_keys(
    app_configs: Any, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """W003, W004 (`check --database`): keys that cannot work, and older than today's policy."""
    if not databases or not _is_on():
        return []
    try:
        return [*_lost_messages(), *_policy_messages()]
    except DatabaseError:  # before the first migrate
        return []


def _lost_messages() -> list[CheckMessage]:
    known = {key.id for key in keyring()}
    numbers = ApiKey.objects.number_by_key_id()
    return [
        warning(
            3,
            f"{number} usable API keys were made with key {kid}, which is not configured: they "
            "are refused.",
            "Put the key back into DJANGO_AUTH_RECOVERY_KEY_FALLBACKS, or run "
            f"`manage.py recovery_keys retire {kid} --force`.",
        )
        for kid, number in numbers.items()
        if kid not in known
    ]


def _policy_messages() -> list[CheckMessage]:
    latest = F("created_at") + timedelta(days=conf.API_KEY_MAX_DAYS)
    beyond = Q(expires_at__gt=latest)
    if not conf.API_KEY_ALLOW_NO_EXPIRY:
        beyond |= Q(expires_at__isnull=True)
    number = ApiKey.objects.usable().filter(beyond).count()
    if not number:
        return []
    text = f"{number} usable API keys last longer than the settings allow new ones to."
    return [warning(4, text, "Revoke them in the admin, or wait until they expire.")]


def _is_on() -> bool:
    """Whether there is anything to look at, with settings and keys that can be read."""
    try:
        return conf.API_KEYS_ENABLED and bool(keyring()) and _is_readable()
    except ImproperlyConfigured:  # E001 to E003 of the core say what to correct first
        return False


def _is_readable() -> bool:
    return None not in (conf.API_KEY_SCHEME, conf.API_KEY_MAX_DAYS, conf.API_KEY_ALLOW_NO_EXPIRY)


CHECKS = (check_scheme,)
DEPLOY_CHECKS = (check_expiry,)
DATABASE_CHECKS = (check_stored_keys,)
