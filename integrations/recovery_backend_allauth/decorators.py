"""`@mfa_required`: a view for those alone who have proven a second factor in this session."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial, wraps
from typing import Any, NoReturn, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from recovery_backend_allauth import demand
from recovery_backend_allauth.demand import Refusal
from recovery_backend_allauth.proofs import proof_of_user

ViewT = TypeVar("ViewT", bound=Callable[..., Any])
Ask = Callable[[Any], HttpResponseBase | None]


@overload
def mfa_required(view: ViewT) -> ViewT: ...
@overload
def mfa_required(
    view: None = None, *, max_age: timedelta | None = None
) -> Callable[[ViewT], ViewT]: ...
def mfa_required(view: Any = None, *, max_age: timedelta | None = None) -> Any:
    """The view, for sessions in which a second factor was proven, not longer ago than `max_age`.

    Decorates functions, classes and methods, also asynchronous and of Django REST framework.
    """
    if max_age is not None and max_age <= timedelta(0):
        raise ValueError("mfa_required: max_age must be positive, or nobody could ever get in.")
    ask = partial(_ask, max_age=max_age)
    return partial(_guarded, ask=ask) if view is None else _guarded(view, ask)


def _guarded(view: Any, ask: Ask) -> Any:
    if isinstance(view, type):
        return _guarded_class(view, ask)
    if not callable(view):
        raise TypeError(f"mfa_required decorates views; write max_age=... for {view!r}.")
    if _is_api(getattr(view, "cls", None)):
        # Out there nobody knows yet whom the framework will take the request for.
        raise TypeError("Write @mfa_required below @api_view, or on the class of the view.")
    return _awaited(view, ask) if iscoroutinefunction(view) else _called(view, ask)


def _guarded_class(view: Any, ask: Ask) -> Any:
    if _is_api(view):
        view.initial = _after(view.initial, ask)
    elif hasattr(view, "dispatch"):
        view.dispatch = _dispatched(view.dispatch, ask)
    else:
        raise TypeError(f"mfa_required decorates views; {view.__name__} has no dispatch().")
    return view


def _called(view: Callable[..., Any], ask: Ask) -> Callable[..., Any]:
    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return ask(_request_in(args, kwargs)) or view(*args, **kwargs)

    return guarded


def _awaited(view: Callable[..., Any], ask: Ask) -> Callable[..., Any]:
    @wraps(view)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(ask)(_request_in(args, kwargs)) or await view(*args, **kwargs)

    return guarded


def _dispatched(dispatch: Callable[..., Any], ask: Ask) -> Callable[..., Any]:
    now, later = _called(dispatch, ask), _awaited(dispatch, ask)

    @wraps(dispatch)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (later if getattr(self, "view_is_async", False) else now)(self, *args, **kwargs)

    return guarded


def _after(initial: Callable[..., Any], ask: Ask) -> Callable[..., Any]:
    """Ask once the framework has authenticated, and let it word the refusal."""

    @wraps(initial)
    def guarded(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        initial(self, request, *args, **kwargs)
        ask(request)

    return guarded


def _ask(request: Any, *, max_age: timedelta | None) -> HttpResponseBase | None:
    if not isinstance(request, HttpRequest):
        _ask_api(request, max_age)
        return None
    user = request.user
    proof = proof_of_user(request, user) if user.is_authenticated else None
    return demand.answer(request, proof, max_age)


def _ask_api(request: Any, max_age: timedelta | None) -> None:
    user = request.user
    if not user.is_authenticated:
        _raise(demand.SIGN_IN)
    steps = proof_of_user(request._request, user, request.auth).records
    if refusal := demand.missing(user, steps, max_age):
        _raise(refusal)


def _raise(refusal: Refusal) -> NoReturn:
    from rest_framework.exceptions import NotAuthenticated, PermissionDenied

    kind = NotAuthenticated if refusal is demand.SIGN_IN else PermissionDenied
    raise kind({"code": refusal.code, "detail": refusal.detail}, refusal.code)


def _request_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # First of a function, second of a method.
    for value in (*args[:2], kwargs.get("request")):
        if isinstance(value, HttpRequest) or _is_api_request(value):
            return value
    raise TypeError("mfa_required found no request among the arguments of the view.")


def _is_api_request(value: Any) -> bool:
    return isinstance(getattr(value, "_request", None), HttpRequest)


def _is_api(view: Any) -> bool:
    # Without the framework imported, no view is of it.
    views = sys.modules.get("rest_framework.views")
    return views is not None and isinstance(view, type) and issubclass(view, views.APIView)
