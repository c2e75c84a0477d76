"""Whether apps, URLs and middleware of the integration are installed, and at the right place."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from allauth import app_settings as allauth_settings
from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from recovery_backend_allauth.checks.messages import APP, error, value_of, warning

MIDDLEWARE_PATH = "recovery_backend_allauth.middleware.MFARequiredMiddleware"
BEFORE_MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
)


def check_order(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W005: whether our templates are found before those of allauth and of the core, to which they add."""
    names = [config.name for config in apps.get_app_configs()]
    above = takewhile(lambda name: name != APP, names)
    late = [name for name in above if name.partition(".")[0] in ("allauth", "recovery_backend")]
    if not late:
        return []
    return warning(
        5,
        f"The templates of {', '.join(late)} are found before those of {APP}, so their pages do "
        "not tell of recovery codes, or of the way on.",
        f'Move "{APP}" above "recovery_backend", "allauth" and all its parts in INSTALLED_APPS.',
    )


def check_urls(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """W015, E016: whether people can be led to the pages of this app."""
    try:
        reverse("recovery_restricted")
    except NoReverseMatch:
        return _missing_urls()
    except (ImportError, ImproperlyConfigured, AttributeError):
        pass  # Django's own checks say what is wrong with the URLconf
    return []


def _missing_urls() -> list[CheckMessage]:
    hint = f'Add path("", include("{APP}.urls")) to your URLs, before those of allauth\'s headless API.'
    if value_of("RECOVERY_SESSION") == "restricted":
        return error(
            16,
            f'RECOVERY_SESSION is "restricted", and {APP}.urls is not included: restricted sessions '
            "end in an error, because the page to which they are led is missing.",
            hint,
        )
    if allauth_settings.HEADLESS_ONLY:  # nobody is led there
        return []
    return warning(
        15,
        f"{APP}.urls is not included: who adds a second factor is offered no codes, and is not led "
        "back to the page that they wanted.",
        hint,
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
    return error(
        10,
        "MFARequiredMiddleware stands above what tells it who is signed in.",
        f'Move "{MIDDLEWARE_PATH}" below "{late[-1]}".',
    )


def _missing_middleware() -> list[CheckMessage]:
    wanted = {
        "MFA_REQUIRED_PATHS": bool(value_of("MFA_REQUIRED_PATHS")),
        "RECOVERY_SESSION": value_of("RECOVERY_SESSION") == "restricted",
        "MFA_BIND_BROWSER": value_of("MFA_BIND_BROWSER") not in {None, "off"},
        "MFA_BIND_NETWORK": value_of("MFA_BIND_NETWORK") not in {None, "off"},
    }
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    if not names:
        return []
    return error(
        9,
        f"{', '.join(names)}: set, and nothing holds it without MFARequiredMiddleware.",
        f'Add "{MIDDLEWARE_PATH}" to MIDDLEWARE, below "{BEFORE_MIDDLEWARE[-1]}".',
    )
