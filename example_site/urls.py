from __future__ import annotations

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView, TemplateView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from recovery_backend_allauth.admin_site import require_mfa

urlpatterns = [
    path("", TemplateView.as_view(template_name="demo/home.html"), name="home"),
    path("favicon.ico", RedirectView.as_view(url=static("demo/icon.svg"))),
    path("", include("recovery_backend_allauth.urls")),  # before allauth's API description
    path("accounts/", include("allauth.urls")),
    path("_allauth/", include("allauth.headless.urls")),
    path("api/recovery-codes/keys/", include("recovery_backend_api.keys.urls")),
    path("api/recovery-codes/", include("recovery_backend_api.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="api_schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="api_schema"), name="api_docs"),
    path("admin/", require_mfa(admin.site).urls),
    path("", include("recovery_backend.urls")),
]
