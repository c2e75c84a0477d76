"""A project that still has django-auth-recovery-codes."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import BASE, DATABASES
from tests.settings import INSTALLED_APPS as OUR_APPS

# The tests that start these have a database open.
DATABASES["default"].setdefault("TEST", {}).setdefault("NAME", "test_recovery_imports")
INSTALLED_APPS = [*OUR_APPS, "django_auth_recovery_codes"]
BASE_DIR = BASE

FORMER_KEY = "add-some-key"
# Its own setting has the name of ours; the one that made the codes is too weak to be ours.
DJANGO_AUTH_RECOVERY_CODES_IMPORTED_KEY = FORMER_KEY
