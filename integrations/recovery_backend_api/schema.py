"""The endpoints in OpenAPI, told by what their classes say of themselves."""

from __future__ import annotations

from typing import Any

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
from recovery_backend_api import answers

# Of any request; of any that changes something.
ALWAYS = (401, 403, 429)
OF_CHANGES = (400, 413, 415, 503)
TITLE = "Recovery codes"
PAGE = OpenApiParameter("page", OpenApiTypes.INT, description="From 1 to `pages`.")


class Schema(AutoSchema):
    """An operation, by what the view `takes`, what each method of it `tells`, and its `problems`."""

    def get_operation_id(self) -> str:
        name = self.path.rstrip("/").rpartition("/")[2].replace("-", "_")
        return name if self.method == "POST" else f"get_{name}"

    def get_tags(self) -> list[str]:
        return ["Recovery codes"]

    def get_override_parameters(self) -> list[Any]:
        return [PAGE] if self.view.is_paged else []

    def get_auth(self) -> list[dict[str, Any]]:
        """Without API keys for what changes codes, which they may not."""
        found: list[dict[str, Any]] = super().get_auth()
        return [it for it in found if self.method == "GET" or "apiKey" not in it]

    def get_request_serializer(self) -> Any:
        return self.view.takes if self.method == "POST" else None

    def get_response_serializers(self) -> dict[Any, Any]:
        told = dict(self.view.tells[self.method])
        return told | dict.fromkeys(self._problems(), answers.ProblemAnswer)

    def _problems(self) -> tuple[int, ...]:
        if self.method == "GET":
            return (*ALWAYS, 404) if self.view.is_paged else ALWAYS
        return (*ALWAYS, *OF_CHANGES, *self.view.problems)


class InputsExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    target_class = "recovery_backend_api.fields.Inputs"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        mapped = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**mapped, "additionalProperties": False}


class BySessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "recovery_backend_api.authentication.BySession"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.SESSION_COOKIE_NAME,
            "description": "With the CSRF token in the header X-CSRFToken for each POST.",
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
    """The OpenAPI document of these endpoints alone, at this prefix."""
    urls = [path(prefix, include("recovery_backend_api.urls"))]
    with patched_settings({"TITLE": TITLE, "VERSION": __version__}):
        generator = SchemaGenerator(patterns=urls)  # type: ignore[no-untyped-call]
        spec: dict[str, Any] = generator.get_schema(public=True)  # type: ignore[no-untyped-call]
    return spec


def text() -> str:
    """The same as YAML."""
    renderer = OpenApiYamlRenderer()
    rendered: bytes = renderer.render(document(), renderer_context={})  # type: ignore[no-untyped-call]
    return rendered.decode()
