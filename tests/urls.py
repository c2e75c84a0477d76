from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.http import HttpResponse
from django.urls import include, path


def home(request):
    return HttpResponse("home")


urlpatterns = [
    path("", home, name="home"),
    path("password/", LoginView.as_view(template_name="password.html"), name="password_login"),
    path("admin/", admin.site.urls),
    path("", include("recovery_backend.urls")),
]
