"""allauth's own settings for its tests, and what a site adds for this package."""

from __future__ import annotations

from tests.projects.regular.settings import *  # noqa: F403
from tests.projects.regular.settings import AUTHENTICATION_BACKENDS as THEIR_BACKENDS
from tests.projects.regular.settings import INSTALLED_APPS as THEIR_APPS
from tests.projects.regular.settings import MIDDLEWARE as THEIR_MIDDLEWARE

INSTALLED_APPS = ["recovery_backend_allauth", *THEIR_APPS, "recovery_backend", "django_q"]
MIDDLEWARE = [
    *THEIR_MIDDLEWARE,
    "recovery_backend.middleware.RecoveryCodeMiddleware",
    "recovery_backend_allauth.middleware.MFARequiredMiddleware",
]
AUTHENTICATION_BACKENDS = [*THEIR_BACKENDS, "recovery_backend.backends.RecoveryCodeBackend"]
ROOT_URLCONF = "beside_urls"

DJANGO_AUTH_RECOVERY_KEY = "c0a8f1d27b6e43958d10f2e4a6b8c9d7e5f3a1b2c4d6e8f0918273645546372a"
Q_CLUSTER = {"name": "suite", "orm": "default", "timeout": 30, "retry": 60, "max_attempts": 3}
