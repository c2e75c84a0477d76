"""R-102: one JSON object of the right types, and nothing else."""

from __future__ import annotations

import json

import pytest
from recovery_backend_api.parsers import MAX_BYTES

from recovery_backend.cooldown import RecoveryCodeCooldown
from tests.owner import rows
from tests.with_api.conftest import ApiClient, told, url
from tests.with_api.test_changes import EACH

pytestmark = pytest.mark.django_db
GOOD = {**EACH, "sign-in": {"email": "owner@example.com", "recovery_code": "x"}}
FIELDS = [(name, field) for name, body in GOOD.items() for field in body]


@pytest.fixture(params=GOOD)
def name(request):
    return request.param


BODIES = [
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"true",
    b"1" * 5000,
    b'{"a": NaN}',
    b'{"a": -Infinity}',
    b'{"a": %s}' % (b"1" * 5000),
    b"[" * 8000,
    b'{"a":' * 1300 + b"1" + b"}" * 1300,
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"batch": "a", "batch": "b"}',
    b'{"a": {"b": 1, "b": 1}}',
    b"{} {}",
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_what_is_no_object(api, name, body):
    before = rows()
    answer = api.send(name, body)
    assert told(answer) == (400, "invalid") and "fields" not in answer.json()
    assert rows() == before


def test_nothing_at_all(api, name):
    assert told(api.send(name, b"")) == (415, "unsupported_media_type")
    assert told(api.send(name, b"", CONTENT_TYPE="application/json")) == (400, "invalid")


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 3_000_000])
def test_what_is_too_large(api, name, size):
    assert told(api.send(name, b'"' + b"x" * (size - 2) + b'"')) == (413, "too_large")


def test_what_is_just_not_too_large(api, name):
    body = json.dumps(GOOD[name]).encode().ljust(MAX_BYTES)
    assert api.send(name, body).status_code not in (413, 415, 500)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/jsonp",
        "x",
    ],
)
def test_another_content_type(api, name, content_type):
    answer = api.post(url(name), "{}", content_type=content_type, headers=api.csrf)
    assert told(answer) == (415, "unsupported_media_type")


def test_a_form(api, name):
    answer = api.post(url(name), GOOD[name], headers=api.csrf)
    assert told(answer) == (415, "unsupported_media_type")


def test_the_charset_may_be_named(api, name):
    answer = api.post(
        url(name),
        json.dumps(GOOD[name]),
        content_type="Application/JSON; charset=utf-8",
        headers=api.csrf,
    )
    assert answer.status_code != 415


def test_fields_that_are_not_known(api, name):
    """Refused, without saying what they are: it could be a code in the wrong place (R-85)."""
    before = rows()
    answer = api.send(name, {**GOOD[name], "SECRET-NAME": 1})
    assert told(answer) == (400, "invalid") and "SECRET-NAME" not in answer.content.decode()
    assert answer.json()["detail"].startswith("Only these fields are known here:")
    assert rows() == before


@pytest.mark.parametrize(("name", "field"), FIELDS)
@pytest.mark.parametrize("value", [1, 1.5, None, True, [], ["x"], {}, {"x": "y"}], ids=repr)
def test_what_is_no_text(api, name, field, value):
    answer = api.send(name, {**GOOD[name], field: value})
    assert told(answer) == (400, "invalid") and list(answer.json()["fields"]) == [field]
    assert not RecoveryCodeCooldown.objects.exists()


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_what_is_missing(api, name, field):
    body = {key: value for key, value in GOOD[name].items() if key != field}
    answer = api.send(name, body)
    assert told(answer) == (400, "invalid") and list(answer.json()["fields"]) == [field]


@pytest.mark.parametrize("value", ["true", "false", "on", 1, 0, None, [], {}, ""], ids=repr)
def test_what_is_neither_true_nor_false(api, value):
    answer = api.send("generate", {"replace": value})
    assert told(answer) == (400, "invalid") and list(answer.json()["fields"]) == ["replace"]


@pytest.mark.parametrize(
    "value",
    ["", "x", "0" * 32, "{00000000-0000-4000-8000-000000000000}", "urn:uuid:x", "\x00", "\ud800"],
)
def test_what_is_no_id(api, value):
    answer = api.send("delete-all", {"batch": value})
    assert told(answer) == (400, "invalid") and list(answer.json()["fields"]) == ["batch"]


@pytest.mark.parametrize("code", ["", "\x00", "\ud800", "x" * 5000, " ", "é" * 400])
@pytest.mark.parametrize("name", ["verify", "invalidate", "delete"])
def test_what_is_no_code(api, codes, name, code):
    answer = api.send(name, {"recovery_code": code})
    assert answer.status_code == 400 and answer.json()["code"] in ("invalid", "code_refused")


@pytest.mark.parametrize("email", ["owner", "a@b", "\x00@example.com", "\ud800@example.com"])
def test_what_is_no_address(email, db):
    client = ApiClient()
    client.take_csrf_token()
    answer = client.send("sign-in", {"email": email, "recovery_code": "x"})
    assert told(answer) == (400, "invalid") and list(answer.json()["fields"]) == ["email"]
