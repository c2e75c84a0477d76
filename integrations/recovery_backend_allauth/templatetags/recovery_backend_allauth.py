"""What allauth's pages say of recovery codes: the panel, the ways in, and the way on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from allauth.mfa.models import Authenticator
from django import template
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import urlencode

from recovery_backend.conf import conf
from recovery_backend.history import Overview, overview_of
from recovery_backend_allauth import places, records
from recovery_backend_allauth.step import BatchCodes

register = template.Library()


@dataclass(frozen=True, slots=True)
class Panel:
    """How it stands with the codes of the user who looks at their second factors."""

    overview: Overview
    has_factor: bool

    @property
    def can_test(self) -> bool:
        overview = self.overview
        return overview.can_test and not (overview.needs_new_codes or overview.has_passed_test)


@register.simple_tag(takes_context=True)
def recovery_panel(context: dict[str, Any]) -> Panel | None:
    """The panel of the signed-in user; None while codes are turned off."""
    request = _signed_in(context)
    if request is None or conf.LOGIN_MODE == "off":
        return None
    user: Any = request.user
    return Panel(overview_of(user), places.has_factor(user))


@register.simple_tag(takes_context=True)
def recovery_factor_types(context: dict[str, Any]) -> list[str]:
    """The kinds of factors of which allauth's page tells: not of codes that our panel tells of."""
    types: list[str] = context["MFA_SUPPORTED_TYPES"]
    kind = Authenticator.Type.RECOVERY_CODES
    codes = context["authenticators"].get(kind)
    is_ours = conf.ADOPT_ALLAUTH_CODES and (codes is None or isinstance(codes, BatchCodes))
    return [name for name in types if not (is_ours and name == kind)]


@register.simple_tag(takes_context=True)
def recovery_came_by_code(context: dict[str, Any]) -> bool:
    """Whether this session began with e-mail address and code, and has proven nothing else."""
    request = _signed_in(context)
    return request is not None and records.is_by_code_alone(records.of_request(request))


@register.simple_tag(takes_context=True)
def recovery_step(context: dict[str, Any]) -> str:
    """What a code does on the page that asks for a second factor: it "helps", or one was "used".

    "" where nothing is to be said of codes.
    """
    request, user = context["request"], _asked(context)
    if conf.LOGIN_MODE == "off" or user is None:
        return ""
    if not records.is_by_code_alone(records.of_user(request, user)):
        return "helps"
    return "" if _signed_in(context) else "used"


@register.simple_tag(takes_context=True)
def recovery_login_url(context: dict[str, Any]) -> str:
    """Where e-mail address and code are enough, then on to the page that is wanted; else ""."""
    if conf.LOGIN_MODE != "sole_login":
        return ""
    return _login_url(context.get("redirect_field_value"))


@register.simple_tag(takes_context=True)
def recovery_instead_url(context: dict[str, Any]) -> str:
    """As `recovery_login_url`, before the second step; "" where it would only lead back to it."""
    if conf.LOGIN_MODE != "sole_login" or not conf.CODE_SATISFIES_MFA or _signed_in(context):
        return ""
    stage = getattr(context.get("view"), "stage", None)
    return _login_url(stage.login.redirect_url if stage else None)


@register.simple_tag(takes_context=True)
def recovery_continue_url(context: dict[str, Any]) -> str:
    """The way on for a user who has a second factor now, and wanted another page before; else ""."""
    request = _signed_in(context)
    if request is None or not places.wanted(request):
        return ""
    return reverse("recovery_continue") if places.has_factor(request.user) else ""  # type: ignore[arg-type]


def _asked(context: dict[str, Any]) -> Any:
    """Who is asked for a second factor: whoever is signed in, or is about to be."""
    request, stage = _signed_in(context), getattr(context.get("view"), "stage", None)
    return request.user if request else (stage.login.user if stage else None)


def _login_url(wanted: str | None) -> str:
    query = f"?{urlencode({'next': wanted})}" if wanted else ""
    return reverse("login_user") + query


def _signed_in(context: dict[str, Any]) -> HttpRequest | None:
    request = context.get("request")
    user = getattr(request, "user", None)
    return request if user is not None and user.is_authenticated else None
