"""Who may: those with a session of their own, and those who have proven a second factor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission

UNPROVABLE = _(
    'Nothing on this site can prove a second factor: "recovery_backend_allauth" is not installed.'
)


class HasSession(BasePermission):  # type: ignore[misc]
    """For clients that are signed in: a key that stands for no session may only read."""

    code = "session_required"
    message = _("For this, please sign in. An API key is not enough.")

    def has_permission(self, request: Any, view: Any) -> bool:
        has_session = getattr(request.successful_authenticator, "has_session", False)
        if request.method in SAFE_METHODS or has_session:
            return True
        note_denied(request, view)
        return False


def note_denied(request: Any, view: Any) -> None:
    """Have the way in of this client record what is refused to it, if it does that."""
    note = getattr(request.successful_authenticator, "note_denied", None)
    if note is not None:
        note(request, view)


@dataclass(frozen=True)
class MFARequired:
    """For sessions in which a second factor was proven, not longer ago than `max_age`.

    In the `permission_classes` of any view of Django REST framework, as it is or with a `max_age`.
    """

    max_age: timedelta | None = None

    def __post_init__(self) -> None:
        if self.max_age is not None and self.max_age <= timedelta(0):
            raise ValueError("MFARequired: max_age must be positive, or nobody could ever get in.")

    def __call__(self) -> MFARequired:
        return self  # the framework calls what it finds in `permission_classes`

    def has_permission(self, request: Any, view: Any) -> bool:
        """Whether somebody is signed in. Raises `PermissionDenied` that says what they lack."""
        if not (request.user and request.user.is_authenticated):
            return False
        if not apps.is_installed("recovery_backend_allauth"):
            _refuse("mfa_unavailable", UNPROVABLE)
        from recovery_backend_allauth import demand
        from recovery_backend_allauth.proofs import proof_of_user

        steps = proof_of_user(request._request, request.user, request.auth).records
        if refusal := demand.missing(request.user, steps, self.max_age):
            _refuse(refusal.code, refusal.detail)
        return True

    def has_object_permission(self, request: Any, view: Any, obj: Any) -> bool:
        return True


def _refuse(code: str, detail: Any) -> None:
    raise PermissionDenied({"code": code, "detail": detail}, code)
