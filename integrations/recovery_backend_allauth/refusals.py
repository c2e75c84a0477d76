"""Who asks, a person or a program, and how they are refused: led on, or told why."""

from __future__ import annotations

from allauth import app_settings as allauth_settings
from allauth.headless.constants import Client
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from recovery_backend.views.page import protected, wants_json

PARTS = ("audio", "font", "image", "manifest", "script", "style", "track", "video")


def is_program(request: HttpRequest) -> bool:
    """Whether the client reads JSON, or brings a token of its own: a redirect would not help it."""
    sends_json = request.content_type == "application/json"
    is_fetch = request.headers.get("X-Requested-With") == "XMLHttpRequest"
    is_api = has_token(request) or sends_json or is_fetch or wants_json(request)
    is_headless = headless_client(request) is not None
    return is_api or is_headless or bool(allauth_settings.HEADLESS_ONLY)  # which has no pages


def headless_client(request: HttpRequest) -> str | None:
    """Whose endpoint of allauth's headless API is asked, "app" or "browser"; None for pages."""
    # By the view that is asked: allauth says it of a request only once that view runs.
    view = getattr(request.resolver_match, "func", None)
    client = getattr(view, "view_initkwargs", {}).get("client")
    return Client(client).value if client in tuple(Client) else None


def is_part(request: HttpRequest) -> bool:
    """Whether the answer becomes a part of a page: no picture or script is a page to come back to."""
    return request.headers.get("Sec-Fetch-Dest", "document") in PARTS


def has_token(request: HttpRequest) -> bool:
    """Whether the client brings a token. A browser sends "Basic" too, behind a proxy's password."""
    authorization = request.headers.get("Authorization", "")
    is_basic = authorization[:6].lower() == "basic "
    return "X-Session-Token" in request.headers or bool(authorization and not is_basic)


def refuse(request: HttpRequest, code: str, detail: str, url: str) -> HttpResponse:
    """403 with the reason for programs, a redirect to `url` for people."""
    return tell(code, detail) if is_program(request) else lead(url)


def tell(code: str, detail: str, *, status: int = 403) -> HttpResponse:
    """The reason, for a program."""
    return protected(JsonResponse({"code": code, "detail": detail}, status=status))


def lead(url: str) -> HttpResponse:
    """A redirect that nothing keeps, for a person."""
    return protected(HttpResponseRedirect(url))
