"""The endpoints in OpenAPI, told by what their classes say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.urls import include, path
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.settings import patched_settings
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

from recovery_backend import __version__
from recovery_backend_api import answers, errors

# Of any request; of any that changes something.
ALWAYS = (401, 403, 429)
OF_CHANGES = (400, 413, 415, 503)
TITLE = "Recovery codes"
PAGE = OpenApiParameter("page", OpenApiTypes.INT, description="From 1 to `pages`.")
KEYS = "recovery_backend_api.keys"
KEYS_OFF = "Off by default: 403 `api_keys_off` until the site sets API_KEYS_ENABLED."


def _sent(name: str, description: str, *statuses: int, **schema: Any) -> OpenApiParameter:
    """A header that comes with every answer of these statuses; without one, with every answer."""
    return OpenApiParameter(
        name,
        {"type": "string", **schema},
        OpenApiParameter.HEADER,
        required=True,
        description=description,
        response=list(statuses) or True,
    )


SENT = (
    _sent("Cache-Control", "No answer may be kept.", pattern="no-store"),
    _sent("WWW-Authenticate", "A way to say who asks.", 401),
    _sent("Retry-After", "The same as `wait_seconds`.", 429, type="integer", minimum=1),
)
CSRF = "X-CSRFToken"
SENT_WITH_FILES = _sent("Content-Disposition", "The name of the file.", 200, pattern="^attachment")


class Schema(AutoSchema):
    """An operation, by what the view `takes`, what each method of it `tells`, and its `problems`."""

    def get_operation_id(self) -> str:
        name = self.path.rstrip("/").rpartition("/")[2].replace("-", "_")
        return name if self.method == "POST" else f"get_{name}"

    def get_tags(self) -> list[str]:
        return ["API keys" if self._is_of_keys else "Recovery codes"]

    def get_description(self) -> str:
        told: str = super().get_description()
        return f"{told}\n\n{KEYS_OFF}" if self._is_of_keys else told

    def get_override_parameters(self) -> list[Any]:
        return [*SENT, *self._own_parameters()]

    def get_auth(self) -> list[dict[str, Any]]:
        """Without API keys for what changes codes or keys, which they may not."""
        found: list[dict[str, Any]] = super().get_auth()
        is_for_keys = self.method == "GET" and not self._is_of_keys
        return [it for it in found if is_for_keys or "apiKey" not in it]

    def get_request_serializer(self) -> Any:
        return self.view.takes if self.method == "POST" else None

    def get_response_serializers(self) -> dict[Any, Any]:
        told = dict(self.view.tells[self.method])
        return told | dict.fromkeys(self._problems(), answers.ProblemAnswer)

    def _problems(self) -> tuple[int, ...]:
        if self.method == "GET":
            return (*ALWAYS, 404) if self._is_paged else ALWAYS
        return (*ALWAYS, *OF_CHANGES, *self.view.problems)

    def _own_parameters(self) -> Iterator[OpenApiParameter]:
        if self._is_paged:
            yield PAGE
        if self.method == "POST":
            yield self._csrf_parameter()
        if OpenApiTypes.BINARY in self.view.tells[self.method].values():
            yield SENT_WITH_FILES

    def _csrf_parameter(self) -> OpenApiParameter:
        is_always_asked = not self.view.permission_classes  # nobody has a token yet
        told = "`csrf_token` of `GET sign-in/`"
        if not is_always_asked:
            told += ", where the session's cookie says who asks"
        return OpenApiParameter(
            CSRF,
            OpenApiTypes.STR,
            OpenApiParameter.HEADER,
            required=is_always_asked,
            description=f"{told}.",
        )

    @property
    def _is_paged(self) -> bool:
        told = self.view.tells[self.method].get(200)
        return isinstance(told, type) and issubclass(told, answers.PageAnswer)

    @property
    def _is_of_keys(self) -> bool:
        return type(self.view).__module__.startswith(KEYS)


class InputsExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    target_class = "recovery_backend_api.fields.Inputs"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        mapped = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**mapped, "additionalProperties": False}


class ProblemExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    target_class = "recovery_backend_api.answers.ProblemAnswer"

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        mapped: dict[str, Any] = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        mapped["properties"]["code"]["enum"] = errors.CODES
        return mapped


class BySessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "recovery_backend_api.authentication.BySession"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": f"With the CSRF token in the header {CSRF} for each POST.",
        }


class BySessionTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "recovery_backend_api.tokens.BySessionToken"
    name = "session_token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": "X-Session-Token"}


class ByAccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "recovery_backend_api.tokens.ByAccessToken"
    name = "access_token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def document(prefix: str = "api/recovery-codes/") -> dict[str, Any]:
    """The OpenAPI document of these endpoints alone, at this prefix; of those of keys, if installed."""
    urls = [path(prefix, include("recovery_backend_api.urls"))]
    if apps.is_installed(KEYS):
        urls.append(path(f"{prefix}keys/", include(f"{KEYS}.urls")))
    with patched_settings({"TITLE": TITLE, "VERSION": __version__}):
        generator = SchemaGenerator(patterns=urls)  # type: ignore[no-untyped-call]
        spec: dict[str, Any] = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    return spec


def text() -> str:
    """The same as YAML."""
    renderer = OpenApiYamlRenderer()
    rendered: bytes = renderer.render(document(), renderer_context={})  # type: ignore[no-untyped-call]
    return rendered.decode()
