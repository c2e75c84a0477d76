"""What docs/api.md says is so: its examples run as they stand, its tables are complete."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from django.test import Client
from recovery_backend_api import errors
from recovery_backend_api.urls import urlpatterns

from tests.conftest import PASSWORD, is_missing
from tests.journeys.conftest import chromium  # noqa: F401
from tests.owner import usable
from tests.with_api.conftest import HAS_ALLAUTH

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not PAGE.exists(), reason="this is about a checkout, and this is none"),
]


def section(heading):
    return PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def blocks(heading, language):
    return re.findall(rf"```{language}\n(.*?)```", section(heading), re.DOTALL)


def test_each_endpoint_is_told():
    told = set(re.findall(r"^\| `([\w-]+/)` \| (GET|POST) ", section("Endpoints"), re.M))
    methods = {(str(it.pattern), method) for it in urlpatterns for method in it.callback.cls.tells}
    assert told == methods


def test_each_refusal_is_told_with_its_status():
    told = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", section("Refusals"), re.M))
    wanted = {(str(it.status), it.code) for it in errors.OWN}
    assert wanted | {("429", "cooldown")} <= told
    of_views = {"mfa_unavailable"}  # `MFARequired`, which no endpoint of ours asks for
    assert sorted({code for _status, code in told} - of_views) == errors.CODES


@pytest.mark.skipif(not HAS_ALLAUTH, reason="needs tokens, which allauth gives out")
def test_the_curl_session(user, codes, live_server):
    if not shutil.which("curl"):
        is_missing("curl")
    _values, *commands = blocks("An app, by curl", "bash")
    values = {"SITE": live_server.url, "NAME": user.username, "PASSWORD": PASSWORD}
    done = subprocess.run(
        ["bash", "-euc", "\necho END\n".join(commands)],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **values},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    status, file, saved = (part.strip() for part in done.stdout.split("END\n"))
    assert '"left":3' in status and "[ ] 10." in file and '"detail":' in saved
    assert usable(user) == 10 and not user.recovery_code_batches.exclude(sealed="").exists()


@pytest.fixture(params=["CSRF_USE_SESSIONS", "CSRF_COOKIE_HTTPONLY", None])
def csrf(settings, request):
    """Where the CSRF token is: in the session, in a cookie out of reach of scripts, in a cookie."""
    if request.param:
        setattr(settings, request.param, True)


def test_the_python_program(csrf, user, codes, live_server):
    (program,) = blocks("A program that keeps cookies, by httpx", "python")
    names = {}
    exec(program, names)  # noqa: S102
    with closing(names["connect"](live_server.url)) as client:
        with pytest.raises(httpx.HTTPStatusError) as refusal:
            names["sign_in"](client, user.email, "x")
        assert refusal.value.response.json()["code"] == "refused"
        assert names["sign_in"](client, user.email, codes[0]) is True
        made = names["new_codes"](client, days=30)
    assert len(made) == 10 == usable(user)


@pytest.mark.browser
def test_the_script(csrf, chromium, user, codes, live_server):  # noqa: F811
    (script,) = blocks("A page of your own, by fetch", "js")
    browser = Client()
    browser.force_login(user)
    context = chromium.new_context()
    value = browser.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": value, "url": live_server.url}])
    page = context.new_page()
    page.goto(live_server.url)
    ending = "const { codes, file } = await newCodes(); return [codes, file.type, file.size];"
    made, kind, size = page.evaluate(f"async () => {{ {script}\n{ending} }}")
    context.close()
    assert len(made) == 10 == usable(user) and kind == "application/pdf" and size > 1000
