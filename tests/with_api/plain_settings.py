"""The suite's settings with the JSON API, and Django's own accounts."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as PLAIN_APPS

INSTALLED_APPS = [
    *PLAIN_APPS,
    "rest_framework",
    "drf_spectacular",
    "recovery_backend_api",
    "recovery_backend_api.keys",
]
ROOT_URLCONF = "tests.with_api.plain_urls"
