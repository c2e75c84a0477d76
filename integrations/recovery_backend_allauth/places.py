"""Where people are led to prove or to get a second factor, and how they come back."""

from __future__ import annotations

from urllib.parse import urlsplit

from allauth.account.internal.flows.reauthentication import STATE_SESSION_KEY
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, reverse
from django.utils.http import escape_leading_slashes, url_has_allowed_host_and_scheme, urlencode

from recovery_backend_allauth import records
from recovery_backend_allauth.marker import PRIMARY

WANTED = "recovery_backend_wanted"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def has_factor(user: AbstractBaseUser) -> bool:
    """Whether the user has TOTP or a passkey. Recovery codes alone are none."""
    return bool(is_mfa_enabled(user, types=list(PRIMARY)))


def to_sign_in(request: HttpRequest, wanted: str) -> str:
    """The page where nobody in particular becomes somebody; `wanted` comes after."""
    url = resolve_url(settings.LOGIN_URL)
    if urlsplit(url).netloc not in ("", request.get_host()):
        wanted = request.build_absolute_uri(wanted)
    return redirect_to_login(wanted, url).url


def to_second_factor(request: HttpRequest, wanted: str) -> str:
    """The page where this user proves a second factor, or gets one first; `wanted` comes after."""
    # allauth would send a form again that was given up, if it was of the page that is wanted now.
    request.session.pop(STATE_SESSION_KEY, None)
    user = request.user
    if not has_factor(user):  # type: ignore[arg-type]
        request.session[WANTED] = wanted
        return page("mfa_index")
    return f"{page(_page_of_proof(request))}?{urlencode({'next': wanted})}"


def page(name: str) -> str:
    """A page of allauth's; LOGIN_URL where only a frontend of the site's own has pages."""
    try:
        return reverse(name)
    except NoReverseMatch:
        return resolve_url(settings.LOGIN_URL)


def wanted(request: HttpRequest) -> str:
    """The page that an enrolling user wanted; "" if none, or if it is not of this site."""
    url = request.session.get(WANTED, "")
    return url if _is_ours(request, url) else ""


def wanted_by(request: HttpRequest) -> str:
    """Where to come back to: the page that was asked for, or that of the form that was sent."""
    page = request.headers.get("Referer", "")
    if request.method in SAFE_METHODS or not _is_ours(request, page):
        return escape_leading_slashes(request.get_full_path())
    form = urlsplit(page)
    return escape_leading_slashes(f"{form.path or '/'}{'?' if form.query else ''}{form.query}")


def _page_of_proof(request: HttpRequest) -> str:
    user: AbstractBaseUser = request.user  # type: ignore[assignment]
    if records.lacks_first_factor(records.of_request(request)) and user.has_usable_password():
        return "account_reauthenticate"  # or each round would cost a recovery code
    codes = [Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES]
    takes_code = is_mfa_enabled(user, types=codes)
    return "mfa_reauthenticate" if takes_code else "mfa_reauthenticate_webauthn"


def _is_ours(request: HttpRequest, url: str) -> bool:
    return url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
