"""System checks of the integration: whether allauth asks us, and whether what it does is safe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import allauth
from allauth import app_settings as allauth_settings
from allauth.account import app_settings as account_settings
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from recovery_backend.conf import conf
from recovery_backend.models import RecoveryCodeBatch
from recovery_backend_allauth import marker, step

APP = "recovery_backend_allauth"
# The suite passes with both, and allauth's own suite with the newest one.
OLDEST_ALLAUTH = (65, 19, 3)  # older ones accept one of their own codes several times at once
NEWEST_ALLAUTH = (65, 21)

MIDDLEWARE_PATH = "recovery_backend_allauth.middleware.MFARequiredMiddleware"
BEFORE_MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
)
TRIED = ("", "0", "00000000", "None", "[]", marker.KEY, "-".join(["AAAAAA"] * 6))

Check = Callable[..., list[CheckMessage]]


def _error(number: int, text: str, hint: str) -> list[CheckMessage]:
    return [Error(text, hint=hint, id=f"{APP}.E{number:03}")]


def _warning(number: int, text: str, hint: str) -> list[CheckMessage]:
    return [Warning(text, hint=hint, id=f"{APP}.W{number:03}")]


def check_step(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001: whether allauth asks us about codes."""
    if step.is_installed():
        return []
    return _error(
        1,
        "Another package has replaced Authenticator.wrap or Authenticator.record_usage of "
        "allauth, so no recovery code is accepted as second factor.",
        f'Remove that package, or list it above "{APP}" in INSTALLED_APPS.',
    )


