"""The OpenAPI document: without a warning, in step with its file, and true of a live site."""

from __future__ import annotations

import ast
import re
from io import StringIO
from pathlib import Path

import hypothesis
import pytest
import recovery_backend_allauth
import recovery_backend_api
import schemathesis
import yaml
from django.core.management import call_command
from django.test import Client
from django.urls import include, path
from recovery_backend_api import errors, schema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from recovery_backend import forms
from tests.with_api.conftest import ApiClient, session_token

DOCUMENT = schema.document()
OPERATIONS = schemathesis.openapi.from_dict(DOCUMENT)
FILE = Path(__file__).parents[2] / "docs" / "openapi.yaml"
HEADERS = ("Cache-Control", "Content-Disposition", "Retry-After", "WWW-Authenticate")
KEYS = "/api/recovery-codes/keys/"
pytestmark = pytest.mark.urls("tests.with_api.keys_site")


class site:
    """A site that offers both, as its own document finds them."""

    urlpatterns = [
        path("v1/", include("recovery_backend_api.urls")),
        path("v1/keys/", include("recovery_backend_api.keys.urls")),
    ]


def test_it_is_made_without_a_warning():
    out = StringIO()
    call_command("spectacular", urlconf=site, validate=True, fail_on_warn=True, stdout=out)
    assert {"/v1/status/", "/v1/keys/revoke/"} <= yaml.safe_load(out.getvalue())["paths"].keys()


@pytest.mark.skipif(not FILE.exists(), reason="this is about a checkout, and this is none")
def test_the_file_is_in_step():
    assert FILE.read_text() == schema.text(), "run `make docs`"


def test_it_has_keys_where_they_are_installed(settings):
    assert {KEYS, f"{KEYS}revoke/"} <= DOCUMENT["paths"].keys()
    apps = settings.INSTALLED_APPS
    settings.INSTALLED_APPS = [app for app in apps if app != "recovery_backend_api.keys"]
    assert not {KEYS, f"{KEYS}revoke/"} & schema.document()["paths"].keys()


def test_what_is_about_keys_is_told_apart_and_takes_none():
    for url, _method, operation in operations():
        is_of_keys = url.startswith(KEYS)
        assert operation["tags"] == ["API keys" if is_of_keys else "Recovery codes"]
        assert ("`api_keys_off`" in operation["description"]) is is_of_keys
    taking = {url for url, _method, it in operations() if {"apiKey": []} in it.get("security", ())}
    assert {url.split("/")[-2] for url in taking} == {"status", "batches", "activity", "email"}


def operations():
    for url, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield url, method, operation


def test_a_list_in_pages_takes_a_page_and_may_lack_it():
    paged = set()
    for url, method, operation in operations():
        names = [it["name"] for it in operation.get("parameters", ()) if it["in"] == "query"]
        assert names in ([], ["page"])
        if names:
            assert method == "get" and "404" in operation["responses"]
            paged.add(url.split("/")[-2])
    assert paged == {"activity", "batches", "keys"}


def test_a_change_takes_a_csrf_token_and_the_sign_in_has_to_have_one():
    """R-91"""
    for url, method, operation in operations():
        headers = {
            it["name"]: it.get("required", False)
            for it in operation.get("parameters", ())
            if it["in"] == "header"
        }
        is_sign_in = url.endswith("/sign-in/")
        assert headers == ({"X-CSRFToken": is_sign_in} if method == "post" else {})


# Which argument of a call is a code.
CODE_AT = {"Problem": 1, "Refusal": 1, "ended": 1, "tell": 0}


def codes_in(file):
    """The codes that are written down in this source."""
    for node in ast.walk(ast.parse(file.read_text())):
        values = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            values = [it.value for it in node.keywords if it.arg == "code"]
            values += node.args[CODE_AT[name] :][:1] if name in CODE_AT else []
        elif isinstance(node, ast.Assign):
            names = {getattr(it, "id", "") for it in node.targets}
            values = [node.value] if names & {"code", "CODE", "default_code"} else []
        yield from (it.value for it in values if isinstance(it, ast.Constant))


def test_the_document_has_each_code_that_is_written_down_and_no_other():
    files = [Path(forms.__file__)]
    for package in (recovery_backend_allauth, recovery_backend_api):
        files += Path(package.__file__).parent.rglob("*.py")
    written = {code for file in files for code in codes_in(file)}
    known = DOCUMENT["components"]["schemas"]["CodeEnum"]["enum"]
    assert {"session_moved", "session_required", "unverified", "api_key_refused"} <= written
    assert sorted(written) == known == errors.CODES


@pytest.mark.django_db
def test_headers_are_told_of_just_the_answers_that_they_come_with(settings, api, clock):
    new = api.generate()
    delivery = {"batch": new["batch"]["id"], "delivery_key": new["delivery_key"]}
    answers = [
        api.ask("status"),
        api.ask("batches", {"page": 9}),
        api.send("generate"),
        api.send("download", {**delivery, "format": "csv"}),
        api.send("download", delivery),
        api.ask("keys"),
        Client().get(KEYS),
        ApiClient().send("generate"),
        Client().get("/api/recovery-codes/status/", headers={"X-Session-Token": "x"}),
    ]
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "1/h"
    answers += [api.send("verify", {"recovery_code": "x"}) for _try in range(3)]
    assert {it.status_code for it in answers} == {200, 400, 401, 403, 404, 409, 429}
    for answer in answers:
        check_headers(answer)


def check_headers(answer):
    operation = DOCUMENT["paths"][answer.request["PATH_INFO"]]
    method = answer.request["REQUEST_METHOD"].lower()
    promised = operation[method]["responses"][str(answer.status_code)]["headers"]
    assert {name for name in HEADERS if name in answer} == promised.keys(), answer
    for name, header in promised.items():
        assert header["required"] is True
        assert re.search(header["schema"].get("pattern", ""), answer[name]), name


@pytest.fixture
def unbounded(settings):
    """A site that never asks for patience, and has API keys."""
    settings.DJANGO_AUTH_RECOVERY_CODES_CLIENT_RATE = "100000/m"
    settings.DJANGO_AUTH_RECOVERY_CODES_MAX_LOGIN_ATTEMPTS = 100
    settings.DJANGO_AUTH_RECOVERY_CODES_COOLDOWN_CUTOFF_POINT = 1
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = True


@pytest.fixture
def headers(user):
    csrf = "a" * 32
    return {
        "X-Session-Token": session_token(user),
        "X-CSRFToken": csrf,
        "Cookie": f"csrftoken={csrf}",
    }


@pytest.mark.django_db(transaction=True)
@OPERATIONS.parametrize()
@hypothesis.settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[  # one site and one user for all cases
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
def test_the_site_does_what_the_document_says(case, headers, codes, live_server, unbounded):
    answer = case.call_and_validate(
        base_url=live_server.url, headers=headers, excluded_checks=[positive_data_acceptance]
    )
    assert b"api_keys_off" not in answer.content
