"""Taking the codes along: as a file once, by e-mail once, and how that e-mail stands."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.generic import View

from recovery_backend import events, exports, flows
from recovery_backend.audit import logger
from recovery_backend.conf import conf
from recovery_backend.views.actions import ActionView
from recovery_backend.views.page import RecoveryPage


class DownloadView(ActionView):
    """The codes as a file, once per batch (R-76, R-77)."""

    name = "download"

    @sensitive_variables()
    def act(self, request: HttpRequest) -> HttpResponse:
        file_format = request.POST.get("format") or conf.DEFAULT_FORMAT
        if file_format not in exports.FORMATS:
            return self.problem(_("Choose one of the formats."), code="invalid")
        file = flows.download(request, self.batch(), file_format)
        response = HttpResponse(file.content, content_type=file.content_type)
        disposition = content_disposition_header(True, file.name)
        response.headers["Content-Disposition"] = disposition or "attachment"
        return response


class EmailView(ActionView):
    """The codes to the account's own address, once per batch."""

    name = "email"

    def act(self, request: HttpRequest) -> HttpResponse:
        flows.email_codes(request, self.batch())
        # Without a queue it has left by now, or has not.
        state = flows.email_state(request)
        if state == "failed":
            return self.problem(_("The e-mail could not be sent."), code=state, status=502)
        if state == "sent":
            return self.done(_("The e-mail with your codes was sent."))
        return self.done(_("The e-mail with your codes is on its way."))


class SavedView(ActionView):
    """The owner has saved the codes: nothing of them is kept any longer."""

    name = "saved"
    needs_recent_sign_in = False

    def act(self, request: HttpRequest) -> HttpResponse:
        if request.POST.get("batch"):
            self.batch()  # a page of older codes must not take the newer ones away
        flows.forget_plaintext(request)
        return self.done(_("Good. Your codes are not kept here any longer."))


class EmailStatusView(RecoveryPage, LoginRequiredMixin, View):
    """How the e-mail of the active codes stands, as JSON."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return JsonResponse({"state": flows.email_state(request)})


class EventsView(RecoveryPage, LoginRequiredMixin, View):
    """The same as server-sent events: live under ASGI, one event and a reconnect under WSGI."""

    def head(self, request: HttpRequest) -> HttpResponseBase:
        return _one_event(request)

    def get(self, request: HttpRequest) -> HttpResponseBase:
        if not isinstance(request, ASGIRequest):
            return _one_event(request)
        user: Any = request.user
        try:
            has_place = events.open_place(user)
        except Exception as error:  # cache clients raise what they like
            logger.error("places not counted: %s", type(error).__name__)
            return _one_event(request)
        if not has_place:
            return HttpResponse(status=429, headers={"Retry-After": str(int(events.LIFE_SECONDS))})
        states = events.stream(partial(_state, request), partial(events.close_place, user))
        return _event_response(StreamingHttpResponse, states)


def _state(request: HttpRequest) -> str | None:
    """The state for as long as the session lives; None once it is signed out."""
    key = request.session.session_key
    try:
        return flows.email_state(request) if key and request.session.exists(key) else None
    finally:
        _release_connections()


def _release_connections() -> None:
    # A stream has a thread of its own, whose connection would stay open for as long as it lives.
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _one_event(request: HttpRequest) -> HttpResponseBase:
    return _event_response(HttpResponse, events.event(flows.email_state(request)))


def _event_response(kind: Any, content: Any) -> HttpResponseBase:
    response: HttpResponseBase = kind(content, content_type="text/event-stream; charset=utf-8")
    response.headers["X-Accel-Buffering"] = "no"
    return response
