"""allauth's session tokens and JWTs, each of which stands for a session that still lives."""

from __future__ import annotations

from typing import Any

from allauth.headless.contrib.rest_framework.authentication import (
    JWTTokenAuthentication,
    XSessionTokenAuthentication,
)
from allauth.headless.tokens.strategies.jwt.internal import (
    get_token_session,
    validate_token_user,
)
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables
from recovery_backend_allauth.tokens import has_access_tokens, is_plain
from rest_framework.exceptions import AuthenticationFailed

from recovery_backend_api.sessions import take_session

Found = tuple[AbstractBaseUser, Any]


class BySessionToken(XSessionTokenAuthentication):  # type: ignore[misc]
    """X-Session-Token. One that is not valid is refused, whatever cookie comes with it."""

    has_session = True

    @sensitive_variables()
    def authenticate(self, request: Any) -> Found | None:
        token = self.get_session_token(request)
        if token is None:
            return None
        found = super().authenticate(request) if is_plain(token) else None
        if found is None:
            raise AuthenticationFailed
        user, session = found
        take_session(request._request, session)
        return user, session

    def authenticate_header(self, request: Any) -> str:
        return "X-Session-Token"


class ByAccessToken(JWTTokenAuthentication):  # type: ignore[misc]
    """A JWT, for as long as the session lives that it was made for."""

    has_session = True

    @sensitive_variables()
    def authenticate(self, request: Any) -> Found | None:
        if not has_access_tokens():
            return None
        try:
            found = super().authenticate(request)
        except ValidationError:  # signed with our key, for a user of some other kind
            raise AuthenticationFailed from None
        if found is None:
            return None
        payload = found[1]
        session = get_token_session(payload)
        user = validate_token_user(payload, session) if session is not None else None
        if user is None:
            raise AuthenticationFailed
        take_session(request._request, session)
        return user, payload
