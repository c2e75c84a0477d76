"""How a request is refused: people are led on, programs are told why."""

from __future__ import annotations

from allauth import app_settings as allauth_settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from recovery_backend.views.page import protected, wants_json


def is_program(request: HttpRequest) -> bool:
    """Whether the client reads JSON, or brings a token of its own: a redirect would not help it."""
    sends_json = request.content_type == "application/json"
    is_fetch = request.headers.get("X-Requested-With") == "XMLHttpRequest"
    is_api = has_token(request) or sends_json or is_fetch or wants_json(request)
    is_headless = "headless" in getattr(request.resolver_match, "app_names", ())
    return is_api or is_headless or bool(allauth_settings.HEADLESS_ONLY)  # which has no pages


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
