from __future__ import annotations

from django.urls import include, path

from tests.with_allauth.urls import urlpatterns as with_allauth

urlpatterns = [
    *with_allauth,
    path("api/recovery-codes/", include("recovery_backend_api.urls")),
    path("protected-api/", include("tests.with_api.protected_views")),
]
