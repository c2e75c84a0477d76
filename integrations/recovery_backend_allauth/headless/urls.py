"""Beside allauth's own headless addresses: `path("_allauth/", include(<this>))`, before them."""

from __future__ import annotations

from allauth.headless import app_settings
from allauth.headless.constants import Client
from django.urls import URLPattern, path

from recovery_backend_allauth.headless import spec, views


def _login(client: Client) -> URLPattern:
    name = client.value
    view = views.LoginView.as_api_view(client=client)
    pattern: URLPattern = path(
        f"{name}/v1/auth/recovery-code/login", view, name=f"recovery_code_login_{name}"
    )
    return pattern


urlpatterns = [_login(client) for client in Client if client.value in app_settings.CLIENTS]

if app_settings.SERVE_SPECIFICATION:  # in the place of allauth's, with this endpoint in it
    urlpatterns += [
        path("openapi.yaml", spec.OpenAPIYAMLView.as_view()),
        path("openapi.json", spec.OpenAPIJSONView.as_view()),
    ]
