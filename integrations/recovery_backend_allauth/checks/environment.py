"""Whether cache, rate limits, proxies and database are fit for what allauth does with them."""

from __future__ import annotations

from typing import Any

from allauth import app_settings as allauth_settings
from allauth.account import app_settings as account_settings
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage
from django.db import connection

from recovery_backend_allauth.checks.messages import error, value_of, warning


def check_cache(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E006, W007: whether allauth can count tries. It counts them in the default cache."""
    backend = str(settings.CACHES.get("default", {}).get("BACKEND", ""))
    kind = backend.rpartition(".")[2]
    hint = "Use Redis or Memcached in CACHES."
    if settings.DEBUG:
        return []
    if kind == "DummyCache":
        return error(6, "The default cache keeps nothing: allauth limits no tries of codes.", hint)
    if kind == "LocMemCache":
        text = "The default cache is not shared: each process counts tries of codes for itself."
        return warning(7, text, hint)
    return []


def check_limit(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W011: whether allauth limits the tries of one user at the second step (R-50)."""
    limit = account_settings.RATE_LIMITS.get("login_failed") or ""
    if any(rate.strip().endswith("/key") for rate in limit.split(",")):
        return []
    return warning(
        11,
        'ACCOUNT_RATE_LIMITS sets no limit "login_failed" for each user, so codes of '
        "authenticator apps can be guessed at the second step.",
        'ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/300s/key"}, or leave that entry out.',
    )


def check_proxies(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W012: whether allauth and this package see the same address of a client (R-54)."""
    ours, theirs = value_of("TRUSTED_PROXY_COUNT"), allauth_settings.TRUSTED_PROXY_COUNT
    if ours is None or ours == theirs or allauth_settings.TRUSTED_CLIENT_IP_HEADER:
        return []
    return warning(
        12,
        f"TRUSTED_PROXY_COUNT is {ours} and ALLAUTH_TRUSTED_PROXY_COUNT is {theirs}: one of the "
        "two takes proxies for clients, or lets clients name their own address.",
        "Set ALLAUTH_TRUSTED_PROXY_COUNT and DJANGO_AUTH_RECOVERY_CODES_TRUSTED_PROXY_COUNT to "
        "the number of your proxies.",
    )


def check_sqlite(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W013: whether two sign-ins at once are an error, after the code of one was spent."""
    is_sqlite = connection.vendor == "sqlite" and not settings.DEBUG
    if not is_sqlite or not apps.is_installed("allauth.usersessions"):
        return []
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode") or ""
    if mode.upper() in {"IMMEDIATE", "EXCLUSIVE"}:
        return []
    return warning(
        13,
        "On SQLite, allauth.usersessions fails with an error when another request writes at the "
        "same moment, and by then the code of that sign-in is spent.",
        'Add "OPTIONS": {"transaction_mode": "IMMEDIATE"} to DATABASES["default"].',
    )
