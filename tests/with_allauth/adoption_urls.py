"""The routes that allauth has where MFA_SUPPORTED_TYPES names its recovery codes."""

from __future__ import annotations

from allauth.headless.mfa.views import ManageRecoveryCodesView
from django.urls import include, path

from tests.with_allauth.urls import urlpatterns as common


def headless(client):
    route = f"_allauth/{client}/v1/account/authenticators/recovery-codes"
    return path(route, ManageRecoveryCodesView.as_api_view(client=client))


urlpatterns = [
    path("accounts/2fa/recovery-codes/", include("allauth.mfa.recovery_codes.urls")),
    headless("browser"),
    headless("app"),
    *common,
]
