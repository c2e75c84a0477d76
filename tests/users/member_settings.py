"""A project with a user model of its own, which also has another default key type."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as ALL_APPS

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
AUTH_USER_MODEL = "users.Member"
INSTALLED_APPS = [app for app in ALL_APPS if app != "django.contrib.admin"]
ROOT_URLCONF = "recovery_backend.urls"
LOGIN_URL = "login_user"
