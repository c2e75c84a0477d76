"""The headless twin of the sign-in page: the same form, the same flow, allauth's own answers."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from allauth.headless.base.response import AuthenticationResponse, ConflictResponse
from allauth.headless.base.views import APIView
from allauth.headless.internal.restkit.response import APIResponse
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from recovery_backend import flows
from recovery_backend.conf import conf
from recovery_backend.forms import RecoveryLoginForm
from recovery_backend.views.page import waiting_text
from recovery_backend_allauth.headless.inputs import Malformed, typed_by

Error = dict[str, Any]


# Under ATOMIC_REQUESTS a later error would take back what a try has cost.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class LoginView(APIView):  # type: ignore[misc]
    """Sign in with an e-mail address and a recovery code."""

    # Read in `post`: allauth would take a body of any size and depth, and hold its plaintext.
    handle_json_input = False
    http_method_names = ["post", "options"]

    @sensitive_variables()
    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if closed := _closed():
            return _refused(request, HTTPStatus.FORBIDDEN, [closed])
        if request.user.is_authenticated:
            conflict: HttpResponse = ConflictResponse(request)
            return conflict
        try:
            form = RecoveryLoginForm(request, typed_by(request))
        except Malformed as problem:
            return _refused(request, HTTPStatus.BAD_REQUEST, [_malformed(problem)])
        return _signed_in(request, form) if form.is_valid() else _not_signed_in(request, form)


def _closed() -> Error | None:
    if conf.LOGIN_MODE == "off":
        message = _("Signing in with a recovery code is turned off on this site.")
        return {"code": "off", "message": message}
    if conf.LOGIN_MODE == "second_factor":
        message = _("Sign in with your password first. You can use a recovery code after it.")
        return {"code": "second_factor", "message": message}
    return None


def _signed_in(request: HttpRequest, form: RecoveryLoginForm) -> HttpResponse:
    answer = flows.sign_in(request, form.user, "")  # type: ignore[arg-type]  # a valid form's
    # What allauth's stages answer is meant for browsers: a client reads what is pending.
    response: HttpResponse = AuthenticationResponse.from_response(request, answer)
    return answer if isinstance(answer, APIResponse) else response


def _not_signed_in(request: HttpRequest, form: RecoveryLoginForm) -> HttpResponse:
    if seconds := form.wait_seconds:
        message = _("Too many tries. Wait %(time)s.") % {"time": waiting_text(seconds)}
        cooldown = {"code": "cooldown", "message": message}
        return _refused(request, HTTPStatus.TOO_MANY_REQUESTS, [cooldown], seconds)
    next_try_seconds = getattr(request, "recovery_next_try_seconds", 0)
    return _refused(request, HTTPStatus.BAD_REQUEST, _errors(form), next_try_seconds)


def _errors(form: RecoveryLoginForm) -> list[Error]:
    """The form's errors as allauth tells them: those of a field name it as `param`."""
    return [
        problem if field == "__all__" else {**problem, "param": field}
        for field, problems in form.errors.get_json_data().items()
        for problem in problems
    ]


def _malformed(problem: Malformed) -> Error:
    if problem.param:
        return {"code": "invalid", "param": problem.param, "message": _("This must be a text.")}
    return {"code": "invalid", "message": _("This is not the JSON that is expected here.")}


def _refused(
    request: HttpRequest, status: HTTPStatus, errors: list[Error], wait_seconds: int = 0
) -> HttpResponse:
    meta = {"wait_seconds": wait_seconds} if wait_seconds else None
    response: HttpResponse = APIResponse(request, errors=errors, meta=meta, status=status)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        response["Retry-After"] = str(wait_seconds)
    return response
