"""One JSON object a request, read strictly (R-102)."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

from recovery_backend_api.masked import Masked

# Twice what the longest fields need when every character is escaped.
MAX_BYTES = 8192


class TooLarge(APIException):  # type: ignore[misc]
    """Raised for a body of more than MAX_BYTES."""

    status_code = 413


class JSONObject(BaseParser):  # type: ignore[misc]
    """An object, each of whose names comes once."""

    media_type = "application/json"

    @sensitive_variables()
    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> dict[str, Any]:
        body = stream.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise TooLarge
        data = _parsed(body)
        if not isinstance(data, dict):
            raise ParseError
        return data


@sensitive_variables()
def _parsed(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode(), object_pairs_hook=_once_each, parse_constant=_no_json_number
        )
    except (ValueError, RecursionError):
        raise ParseError from None


@sensitive_variables()
def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. A name that comes twice could mean one thing here, and another in a log before."""
    data: dict[str, Any] = {}
    for name, value in pairs:
        data[Masked(name)] = _masked(value)
    if len(data) < len(pairs):
        raise ValueError
    return data


@sensitive_variables()
def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_masked, value))
    return Masked(value) if isinstance(value, str) else value


def _no_json_number(name: str) -> NoReturn:
    raise ValueError  # NaN and the infinities, which Python would take
