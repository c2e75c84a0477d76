"""Programs that come with an API key: `Authorization: Api-Key <prefix>.<secret>`."""

from __future__ import annotations

from django.contrib.auth.base_user import AbstractBaseUser
from django.views.decorators.debug import sensitive_variables
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, Throttled
from rest_framework.request import Request
from rest_framework.views import APIView

from recovery_backend.conf import conf
from recovery_backend.exceptions import CooldownActive
from recovery_backend_api.authentication import ApiKeyRefused
from recovery_backend_api.keys import flows
from recovery_backend_api.keys.exceptions import KeyRefused
from recovery_backend_api.keys.models import ApiKey
from recovery_backend_api.keys.tokens import PresentedKey

# What a request's key led to, on the request: one look-up, and one count, however often it is asked.
FOUND = "recovery_api_key"


class KeysThrottled(Throttled, CooldownActive):  # type: ignore[misc]
    """429, for the framework's own handler of exceptions and for that of this package."""

    def __init__(self, wait_seconds: int) -> None:
        Throttled.__init__(self, wait_seconds)
        self.wait_seconds = wait_seconds


class ApiKeyAuthentication(BaseAuthentication):  # type: ignore[misc]
    """The owner of the key in the Authorization header; `request.auth` is the key's row.

    It is one factor, and no session: see `NotByApiKey` for what it must not do.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, ApiKey] | None:
        if not _is_ours(request):
            return None
        http = request._request
        if not hasattr(http, FOUND):  # MFA_REQUIRED_PATHS asks before the view does
            setattr(http, FOUND, _found(request))
        found: ApiKey | APIException = getattr(http, FOUND)
        if isinstance(found, APIException):
            raise found
        return found.user, found

    def note_denied(self, request: Request, view: APIView) -> None:
        """Record what is refused to a key, if it tried it: pages and schemas ask for more."""
        http = request._request
        asked = getattr(http.resolver_match, "func", None)
        if getattr(asked, "cls", None) is type(view) and request.method == http.method:
            flows.note_denied(http, request.auth)

    def authenticate_header(self, request: Request) -> str:
        return conf.API_KEY_SCHEME


@sensitive_variables()
def _found(request: Request) -> ApiKey | APIException:
    if not conf.API_KEYS_ENABLED:
        return ApiKeyRefused()
    try:
        return flows.use(request._request, _presented(request))
    except KeyRefused:
        return ApiKeyRefused()
    except CooldownActive as cooldown:
        return KeysThrottled(cooldown.wait_seconds)


@sensitive_variables()
def _is_ours(request: Request) -> bool:
    return _parts(request)[0].lower() == conf.API_KEY_SCHEME.lower()


@sensitive_variables()
def _presented(request: Request) -> PresentedKey:
    return PresentedKey(_parts(request)[1].strip())


@sensitive_variables()
def _parts(request: Request) -> list[str]:
    """Scheme and key; "" for what is missing. Any white space may stand between them."""
    header: str = request.META.get("HTTP_AUTHORIZATION", "")
    return [*header.split(None, 1), "", ""][:2]
