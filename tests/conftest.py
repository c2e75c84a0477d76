"""Factories. A test names what it needs: `make_user`, `make_codes`, `try_code`."""

from __future__ import annotations

import importlib.util
import itertools
import os
from contextlib import contextmanager

import pytest
import time_machine
from django.apps import apps
from django.contrib.auth import authenticate, get_user_model
from django.core.cache import cache
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ
from hypothesis import settings as hypothesis_settings

from recovery_backend import tasks
from recovery_backend.codes import PresentedCode
from recovery_backend.models import RecoveryCodeAudit, RecoveryCodeBatch
from tests.pages import DASHBOARD, JSON, LOGIN, PASSWORD, WRONG_CODE
from tests.processes import MAKE_USERS, MailServer, Site, copied

__all__ = ["DASHBOARD", "JSON", "LOGIN", "PASSWORD", "WRONG_CODE", "Browser", "is_missing"]

# Those need other settings: `pytest --ds tests.with_allauth.settings tests/with_allauth`.
NEEDED = {"with_allauth": "recovery_backend_allauth", "with_api": "recovery_backend_api"}
collect_ignore = [folder for folder, app in NEEDED.items() if not apps.is_installed(app)]

# A busy machine is no failure.
hypothesis_settings.register_profile("suite", deadline=None)
hypothesis_settings.load_profile("suite")


def is_missing(what):
    """Skip the test, or fail it where nothing may be missing."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


class Browser(Client):
    """A browser that is signed in, and goes to our pages by their URL names."""

    def open(self, name="recovery_dashboard", data=None, **extra):
        return self.get(reverse(name), data, **extra)

    def send(self, name, **data):
        return self.post(reverse(name), data)

    def send_json(self, name, **data):
        return self.post(reverse(name), data, headers=JSON)

    def generate(self):
        """Generate codes, and read them from the page: they have been shown."""
        assert self.send("recovery_generate", confirm="on").status_code == 302
        return list(self.open().context["plaintext"].codes)


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def make_user(db):
    numbers = itertools.count(1)

    def make(email=None, password=PASSWORD, **fields):
        number = next(numbers)
        return get_user_model().objects.create_user(
            username=fields.pop("username", f"user{number}"),
            email=email or f"user{number}@example.com",
            password=password,
            **fields,
        )

    return make


@pytest.fixture
def user(make_user):
    return make_user(email="owner@example.com", username="owner")


@pytest.fixture
def make_codes():
    def make(user, number_of_codes=3, days_to_expire=None):
        plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(
            user, days_to_expire=days_to_expire, number_of_codes=number_of_codes
        )
        return plain_codes

    return make


@pytest.fixture
def codes(user, make_codes):
    return make_codes(user)


@pytest.fixture
def make_request():
    def make(address="198.51.100.7", **headers):
        return RequestFactory(REMOTE_ADDR=address).post(LOGIN, headers=headers)

    return make


@pytest.fixture
def try_code(make_request):
    """Authenticate as a caller would: the user, or None."""

    def attempt(email, code, address="198.51.100.7", request=None):
        request = request or make_request(address)
        return authenticate(request, email=email, recovery_code=PresentedCode(code))

    return attempt


@pytest.fixture
def post_code(client):
    """Post the sign-in page's form: the response."""

    def post(email, code, address="198.51.100.7", client=client, **extra):
        data = {"email": email, "recovery_code": code, **extra}
        return client.post(LOGIN, data, REMOTE_ADDR=address)

    return post


@pytest.fixture
def make_browser():
    def make(user):
        browser = Browser()
        browser.force_login(user)
        return browser

    return make


@pytest.fixture
def browser(user, make_browser):
    """The browser in which `user` is signed in."""
    return make_browser(user)


@pytest.fixture
def clock():
    """Time stands still; `clock.shift(seconds)` moves it."""
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def events(db):
    """What was recorded, in order: `(event, reason)` without the common prefix."""

    def recorded(**filters):
        rows = RecoveryCodeAudit.objects.filter(**filters).order_by("pk")
        return [
            (event.removeprefix("recovery."), reason)
            for event, reason in rows.values_list("event", "reason")
        ]

    return recorded


@pytest.fixture
def statements(db):
    """The SQL of a block, without transaction control and the queue's own insert."""
    control = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT")

    @contextmanager
    def captured():
        kept = []
        with CaptureQueriesContext(connection) as context:
            yield kept
        kept += [
            query["sql"]
            for query in context.captured_queries
            if not query["sql"].startswith(control) and "django_q_ormq" not in query["sql"]
        ]

    return captured


@pytest.fixture
def generated(browser):
    """The owner's browser, with new codes that were shown; they are in `generated.codes`."""
    browser.codes = browser.generate()
    return browser


@pytest.fixture
def committed(django_capture_on_commit_callbacks):
    """Let everything happen that follows the commit of what the block does."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def at_once(settings):
    settings.DJANGO_AUTH_RECOVERY_CODES_EMAIL_ASYNC = False


@pytest.fixture
def run_queue(committed):
    """Do what the worker does with each queued task; how each ended, by its function."""

    def run():
        results = []
        for row in OrmQ.objects.order_by("pk"):
            name = row.task["func"].removeprefix("recovery_backend.tasks.")
            with committed():
                results.append((name, getattr(tasks, name)(*row.task["args"])))
            row.delete()
        return results

    return run


@pytest.fixture(scope="module")
def mail_server():
    for name in ("aiosmtpd", "gunicorn", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            is_missing(name)
    with MailServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def prepared_site(mail_server, tmp_path_factory):
    """A folder with the tables and users, from which a site can be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    site = Site(folder, mail_server)
    site.manage("migrate", "--verbosity", "0")
    site.manage("shell", "-c", MAKE_USERS.format(password=PASSWORD))
    return folder


@pytest.fixture
def new_site(mail_server, prepared_site, tmp_path):
    """A site of this test alone; none of its processes runs yet."""
    with copied(prepared_site, tmp_path / "var", mail_server) as site:
        yield site
