"""The factor that this session has just added: who could add it, may also get recovery codes."""

from __future__ import annotations

import time
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from recovery_backend_allauth.marker import PRIMARY

KEY = "recovery_backend_added"
SECONDS = 900


def connect() -> None:
    """Note the factors that are added, in the session that adds them."""
    authenticator_added.connect(_note, dispatch_uid="recovery_backend_allauth.added")


def is_recent(request: HttpRequest) -> bool:
    """Whether this session has added a factor for its user, at most SECONDS ago."""
    noted = request.session.get(KEY)
    if not isinstance(noted, dict) or noted.get("user") != str(request.user.pk):
        return False
    age: float = time.time() - noted["at"]
    return 0 <= age <= SECONDS


def _note(
    sender: object,
    *,
    request: HttpRequest | None,
    user: AbstractBaseUser,
    authenticator: Authenticator,
    **kwargs: Any,
) -> None:
    session = getattr(request, "session", None)
    if session is not None and authenticator.type in PRIMARY:
        session[KEY] = {"user": str(user.pk), "at": time.time()}
