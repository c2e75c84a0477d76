"""Settings of the suite: SQLite and LocMem alone, or one of the real services by environment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import django

BASE = Path(tempfile.gettempdir()) / "recovery_backend_tests"
BASE.mkdir(exist_ok=True)
DATABASE = os.environ.get("TEST_DATABASE", "sqlite")

_sqlite_file = str(BASE / f"{os.getpid()}.sqlite3")
DATABASES = {
    "sqlite": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _sqlite_file,
        # No test pulls the plug: a process that is killed loses nothing by this, and it is faster.
        "OPTIONS": {"timeout": 20, "init_command": "PRAGMA synchronous=OFF"},
        "TEST": {"NAME": _sqlite_file},
    },
    "postgresql": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "recovery_backend",
        "HOST": os.environ.get("TEST_POSTGRESQL_HOST", "127.0.0.1"),
        "USER": os.environ.get("TEST_POSTGRESQL_USER", "postgres"),
        "PASSWORD": os.environ.get("TEST_POSTGRESQL_PASSWORD", ""),
        "OPTIONS": {"pool": {"min_size": 0, "max_size": 24, "timeout": 60}},
    },
    "mariadb": {
        "ENGINE": "django.db.backends.mysql",
        "NAME": "recovery_backend",
        "HOST": os.environ.get("TEST_MARIADB_HOST", "127.0.0.1"),
        "USER": os.environ.get("TEST_MARIADB_USER", "root"),
        "PASSWORD": os.environ.get("TEST_MARIADB_PASSWORD", ""),
        "TEST": {"CHARSET": "utf8mb4"},
    },
}
DATABASES = {"default": DATABASES[DATABASE]}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SECRET_KEY = "the suite's own: 8b1f2d6c4e9a7350"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATIC_URL = "/static/"
ROOT_URLCONF = "tests.urls"
LOGIN_URL = "/password/"
LOGIN_REDIRECT_URL = "/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "recovery_backend",
    "django_q",
    "tests.users",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "recovery_backend.backends.RecoveryCodeBackend",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "recovery_backend.middleware.RecoveryCodeMiddleware",
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
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
if os.environ.get("TEST_REDIS") == "1":
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9"),
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
Q_CLUSTER = {"name": "tests", "orm": "default", "timeout": 30, "retry": 60, "max_attempts": 3}

DJANGO_AUTH_RECOVERY_KEY = "4b7d1f0c9a6e83520d1c2b3a495867f6e5d4c3b2a19087f6e5d4c3b2a1908776"
