"""What an API key must not do, whoever its owner is."""

from __future__ import annotations

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from recovery_backend_api.keys import flows
from recovery_backend_api.keys.models import ApiKey
from recovery_backend_api.permissions import HasSession


def is_by_api_key(request: Request) -> bool:
    """Whether a key speaks for the user of this request: one factor, and never a second one."""
    return isinstance(request.auth, ApiKey)


def note_denied(request: Request, view: APIView) -> None:
    """Record what is refused, where a key tried it; not what a page or a schema merely asks for."""
    http = request._request
    asked = getattr(http.resolver_match, "func", None)
    is_tried = getattr(asked, "cls", None) is type(view) and request.method == http.method
    if is_tried and is_by_api_key(request):
        flows.note_denied(http, request.auth)


class NotByApiKey(BasePermission):  # type: ignore[misc]
    """For views that make keys or codes, hand codes out, or sign people in.

    What it refuses is recorded: below `~` or `|`, where that is no refusal, use `is_by_api_key`.
    """

    message = HasSession.message
    code = HasSession.code

    def has_permission(self, request: Request, view: APIView) -> bool:
        note_denied(request, view)
        return not is_by_api_key(request)
