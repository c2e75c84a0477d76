"""The example site as real processes: gunicorn (WSGI), uvicorn (ASGI), the worker, an SMTP server."""

from __future__ import annotations

import html
import json
import re
import threading
import time
from pathlib import Path

import pytest

from recovery_backend.events import LIFE_SECONDS, MAX_STREAMS
from tests.conftest import DASHBOARD, LOGIN
from tests.processes import (
    CODE,
    EVENTS,
    PASSWORD_LOGIN,
    PREFIX,
    PROMPT_SECONDS,
    ROOT,
    STATUS,
    Browser,
    copied,
    wait_for,
)

pytestmark = [
    pytest.mark.skipif(
        not (ROOT / "Makefile").exists(), reason="these are about a checkout, and this is none"
    ),
    pytest.mark.timeout(240),
]

WEB_SERVERS = ("wsgi", "asgi")
assert PROMPT_SECONDS < LIFE_SECONDS


@pytest.fixture(scope="module")
def site(mail_server, prepared_site, tmp_path_factory):
    """The site with all its processes, for all tests of this module."""
    with copied(prepared_site, tmp_path_factory.mktemp("site") / "var", mail_server) as site:
        site.start(*WEB_SERVERS, "worker")
        yield site


@pytest.fixture(scope="module")
def names():
    return (f"user{number}" for number in range(20))


@pytest.fixture
def visit(site, names):
    """Somebody new, signed in by password at this server."""

    def visit_(server: str) -> Browser:
        browser = Browser(site, server, next(names))
        browser.sign_in()
        return browser

    return visit_


@pytest.mark.parametrize("server", WEB_SERVERS)
def test_the_example_site_has_its_style(site, server):
    """Neither server hands out static files by itself."""
    browser = Browser(site, server, "stranger")
    for href in re.findall(r'"(/static/[^"]+)"', browser.get("/").text + browser.get(LOGIN).text):
        assert browser.get(href).status == 200, href


@pytest.mark.parametrize("server", WEB_SERVERS)
def test_codes_travel_by_e_mail_and_sign_their_owner_in(visit, site, mail_server, server):
    """R-74, R-81, R-82, R-101: from the password to a code out of the mailbox."""
    ada = visit(server)
    page = ada.generate()
    codes = page.codes
    assert (page.status, page.path, len(codes)) == (200, DASHBOARD, 10)
    assert ada.get(DASHBOARD).codes == []

    with mail_server.busy():
        assert "is on its way." in html.unescape(ada.send_email().text)
        stream = ada.stream()
        states = iter(stream)
        assert next(states) == "queued"
        assert ada.email_state() == "queued"
    if server == "wsgi":  # one event, and then it is the browser's turn
        assert list(states) == []
        assert "sent" in ada.follow()
    else:
        assert list(states) == ["sent"]
    assert set(stream.retries) == {"3000"}
    assert ada.email_state() == "sent"

    (letter,) = mail_server.letters_with_codes(ada.email)
    assert letter.recipients == (ada.email,)
    assert [str(letter.message[name]) for name in ("To", "Cc", "Bcc")] == [
        ada.email,
        "None",
        "None",
    ]
    assert letter.codes == codes
    assert CODE.findall(re.sub(r"<[^>]+>", "", letter.text("html"))) == codes
    assert not CODE.search(letter.message["Subject"])
    page = ada.get(DASHBOARD)
    assert f"{PREFIX}email/" not in page.text
    assert f"was sent to {ada.email}" in page.text

    ada.sign_out()
    page = ada.get(LOGIN)
    answer = ada.submit(page, LOGIN, email=ada.email, recovery_code=letter.codes[3])
    assert (answer.status, answer.path) == (200, DASHBOARD)
    assert f"{ada.email}</" in answer.text
    stranger = Browser(site, server, ada.name)
    page = stranger.get(LOGIN)
    answer = stranger.submit(page, LOGIN, email=ada.email, recovery_code=letter.codes[3])
    assert answer.path == LOGIN

    for letter in mail_server.letters:
        assert len(letter.recipients) == 1
    for code in codes:
        assert site.places_of(code) == []


@pytest.mark.parametrize("server", WEB_SERVERS)
def test_an_e_mail_that_was_refused_can_be_sent_again(visit, site, mail_server, server):
    """R-81, R-83: the page says that it failed, and neither queue nor log holds a code of it."""
    ada = visit(server)
    codes = ada.generate().codes
    mail_server.refused.add(ada.email)
    ada.send_email()
    assert "failed" in ada.follow()
    page = ada.get(DASHBOARD)
    assert "could not be sent. You can try again." in html.unescape(page.text)
    assert mail_server.letters_with_codes(ada.email) == []
    assert "codes not sent" in site.log("worker").read_text()

    mail_server.refused.remove(ada.email)
    ada.submit(page, f"{PREFIX}email/")
    assert "sent" in ada.follow()
    (letter,) = mail_server.letters_with_codes(ada.email)
    assert letter.codes == codes
    for code in codes:
        assert site.places_of(code) == []


