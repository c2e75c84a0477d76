"""The suite's settings with django-allauth: accounts, second factors, headless, social login."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import AUTHENTICATION_BACKENDS as PLAIN_BACKENDS
from tests.settings import INSTALLED_APPS as PLAIN_APPS
from tests.settings import MIDDLEWARE as PLAIN_MIDDLEWARE

INSTALLED_APPS = [
    "recovery_backend_allauth",  # before allauth, whose pages it adds to
    *PLAIN_APPS,
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "allauth.headless",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.dummy",
    "allauth.usersessions",
    "rest_framework",
]
AUTHENTICATION_BACKENDS = [
    *PLAIN_BACKENDS,
    "allauth.account.auth_backends.AuthenticationBackend",
]
MIDDLEWARE = [
    *PLAIN_MIDDLEWARE,
    "allauth.account.middleware.AccountMiddleware",
    "recovery_backend_allauth.middleware.MFARequiredMiddleware",
]
ROOT_URLCONF = "tests.with_allauth.urls"
LOGIN_URL = "account_login"

ACCOUNT_LOGIN_METHODS = {"email", "username"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGIN_BY_CODE_ENABLED = True
MFA_TOTP_TOLERANCE = 1  # a test may begin in the last second of a code
MFA_SUPPORTED_TYPES = ["totp", "webauthn"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = True
HEADLESS_CLIENTS = ("app", "browser")
HEADLESS_SERVE_SPECIFICATION = True
HEADLESS_JWT_ALGORITHM = "HS256"
HEADLESS_JWT_PRIVATE_KEY = "the suite's own, of more than thirty-two characters"
USERSESSIONS_TRACK_ACTIVITY = True
SOCIALACCOUNT_EMAIL_AUTHENTICATION = False
