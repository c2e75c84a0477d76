"""What an API key must not do, whoever its owner is."""

from __future__ import annotations

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from recovery_backend_api.keys.models import ApiKey
from recovery_backend_api.permissions import HasSession, note_denied


def is_by_api_key(request: Request) -> bool:
    """Whether a key speaks for the user of this request: one factor, and never a second one."""
    return isinstance(request.auth, ApiKey)


class NotByApiKey(BasePermission):  # type: ignore[misc]
    """For views that make keys or codes, hand codes out, or sign people in.

    What it refuses is recorded: below `~` or `|`, where that is no refusal, use `is_by_api_key`.
    """

    message = HasSession.message
    code = HasSession.code

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not is_by_api_key(request):
            return True
        note_denied(request, view)
        return False