def test_the_search_for_codes_finds_one(visit, site):
    """A search that finds nothing proves something only if it can find something."""
    code = "AbCdEf-" * 5 + "AbCdEf"
    assert site.places_of(code) == []
    plant = "INSERT INTO django_session VALUES ('planted', ?, '2000-01-01')"
    site.execute(plant, json.dumps({"code": code}))
    assert set(site.places_of(code)) >= {"django_session"}
    site.execute("DELETE FROM django_session WHERE session_key = 'planted'")
    log = site.folder / "planted.log"
    log.write_text(code)
    assert str(log) in site.places_of(code)
    log.unlink()


def test_under_wsgi_streams_hold_no_worker(visit, mail_server):
    """R-101: three that ask again at once, before two workers."""
    ada = visit("wsgi")
    ada.generate()
    is_over = threading.Event()
    seen: list[list[str]] = []

    def ask_again_and_again():
        while not is_over.is_set():
            seen.append(list(ada.stream()))

    with mail_server.busy():
        ada.send_email()
        threads = [threading.Thread(target=ask_again_and_again) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(seen) > 3)
            began = time.monotonic()
            for _ in range(3):
                assert ada.get(LOGIN).status == ada.get(DASHBOARD).status == 200
            assert time.monotonic() - began < PROMPT_SECONDS
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
    assert {tuple(states) for states in seen} == {("queued",)}
    assert "sent" in ada.follow()


def test_under_asgi_twenty_streams_leave_the_site_answering(visit, site, mail_server):
    """R-101: twenty of four users; a fifth user sees nothing of it, and each hears of their own."""
    users = [visit("asgi") for _ in range(4)]
    for user in users:
        user.generate()
    with mail_server.busy():
        for user in users:
            user.send_email()
        streams = [iter(user.stream()) for user in users for _ in range(MAX_STREAMS)]
        assert [next(states) for states in streams] == ["queued"] * 20
        began = time.monotonic()
        stranger = Browser(site, "asgi", "stranger")
        assert stranger.get(LOGIN).status == stranger.get("/").status == 200
        assert users[0].get(DASHBOARD).status == 200
        assert time.monotonic() - began < PROMPT_SECONDS
    assert [list(states) for states in streams] == [["sent"]] * 20


def test_under_asgi_a_user_has_five_streams_and_gets_them_back(visit, mail_server):
    """R-101: a sixth is refused; those that a browser leaves are free again."""
    ada = visit("asgi")
    ada.generate()
    with mail_server.busy():
        ada.send_email()
        streams = [ada.stream() for _ in range(MAX_STREAMS)]
        assert [next(iter(stream)) for stream in streams] == ["queued"] * MAX_STREAMS
        refused = ada.get(EVENTS)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "25")
        for stream in streams:
            stream.response.close()
        wait_for(lambda: ada.open(EVENTS).status == 200, PROMPT_SECONDS)
    assert "sent" in ada.follow()


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="counts open files in /proc, which only Linux has"
)
def test_under_asgi_open_streams_hold_no_database_connection(visit, site, mail_server):
    """R-101: many people who wait for a slow mail server do not use up a database."""
    ada = visit("asgi")
    ada.generate()
    with mail_server.busy():
        ada.send_email()
        streams = [iter(ada.stream()) for _ in range(MAX_STREAMS)]
        assert [next(states) for states in streams] == ["queued"] * MAX_STREAMS
        wait_for(lambda: site.open_databases("asgi") == 0, PROMPT_SECONDS)
    assert [list(states) for states in streams] == [["sent"]] * MAX_STREAMS


@pytest.mark.parametrize("server", WEB_SERVERS)
def test_a_stream_ends_when_its_user_signs_out(visit, mail_server, server):
    """R-101"""
    ada = visit(server)
    ada.generate()
    with mail_server.busy():
        ada.send_email()
        streams = [iter(ada.stream()) for _ in range(2)]
        assert [next(states) for states in streams] == ["queued"] * 2
        began = time.monotonic()
        ada.sign_out()
        assert [list(states) for states in streams] == [[], []]
        assert time.monotonic() - began < PROMPT_SECONDS
        assert ada.get(EVENTS).path == f"{PASSWORD_LOGIN}?next={EVENTS}"
        assert ada.get(STATUS).path == f"{PASSWORD_LOGIN}?next={STATUS}"


def test_sigterm_ends_servers_and_worker_and_loses_no_e_mail(new_site, mail_server):
    """An e-mail that waited for a worker leaves once one runs; an open stream holds up nothing."""
    new_site.start(*WEB_SERVERS)
    ada = Browser(new_site, "asgi", "user0")
    ada.sign_in()
    codes = ada.generate().codes
    ada.send_email()
    states = iter(ada.stream())
    assert next(states) == "queued"
    new_site.stop(*WEB_SERVERS)
    assert list(states) == []

    new_site.start("worker")
    wait_for(lambda: any(it.codes == codes for it in mail_server.letters_with_codes(ada.email)))
    new_site.stop("worker")
    for code in codes:
        assert new_site.places_of(code) == []
