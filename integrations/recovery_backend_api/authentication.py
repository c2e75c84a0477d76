"""For whom a request speaks: by the session's cookie, by a token of allauth's, or by an API key."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied

KEYS = "recovery_backend_api.keys"


class CsrfFailed(PermissionDenied):  # type: ignore[misc]
    """Raised where a cookie speaks for somebody, and no CSRF token says that they know of it."""


class BySession(SessionAuthentication):  # type: ignore[misc]
    """Django's session, by its cookie; with a CSRF token for what changes something (R-91)."""

    has_session = True

    def authenticate_header(self, request: Any) -> str:
        return "Session"  # so that nobody in particular gets 401

    def enforce_csrf(self, request: Any) -> None:
        try:
            # Django's own request: the framework's would read the body for a token in a form.
            super().enforce_csrf(request._request)
        except PermissionDenied:
            raise CsrfFailed from None


def classes() -> list[type[BaseAuthentication]]:
    """The ways in which a client of this site can say who it is; a token comes before a cookie."""
    found: list[type[BaseAuthentication]] = []
    if apps.is_installed("allauth.headless"):
        from recovery_backend_api.tokens import ByAccessToken, BySessionToken

        found += [BySessionToken, ByAccessToken]
    if apps.is_installed(KEYS):
        from recovery_backend_api.keys.authentication import ApiKeyAuthentication

        found.append(ApiKeyAuthentication)
    return [*found, BySession]
