"""What all pages share: their headers, who gets JSON, and how a waiting time is said."""

from __future__ import annotations

from typing import Any, TypeVar

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.translation import ngettext

from recovery_backend import emails, stash

Response = TypeVar("Response", bound=HttpResponseBase)

HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class RecoveryPage:
    """No caching, no framing (R-75, R-92, R-100), the stash's cookie, and the site's name."""

    request: HttpRequest

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        stash.write_cookie(request, response)
        return protected(response)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)  # type: ignore[misc]
        return {**context, "recovery_site_name": emails.site_name()}


def protected(response: Response) -> Response:
    """The response with the headers of every page of ours; it depends on cookie and Accept."""
    for name, value in HEADERS.items():
        response.headers[name] = value
    add_never_cache_headers(response)
    patch_vary_headers(response, ("Accept", "Cookie"))
    return response


def wants_json(request: HttpRequest) -> bool:
    """Whether the client prefers JSON to HTML."""
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def waiting_text(seconds: int) -> str:
    """A waiting time as a person would say it, rounded up so that it is never too short."""
    if seconds < 60:
        return ngettext("%(number)d second", "%(number)d seconds", seconds) % {"number": seconds}
    minutes = -(-seconds // 60)
    return ngettext("%(number)d minute", "%(number)d minutes", minutes) % {"number": minutes}
