"""allauth's own URLs for its tests, and ours. Its tests reload this file after other settings."""

from __future__ import annotations

import importlib

from django.urls import include, path
from tests.projects.regular import urls as theirs

urlpatterns = [
    path("", include("recovery_backend_allauth.urls")),
    *importlib.reload(theirs).urlpatterns,
    path("", include("recovery_backend.urls")),
]
