"""People manage their API keys: list, make, revoke. A key itself may do none of it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from rest_framework.request import Request
from rest_framework.response import Response

from recovery_backend.conf import conf
from recovery_backend_api import errors
from recovery_backend_api.answers import DoneAnswer
from recovery_backend_api.endpoint import Change, page_of
from recovery_backend_api.keys import flows
from recovery_backend_api.keys.answers import KeyAnswer, KeyPage, NewKeyAnswer
from recovery_backend_api.keys.inputs import KeyInputs, PrefixInputs
from recovery_backend_api.keys.models import ApiKey
from recovery_backend_api.keys.permissions import NotByApiKey
from recovery_backend_api.masked import Masked


class KeyChange(Change):
    """A change of the user's own keys; none while API_KEYS_ENABLED is off."""

    def get_permissions(self) -> list[Any]:
        return [*super().get_permissions(), NotByApiKey()]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not conf.API_KEYS_ENABLED:
            raise errors.Refused(errors.API_KEYS_OFF)


class Keys(KeyChange):
    """The user's keys, newest first; and a new one, whose text is in this answer only."""

    takes = KeyInputs
    tells = {"GET": {200: KeyPage}, "POST": {201: NewKeyAnswer}}
    problems = ()

    def get(self, request: Request) -> Response:
        keys = ApiKey.objects.of_user(request.user).defer("digest").order_by("-created_at", "-pk")
        return Response(KeyPage(page_of(request, keys)).data)

    @sensitive_variables()
    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        made = flows.create(request, **typed)
        return Response({**KeyAnswer(made.key).data, "key": Masked(made.text)}, 201)


class Revoke(KeyChange):
    """Take a key out of service for good. No recent sign-in is asked for what only closes."""

    takes = PrefixInputs
    tells = {"POST": {200: DoneAnswer}}
    problems = (404,)
    needs_recent_sign_in = False

    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        flows.revoke(request, typed["prefix"])
        return Response({"detail": _("This key does not work any more.")})
