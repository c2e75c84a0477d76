"""The page that tells whoever signed in with a code what is left to do."""

from __future__ import annotations

from typing import Any

from allauth import app_settings as allauth_settings
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_protect
from django.views.generic import TemplateView

from recovery_backend.models import RecoveryCode
from recovery_backend.views.page import RecoveryPage, waiting_text
from recovery_backend_allauth import places, records, restricted


class RestrictedView(RecoveryPage, LoginRequiredMixin, TemplateView):
    """GET tells where one is; POST ends the user's other sessions (R-42)."""

    template_name = "recovery_backend_allauth/restricted.html"
    http_method_names = ["get", "post", "head", "options"]

    @method_decorator(csrf_protect)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if not records.came_by_code(records.of_request(request)):
            return HttpResponseRedirect(places.wanted(request) or reverse("recovery_dashboard"))
        return super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest) -> HttpResponseRedirect:
        if not allauth_settings.USERSESSIONS_ENABLED:
            raise Http404
        from allauth.usersessions.internal.flows.sessions import end_other_sessions

        end_other_sessions(request, request.user)
        messages.success(request, _("You are signed out everywhere else."), fail_silently=True)
        return HttpResponseRedirect(reverse("recovery_restricted"))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: AbstractBaseUser = self.request.user  # type: ignore[assignment]
        restriction = restricted.restriction_of(self.request.session, user)
        context = {
            "restriction": restriction,
            "time_left": waiting_text(restriction.seconds_left) if restriction else "",
            "has_factor": places.has_factor(user),
            "may_change_password": restriction is None or user.has_usable_password(),
            "codes_left": RecoveryCode.objects.usable().of_user(user).count(),
            "other_sessions": _other_sessions(self.request, user),
        }
        if restriction and context["has_factor"]:
            wanted = places.wanted(self.request) or self.request.path
            context["prove_url"] = places.to_second_factor(self.request, wanted)
        return super().get_context_data(**kwargs) | context


def _other_sessions(request: HttpRequest, user: AbstractBaseUser) -> int:
    """How many other sessions of the user allauth knows of."""
    if not allauth_settings.USERSESSIONS_ENABLED:
        return 0
    from allauth.usersessions.models import UserSession

    others = UserSession.objects.exclude(session_key=request.session.session_key)
    return int(others.filter(user_id=user.pk).count())
