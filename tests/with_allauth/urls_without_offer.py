"""A site that forgot to include `recovery_backend_allauth.urls`."""

from __future__ import annotations

from tests.with_allauth.urls import urlpatterns as all_patterns

urlpatterns = [
    pattern
    for pattern in all_patterns
    if getattr(getattr(pattern, "urlconf_module", None), "__name__", "")
    != "recovery_backend_allauth.urls"
]
