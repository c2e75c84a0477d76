"""The two faces of the same flows: forms on the pages, and JSON; what is done, and how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from django.urls import reverse

from tests.pages import DASHBOARD
from tests.with_api.conftest import JSON_TYPE, ApiClient, checked, url

FORM_TYPE = "application/x-www-form-urlencoded"
PAGES = {"sign-in": "login_user", "verify": "recovery_verify_setup"}
READ_PAGES = ("recovery_dashboard", "recovery_email_status")
READ_ENDPOINTS = ("status", "batches", "activity", "email")


@dataclass(frozen=True)
class Outcome:
    """What happened, in a word that both faces share, and the answer that said it."""

    word: Literal["done", "refused", "wait"]
    answer: Any


@dataclass
class Face:
    """One browser with a CSRF token; `handle` is what delivering its newest codes takes by JSON."""

    client: ApiClient
    handle: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, user=None, **extra):
        """The browser of this user, or of somebody who is not signed in."""
        client = ApiClient(**extra)
        if user:
            client.force_login(user)
        client.take_csrf_token()
        return cls(client)

    def tab(self, kind=None):
        """Another tab of the same browser, perhaps with the other face."""
        client = ApiClient()
        client.cookies.load({name: it.value for name, it in self.client.cookies.items()})
        client.csrf = self.client.csrf
        return (kind or type(self))(client, self.handle)

    def sign_in(self, email, code):
        return self.do("sign-in", email=email, recovery_code=code)

    def verify(self, code):
        return self.do("verify", recovery_code=code)

    def invalidate(self, code):
        return self.do("invalidate", recovery_code=code)

    def delete(self, code):
        return self.do("delete", recovery_code=code)

    def download(self):
        return self.do("download", **self.handle)

    def email(self):
        return self.do("email", **self.handle)

    def post(self, path, body, content_type):
        return self.client.generic("POST", path, body, content_type, headers=self.client.csrf)


class Pages(Face):
    def do(self, name, **fields):
        body = urlencode(fields, doseq=True, errors="surrogatepass")
        return self.send(name, body.encode(), FORM_TYPE)

    def send(self, name, body, content_type):
        page = PAGES.get(name, f"recovery_{name.replace('-', '_')}")
        answer = self.post(reverse(page), body, content_type)
        is_done = "Content-Disposition" in answer or answer.headers.get("Location") == DASHBOARD
        assert answer.status_code in {200, 302, 400, 404, 429}, answer.content
        return Outcome(_word(answer, is_done), answer)

    def generate(self):
        return self.do("generate", confirm="on")

    def new_codes(self):
        assert self.generate().word == "done"
        return list(self.client.get(DASHBOARD).context["plaintext"].codes)

    def delete_all(self):
        return self.do("delete-all", confirm="on")

    def read(self):
        """All that it tells its owner about codes that were delivered."""
        return [self.client.get(reverse(page)) for page in READ_PAGES]


class Api(Face):
    def do(self, name, **fields):
        return self.send(name, json.dumps(fields).encode(), JSON_TYPE)

    def send(self, name, body, content_type):
        answer = checked(self.post(url(name), body, content_type))
        is_done = answer.status_code in {200, 201, 202}
        refusals = {400, 404, 409, 410, 413, 415, 429}
        assert is_done or answer.status_code in refusals, answer.content
        return Outcome(_word(answer, is_done), answer)

    def generate(self):
        outcome = self.do("generate", replace=True)
        if outcome.word == "done":
            fresh = outcome.answer.json()
            self.handle = {"batch": fresh["batch"]["id"], "delivery_key": fresh["delivery_key"]}
        return outcome

    def new_codes(self):
        outcome = self.generate()
        assert outcome.word == "done"
        return outcome.answer.json()["codes"]

    def delete_all(self):
        return self.do("delete-all", batch=self.handle["batch"])

    def read(self):
        return [self.client.ask(endpoint) for endpoint in READ_ENDPOINTS]


def _word(answer, is_done):
    if is_done:
        return "done"
    return "wait" if answer.status_code == 429 else "refused"
