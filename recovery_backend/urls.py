from __future__ import annotations

from django.urls import path

from recovery_backend import views

PREFIX = "auth/recovery-codes/"

urlpatterns = [
    path(f"{PREFIX}login/", views.LoginView.as_view(), name="login_user"),
    path(f"{PREFIX}logout/", views.LogoutView.as_view(), name="recovery_logout"),
    path(f"{PREFIX}dashboard/", views.DashboardView.as_view(), name="recovery_dashboard"),
    path(f"{PREFIX}generate/", views.GenerateView.as_view(), name="recovery_generate"),
    path(f"{PREFIX}verify/", views.VerifyView.as_view(), name="recovery_verify_setup"),
    path(f"{PREFIX}download/", views.DownloadView.as_view(), name="recovery_download"),
    path(f"{PREFIX}email/", views.EmailView.as_view(), name="recovery_email"),
    path(f"{PREFIX}email/status/", views.EmailStatusView.as_view(), name="recovery_email_status"),
    path(f"{PREFIX}events/", views.EventsView.as_view(), name="recovery_events"),
    path(f"{PREFIX}saved/", views.SavedView.as_view(), name="recovery_saved"),
    path(f"{PREFIX}invalidate/", views.InvalidateView.as_view(), name="recovery_invalidate"),
    path(f"{PREFIX}delete/", views.DeleteView.as_view(), name="recovery_delete"),
    path(f"{PREFIX}delete-all/", views.DeleteAllView.as_view(), name="recovery_delete_all"),
]
