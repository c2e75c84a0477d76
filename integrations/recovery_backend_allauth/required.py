"""MFA_REQUIRED_PATHS: what lies below them is for sessions that have proven a second factor."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.conf.urls.i18n import is_language_prefix_patterns_used
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.translation import get_language_from_path

from recovery_backend.conf import conf
from recovery_backend_allauth import demand, places, proofs, records, refusals, repair
from recovery_backend_allauth.proofs import Proof


def answer(request: HttpRequest) -> HttpResponseBase | None:
    """What the request gets in place of a view that asks for a second factor; None lets it run."""
    paths = conf.MFA_REQUIRED_PATHS
    if not paths or not _is_below(request, paths) or repair.is_open(request):
        return None
    try:
        proof = _proof_of(request)
    except ImmediateHttpResponse as refusal:
        response: HttpResponseBase = refusal.response
        return response
    if proof is None:
        return None if _is_for_strangers(request) else demand.answer(request, None)
    if not _is_asked(proof.user) or records.is_satisfied(proof.records):
        return None
    if _is_enrolling(request, proof.user):
        return None
    if refusals.is_part(request):
        raise PermissionDenied  # it leads nobody
    return _without_loop(request, demand.answer(request, proof))


def _is_below(request: HttpRequest, prefixes: Sequence[str]) -> bool:
    """Whether a prefix covers the path: whole segments, "/app" covers /app/x and not /apple."""
    paths = [path + "/" for path in _spellings(request)]
    wanted = [prefix.rstrip("/") + "/" for prefix in prefixes]
    return any(path.startswith(prefix) for path in paths for prefix in wanted)


def _spellings(request: HttpRequest) -> list[str]:
    """The path as Django resolves it, decoded and without script prefix, and what it amounts to."""
    path = request.path_info
    # A view that takes any path may itself read // and .. as the disk does.
    plain = posixpath.normpath("/" + path.lstrip("/"))
    return [path, plain, *_without_language(request, plain)]


def _without_language(request: HttpRequest, path: str) -> list[str]:
    urlconf = getattr(request, "urlconf", None) or settings.ROOT_URLCONF
    if not is_language_prefix_patterns_used(urlconf)[0] or not get_language_from_path(path):
        return []
    return ["/" + path.lstrip("/").partition("/")[2]]


def _proof_of(request: HttpRequest) -> Proof | None:
    """Whose proof counts. Raises `ImmediateHttpResponse` for a client that has to wait."""
    view = refusals.api_view(request)
    if view is None:
        return proofs.proof_of(request)
    user, auth = _found_by_framework(request, view)
    return proofs.proof_of_user(request, user, auth) if user else None


def _found_by_framework(request: HttpRequest, view: Any) -> tuple[Any, Any]:
    """Whom Django REST framework will take the request for: its views sign in by keys of their own."""
    from rest_framework.exceptions import APIException, Throttled

    user, session = request.user, request.session
    try:
        api_request = _api_request(request, view)
        return (api_request.user if api_request.user.is_authenticated else None), api_request.auth
    except Throttled as error:  # the view is not asked: its time may be over by then
        raise ImmediateHttpResponse(refusals.wait(str(error.detail), error.wait)) from None
    except APIException:  # the view will say so itself
        return None, None
    finally:
        request.user, request.session = user, session  # which the framework may have replaced


def _api_request(request: HttpRequest, view: Any) -> Any:
    match: Any = request.resolver_match
    instance = view.cls(**view.initkwargs)
    instance.action_map = getattr(view, "actions", None) or {}
    instance.request, instance.args, instance.kwargs = request, match.args, match.kwargs
    return instance.initialize_request(request, *match.args, **match.kwargs)


def _is_for_strangers(request: HttpRequest) -> bool:
    """Whether the view may decide about people who are not signed in."""
    return (
        conf.MFA_REQUIRED_FOR != "everyone"
        or request.path == urlsplit(resolve_url(settings.LOGIN_URL)).path
        or _is_public(request)
    )


def _is_public(request: HttpRequest) -> bool:
    # By Django's `login_not_required`, which allauth puts on sign-up, callbacks and the like.
    # Django REST framework puts it on every view.
    view = getattr(request.resolver_match, "func", None)
    is_marked = getattr(view, "login_required", True) is False
    return is_marked and refusals.api_view(request) is None


def _is_asked(user: AbstractBaseUser) -> bool:
    audience = conf.MFA_REQUIRED_FOR
    if callable(audience):
        return bool(audience(user))
    return audience == "everyone" or bool(getattr(user, "is_staff", False))


def _is_enrolling(request: HttpRequest, user: AbstractBaseUser) -> bool:
    return repair.is_before_enrolment(request) and not places.has_factor(user)


def _without_loop(
    request: HttpRequest, response: HttpResponseBase | None
) -> HttpResponseBase | None:
    """Never a redirect of a page to itself: a site's own page in the place of allauth's is closed."""
    target = response.headers.get("Location") if response else None
    if target and urlsplit(target).path == request.path:
        raise PermissionDenied
    return response
