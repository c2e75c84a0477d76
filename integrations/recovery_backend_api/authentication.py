"""For whom a request speaks: by the session's cookie, by a token of allauth's, or by an API key."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied

from recovery_backend.audit import logger

# How Django's reasons begin. What follows may be the client's own words, which no log needs.
CSRF_REASONS = ("Origin", "Referer", "CSRF cookie", "CSRF token")


class ApiKeyRefused(AuthenticationFailed):  # type: ignore[misc]
    """The framework's 401 for `KeyRefused`."""

    default_code = "api_key_refused"
    default_detail = _("This API key is not valid.")


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
        except PermissionDenied as error:
            logger.warning("CSRF check failed: %s", _csrf_reason(str(error.detail)))
            raise CsrfFailed from None


def _csrf_reason(detail: str) -> str:
    told = detail.removeprefix("CSRF Failed: ")
    return next((it for it in CSRF_REASONS if told.startswith(it)), "unknown")


_registered: list[type[BaseAuthentication]] = []


def register(way_in: type[BaseAuthentication]) -> None:
    """Have clients come in this way, too, from `AppConfig.ready()` of the app that knows it.

    What it refuses for want of a session is told to its `note_denied(request, view)`, if it has one.
    """
    if way_in not in _registered:
        _registered.append(way_in)


def classes() -> list[type[BaseAuthentication]]:
    """The ways in which a client of this site can say who it is; a token comes before a cookie."""
    found: list[type[BaseAuthentication]] = []
    if apps.is_installed("allauth.headless"):
        from recovery_backend_api.tokens import ByAccessToken, BySessionToken

        found += [BySessionToken, ByAccessToken]
    return [*found, *_registered, BySession]
