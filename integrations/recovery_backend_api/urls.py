"""Wherever a project likes: `path("api/recovery-codes/", include("recovery_backend_api.urls"))`."""

from __future__ import annotations

from django.urls import path

from recovery_backend_api import views

app_name = "recovery_backend_api"
urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="sign_in"),
    path("status/", views.Status.as_view(), name="status"),
    path("batches/", views.Batches.as_view(), name="batches"),
    path("activity/", views.Activity.as_view(), name="activity"),
    path("generate/", views.Generate.as_view(), name="generate"),
    path("verify/", views.Verify.as_view(), name="verify"),
    path("download/", views.Download.as_view(), name="download"),
    path("email/", views.Email.as_view(), name="email"),
    path("saved/", views.Saved.as_view(), name="saved"),
    path("invalidate/", views.Invalidate.as_view(), name="invalidate"),
    path("delete/", views.Delete.as_view(), name="delete"),
    path("delete-all/", views.DeleteAll.as_view(), name="delete_all"),
]
