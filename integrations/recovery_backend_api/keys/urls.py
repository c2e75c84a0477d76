"""Above the API's own: `path("api/recovery-codes/keys/", include("recovery_backend_api.keys.urls"))`."""

from __future__ import annotations

from django.urls import path

from recovery_backend_api.keys import views

app_name = "recovery_backend_api_keys"
urlpatterns = [
    path("", views.Keys.as_view(), name="keys"),
    path("revoke/", views.Revoke.as_view(), name="revoke"),
]
