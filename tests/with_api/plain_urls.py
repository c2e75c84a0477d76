from __future__ import annotations

from django.urls import include, path

from tests.urls import urlpatterns as plain

urlpatterns = [
    *plain,
    path("api/recovery-codes/", include("recovery_backend_api.urls")),
    path("protected-api/", include("tests.with_api.protected_views")),
]
