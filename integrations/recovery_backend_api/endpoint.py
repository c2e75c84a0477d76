"""What all endpoints share: JSON alone, no caching, one form of refusals, and who may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.paginator import InvalidPage, Paginator
from django.db import transaction
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import NotFound, ParseError, UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from recovery_backend import flows
from recovery_backend.conf import conf
from recovery_backend.views.page import RecoveryPage, protected
from recovery_backend_api import authentication, errors
from recovery_backend_api.parsers import JSONObject
from recovery_backend_api.permissions import HasSession
from recovery_backend_api.schema import Schema
from recovery_backend_api.sessions import own_session


class AlwaysFirst(BaseContentNegotiation):  # type: ignore[misc]
    """JSON, whatever a client says that it accepts: a refusal has to reach whoever wants a file."""

    def select_parser(self, request: Request, parsers: Sequence[Any]) -> Any:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Sequence[Any], format_suffix: str | None = None
    ) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


# A page of ours in everything but its form, so that the middleware takes it for one. Under
# ATOMIC_REQUESTS an error would take back what was counted and recorded.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class Endpoint(RecoveryPage, APIView):  # type: ignore[misc]
    """One path. Nothing of it depends on the project's own settings of the framework."""

    schema = Schema()
    parser_classes = (JSONObject,)
    renderer_classes = (JSONRenderer,)
    permission_classes: Sequence[Any] = (IsAuthenticated,)
    throttle_classes = ()
    metadata_class = None
    versioning_class = None
    content_negotiation_class = AlwaysFirst
    tells: Mapping[str, Mapping[Any, Any]]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            with own_session(request):
                return super().dispatch(request, *args, **kwargs)
        except SessionInterrupted:
            return protected(errors.signed_out())

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # First of all: whoever looks for a CSRF token would read a form.
        if hasattr(self, "post") and request.method == "POST" and not _is_json(request):
            raise UnsupportedMediaType(request.content_type)
        super().initial(request, *args, **kwargs)

    def get_authenticators(self) -> list[Any]:
        return [kind() for kind in authentication.classes()]

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        if request.auth is not None:
            # No other site can send a token: what is refused now, is not for want of a CSRF token.
            request._request.csrf_processing_done = True

    def get_exception_handler(self) -> Callable[..., Response | None]:
        return errors.answer


class Change(Endpoint):
    """One change, by POST, as the pages do it: counted, and asked for what they ask for."""

    permission_classes = (IsAuthenticated, HasSession)
    takes: type[Serializer]
    problems: tuple[int, ...]
    needs_recent_sign_in = True

    @sensitive_variables()
    def post(self, request: Request) -> HttpResponseBase:
        http = request._request
        flows.count_action(http)
        if self.needs_recent_sign_in:
            flows.require_recent_sign_in(http)
            flows.require_second_factor(http, reverse("recovery_dashboard"))
        return self.act(http, typed_by(request, self.takes))

    def act(self, request: HttpRequest, typed: dict[str, Any]) -> HttpResponseBase:
        """Do it, and answer. Raises the `RecoveryCodeError` that says why not."""
        raise NotImplementedError


def _is_json(request: Request) -> bool:
    kind: str = request.content_type.partition(";")[0]
    return kind.strip().lower() == JSONObject.media_type


@sensitive_variables()
def typed_by(request: Request, inputs: type[Serializer]) -> dict[str, Any]:
    """What the client has sent, checked. Raises the framework's own errors."""
    if request.stream is None:
        raise ParseError
    serializer = inputs(data=request.data)
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)


def page_of(request: Request, rows: Any) -> dict[str, Any]:
    """The page of these rows that was asked for, the first if none was. Raises `NotFound`."""
    paginator = Paginator(rows, conf.PER_PAGE)
    try:
        page = paginator.page(request.query_params.get("page", 1))
    except InvalidPage:
        raise NotFound from None
    return {
        "count": paginator.count,
        "page": page.number,
        "pages": paginator.num_pages,
        "results": page.object_list,
    }
