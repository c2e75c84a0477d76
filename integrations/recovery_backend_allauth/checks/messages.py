"""What a check says, under the ids of this app, and the settings that it asks."""

from __future__ import annotations

from collections.abc import Callable

from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from recovery_backend.conf import conf

APP = "recovery_backend_allauth"

Check = Callable[..., list[CheckMessage]]


def error(number: int, text: str, hint: str) -> list[CheckMessage]:
    """What keeps the site from doing what its settings say."""
    return [Error(text, hint=hint, id=f"{APP}.E{number:03}")]


def warning(number: int, text: str, hint: str) -> list[CheckMessage]:
    """What is doubtful, and may be meant."""
    return [Warning(text, hint=hint, id=f"{APP}.W{number:03}")]


def value_of(name: str) -> object:
    """The value of a setting; None if it is wrong, of which recovery_backend.E001 tells."""
    try:
        value: object = getattr(conf, name)
    except ImproperlyConfigured:
        return None
    return value
