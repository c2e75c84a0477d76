"""The endpoints: the pages' own flows, with JSON before and after."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.types import OpenApiTypes
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from recovery_backend import cooldown, flows, history, stash
from recovery_backend.conf import conf
from recovery_backend.exceptions import CooldownActive, PlaintextGone
from recovery_backend.forms import RecoveryLoginForm
from recovery_backend_api import answers, errors, inputs
from recovery_backend_api.authentication import BySession
from recovery_backend_api.endpoint import Change, Endpoint, page_of, typed_by
from recovery_backend_api.errors import Problem
from recovery_backend_api.masked import Masked

FILE_TYPES = ("text/plain", "text/csv", "application/pdf")


class Status(Endpoint):
    """How it stands with the user's codes."""

    tells = {"GET": {200: answers.StatusAnswer}}

    def get(self, request: Request) -> Response:
        user: Any = request.user
        overview = history.overview_of(user)
        status = {
            "left": overview.left,
            "total": overview.batch.number_issued if overview.batch else 0,
            "warning": overview.warning,
            "has_passed_test": overview.has_passed_test,
            "refused_sign_ins": sum(entry.tries for entry in overview.activity),
            "wait_seconds": {
                "generate": cooldown.repeat_wait_seconds("generate", user),
                "email": cooldown.repeat_wait_seconds("email", user),
            },
            "batch": overview.batch,
        }
        return Response(answers.StatusAnswer(status).data)


class Batches(Endpoint):
    """The user's batches, newest first, as many as the dashboard shows."""

    tells = {"GET": {200: answers.BatchesAnswer}}

    def get(self, request: Request) -> Response:
        page = page_of(request, history.overview_of(request.user).cards)
        return Response(answers.BatchesAnswer(page).data)


class Activity(Endpoint):
    """What happened to the user's account, newest first, as far as the audit goes back."""

    tells = {"GET": {200: answers.ActivitiesAnswer}}

    def get(self, request: Request) -> Response:
        page = page_of(request, history.activity_rows(request.user))
        page["results"] = [history.activity_from(row) for row in page["results"]]
        return Response(answers.ActivitiesAnswer(page).data)


class Generate(Change):
    """New codes, in this answer only. Replacing active ones has to be asked for."""

    takes = inputs.GenerateInputs
    tells = {"POST": {201: answers.GeneratedAnswer}}
    problems = (409, 410)

    @sensitive_variables()
    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        batch = flows.generate(
            request, days_to_expire=typed.get("days_to_expire"), may_replace=typed["replace"]
        )
        plaintext = flows.plaintext_of(request, may_show=True)
        if plaintext is None:
            raise PlaintextGone  # replaced meanwhile, by another request of the same user
        codes = []
        for code in plaintext.codes:  # a comprehension's variables would show in an error report
            codes.append(Masked(code))
        generated = {
            "batch": history.card_of(batch),
            "codes": codes,
            "delivery_key": Masked(stash.client_part(request)),
            "deliverable_until": plaintext.expires_at,
        }
        return Response(answers.GeneratedAnswer(generated).data, 201)


class Verify(Change):
    """Test a code. Nothing is spent; failures count as those of signing in do."""

    takes = inputs.CodeInputs
    tells = {"POST": {200: answers.DoneAnswer}}
    problems = (409,)
    needs_recent_sign_in = False

    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        flows.verify(request, typed["recovery_code"])
        return _done(_("This code works. It was only tested: you can still use it."))


class Invalidate(Change):
    """Take one code out of service. It stays in the counts."""

    takes = inputs.CodeInputs
    tells = {"POST": {200: answers.DoneAnswer}}
    problems = ()

    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        flows.invalidate_code(request, typed["recovery_code"])
        return _done(_("This code cannot be used any more."))


class Delete(Change):
    """Delete one code."""

    takes = inputs.CodeInputs
    tells = {"POST": {200: answers.DoneAnswer}}
    problems = ()

    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        flows.delete_code(request, typed["recovery_code"])
        return _done(_("This code is deleted."))


class DeleteAll(Change):
    """Delete the active batch with all its codes."""

    takes = inputs.BatchInputs
    tells = {"POST": {200: answers.DoneAnswer}}
    problems = (404, 409)

    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        flows.delete_all(request, flows.active_batch(request, typed["batch"]))
        return _done(_("All your codes are deleted."))


