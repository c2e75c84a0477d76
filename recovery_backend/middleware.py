"""Early, polite answers. Nothing is secure only because this ran: the backend refuses as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from recovery_backend import flows
from recovery_backend.audit import logger
from recovery_backend.conf import conf
from recovery_backend.views import LoginView


class RecoveryCodeMiddleware:
    """Answers 429 with `Retry-After` before the sign-in view runs, while its client has to wait.

    Requests to other views cost no query. Works under WSGI and ASGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: object, kwargs: object
    ) -> HttpResponseBase | None:
        view_class = getattr(view, "view_class", None)
        if not (isinstance(view_class, type) and issubclass(view_class, LoginView)):
            return None
        request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]
        if request.method != "POST" or conf.LOGIN_MODE == "off":
            return None
        page = view_class(**getattr(view, "view_initkwargs", {}))
        page.setup(request)
        seconds = _wait_seconds(request)
        return page.wait_response(seconds) if seconds else None


def _wait_seconds(request: HttpRequest) -> int:
    try:
        return flows.wait_seconds(request, request.POST.get("email"))
    except (ImproperlyConfigured, SuspiciousOperation):  # the latter is Django's own 400
        raise
    except Exception as error:  # a cache that is down: the view refuses, and says so properly
        logger.error("cooldown not read: %s", type(error).__name__)
        return 0
