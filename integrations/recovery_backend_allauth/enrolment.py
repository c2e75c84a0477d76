"""From a new second factor to recovery codes, once, and back to the page that was wanted.

The next look at allauth's pages of factors, in the session that has added one, leads on. Only people are led, and nobody is held: the panel on those pages invites again.
"""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse

from recovery_backend.audit import logger
from recovery_backend.conf import conf
from recovery_backend.history import overview_of
from recovery_backend.models import RecoveryCodeSetup
from recovery_backend.views.page import protected
from recovery_backend_allauth import added, places
from recovery_backend_allauth.refusals import is_program

# Where allauth leads to, once a factor is added.
PAGES = frozenset({"mfa_index", "mfa_list_webauthn"})


def answer(request: HttpRequest) -> HttpResponseRedirect | None:
    """Lead on from allauth's pages, once after a factor was added; None lets the page be shown."""
    match = request.resolver_match
    if match is None or match.view_name not in PAGES:
        return None
    if request.method != "GET" or is_program(request) or not added.take(request):
        return None
    url = _next(request)
    return protected(HttpResponseRedirect(url)) if url else None


def needs_codes(user: AbstractBaseUser) -> bool:
    """Whether generating codes is what this user should do next."""
    return conf.LOGIN_MODE != "off" and overview_of(user).needs_new_codes


def onward(request: HttpRequest) -> str:
    """Where to go from here: the page that was wanted, else allauth's list of factors."""
    return places.wanted(request) or reverse("mfa_index")


def leave(request: HttpRequest) -> str:
    """As `onward`, and nobody is led there again."""
    url = onward(request)
    request.session.pop(places.WANTED, None)
    return url


def _next(request: HttpRequest) -> str | None:
    user = request.user
    if needs_codes(user) and (url := _offer_url()) and RecoveryCodeSetup.claim_offer(user):  # type: ignore[arg-type]
        return url
    return leave(request) if places.wanted(request) else None


def _offer_url() -> str | None:
    try:
        return reverse("recovery_offer")
    except NoReverseMatch:
        logger.error("recovery_backend_allauth.urls is not included: codes are not offered")
        return None
