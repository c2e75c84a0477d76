"""A project that also has allauth and axes."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as OUR_APPS
from tests.settings import MIDDLEWARE as OUR_MIDDLEWARE

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS = [*OUR_APPS, "allauth", "allauth.account", "axes"]
MIDDLEWARE = [
    *OUR_MIDDLEWARE,
    "allauth.account.middleware.AccountMiddleware",
    "axes.middleware.AxesMiddleware",
]
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_RATE_LIMITS = False
AXES_FAILURE_LIMIT = 50
