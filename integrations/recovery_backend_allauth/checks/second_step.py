"""Whether allauth asks us about codes, refuses them without us, and makes none beside ours."""

from __future__ import annotations

import inspect
from typing import Any

import allauth
from allauth.mfa import app_settings as mfa_settings
from allauth.mfa.models import Authenticator
from django.core.checks import CheckMessage

from recovery_backend.models import RecoveryCodeBatch
from recovery_backend_allauth import marker, step
from recovery_backend_allauth.checks.messages import APP, error, value_of, warning

# The suite passes with both, and allauth's own suite with the newest one.
OLDEST_ALLAUTH = (65, 19, 3)  # older ones accept one of their own codes several times at once
NEWEST_ALLAUTH = (65, 21)
TRIED = ("", "0", "00000000", "None", "[]", marker.KEY, "-".join(["AAAAAA"] * 6))


def check_step(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E001: whether allauth asks us about codes."""
    if step.is_installed():
        return []
    return error(
        1,
        "Another package has replaced Authenticator.wrap or Authenticator.record_usage of "
        "allauth, so no recovery code is accepted as second factor.",
        f'Remove that package, or list it above "{APP}" in INSTALLED_APPS.',
    )


def check_marker(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """E002: whether allauth by itself refuses what our markers hold."""
    if _is_refused_by_stock():
        return []
    return error(
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
        return error(
            3,
            f"django-allauth {allauth.__version__} is older than "
            f"{_dotted(OLDEST_ALLAUTH)}, which limits tries and spends codes one by one.",
            f"Install django-allauth {_tested_versions()}.",
        )
    if installed[:2] > NEWEST_ALLAUTH:
        return warning(
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


def check_supported_types(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W008, W014: whether allauth makes lists of its own exactly where they are taken over."""
    is_made = Authenticator.Type.RECOVERY_CODES in mfa_settings.SUPPORTED_TYPES
    is_adopted = value_of("ADOPT_ALLAUTH_CODES") is True
    if is_made and not is_adopted:
        return warning(
            8,
            "MFA_SUPPORTED_TYPES has allauth make recovery codes of its own, which end as soon as "
            "their owner has codes of this package.",
            'Set MFA_SUPPORTED_TYPES = ["totp", "webauthn"], or '
            "DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES = True.",
        )
    if is_adopted and not is_made:
        return warning(
            14,
            "ADOPT_ALLAUTH_CODES is True, and MFA_SUPPORTED_TYPES has allauth make no recovery "
            "codes that could be adopted.",
            'Add "recovery_codes" to MFA_SUPPORTED_TYPES, or leave '
            "DJANGO_AUTH_RECOVERY_CODES_ADOPT_ALLAUTH_CODES out.",
        )
    return []
