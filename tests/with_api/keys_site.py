"""A site with one view of its own that takes API keys, and what the tests say to it."""

from __future__ import annotations

import time
from importlib import import_module

from django.apps import apps
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client, RequestFactory
from django.urls import include, path
from recovery_backend_api.keys import flows
from recovery_backend_api.keys.authentication import ApiKeyAuthentication
from recovery_backend_api.keys.permissions import NotByApiKey
from recovery_backend_api.permissions import MFARequired
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

SITE = "urls" if apps.is_installed("recovery_backend_allauth") else "plain_urls"
ADDRESS = "198.51.100.7"
STATUS, KEYS = "/api/recovery-codes/status/", "/api/recovery-codes/keys/"
WHOAMI, PEOPLE_ONLY, WITH_FACTOR = "/whoami/", "/people-only/", "/with-factor/"
SESSION_FIRST = "/session-first/"
WRONG_SECRET = "0123456789abcdef" * 4


class WhoAmI(APIView):
    authentication_classes = (ApiKeyAuthentication, SessionAuthentication)
    permission_classes = (IsAuthenticated,)

    def get(self, request):
        return Response({"user": request.user.pk, "key": getattr(request.auth, "prefix", None)})


class PeopleOnly(WhoAmI):
    permission_classes = (IsAuthenticated, NotByApiKey)


class ReadOnlyForKeys(WhoAmI):
    def get_permissions(self):
        return [IsAuthenticated(), *([NotByApiKey()] if self.request.method == "POST" else [])]

    def post(self, request):
        return Response({})


class WithFactor(WhoAmI):
    permission_classes = (MFARequired(),)


class SessionFirst(WhoAmI):
    authentication_classes = (SessionAuthentication, ApiKeyAuthentication)


urlpatterns = [
    path("whoami/", WhoAmI.as_view()),
    path("people-only/", PeopleOnly.as_view()),
    path("read-only-for-keys/", ReadOnlyForKeys.as_view()),
    path("with-factor/", WithFactor.as_view()),
    path("session-first/", SessionFirst.as_view()),
    path(KEYS[1:], include("recovery_backend_api.keys.urls")),
    *import_module(f"tests.with_api.{SITE}").urlpatterns,
]


def request_of(user, address=ADDRESS):
    """A request of this user, whose session has just proven a second factor."""
    request = RequestFactory(REMOTE_ADDR=address).post("/keys/")
    request.user = user
    request.session = SessionStore()
    now = time.time()
    steps = [{"method": "password", "at": now}, {"method": "mfa", "type": "totp", "at": now}]
    request.session["account_authentication_methods"] = steps
    request.session["account_authentication_methods_user"] = str(user.pk)
    return request


def make_key(user, name="a program", days_to_expire=30):
    """A new key: its row, and its text."""
    made = flows.create(request_of(user), name=name, days_to_expire=days_to_expire)
    return made.key, made.text


def ask(text, path=WHOAMI, client=None, address=ADDRESS, scheme="Api-Key"):
    """The answer to a program that comes with this key."""
    headers = {"Authorization": f"{scheme} {text}"}
    return (client or Client()).get(path, headers=headers, REMOTE_ADDR=address)


def send(text, name, data, client=None):
    """The answer of an endpoint of the API to a program that comes with this key."""
    return (client or Client()).post(
        f"/api/recovery-codes/{name}/",
        data,
        content_type="application/json",
        headers={"Authorization": f"Api-Key {text}"},
    )
