"""A real browser against a real server, under the strictest policy; it may not complain once."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from pytest_django.live_server_helper import LiveServer

from tests.conftest import is_missing

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 10_000
WIDTHS = (320, 1280)
SCHEMES = ("light", "dark")
SMALL_TARGETS = """(part) => [...document.querySelector(part).querySelectorAll("a, button, input, textarea, summary")]
    .filter((el) => el.checkVisibility() && el.type !== "hidden")
    .map((el) => [el.outerHTML.slice(0, 60), el.getBoundingClientRect()])
    .filter(([, box]) => box.width < 24 || box.height < 24)
    .map(([html]) => html)"""

SETTLED = "() => Promise.all(document.getAnimations().map((animation) => animation.finished))"


@pytest.fixture(scope="module")
def chromium():
    if not Path(CHROMIUM).exists():
        is_missing(CHROMIUM)
    if importlib.util.find_spec("playwright") is None:
        is_missing("playwright")
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop running in this thread, which Django takes for async code.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as started:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(chromium, django_db_setup):
    """The address of a live server that sends a strict Content-Security-Policy (R-93)."""
    middleware = ["tests.csp.StrictPolicy", *django_settings.MIDDLEWARE]
    with override_settings(MIDDLEWARE=middleware):
        server = LiveServer("localhost")
    yield server.url
    server.stop()


@pytest.fixture
def open_page(chromium, site, transactional_db):
    """Open a page of the site in a browser of its own; any complaint of it fails the test."""
    contexts, complaints = [], []

    def listen(page):
        def on_console(message):
            # What did not load is judged by its response, below.
            if message.type == "error" and not message.text.startswith("Failed to load"):
                complaints.append(message.text)

        def on_response(response):
            # A page may be an answer 403 or 429 itself, and the icon is the site's.
            is_part = response.request.resource_type != "document"
            if response.status >= 400 and is_part and not response.url.endswith("/favicon.ico"):
                complaints.append(f"{response.status} {response.url}")

        page.on("console", on_console)
        page.on("response", on_response)
        page.on("pageerror", lambda error: complaints.append(str(error)))

    def open_(path, *, width=1280, has_javascript=True, client=None):
        context = chromium.new_context(
            base_url=site,
            java_script_enabled=has_javascript,
            viewport={"width": width, "height": 800},
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        if client is not None:
            cookie = client.cookies[django_settings.SESSION_COOKIE_NAME]
            context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": site}])
        page = context.new_page()
        listen(page)
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="module")
def axe(chromium):
    if importlib.util.find_spec("axe_playwright_python") is None:
        is_missing("axe-playwright-python")
    from axe_playwright_python.sync_playwright import Axe

    return Axe()


@pytest.fixture
def inspect(axe):
    """Look at a page on a narrow phone and on a desk, light and dark: it fits and is accessible.

    Of a page that is not ours alone, `part` is; of that, select2 is Django's.
    With SCREENSHOTS=folder in the environment, what was seen is kept there.
    """

    def inspect_(page, name, part="body"):
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(SMALL_TARGETS, part) == []
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                page.evaluate(SETTLED)  # the admin fades from one colour to the next
                if folder := os.environ.get("SCREENSHOTS"):
                    picture = Path(folder) / f"{name}-{width}-{scheme}.png"
                    page.screenshot(path=picture, full_page=True)
                looked_at = {"include": [[part]], "exclude": [[".select2-container"]]}
                result = axe.run(page, context=looked_at)
                assert result.violations_count == 0, result.generate_report()
        assert page.locator("h1").count() == 1

    return inspect_


@pytest.fixture
def copy(chromium, site):
    """Put a text into the clipboard, as a person who copies it elsewhere."""
    contexts = []

    def copy_(text):
        context = chromium.new_context()
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=site)
        page = context.new_page()
        page.goto(f"{site}/")
        page.evaluate("text => navigator.clipboard.writeText(text)", text)

    yield copy_
    for context in contexts:
        context.close()
