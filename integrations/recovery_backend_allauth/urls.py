from __future__ import annotations

from allauth import app_settings as allauth_settings
from django.urls import URLPattern, URLResolver, include, path

from recovery_backend.urls import PREFIX
from recovery_backend_allauth import restricted_page, views

urlpatterns: list[URLPattern | URLResolver] = [
    path(f"{PREFIX}offer/", views.OfferView.as_view(), name="recovery_offer"),
    path(f"{PREFIX}continue/", views.ContinueView.as_view(), name="recovery_continue"),
    path(
        f"{PREFIX}restricted/",
        restricted_page.RestrictedView.as_view(),
        name="recovery_restricted",
    ),
]

if allauth_settings.HEADLESS_ENABLED:
    urlpatterns.append(path("_allauth/", include("recovery_backend_allauth.headless.urls")))
