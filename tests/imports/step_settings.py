"""A project that still has django-otp, and allauth's second step already."""

from __future__ import annotations

from tests.with_allauth.settings import *  # noqa: F403
from tests.with_allauth.settings import INSTALLED_APPS as OUR_APPS

INSTALLED_APPS = [*OUR_APPS, "django_otp", "django_otp.plugins.otp_static"]
