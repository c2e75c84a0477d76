"""A project that still has django-otp."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES
from tests.settings import INSTALLED_APPS as OUR_APPS

# The tests that start these have a database open.
DATABASES["default"].setdefault("TEST", {}).setdefault("NAME", "test_recovery_imports")
INSTALLED_APPS = [*OUR_APPS, "django_otp", "django_otp.plugins.otp_static"]
