"""The factor that this session has just added: who could add it, may also get recovery codes.

Whoever added it on a page is led on from there, once.
"""

from __future__ import annotations

import time
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from recovery_backend_allauth.marker import PRIMARY
from recovery_backend_allauth.refusals import headless_client

KEY = "recovery_backend_added"
SECONDS = 900


def connect() -> None:
    """Note the factors that are added, in the session that adds them."""
    authenticator_added.connect(note, dispatch_uid="recovery_backend_allauth.added")


def is_recent(request: HttpRequest) -> bool:
    """Whether this session has added a factor for its user, at most SECONDS ago."""
    noted = _noted(request)
    return noted is not None and 0 <= time.time() - noted["at"] <= SECONDS


def take(request: HttpRequest) -> bool:
    """Whether this session has added a factor for its user on a page; True once for each."""
    noted = _noted(request)
    if noted is None or not noted.get("leads_on"):
        return False
    request.session[KEY] = noted | {"leads_on": False}
    return True


def _noted(request: HttpRequest) -> dict[str, Any] | None:
    noted = request.session.get(KEY)
    is_theirs = isinstance(noted, dict) and noted.get("user") == str(request.user.pk)
    return noted if is_theirs else None


def note(
    sender: object,
    *,
    request: HttpRequest | None,
    user: AbstractBaseUser,
    authenticator: Authenticator,
    **kwargs: Any,
) -> None:
    """Remember it in the session, where there is one."""
    if request is None or not hasattr(request, "session") or authenticator.type not in PRIMARY:
        return
    leads_on = headless_client(request) is None
    request.session[KEY] = {"user": str(user.pk), "at": time.time(), "leads_on": leads_on}
