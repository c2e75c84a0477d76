"""What a user does to their codes: POST only, then back to the dashboard with a message."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.generic import View

from recovery_backend import emails, flows
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
    RecoveryCodeError,
    SignInTooOld,
    WouldReplace,
)
from recovery_backend.forms import DaysToExpireForm, presented_code
from recovery_backend.models import RecoveryCodeBatch
from recovery_backend.views.dashboard import PROBLEM_TAG, DashboardView
from recovery_backend.views.page import RecoveryPage, waiting_text, wants_json

PROBLEMS: dict[type[RecoveryCodeError], Any] = {
    AlreadyDelivered: gettext_lazy(
        "That was done already, and it works once only. Generate new codes if you need another "
        "copy."
    ),
    CodeRefused: gettext_lazy("This is not one of your unused codes. Nothing was changed."),
    EmailTurnedOff: gettext_lazy("This site does not send codes by e-mail."),
    NoActiveBatch: gettext_lazy("These codes are not your current ones any more."),
    NoAddress: gettext_lazy(
        "Your account has no e-mail address that is known to be yours. Add or confirm one first."
    ),
    PlaintextGone: gettext_lazy(
        "These codes are not kept any longer, so they cannot be handed out again. Generate new "
        "ones if you need a copy."
    ),
}


class ActionView(RecoveryPage, LoginRequiredMixin, View):
    """One change, by POST. Refusals come back to the form that `name` names."""

    http_method_names = ["post", "options"]
    name: str
    needs_recent_sign_in = True

    # Under ATOMIC_REQUESTS an error in the page would take back what was counted and recorded.
    # LoginRequiredMiddleware would send people back, after they signed in, to a URL for POST only.
    @method_decorator(transaction.non_atomic_requests)
    @method_decorator(login_not_required)
    @method_decorator(sensitive_post_parameters())
    @method_decorator(csrf_protect)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().dispatch(request, *args, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            flows.count_action(request)
            if self.needs_recent_sign_in:
                flows.require_recent_sign_in(request)
                flows.require_second_factor(request, reverse("recovery_dashboard"))
            return self.act(request)
        except CooldownActive as cooldown:
            return self.wait_response(cooldown.wait_seconds)
        except SignInTooOld:
            text = _("For this, please sign in again. Nothing was changed.")
            return self.sign_in(text, status=403)
        except FactorUnproven as unproven:
            return self.step_up(unproven.url)
        except NotCounted:
            return self.unavailable()
        except NotTheirs:
            raise Http404 from None
        except tuple(PROBLEMS) as error:
            return self.problem(str(PROBLEMS[type(error)]), code=type(error).__name__)

    def act(self, request: HttpRequest) -> HttpResponse:
        """Do it, and return `done(...)`. Raises the `RecoveryCodeError` that says why not."""
        raise NotImplementedError

    def batch(self) -> RecoveryCodeBatch:
        """The active batch, which must be the one that the page showed."""
        return flows.active_batch(self.request, self.request.POST.get("batch", ""))

    def done(self, text: str) -> HttpResponse:
        """Back to the dashboard with good news."""
        if wants_json(self.request):
            return JsonResponse({"detail": text, "redirect_to": reverse("recovery_dashboard")})
        messages.success(self.request, text, fail_silently=True)
        return HttpResponseRedirect(reverse("recovery_dashboard"))

    def problem(self, text: str, *, code: str, status: int = 400) -> HttpResponse:
        """Back to the form on the dashboard, with what is wrong."""
        if wants_json(self.request):
            return JsonResponse({"code": code, "detail": text}, status=status)
        tag = f"{PROBLEM_TAG}{self.name}"
        messages.error(self.request, text, extra_tags=tag, fail_silently=True)
        return HttpResponseRedirect(f"{reverse('recovery_dashboard')}#{self.name}")

    def wait_response(self, wait_seconds: int) -> HttpResponse:
        """429: the dashboard, with how long to wait (R-59)."""
        if wants_json(self.request):
            detail = _("That was too often. Wait %(time)s.") % {"time": waiting_text(wait_seconds)}
            answer = {"code": "cooldown", "detail": detail, "wait_seconds": wait_seconds}
            response: HttpResponse = JsonResponse(answer, status=429)
        else:
            page = DashboardView()
            page.setup(self.request)
            context = page.get_context_data(wait_seconds=wait_seconds, waiting_for=self.name)
            response = render(self.request, page.template_name, context, status=429)
        response["Retry-After"] = str(wait_seconds)
        return response

    def unavailable(self) -> HttpResponse:
        """503: the cache is down, and an uncounted change would be an unlimited one."""
        text = _("This does not work at the moment. Nothing was changed. Please try again later.")
        if wants_json(self.request):
            return JsonResponse({"code": "unavailable", "detail": text}, status=503)
        context = {
            "detail": text,
            "is_signed_in": True,
            "recovery_site_name": emails.site_name(),
        }
        return render(self.request, "recovery_backend/unavailable.html", context, status=503)

    def handle_no_permission(self) -> HttpResponse:  # type: ignore[override]
        return self.sign_in(_("Please sign in first. Nothing was changed."), status=401)

    def sign_in(self, text: str, *, status: int) -> HttpResponse:
        """To where people sign in, and from there to the dashboard, with nothing changed (R-43)."""
        url = flows.confirm_url(self.request, reverse("recovery_dashboard"))
        return self.lead("sign_in", text, url or _login_url(self.request), status=status)

    def step_up(self, url: str) -> HttpResponse:
        """To where the second factor is proven, and from there to the dashboard."""
        text = _("For this, please confirm your second factor. Nothing was changed.")
        return self.lead("mfa_required", text, url, status=403)

    def lead(self, code: str, text: str, url: str, *, status: int) -> HttpResponse:
        """People go there, programs are told why."""
        if wants_json(self.request):
            answer = {"code": code, "detail": text, "redirect_to": url}
            return JsonResponse(answer, status=status)
        messages.warning(self.request, text, fail_silently=True)
        return HttpResponseRedirect(url)

    def confirm(self, **context: Any) -> HttpResponse:
        """A page that asks before something ends for good; works without JavaScript (R-138)."""
        if wants_json(self.request):
            answer = {"code": "confirm", "detail": context["question"]}
            return JsonResponse(answer, status=400)
        context["recovery_site_name"] = emails.site_name()
        context["action_url"] = self.request.path
        return render(self.request, "recovery_backend/confirm.html", context)


def _login_url(request: HttpRequest) -> str:
    """LOGIN_URL, and the dashboard after it: by its whole address if that is on another host."""
    login_url, path = resolve_url(settings.LOGIN_URL), reverse("recovery_dashboard")
    here = urlsplit(request.build_absolute_uri(path))
    there = urlsplit(login_url)
    is_here = there.scheme in {"", here.scheme} and there.netloc in {"", here.netloc}
    return redirect_to_login(path if is_here else here.geturl(), login_url).url


class GenerateView(ActionView):
    """New codes, shown once on the dashboard. Replacing active ones has to be confirmed."""

    name = "generate"

    def act(self, request: HttpRequest) -> HttpResponse:
        form = DaysToExpireForm(request.POST)
        if not form.is_valid():
            return self.problem(str(form.errors["days_to_expire"][0]), code="invalid")
        days = form.cleaned_data["days_to_expire"]
        is_confirmed = request.POST.get("confirm") == "on"
        try:
            flows.generate(request, days_to_expire=days, may_replace=is_confirmed)
        except WouldReplace:
            return self._confirm(days)
        return self.done(_("Your new codes are ready. They are shown this one time."))

    def _confirm(self, days: int | None) -> HttpResponse:
        return self.confirm(
            title=_("Replace your codes"),
            question=_("Replace your codes by new ones?"),
            consequences=[
                _("The codes that you have now stop working at once."),
                _("A list that you printed, saved or were sent becomes useless."),
            ],
            fields=[("days_to_expire", days or ""), ("confirm", "on")],
            button=_("Yes, replace them"),
            busy_text=_("Generating …"),
            is_destructive=True,
        )


class VerifyView(ActionView):
    """The one-time set-up test: a code is read back, and nothing is spent."""

    name = "verify"
    needs_recent_sign_in = False

    def act(self, request: HttpRequest) -> HttpResponse:
        flows.verify(request, presented_code(request))
        return self.done(_("This code works. It was only tested: you can still use it."))


class InvalidateView(ActionView):
    """One code out of service, kept in the counts."""

    name = "invalidate"

    def act(self, request: HttpRequest) -> HttpResponse:
        flows.invalidate_code(request, presented_code(request))
        return self.done(_("This code cannot be used any more."))


class DeleteView(ActionView):
    """One code deleted."""

    name = "delete"

    def act(self, request: HttpRequest) -> HttpResponse:
        flows.delete_code(request, presented_code(request))
        return self.done(_("This code is deleted."))


class DeleteAllView(ActionView):
    """All codes deleted, once confirmed."""

    name = "delete_all"

    def act(self, request: HttpRequest) -> HttpResponse:
        batch = self.batch()
        if request.POST.get("confirm") != "on":
            return self._confirm(batch)
        flows.delete_all(request, batch)
        return self.done(_("All your codes are deleted."))

    def _confirm(self, batch: RecoveryCodeBatch) -> HttpResponse:
        return self.confirm(
            title=_("Delete all codes"),
            question=_("Delete all your codes?"),
            consequences=[
                _("None of them works any more, wherever you keep them."),
                _(
                    "You have no codes until you generate new ones. If you lose your phone in the "
                    "meantime, you may not get in."
                ),
            ],
            fields=[("batch", batch.public_id), ("confirm", "on")],
            button=_("Yes, delete them all"),
            busy_text=_("Deleting …"),
            is_destructive=True,
        )
