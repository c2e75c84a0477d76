"""allauth's record of the steps in a session, of one user only.

allauth sees to that since 65.21. Before, the steps of an abandoned sign-in stayed in the session,
and counted for whoever signed in next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from allauth.account.internal.flows import login
from allauth.account.internal.stagekit import clear_login
from allauth.account.internal.userkit import user_id_to_str
from allauth.account.signals import authentication_step_completed
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest

STEPS = login.AUTHENTICATION_METHODS_SESSION_KEY
# As allauth names it since 65.21, so that sessions outlive an upgrade.
OWNER = "account_authentication_methods_user"
IS_BOUND_BY_ALLAUTH = hasattr(login, "get_authentication_records")


def of_user(
    request: HttpRequest, user: AbstractBaseUser | AnonymousUser
) -> Sequence[Mapping[str, Any]]:
    """The steps that this user has completed in this session, oldest first."""
    if IS_BOUND_BY_ALLAUTH:
        steps: Sequence[Mapping[str, Any]] = login.get_authentication_records(request, user)
        return steps
    if user.pk is None or request.session.get(OWNER) != user_id_to_str(user):
        return []
    return request.session.get(STEPS) or []


def drop(request: HttpRequest) -> None:
    """End a sign-in that is under way, and forget its steps."""
    clear_login(request)
    for key in (STEPS, OWNER):
        request.session.pop(key, None)


def connect() -> None:
    """Bind each step to its user, where allauth does not."""
    if not IS_BOUND_BY_ALLAUTH:
        uid = "recovery_backend_allauth.bound_records"
        authentication_step_completed.connect(bind, dispatch_uid=uid)


def bind(
    sender: object, *, request: HttpRequest, user: AbstractBaseUser | None, **kwargs: Any
) -> None:
    """Keep the step that was just recorded, and of those before it only the same user's."""
    owner = None if user is None or user.pk is None else user_id_to_str(user)
    if owner is None or request.session.get(OWNER) != owner:
        request.session[STEPS] = request.session[STEPS][-1:]
        request.session[OWNER] = owner
