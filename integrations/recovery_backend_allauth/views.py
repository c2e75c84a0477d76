"""The page that offers codes after a second factor was added, and the way on from there."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_protect
from django.views.generic import TemplateView, View

from recovery_backend.models import RecoveryCodeSetup
from recovery_backend.views.page import RecoveryPage
from recovery_backend_allauth import enrolment


class OfferView(RecoveryPage, LoginRequiredMixin, TemplateView):
    """GET offers codes, which the core's own form generates; POST is "not now", for good."""

    template_name = "recovery_backend_allauth/offer.html"
    http_method_names = ["get", "post", "head", "options"]

    @method_decorator(csrf_protect)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not enrolment.needs_codes(request.user):  # type: ignore[arg-type]
            return HttpResponseRedirect(enrolment.onward(request))
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseRedirect:
        RecoveryCodeSetup.claim_offer(request.user)  # type: ignore[arg-type]
        return HttpResponseRedirect(enrolment.leave(request))


class ContinueView(RecoveryPage, LoginRequiredMixin, View):
    """To the page that was wanted before a second factor had to be added; once."""

    http_method_names = ["get", "options"]

    def get(self, request: HttpRequest) -> HttpResponseRedirect:
        return HttpResponseRedirect(enrolment.leave(request))
