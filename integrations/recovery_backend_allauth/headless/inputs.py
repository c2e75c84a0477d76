"""What a headless client sends, read strictly (R-102)."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

# Twice what the longest address and code need when every character is escaped.
MAX_BYTES = 8192
FIELDS = ("email", "recovery_code")


class Malformed(Exception):
    """Raised for a body that is no JSON object of strings. `param` is the field, "" for the body."""

    def __init__(self, param: str = "") -> None:
        super().__init__(param)
        self.param = param


@sensitive_variables()
def typed_by(request: HttpRequest) -> dict[str, str]:
    """The fields of a sign-in as they were typed, "" for what is missing; others are ignored.

    Raises `Malformed`.
    """
    if request.content_type != "application/json":
        raise Malformed
    data = _parsed(request)
    for name in FIELDS:
        if not isinstance(data.get(name, ""), str):
            raise Malformed(name)
    return {name: data.get(name, "") for name in FIELDS}


@sensitive_variables()
def _parsed(request: HttpRequest) -> dict[str, Any]:
    try:
        body = request.body
        if len(body) > MAX_BYTES:
            raise Malformed
        data = json.loads(body.decode(), object_pairs_hook=_once_each)
    except (RequestDataTooBig, ValueError, RecursionError):
        raise Malformed from None
    if not isinstance(data, dict):
        raise Malformed
    return data


@sensitive_variables()
def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. A name that comes twice could mean one thing here, and another in a log before."""
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError
    return data
