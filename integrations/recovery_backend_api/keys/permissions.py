"""What an API key must not do, whoever its owner is."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from recovery_backend_api.keys.models import ApiKey


def is_by_api_key(request: Request) -> bool:
    """Whether a key speaks for the user of this request: one factor, and never a second one."""
    return isinstance(request.auth, ApiKey)


class NotByApiKey(BasePermission):  # type: ignore[misc]
    """For views that make keys or codes, hand codes out, or sign people in."""

    message = _("An API key must not do this. Please sign in.")
    code = "api_key_not_allowed"

    def has_permission(self, request: Request, view: APIView) -> bool:
        return not is_by_api_key(request)
