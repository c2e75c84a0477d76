from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from tests.urls import home

urlpatterns = [
    path("", home, name="home"),
    path("admin/", admin.site.urls),
    path("accounts/", include("allauth.urls")),
    path("", include("recovery_backend_allauth.urls")),
    path("_allauth/", include("allauth.headless.urls")),
    path("", include("recovery_backend.urls")),
    path("protected/", include("tests.with_allauth.protected_views")),
]
