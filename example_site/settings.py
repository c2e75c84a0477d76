"""A small site on django-allauth with recovery codes. For trying out on this computer only.

EXAMPLE_SITE_SMTP=host:port sends e-mails to a server; EXAMPLE_SITE_RECOVERY_SESSION=restricted lets a
sign-in by code repair factors only; EXAMPLE_SITE_TOKENS=jwt gives app clients JWTs.
"""

from __future__ import annotations

import os
from pathlib import Path

import django

from recovery_backend import __version__
from recovery_backend.keys import generate_key
from recovery_backend.log_config import merge_logging

BASE_DIR = Path(__file__).resolve().parent
VAR = Path(os.environ.get("EXAMPLE_SITE_VAR") or BASE_DIR / "var")


def secret(name: str) -> str:
    """A secret made at the first start, and kept in a file that only this user can read."""
    VAR.mkdir(mode=0o700, exist_ok=True)
    file = VAR / name
    if not file.exists():
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(generate_key())
    return file.read_text()


SECRET_KEY = secret("secret.key")
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "example_site.urls"
WSGI_APPLICATION = "example_site.wsgi.application"
ASGI_APPLICATION = "example_site.asgi.application"
STATIC_URL = "/static/"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

INSTALLED_APPS = [
    "example_site.demo",
    "recovery_backend_allauth",  # before allauth, whose pages it adds to
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "recovery_backend",
    "django_q",
    "allauth",
    "allauth.account",
    "allauth.headless",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.dummy",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "recovery_backend_api",
    "recovery_backend_api.keys",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "recovery_backend.backends.RecoveryCodeBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "recovery_backend.middleware.RecoveryCodeMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "recovery_backend_allauth.middleware.MFARequiredMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR / "db.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Mails are printed by the worker, so that they can be read where `make demo` runs.
MAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
MAIL_OPTIONS: dict[str, str | int] = {}
if SMTP := os.environ.get("EXAMPLE_SITE_SMTP"):
    host, _, port = SMTP.rpartition(":")
    MAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    MAIL_OPTIONS = {"host": host, "port": int(port), "timeout": 30}
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": MAIL_BACKEND, "OPTIONS": MAIL_OPTIONS}}
else:
    EMAIL_BACKEND = MAIL_BACKEND
    EMAIL_HOST = MAIL_OPTIONS.get("host", "localhost")
    EMAIL_PORT = MAIL_OPTIONS.get("port", 25)
    EMAIL_TIMEOUT = MAIL_OPTIONS.get("timeout")
DEFAULT_FROM_EMAIL = "example-site@example.com"

Q_CLUSTER = {
    "name": "example_site",
    "orm": "default",
    "workers": 1,
    "queue_limit": 4,
    "timeout": 60,
    "retry": 120,
    "max_attempts": 3,
    "catch_up": False,
}

LOGGING = merge_logging({"version": 1, "disable_existing_loggers": False})
os.environ.setdefault("DJANGO_AUTH_RECOVERY_CODES_LOG_DIR", str(VAR / "logs"))

DJANGO_AUTH_RECOVERY_KEY = secret("recovery.key")
DJANGO_AUTH_RECOVERY_CODES_SITE_NAME = "Example site"
DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = True
DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = True
DJANGO_AUTH_RECOVERY_CODES_RECOVERY_SESSION = os.environ.get(
    "EXAMPLE_SITE_RECOVERY_SESSION", "full"
)

ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = "home"
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Example site] "
MFA_SUPPORTED_TYPES = ["totp", "webauthn"]  # recovery codes are this package's
MFA_ALLOW_UNVERIFIED_EMAIL = True  # the demo verifies no addresses
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = True  # http://localhost
MFA_TOTP_ISSUER = "Example site"
MFA_TOTP_TOLERANCE = 1  # what demo_totp prints is typed by hand
REST_FRAMEWORK = {"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Example site",
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",  # its files from here, not from elsewhere
    "SWAGGER_UI_FAVICON_HREF": "/favicon.ico",
}
HEADLESS_CLIENTS = ("app", "browser")
HEADLESS_SERVE_SPECIFICATION = True
if os.environ.get("EXAMPLE_SITE_TOKENS") == "jwt":
    HEADLESS_TOKEN_STRATEGY = "allauth.headless.tokens.strategies.jwt.JWTTokenStrategy"
    HEADLESS_JWT_ALGORITHM = "HS256"
    HEADLESS_JWT_PRIVATE_KEY = secret("jwt.key")
