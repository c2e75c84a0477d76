"""One flow, two faces: what a page lets people do, an endpoint lets programs do."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import recovery_backend_api
import recovery_backend_api.keys.views as key_views
from recovery_backend_api.keys import flows as key_flows

from recovery_backend import flows, forms, views

# Why a function has no page or no endpoint of its own.
ELSEWHERE = {
    "can_help": "support: the admin",
    "clear_cooldown": "the command and the admin",
    "clear_waits": "support: the admin",
    "drop_stale_plaintext": "the middleware, after each request",
    "emergency_refusal": "support: the admin",
    "end_codes": "support: the admin",
    "forget_on_sign_out": "a receiver of Django's signal",
    "note_code_sign_in": "the sign-in itself, and integrations",
    "note_other_sign_in": "integrations",
    "note_sign_in": "a receiver of Django's signal",
    "reopen_on_sign_in": "a receiver of Django's signal",
    "require_new_batch": "support: the admin",
    "require_rank": "support: the admin",
    "revoke_codes": "support: the admin",
    "send_emergency_code": "support: the admin",
    "use_at_step": "the second step of an integration, which has endpoints of its own",
    "wait_seconds": "the middleware before the page; the flow refuses by itself",
}
# Why a flow of API keys has no endpoint. None has a page: keys are for developers, who use the API;
# the admin revokes them.
KEYS_ELSEWHERE = {
    "end_made_with": "the command that retires a key",
    "note_denied": "the permissions that keys lack",
    "revoke_for_owner": "support: the admin",
    "use": "each request of a program, before any endpoint",
}
FUNCTIONS = [name for name in flows.__all__ if inspect.isfunction(getattr(flows, name))]
OF_KEYS = [
    name
    for name, it in vars(key_flows).items()
    if inspect.isfunction(it) and it.__module__ == key_flows.__name__ and name[0] != "_"
]


def called_in(*places):
    """What of `flows` is called in these files, and in the form of both faces."""
    files = [Path(forms.__file__)]
    for place in places:
        files += Path(place.__file__).parent.glob("*.py")
    return called_by(*files)


def called_by(*files):
    return {
        node.attr
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "flows"
    }


PAGES, ENDPOINTS = called_in(views), called_in(recovery_backend_api)
OF_KEYS_AT_ENDPOINTS = called_by(Path(key_views.__file__))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_flow_has_both_faces_or_a_reason(name):
    assert (name in PAGES and name in ENDPOINTS) != (name in ELSEWHERE)


@pytest.mark.parametrize("name", OF_KEYS)
def test_each_flow_of_keys_has_an_endpoint_or_a_reason(name):
    assert (name in OF_KEYS_AT_ENDPOINTS) != (name in KEYS_ELSEWHERE)


def test_reasons_are_given_for_what_exists():
    assert ELSEWHERE.keys() <= set(FUNCTIONS)
    assert KEYS_ELSEWHERE.keys() <= set(OF_KEYS)


def test_the_sets_can_tell_the_faces_apart():
    assert "generate" in PAGES & ENDPOINTS and "send_emergency_code" not in PAGES | ENDPOINTS
