"""Every refusal in one form: `code` for programs, `detail` for people, and what else there is to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions as rest
from rest_framework.response import Response
from rest_framework.settings import api_settings

from recovery_backend import flows
from recovery_backend.exceptions import (
    AlreadyDelivered,
    CodeRefused,
    CooldownActive,
    EmailTurnedOff,
    FactorUnproven,
    NoActiveBatch,
    NoAddress,
    NotCounted,
    NotTheirs,
    PlaintextGone,
    SignInTooOld,
    WouldReplace,
)
from recovery_backend.views.actions import PROBLEMS
from recovery_backend.views.page import waiting_text
from recovery_backend_api import authentication
from recovery_backend_api.authentication import ApiKeyRefused, CsrfFailed
from recovery_backend_api.parsers import TooLarge
from recovery_backend_api.permissions import HasSession

Text = str | Promise


@dataclass(frozen=True)
class Problem:
    """What a kind of refusal is answered with."""

    status: int
    code: str
    detail: Text


class Refused(Exception):
    """Raised by a view that knows its answer. `data` is added to it."""

    def __init__(self, problem: Problem, **data: Any) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.data = data


INVALID = _("This is not the JSON that is expected here.")
INVALID_FIELDS = _("Some fields are not as they should be.")
SIGN_IN = _("Please sign in first.")

KINDS: dict[type[Exception], Problem] = {
    CodeRefused: Problem(400, "code_refused", PROBLEMS[CodeRefused]),
    NoActiveBatch: Problem(409, "no_active_batch", PROBLEMS[NoActiveBatch]),
    NoAddress: Problem(409, "no_address", PROBLEMS[NoAddress]),
    AlreadyDelivered: Problem(409, "already_delivered", PROBLEMS[AlreadyDelivered]),
    WouldReplace: Problem(
        409,
        "would_replace",
        _("You have codes that work. Say that they may be replaced, and they stop working."),
    ),
    PlaintextGone: Problem(410, "plaintext_gone", PROBLEMS[PlaintextGone]),
    EmailTurnedOff: Problem(403, "email_off", PROBLEMS[EmailTurnedOff]),
    SignInTooOld: Problem(
        403, "sign_in_too_old", _("For this, please sign in again. Nothing was changed.")
    ),
    FactorUnproven: Problem(
        403, "mfa_required", _("For this, please confirm your second factor. Nothing was changed.")
    ),
    NotCounted: Problem(
        503,
        "unavailable",
        _("This does not work at the moment. Nothing was changed. Please try again later."),
    ),
    NotTheirs: Problem(404, "not_found", _("There is no such thing.")),
    CsrfFailed: Problem(403, "csrf_failed", _("The CSRF check failed.")),
    TooLarge: Problem(413, "too_large", INVALID),
    rest.ParseError: Problem(400, "invalid", INVALID),
    rest.NotAuthenticated: Problem(401, "not_authenticated", SIGN_IN),
    ApiKeyRefused: Problem(401, ApiKeyRefused.default_code, ApiKeyRefused.default_detail),
    rest.AuthenticationFailed: Problem(401, "not_authenticated", SIGN_IN),
    rest.NotFound: Problem(404, "not_found", _("There is no such thing.")),
    rest.MethodNotAllowed: Problem(405, "method_not_allowed", _("This method is not for here.")),
    rest.UnsupportedMediaType: Problem(415, "unsupported_media_type", INVALID),
    PermissionDenied: Problem(403, "permission_denied", _("This is not allowed.")),
}
EMAIL_FAILED = Problem(502, "email_failed", _("The e-mail could not be sent."))
OFF = Problem(403, "off", _("Signing in with a recovery code is turned off on this site."))
SECOND_FACTOR = Problem(
    403,
    "second_factor",
    _("Sign in with your password first. You can use a recovery code after it."),
)
API_KEYS_OFF = Problem(403, "api_keys_off", _("This site has no API keys."))

OWN = (*KINDS.values(), EMAIL_FAILED, OFF, SECOND_FACTOR, API_KEYS_OFF)
OF_FORM = ("refused", "unverified")
# Of the middleware of "recovery_backend_allauth", before an endpoint is asked.
OF_SESSIONS = (
    "mfa_enrolment_required",
    "restricted_session",
    "session_ended",
    "session_expired",
    "session_moved",
)
CODES = sorted({*(it.code for it in OWN), "cooldown", HasSession.code, *OF_FORM, *OF_SESSIONS})


def answer(error: Exception, context: dict[str, Any]) -> Response | None:
    """The response to a refusal; None for an error, which is none of ours to hide."""
    if isinstance(error, Refused):
        return respond(error.problem, **error.data)
    if isinstance(error, CooldownActive):
        return _wait(error.wait_seconds)
    if isinstance(error, rest.ValidationError):
        return _invalid(error.detail)
    if isinstance(error, rest.PermissionDenied) and not isinstance(error, CsrfFailed):
        return _forbidden(error.detail)
    problem = next((KINDS[kind] for kind in KINDS if isinstance(error, kind)), None)
    if problem is None:
        return None
    response = respond(problem, **_lead(error, context["request"]._request))
    if header := getattr(error, "auth_header", ""):
        response["WWW-Authenticate"] = header
    return response


def respond(problem: Problem, **data: Any) -> Response:
    """A refusal, with what else there is to say."""
    return Response({"code": problem.code, "detail": problem.detail, **data}, problem.status)


def signed_out() -> JsonResponse:
    """The refusal for a session that has ended meanwhile, outside of the framework."""
    problem = KINDS[rest.NotAuthenticated]
    told = {"code": problem.code, "detail": problem.detail}
    way_in = authentication.classes()[0]().authenticate_header(None)
    return JsonResponse(told, status=problem.status, headers={"WWW-Authenticate": way_in})


def _wait(seconds: int) -> Response:
    detail = _("That was too often. Wait %(time)s.") % {"time": waiting_text(seconds)}
    response = respond(Problem(429, "cooldown", detail), wait_seconds=seconds)
    response["Retry-After"] = str(seconds)
    return response


def _invalid(problems: Any) -> Response:
    """The fields with what is wrong with each; what concerns no field is the detail itself."""
    general = problems.pop(api_settings.NON_FIELD_ERRORS_KEY, None)
    problem = Problem(400, "invalid", general[0] if general else INVALID_FIELDS)
    return respond(problem, fields=problems) if problems else respond(problem)


def _forbidden(detail: Any) -> Response:
    told = detail if isinstance(detail, dict) else {"code": detail.code, "detail": detail}
    return respond(Problem(403, told["code"], told["detail"]))


def _lead(error: Exception, request: HttpRequest) -> dict[str, str]:
    """Where a person does what is missing; an app has its own pages for it."""
    if isinstance(error, FactorUnproven):
        return {"redirect_to": error.url}
    if isinstance(error, SignInTooOld):
        url = flows.confirm_url(request, reverse("recovery_dashboard"))
        return {"redirect_to": url or resolve_url(settings.LOGIN_URL)}
    return {}
