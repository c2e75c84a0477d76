"""The suite's settings with the JSON API, beside django-allauth and its tokens."""

from __future__ import annotations

from tests.with_allauth.settings import *  # noqa: F403
from tests.with_allauth.settings import INSTALLED_APPS as ALLAUTH_APPS

INSTALLED_APPS = [
    *ALLAUTH_APPS,
    "drf_spectacular",
    "recovery_backend_api",
    "recovery_backend_api.keys",
]
ROOT_URLCONF = "tests.with_api.urls"
