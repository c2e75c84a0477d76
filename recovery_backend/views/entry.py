"""Signing in with a recovery code, and signing out."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.urls import NoReverseMatch
from django.utils.decorators import method_decorator
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from recovery_backend import emails, flows
from recovery_backend.audit import logger
from recovery_backend.conf import conf
from recovery_backend.forms import RecoveryLoginForm
from recovery_backend.views.page import RecoveryPage, protected, waiting_text, wants_json


class LoginView(RecoveryPage, auth_views.LoginView):
    """Sign in with an e-mail address and a recovery code."""

    form_class = RecoveryLoginForm  # type: ignore[assignment]
    template_name = "recovery_backend/login.html"
    http_method_names = ["get", "post", "head", "options"]  # FormView takes PUT for POST

    # Under ATOMIC_REQUESTS the counters would stay locked until the page is rendered, and a later
    # error would take the charge back. as_view() looks for both marks on this very method.
    @method_decorator(transaction.non_atomic_requests)
    @method_decorator(login_not_required)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if conf.LOGIN_MODE == "off":
            detail = _("Signing in with a recovery code is turned off on this site.")
            return protected(self._closed("off", detail))
        if url := flows.second_step_url():
            return protected(self._led_to(url))
        return super().dispatch(request, *args, **kwargs)

    def get_default_redirect_url(self) -> str:
        return resolve_url(conf.REDIRECT_VIEW)

    def form_valid(self, form: Any) -> HttpResponse:
        target = self._target()
        response = flows.sign_in(self.request, form.get_user(), target)
        response = response or HttpResponseRedirect(target)
        if wants_json(self.request) and isinstance(response, HttpResponseRedirect):
            return JsonResponse({"redirect_to": response.url})
        return response

    def form_invalid(self, form: Any) -> HttpResponse:
        if form.wait_seconds:
            return self.wait_response(form.wait_seconds)
        if wants_json(self.request):
            return JsonResponse(_json_errors(form, self._next_try_seconds()), status=400)
        context = self.get_context_data(form=form, wait_seconds=self._next_try_seconds())
        return self.render_to_response(context)

    def _target(self) -> str:
        # The code is spent by now, so a setting that names no page must not keep its owner out.
        try:
            return self.get_success_url()
        except NoReverseMatch:
            logger.error("REDIRECT_VIEW names no page of this site")
            return "/"

    def wait_response(self, wait_seconds: int) -> HttpResponse:
        """429: the form again, with the address kept, and how long to wait (R-59)."""
        if wants_json(self.request):
            detail = _("Too many tries. Wait %(time)s.") % {"time": waiting_text(wait_seconds)}
            response: HttpResponse = JsonResponse(
                {"code": "cooldown", "detail": detail, "wait_seconds": wait_seconds}, status=429
            )
        else:
            form = RecoveryLoginForm(
                self.request, initial={"email": self.request.POST.get("email", "")[:254]}
            )
            context = self.get_context_data(form=form, wait_seconds=wait_seconds, is_refused=True)
            response = render(self.request, self.template_name, context, status=429)
        response["Retry-After"] = str(wait_seconds)
        return protected(response)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        wait = kwargs.get("wait_seconds", 0)
        return super().get_context_data(**{"waiting_text": waiting_text(wait), **kwargs})

    def _next_try_seconds(self) -> int:
        return getattr(self.request, "recovery_next_try_seconds", 0)

    def _led_to(self, url: str) -> HttpResponse:
        """The page where a password comes first; whoever has sent a code is told why not here."""
        if self.request.method not in {"GET", "HEAD"} or wants_json(self.request):
            detail = _("Sign in with your password first. You can use a recovery code after it.")
            return self._closed("second_factor", detail, redirect_to=url)
        if wanted := self.get_redirect_url():
            url = f"{url}?{urlencode({self.redirect_field_name: wanted})}"
        return HttpResponseRedirect(url)

    def _closed(self, code: str, detail: str, **data: str) -> HttpResponse:
        if wants_json(self.request):
            return JsonResponse({"code": code, "detail": detail, **data}, status=403)
        context = {"detail": detail, "recovery_site_name": emails.site_name(), **data}
        return render(self.request, "recovery_backend/unavailable.html", context, status=403)


class LogoutView(RecoveryPage, auth_views.LogoutView):  # type: ignore[misc]
    """Sign out, by POST only. What the browser cached of our pages goes too (R-89)."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = super().post(request, *args, **kwargs)
        response.headers["Clear-Site-Data"] = '"cache"'
        return response

    def get_default_redirect_url(self) -> str:
        return resolve_url(conf.REDIRECT_VIEW_AFTER_LOGOUT)


def _json_errors(form: Form, next_try_seconds: int) -> dict[str, Any]:
    errors = form.errors.get_json_data()
    problem = errors.get("__all__", [{"message": _("Fill in every field."), "code": "invalid"}])[0]
    answer: dict[str, Any] = {"code": problem["code"], "detail": problem["message"]}
    if next_try_seconds:
        answer["wait_seconds"] = next_try_seconds
    return answer
