"""Where codes can be moved in from."""

from __future__ import annotations

from recovery_backend.imports import django_auth_recovery_codes, django_otp
from recovery_backend.imports.run import Source

# The app that has to be installed for it.
APPS = {
    "allauth": "recovery_backend_allauth",
    "django-auth-recovery-codes": django_auth_recovery_codes.APP,
    "django-otp": django_otp.APP,
}
_sources = {
    source.name: source for source in (django_auth_recovery_codes.SOURCE, django_otp.SOURCE)
}


def register(source: Source) -> None:
    """Have codes moved in from there, by an app that knows how."""
    _sources[source.name] = source


def source_of(name: str) -> Source:
    """The source of that name. Raises `KeyError` where its app is not installed."""
    return _sources[name]
