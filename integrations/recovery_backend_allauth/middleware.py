"""What a session may open: asked of its own record of steps, before the view runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from recovery_backend_allauth import binding, enrolment, required, restricted, tokens

Gate = Callable[[HttpRequest], HttpResponseBase | None]
# Whose session it is comes before what it may open, and that before where its user is led.
GATES: tuple[Gate, ...] = (
    tokens.answer,
    binding.answer,
    restricted.answer,
    required.answer,
    enrolment.answer,
)


class MFARequiredMiddleware:
    """Gates before each view; each of them answers in its place, or lets it run.

    `tokens` refuses what no token looks like, and the other gates would not see; `binding` asks for
    the factor again, or ends the session, in a browser or network that is new to it; `restricted`
    lets who came by a code alone repair the account and no more; `required` holds
    MFA_REQUIRED_PATHS; `enrolment` leads whoever has just added a factor to codes, and back.

    After allauth's AccountMiddleware. Works under WSGI and ASGI.
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
        self, request: HttpRequest, view: object, args: object, kwargs: object
    ) -> HttpResponseBase | None:
        # Django runs this in a thread where the site is asynchronous.
        for gate in GATES:
            if response := gate(request):
                return response
        return None
