"""Clients of the API: a browser that sends CSRF tokens, and an app with a token of allauth's."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django.test import Client
from recovery_backend_api import errors

from tests.test_canary import witness  # noqa: F401  # a fixture
from tests.views.conftest import attempts  # noqa: F401  # a fixture

HAS_ALLAUTH = apps.is_installed("recovery_backend_allauth")
# Those need allauth: `pytest --ds tests.with_api.settings tests/with_api`.
collect_ignore_glob = [] if HAS_ALLAUTH else ["test_tokens.py", "test_openapi.py"]
JSON_TYPE = "application/json"


def url(name):
    return f"/api/recovery-codes/{name}/"


class ApiClient(Client):
    """A browser's script: cookies, and the CSRF token in a header. Every answer of it is checked."""

    def __init__(self, **kwargs):
        super().__init__(enforce_csrf_checks=True, **kwargs)
        self.csrf = {}

    def ask(self, name, query=None, **extra):
        return checked(self.get(url(name), query, headers=self.csrf, **extra))

    def send(self, name, data=None, **extra):
        """Send this object; bytes as they are."""
        body = data if isinstance(data, bytes) else json.dumps(data if data is not None else {})
        answer = self.post(url(name), body, content_type=JSON_TYPE, headers=self.csrf, **extra)
        return checked(answer)

    def sign_in(self, user):
        """Signed in, and with a CSRF token, as after a page of the site."""
        self.force_login(user)
        self.take_csrf_token()
        return self

    def take_csrf_token(self):
        self.get(url("sign-in"))
        self.csrf = {"X-CSRFToken": self.cookies["csrftoken"].value}

    def generate(self, **data):
        answer = self.send("generate", data)
        assert answer.status_code == 201, answer.content
        return answer.json()


def checked(answer):
    """R-75, and one form of refusals."""
    assert "no-store" in answer["Cache-Control"] and "private" in answer["Cache-Control"]
    assert "Cookie" in answer["Vary"] and answer["X-Content-Type-Options"] == "nosniff"
    if answer.status_code >= 400:
        body = answer.json()
        assert {"code", "detail"} <= body.keys(), body
        assert body.keys() <= {"code", "detail", "wait_seconds", "redirect_to", "fields"}
        assert body["code"] in errors.CODES and isinstance(body["detail"], str)
    if answer.status_code == 429:
        assert answer["Retry-After"] == str(answer.json()["wait_seconds"])
    return answer


def told(answer):
    return answer.status_code, answer.json().get("code")


@pytest.fixture
def api(user):
    """The owner's script."""
    return ApiClient().sign_in(user)


@pytest.fixture
def make_api():
    return lambda user: ApiClient().sign_in(user)


def session_token(user):
    """What an app of this user got from allauth's headless sign-in."""
    browser = Client()
    browser.force_login(user)
    return browser.session.session_key


@pytest.fixture
def keys_on(settings):
    """A site with API keys."""
    settings.DJANGO_AUTH_RECOVERY_CODES_API_KEYS_ENABLED = True
