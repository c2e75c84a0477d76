"""The admin, for sessions that have proven a second factor."""

from __future__ import annotations

from datetime import timedelta
from functools import update_wrapper
from typing import Any

from allauth.account.utils import get_next_redirect_url
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.functional import LazyObject
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from recovery_backend_allauth import demand, places, records, refusals, repair, restricted
from recovery_backend_allauth.proofs import Proof


class ClosedForm(AdminAuthenticationForm):
    """The admin's own sign-in, which knows neither second factor nor rate limit: it refuses all."""

    def clean(self) -> dict[str, Any]:
        raise ValidationError(_("Please use the sign-in page of this site."))


class MFARequiredAdminSite(AdminSite):
    """An admin that opens to a session once its second factor is proven, and signs in by allauth."""

    mfa_max_age: timedelta | None = None

    def has_permission(self, request: HttpRequest) -> bool:
        """As the site says, and never without a second factor: custom views ask this too."""
        return bool(super().has_permission(request)) and self._is_proven(request)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        guarded = super().admin_view(view, cacheable)

        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if repair.signing_out_of(request.resolver_match) is self:
                return csrf_protect(self.logout)(request)  # whoever may not come in may go
            return self._refusal(request) or guarded(request, *args, **kwargs)

        return update_wrapper(inner, guarded)

    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """No form: to allauth's pages, and from there to the page that was wanted."""
        if response := self._refusal(request):
            return response
        index = reverse("admin:index", current_app=self.name)
        return HttpResponseRedirect(get_next_redirect_url(request) or index)

    def _refusal(self, request: HttpRequest) -> HttpResponse | None:
        """What the request gets in place of a page of the admin."""
        user = request.user
        if not user.is_authenticated:
            return self._to_sign_in(request)
        if not super().has_permission(request):
            raise PermissionDenied
        if response := restricted.answer(request):
            return response
        proof = Proof(user, records.of_request(request), request.session)
        return demand.answer(request, proof, self.mfa_max_age)

    def _to_sign_in(self, request: HttpRequest) -> HttpResponse | None:
        # Not to LOGIN_URL, which on many a site is the admin's own form.
        if refusals.is_program(request):
            return demand.answer(request, None)
        url = redirect_to_login(places.wanted_by(request), reverse("account_login")).url
        return refusals.lead(url)

    def _is_proven(self, request: HttpRequest) -> bool:
        if not hasattr(request, "session") or restricted.holds(request):
            return False
        return records.is_satisfied(records.of_request(request), self.mfa_max_age)


def require_mfa(site: AdminSite | None = None, *, max_age: timedelta | None = None) -> AdminSite:
    """The site, Django's own by default, which from now on asks for a second factor.

    Write it in urls.py: `path("admin/", require_mfa(admin.site).urls)`.
    """
    site = admin.site if site is None else site
    _secure(_instance_of(site), max_age)
    return site


def _secure(site: AdminSite, max_age: timedelta | None) -> None:
    kind = type(site)
    if not issubclass(kind, MFARequiredAdminSite):
        # The instance that all models are registered with, with the rules of its own class.
        name, bases = kind.__name__, (MFARequiredAdminSite, kind)
        site.__class__ = type(name, bases, {"__module__": kind.__module__})
    if max_age is not None:
        site.mfa_max_age = max_age  # type: ignore[attr-defined]
    # URLs that were made before may still lead to the form.
    site.login_form = ClosedForm


def _instance_of(site: AdminSite) -> AdminSite:
    if not isinstance(site, LazyObject):
        return site
    str(site.name)  # which sets it up
    instance: AdminSite = site._wrapped
    return instance
