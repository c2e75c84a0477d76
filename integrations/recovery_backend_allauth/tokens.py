"""The tokens of allauth that a request brings, as they are spelt.

Whatever looks a token up may read it as another: MariaDB takes `é` for `e`, and some versions of
PyJWT skip what is no base64. So one that nobody was given is refused before anything reads it.
"""

from __future__ import annotations

from allauth import app_settings as allauth_settings
from allauth.core.internal.httpkit import get_authorization_credential
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from recovery_backend_allauth.refusals import tell


def answer(request: HttpRequest) -> HttpResponse | None:
    """401 for a token that is none, whatever else comes with it; None lets the view run."""
    if allauth_settings.HEADLESS_ENABLED and _has_malformed(request):
        return tell("not_authenticated", _("Please sign in first."), status=401)
    return None


@sensitive_variables()
def session_token(request: HttpRequest) -> str:
    """The session token; "" where it is missing or malformed."""
    token: str = request.headers.get("X-Session-Token", "")
    return token if allauth_settings.HEADLESS_ENABLED and is_plain(token) else ""


@sensitive_variables()
def access_token(request: HttpRequest) -> str:
    """The JWT; "" where it is missing or malformed, or the site gives out no such tokens."""
    if not has_access_tokens() or _is_malformed(_after_scheme(request)):
        return ""
    return get_authorization_credential(request, _scheme()) or ""


@sensitive_variables()
def is_plain(token: str) -> bool:
    """Whether a token may look so: what it is asked in must not raise at it either."""
    return token.isascii() and token.isprintable() and bool(token) and " " not in token


@sensitive_variables()
def _has_malformed(request: HttpRequest) -> bool:
    if _is_malformed(request.headers.get("X-Session-Token", "")):
        return True
    return has_access_tokens() and _is_malformed(_after_scheme(request))


@sensitive_variables()
def _is_malformed(token: str) -> bool:
    return bool(token) and not is_plain(token)


@sensitive_variables()
def _after_scheme(request: HttpRequest) -> str:
    """What follows the scheme of JWTs; what comes between differs by who reads it."""
    header, scheme = request.headers.get("Authorization", "").lstrip(), _scheme()
    rest: str = header[len(scheme) :]
    is_ours = header[: len(scheme)].lower() == scheme.lower() and not rest[:1].isalnum()
    return rest.strip(" \t") if is_ours else ""


def has_access_tokens() -> bool:
    """Whether the site gives out JWTs."""
    if not allauth_settings.HEADLESS_ENABLED:
        return False
    from allauth.headless import app_settings

    # RS256 without a key is the default of sites that give out no such tokens.
    return bool(app_settings.JWT_PRIVATE_KEY) or app_settings.JWT_ALGORITHM.startswith("HS")


def _scheme() -> str:
    from allauth.headless import app_settings

    return str(app_settings.JWT_AUTHORIZATION_HEADER_SCHEME)
