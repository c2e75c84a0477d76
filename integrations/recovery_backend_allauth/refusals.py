"""Who asks, a person or a program, and how they are refused: led on, or told why."""

from __future__ import annotations

from typing import Any

from allauth import app_settings as allauth_settings
from allauth.headless.constants import Client
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse

from recovery_backend.views.page import protected, wants_json

PARTS = ("audio", "font", "image", "manifest", "script", "style", "track", "video")


def is_program(request: HttpRequest) -> bool:
    """Whether the client reads JSON, asks what speaks JSON, or brings a token: no redirect helps it."""
    sends_json = request.content_type == "application/json"
    is_fetch = request.headers.get("X-Requested-With") == "XMLHttpRequest"
    is_api = has_token(request) or sends_json or is_fetch or wants_json(request)
    is_headless = headless_client(request) is not None
    is_api_view = api_view(request) is not None and not _is_opened_by_hand(request)
    has_no_pages = bool(allauth_settings.HEADLESS_ONLY)
    return is_api or is_headless or is_api_view or has_no_pages


def headless_client(request: HttpRequest) -> str | None:
    """Whose endpoint of allauth's headless API is asked, "app" or "browser"; None for pages."""
    # By the view that is asked: allauth says it of a request only once that view runs.
    view = getattr(request.resolver_match, "func", None)
    client = getattr(view, "view_initkwargs", {}).get("client")
    return Client(client).value if client in tuple(Client) else None


def api_view(request: HttpRequest) -> Any:
    """The view that is asked, if it is one of Django REST framework; it holds its class as `cls`."""
    view = getattr(request.resolver_match, "func", None)
    return view if hasattr(getattr(view, "cls", None), "initialize_request") else None


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


def tell(code: str, detail: str, *, status: int = 403, **data: Any) -> HttpResponse:
    """The reason, for a program, with what else there is to say."""
    response = JsonResponse({"code": code, "detail": detail, **data}, status=status)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Session"  # of which no browser makes a question
    return protected(response)


def wait(detail: str, seconds: int | None) -> HttpResponse:
    """429, for a program; as the JSON API says it, where it is known for how long."""
    if seconds is None:
        return tell("cooldown", detail, status=429)
    response = tell("cooldown", detail, status=429, wait_seconds=seconds)
    response.headers["Retry-After"] = str(seconds)
    return response


def lead(url: str) -> HttpResponse:
    """A redirect that nothing keeps, for a person."""
    return protected(HttpResponseRedirect(url))


def _is_opened_by_hand(request: HttpRequest) -> bool:
    """Whether a browser may ask for a page: the framework has some, such as its browsable API."""
    preferred = request.get_preferred_type(["application/json", "text/html"])
    return request.method in ("GET", "HEAD") and preferred == "text/html"
