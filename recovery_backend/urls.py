from __future__ import annotations

from django.urls import path

from recovery_backend import views

PREFIX = "auth/recovery-codes/"

urlpatterns = [
    path(f"{PREFIX}login/", views.LoginView.as_view(), name="login_user"),
    path(f"{PREFIX}logout/", views.LogoutView.as_view(), name="recovery_logout"),
    path(f"{PREFIX}dashboard/", views.DashboardView.as_view(), name="recovery_dashboard"),
]