class Download(Change):
    """The codes of a batch as a file, once, for the session that has generated them."""

    takes = inputs.DownloadInputs
    tells = {"POST": {(200, kind): OpenApiTypes.BINARY for kind in FILE_TYPES}}
    problems = (404, 409, 410)

    @sensitive_variables()
    def act(self, request: HttpRequest, typed: dict[str, Any]) -> HttpResponse:
        stash.bring(request, typed["delivery_key"])
        batch = flows.active_batch(request, typed["batch"])
        file = flows.download(request, batch, typed.get("format", conf.DEFAULT_FORMAT))
        response = HttpResponse(file.content, content_type=file.content_type)
        disposition = content_disposition_header(True, file.name)
        response.headers["Content-Disposition"] = disposition or "attachment"
        return response


class Email(Change):
    """The codes of a batch to the account's own address, once."""

    takes = inputs.DeliveryInputs
    tells = {
        "GET": {200: answers.EmailAnswer},
        "POST": {200: answers.EmailAnswer, 202: answers.EmailAnswer},
    }
    problems = (404, 409, 410, 502)

    def get(self, request: Request) -> Response:
        """How the e-mail of the active codes stands."""
        return Response({"email_state": flows.email_state(request._request)})

    @sensitive_variables()
    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        stash.bring(request, typed["delivery_key"])
        flows.email_codes(request, flows.active_batch(request, typed["batch"]))
        # Without a queue it has left by now, or has not.
        state = flows.email_state(request)
        if state == "failed":
            raise errors.Refused(errors.EMAIL_FAILED)
        return Response({"email_state": state}, 200 if state == "sent" else 202)


class Saved(Change):
    """The owner has saved the codes: nothing of them is kept any longer."""

    takes = inputs.BatchInputs
    tells = {"POST": {200: answers.DoneAnswer}}
    problems = (404, 409)
    needs_recent_sign_in = False

    def act(self, request: HttpRequest, typed: dict[str, Any]) -> Response:
        flows.active_batch(request, typed["batch"])  # else the newer ones would be taken away
        flows.forget_plaintext(request)
        return _done(_("Good. Your codes are not kept here any longer."))


class SignIn(Endpoint):
    """Sign in with e-mail address and recovery code, for browsers: the session is in a cookie."""

    takes = inputs.SignInInputs
    tells = {"GET": {200: answers.SignInFormAnswer}, "POST": {200: answers.SignInAnswer}}
    problems = ()
    permission_classes = ()

    def get_authenticators(self) -> list[Any]:
        return []

    def perform_authentication(self, request: Request) -> None:
        """Nobody has to be signed in; who is, is known to the flow."""

    def get(self, request: Request) -> Response:
        """What the form has to ask for, and the CSRF token."""
        url = flows.second_step_url()
        form = {
            "csrf_token": get_token(request._request),
            "is_open": conf.LOGIN_MODE != "off" and url is None,
            "needs_password": conf.LOGIN_MODE == "second_factor" and url is None,
            "redirect_to": url,
        }
        return Response(answers.SignInFormAnswer(form).data)

    @sensitive_variables()
    def post(self, request: Request) -> Response:
        http = request._request
        BySession().enforce_csrf(request)  # or another site could sign people in as somebody else
        if conf.LOGIN_MODE == "off":
            raise errors.Refused(errors.OFF)
        if url := flows.second_step_url():
            raise errors.Refused(errors.SECOND_FACTOR, redirect_to=url)
        form = RecoveryLoginForm(http, typed_by(request, self.takes))
        if not form.is_valid():
            raise _refusal(form)
        response = flows.sign_in(http, form.user, "")  # type: ignore[arg-type]  # a valid form's
        url = response.url if isinstance(response, HttpResponseRedirect) else None
        if http.user.is_authenticated:
            return Response({"is_authenticated": True, "redirect_to": None})
        return Response({"is_authenticated": False, "redirect_to": url})


def _refusal(form: RecoveryLoginForm) -> Exception:
    if form.wait_seconds:
        return CooldownActive(form.wait_seconds)
    if NON_FIELD_ERRORS not in form.errors:
        refusal: Exception = ValidationError({name: list(it) for name, it in form.errors.items()})
        return refusal
    told = form.errors.get_json_data()[NON_FIELD_ERRORS][0]
    problem = Problem(400, told["code"], told["message"])
    seconds = getattr(form.request, "recovery_next_try_seconds", 0)
    return errors.Refused(problem, **({"wait_seconds": seconds} if seconds else {}))


def _done(detail: str) -> Response:
    return Response({"detail": detail})
