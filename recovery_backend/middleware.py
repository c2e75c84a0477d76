"""Early, polite answers. Nothing is secure only because this ran: the backend refuses as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from recovery_backend import audit, cooldown, flows, stash
from recovery_backend.audit import Event, Reason, logger
from recovery_backend.clients import client_of
from recovery_backend.conf import conf
from recovery_backend.transactions import in_transaction
from recovery_backend.views import LoginView, RecoveryPage
from recovery_backend.views.page import protected

SAFE_METHODS = {"GET", "HEAD", "OPTIONS", "TRACE"}


class RecoveryCodeMiddleware:
    """Answers 429 with `Retry-After` before the sign-in view runs, while its client has to wait.

    Drops plaintext that a session may not show any longer, at whatever page its user opens (R-71),
    and records requests that Django refused to our pages for want of a CSRF token. Sessions
    without plaintext cost no query. Works under WSGI and ASGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self._acall(request)
        response = self.get_response(request)
        if _is_csrf_failure(request, response):
            _record_csrf_failure(request)
        _drop_stale_plaintext(request)
        return _sealed_off(request, response)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = await self.get_response(request)
        if _is_csrf_failure(request, response):
            await sync_to_async(_record_csrf_failure)(request)
        if _may_hold_plaintext(request):
            await sync_to_async(_drop_stale_plaintext)(request)
        return _sealed_off(request, response)

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: object, kwargs: object
    ) -> HttpResponseBase | None:
        view_class = _our_page(view)
        if view_class is None:
            return None
        request.sensitive_post_parameters = "__ALL__"  # type: ignore[attr-defined]
        if not issubclass(view_class, LoginView):
            return None
        if request.method != "POST" or conf.LOGIN_MODE == "off":
            return None
        page = view_class(**getattr(view, "view_initkwargs", {}))
        page.setup(request)
        seconds = _wait_seconds(request)
        return page.wait_response(seconds) if seconds else None


def _our_page(view: object) -> type[RecoveryPage] | None:
    view_class = getattr(view, "view_class", None)
    is_ours = isinstance(view_class, type) and issubclass(view_class, RecoveryPage)
    return view_class if is_ours else None


def _is_csrf_failure(request: HttpRequest, response: HttpResponseBase) -> bool:
    # Django leaves this mark on each request that it has let pass, and none on others.
    if response.status_code != 403 or getattr(request, "csrf_processing_done", False):
        return False
    page = _our_page(getattr(request.resolver_match, "func", None))
    is_turned_off = page is not None and issubclass(page, LoginView) and conf.LOGIN_MODE == "off"
    return page is not None and request.method not in SAFE_METHODS and not is_turned_off


def _record_csrf_failure(request: HttpRequest) -> None:
    """Record it once an hour for each user, or for each network of nobody (R-122)."""
    client, user = client_of(request), getattr(request, "user", None)
    user = user if user is not None and user.is_authenticated else None
    entry = audit.entry(Event.CSRF_FAIL, client=client, reason=Reason.CSRF, user=user)
    try:
        if cooldown.is_event_due(str(entry.event), user.pk if user else client.network):
            in_transaction(lambda: audit.record(entry))
    except ImproperlyConfigured:
        raise
    except Exception as error:  # the request was refused, and that is what counts
        logger.error("%s not recorded: %s", entry.event, type(error).__name__)


def _may_hold_plaintext(request: HttpRequest) -> bool:
    # A session that nothing has read yet is not read for this: that would cost a query.
    session = getattr(request, "session", None)
    return session is not None and session.accessed and stash.is_noted(request)


def _drop_stale_plaintext(request: HttpRequest) -> None:
    try:
        if _may_hold_plaintext(request):
            flows.drop_stale_plaintext(request)
    except ImproperlyConfigured:
        raise
    except Exception as error:  # reading it refuses expired plaintext as well
        logger.error("plaintext not dropped: %s", type(error).__name__)


def _sealed_off(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The response, kept from every cache if it shows codes; with the cookie that belongs to them.

    Our own pages see to that themselves; another package's page may show codes too.
    """
    stash.write_cookie(request, response)
    return protected(response) if stash.is_shown(request) else response


def _wait_seconds(request: HttpRequest) -> int:
    try:
        return flows.wait_seconds(request, request.POST.get("email"))
    except (ImproperlyConfigured, SuspiciousOperation):  # the latter is Django's own 400
        raise
    except Exception as error:  # a cache that is down: the view refuses, and says so properly
        logger.error("cooldown not read: %s", type(error).__name__)
        return 0