def check_marker(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E002: whether allauth by itself refuses what our markers hold."""
    if _is_refused_by_stock():
        return []
    return _error(
        2,
        "This version of allauth does not refuse every code for the markers of this package: "
        "without this package, a code that nobody was given could sign in.",
        f"Install django-allauth {_tested_versions()}.",
    )


def _is_refused_by_stock() -> bool:
    data = marker.data_of(RecoveryCodeBatch(pk=1))
    kind = Authenticator.Type.RECOVERY_CODES
    stock = step.stock_wrap(Authenticator(type=kind, data=data))
    # As it is without its transaction: this row is in no database, and a check may have none.
    validate = inspect.unwrap(type(stock).validate_code)
    try:
        accepted = [text for text in (*TRIED, data["seed"]) if validate(stock, text)]
        return not accepted and stock.generate_codes() == []
    except Exception:  # it would be an error of the page, not a refusal
        return False


def check_version(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E003, W004: whether this package was tested with the allauth that is installed."""
    installed = allauth.VERSION[:3]
    if installed < OLDEST_ALLAUTH:
        return _error(
            3,
            f"django-allauth {allauth.__version__} is older than "
            f"{_dotted(OLDEST_ALLAUTH)}, which limits tries and spends codes one by one.",
            f"Install django-allauth {_tested_versions()}.",
        )
    if installed[:2] > NEWEST_ALLAUTH:
        return _warning(
            4,
            f"django-allauth {allauth.__version__} is newer than any that this package was "
            "tested with.",
            f"Install django-allauth {_tested_versions()}, or silence this after a sign-in with "
            "a code, by page and by API, has worked.",
        )
    return []


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _tested_versions() -> str:
    return f"{_dotted(OLDEST_ALLAUTH)} to {_dotted(NEWEST_ALLAUTH)}"


def check_order(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W005: whether our templates are found before those of allauth, to which they add."""
    names = [config.name for config in apps.get_app_configs()]
    later = names[names.index(APP) :] if APP in names else names
    theirs = [name for name in names if name.partition(".")[0] == "allauth"]
    if all(name in later for name in theirs):
        return []
    return _warning(
        5,
        "Pages of allauth do not tell of recovery codes, because its templates are found first.",
        f'Move "{APP}" above "allauth" and all its parts in INSTALLED_APPS.',
    )


def check_cache(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E006, W007: whether allauth can count tries. It counts them in the default cache."""
    backend = str(settings.CACHES.get("default", {}).get("BACKEND", ""))
    kind = backend.rpartition(".")[2]
    hint = "Use Redis or Memcached in CACHES."
    if settings.DEBUG:
        return []
    if kind == "DummyCache":
        return _error(
            6, "The default cache keeps nothing: allauth limits no tries of codes.", hint
        )
    if kind == "LocMemCache":
        text = "The default cache is not shared: each process counts tries of codes for itself."
        return _warning(7, text, hint)
    return []


def check_supported_types(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W008: whether a user can get two lists of recovery codes."""
    is_offered = Authenticator.Type.RECOVERY_CODES in mfa_settings.SUPPORTED_TYPES
    if not is_offered or _setting("ADOPT_ALLAUTH_CODES") is True:
        return []
    return _warning(
        8,
        "MFA_SUPPORTED_TYPES has allauth make recovery codes of its own, which end as soon as "
        "their owner has codes of this package.",
        'Set MFA_SUPPORTED_TYPES = ["totp", "webauthn"], or '
        "DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = True.",
    )


def check_middleware(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E009, E010: whether what the settings ask of sessions is held, and at the right place."""
    installed = list(settings.MIDDLEWARE)
    if MIDDLEWARE_PATH not in installed:
        return _missing_middleware()
    above = installed[: installed.index(MIDDLEWARE_PATH)]
    late = [path for path in BEFORE_MIDDLEWARE if path in installed and path not in above]
    if not late:
        return []
    return _error(
        10,
        "MFARequiredMiddleware stands above what tells it who is signed in.",
        f'Move "{MIDDLEWARE_PATH}" below "{late[-1]}".',
    )


def _missing_middleware() -> list[CheckMessage]:
    wanted = {
        "MFA_REQUIRED_PATHS": bool(_setting("MFA_REQUIRED_PATHS")),
        "RECOVERY_SESSION": _setting("RECOVERY_SESSION") == "restricted",
        "MFA_BIND_BROWSER": _setting("MFA_BIND_BROWSER") not in {None, "off"},
        "MFA_BIND_NETWORK": _setting("MFA_BIND_NETWORK") not in {None, "off"},
    }
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    if not names:
        return []
    return _error(
        9,
        f"{', '.join(names)}: set, and nothing holds it without MFARequiredMiddleware.",
        f'Add "{MIDDLEWARE_PATH}" to MIDDLEWARE, below "{BEFORE_MIDDLEWARE[-1]}".',
    )


def check_limit(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W011: whether allauth limits the tries of one user at the second step (R-50)."""
    limit = account_settings.RATE_LIMITS.get("login_failed") or ""
    if any(rate.strip().endswith("/key") for rate in limit.split(",")):
        return []
    return _warning(
        11,
        'ACCOUNT_RATE_LIMITS sets no limit "login_failed" for each user, so codes of '
        "authenticator apps can be guessed at the second step.",
        'ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/300s/key"}, or leave that entry out.',
    )


def check_proxies(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W012: whether allauth and this package see the same address of a client (R-54)."""
    ours, theirs = _setting("TRUSTED_PROXY_COUNT"), allauth_settings.TRUSTED_PROXY_COUNT
    if ours is None or ours == theirs or allauth_settings.TRUSTED_CLIENT_IP_HEADER:
        return []
    return _warning(
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
    return _warning(
        13,
        "On SQLite, allauth.usersessions fails with an error when another request writes at the "
        "same moment, and by then the code of that sign-in is spent.",
        'Add "OPTIONS": {"transaction_mode": "IMMEDIATE"} to DATABASES["default"].',
    )


def _setting(name: str) -> object:
    """The value of a setting; None if it is wrong, of which recovery_backend.E001 tells."""
    try:
        value: object = getattr(conf, name)
    except ImproperlyConfigured:
        return None
    return value


CHECKS: tuple[Check, ...] = (
    check_step,
    check_marker,
    check_version,
    check_order,
    check_cache,
    check_supported_types,
    check_middleware,
    check_limit,
    check_proxies,
    check_sqlite,
)
