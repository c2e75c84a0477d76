"""Settings of the benchmark: the package's defaults, on PostgreSQL databases of its own.

The connection is as a busy site would have it: kept open, with prepared statements.
"""

from __future__ import annotations

import os

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": f"recovery_backend_benchmark_{os.getpid()}",
        "HOST": os.environ.get("TEST_POSTGRESQL_HOST", "127.0.0.1"),
        "USER": os.environ.get("TEST_POSTGRESQL_USER", "postgres"),
        "PASSWORD": os.environ.get("TEST_POSTGRESQL_PASSWORD", ""),
        "CONN_MAX_AGE": None,
        "OPTIONS": {"server_side_binding": True, "prepare_threshold": 3},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "the benchmark's own: 2f0c7b91d5e84a36"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "recovery_backend",
    "django_q",
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
ROOT_URLCONF = "recovery_backend.urls"
STATIC_URL = "/static/"
ALLOWED_HOSTS = ["testserver"]
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
# The cache is memory, which costs next to nothing: what is measured is the page.
Q_CLUSTER = {"name": "benchmark", "orm": "default", "timeout": 30, "retry": 60}
# Lines are formatted and written, as in production, but not shown.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"null": {"class": "logging.FileHandler", "filename": os.devnull}},
    "loggers": {
        name: {"handlers": ["null"], "level": "INFO", "propagate": False}
        for name in ("recovery_backend", "django-q")
    },
}

DJANGO_AUTH_RECOVERY_KEY = "9e3a61c07d52f84b1fa6c3e8d7024b95a1f0e6d3c2b7489536e1f0a4d8c97b25"
