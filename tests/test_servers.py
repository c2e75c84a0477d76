"""The example site as real processes, as `make demo` starts them, with a real mail server.

gunicorn (WSGI), uvicorn (ASGI), the worker and an SMTP server; clients that know only HTTP.
"""

from __future__ import annotations

import asyncio
import email.policy
import html
import http.client
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import pytest

from recovery_backend.codes import canonicalise
from recovery_backend.events import LIFE_SECONDS, MAX_STREAMS
from tests.conftest import DASHBOARD, LOGIN, is_missing
from tests.test_canary import unwrapped

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.skipif(
        not (ROOT / "Makefile").exists(), reason="these are about a checkout, and this is none"
    ),
    pytest.mark.timeout(240),
]

PREFIX = DASHBOARD.removesuffix("dashboard/")
EVENTS = f"{PREFIX}events/"
STATUS = f"{PREFIX}email/status/"
PASSWORD_LOGIN = "/login/"
PASSWORD = "correct horse"
CODE = re.compile(r"\b(?:\w{6}-){5}\w{6}\b", re.ASCII)
WEB_SERVERS = ("wsgi", "asgi")

# Everything is waited for, nothing is slept through. Long enough for a busy machine; where it
# proves that no stream is in the way, shorter than the life of a stream.
PATIENCE_SECONDS = 60.0
PROMPT_SECONDS = 15.0
assert PROMPT_SECONDS < LIFE_SECONDS

MAKE_USERS = """
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
password = make_password({password!r})
for number in range(20):
    name = f"user{{number}}"
    User.objects.create(username=name, email=f"{{name}}@example.com", password=password)
"""


def wait_for(what: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> object:
    """The first true value of `what`."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"in vain for {seconds} s: {what}"
        time.sleep(0.05)
    return value


@dataclass(frozen=True)
class Letter:
    """What an SMTP client handed over: to whom, and the message."""

    recipients: tuple[str, ...]
    message: EmailMessage

    def text(self, kind: str) -> str:
        return self.message.get_body((kind,)).get_content()

    @property
    def codes(self) -> list[str]:
        return CODE.findall(self.text("plain"))


async def end(server: asyncio.Server) -> None:
    """Listen no more, and let go of every client."""
    server.close()
    clients = asyncio.all_tasks() - {asyncio.current_task()}
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


class MailServer:
    """A mail server on a port of its own: takes everything, unless it is told otherwise."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.refused: set[str] = set()
        self.is_busy = False

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address in self.refused:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        while self.is_busy:
            await asyncio.sleep(0.05)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.letters.append(Letter(tuple(envelope.rcpt_tos), message))
        return "250 OK"

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Keep every client waiting, so that what they send stays on its way."""
        self.is_busy = True
        try:
            yield
        finally:
            self.is_busy = False

    @contextmanager
    def running(self) -> Iterator[MailServer]:
        from aiosmtpd.smtp import SMTP

        loop = asyncio.new_event_loop()
        make = partial(SMTP, self, hostname="localhost", loop=loop)
        server = loop.run_until_complete(loop.create_server(make, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        yield self
        asyncio.run_coroutine_threadsafe(end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def letters_with_codes(self, address: str) -> list[Letter]:
        return [it for it in self.letters if address in it.recipients and it.codes]


class Site:
    """The processes of the example site, which share one folder and one mail server."""

    def __init__(self, folder: Path, mail: MailServer) -> None:
        self.folder = folder
        self.mail = mail
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        lines = (ROOT / "example_site/Procfile").read_text().splitlines()
        self.commands = dict(line.split(": ", 1) for line in lines)

    def environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PORT": "0",
            "PYTHONUNBUFFERED": "1",
            "EXAMPLE_SITE_VAR": str(self.folder),
            "EXAMPLE_SITE_SMTP": f"127.0.0.1:{self.mail.port}",
        }

    def manage(self, *arguments: str) -> str:
        """What the command prints."""
        command = [sys.executable, "example_site/manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *names: str) -> None:
        for name in names:
            command = shlex.split(self.commands[name].replace("$PORT", "0"))
            with self.log(name).open("wb") as log:
                self.processes[name] = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        for name in names:
            wait_for(lambda name=name: self.is_ready(name))

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def is_ready(self, name: str) -> bool:
        said = self.log(name).read_text()
        assert self.processes[name].poll() is None, said
        if name == "worker":
            return "running." in said
        return bool(re.search(r"(?:Listening at|running on).* http://127.0.0.1:\d+", said))

    def address(self, server: str) -> str:
        return re.search(r"http://(127\.0\.0\.1:\d+)", self.log(server).read_text())[1]

    def stop(self, *names: str) -> None:
        """SIGTERM; fails when anything of these is left after PROMPT_SECONDS."""
        for name in names:
            self.processes[name].send_signal(signal.SIGTERM)
        for name in names:
            wait_for(lambda name=name: self.is_gone(name), PROMPT_SECONDS)

    def is_gone(self, name: str) -> bool:
        """Whether the process and all its children have ended."""
        process = self.processes[name]
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def open_databases(self, name: str) -> int:
        """How many database connections the process has at this moment."""
        handles = Path(f"/proc/{self.processes[name].pid}/fd").iterdir()
        return sum(os.path.realpath(handle).endswith("db.sqlite3") for handle in handles)

    def kill(self) -> None:
        for name, process in self.processes.items():
            if not self.is_gone(name):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def places_of(self, code: str) -> list[str]:
        """The files and tables in which the code, its canonical form or a part can be read."""
        needles = {code.encode(), canonicalise(code).encode(), code[:13].encode()}
        blobs = [
            (str(file), file.read_bytes()) for file in self.folder.rglob("*") if file.is_file()
        ]
        return [
            place
            for place, blob in [*blobs, *self.every_cell()]
            if any(needle in layer for layer in unwrapped(blob) for needle in needles)
        ]

    def every_cell(self) -> Iterator[tuple[str, bytes]]:
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=20)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                for row in database.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                    for cell in row:
                        yield table, cell if isinstance(cell, bytes) else str(cell).encode()

    def execute(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=20)) as database:
            database.execute(statement, values)
            database.commit()


class AnyStatus(urllib.request.HTTPErrorProcessor):
    """Redirects are followed; 4xx and 5xx are answers, not exceptions."""

    def http_response(self, request, response):
        return response if response.status >= 400 else super().http_response(request, response)


@dataclass(frozen=True)
class Answer:
    status: int
    path: str
    headers: http.client.HTTPMessage
    text: str

    @property
    def codes(self) -> list[str]:
        shown = re.findall(r"<code[^>]*>(.*?)</code>", self.text, re.DOTALL)
        return [text for one in shown if CODE.fullmatch(text := re.sub(r"<[^>]+>", "", one))]

    def fields_for(self, path: str) -> dict[str, str]:
        """The hidden fields of the form that posts there, CSRF token and all."""
        for form in re.findall(r"<form.*?</form>", self.text, re.DOTALL):
            target = re.search(r'<form[^>]*\baction="([^"]*)"', form)
            if path == (target[1] if target else self.path):
                return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
        raise AssertionError(f"no form for {path}: {self.text}")


@dataclass
class Stream:
    """An open answer of `events/`; iterating gives each state as it comes, until the end."""

    response: http.client.HTTPResponse
    retries: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        event: dict[str, str] = {}
        try:
            for line in self.response:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    event[name] = value
                elif "data" in event:
                    self.retries.append(event["retry"])
                    yield json.loads(event.pop("data"))["state"]
        except http.client.IncompleteRead:
            return  # the server went away


class Browser:
    """A person with cookies of their own at one server of the site."""

    def __init__(self, site: Site, server: str, name: str) -> None:
        self.base = f"http://{site.address(server)}"
        self.name = name
        self.email = f"{name}@example.com"
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(), AnyStatus()
        )

    def open(self, path: str, data: dict[str, str] | None = None, **headers: str):
        body = urlencode(data).encode() if data is not None else None
        request = urllib.request.Request(f"{self.base}{path}", body, headers)  # noqa: S310
        return self.opener.open(request, timeout=PATIENCE_SECONDS)

    def get(self, path: str) -> Answer:
        return self._read(self.open(path))

    def submit(self, page: Answer, path: str, **fields: str) -> Answer:
        """Fill in the form of the page that posts to that path, and send it."""
        hidden = {name: html.unescape(it) for name, it in page.fields_for(path).items()}
        return self._read(self.open(path, {**hidden, **fields}))

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        with response:
            text = response.read().decode()
        path = response.url.removeprefix(self.base)
        return Answer(response.status, path, response.headers, text)

    def sign_in(self) -> None:
        page = self.get(PASSWORD_LOGIN)
        answer = self.submit(page, PASSWORD_LOGIN, username=self.name, password=PASSWORD)
        assert (answer.status, answer.path) == (200, "/")

    def sign_out(self) -> None:
        answer = self.submit(self.get(DASHBOARD), f"{PREFIX}logout/")
        assert (answer.status, answer.path) == (200, LOGIN)

    def generate(self) -> Answer:
        """The one page that shows the new codes."""
        return self.submit(self.get(DASHBOARD), f"{PREFIX}generate/", days_to_expire="")

    def send_email(self) -> Answer:
        return self.submit(self.get(DASHBOARD), f"{PREFIX}email/")

    def email_state(self) -> str:
        return json.loads(self.get(STATUS).text)["state"]

    def stream(self) -> Stream:
        response = self.open(EVENTS, Accept="text/event-stream")
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert response.headers["X-Accel-Buffering"] == "no"
        return Stream(response)

    def follow(self) -> Iterator[str]:
        """As EventSource does, in a hurry: each state, over as many connections as it takes."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            yield from self.stream()
        raise AssertionError("the e-mail is on its way for ever")


@pytest.fixture(scope="module")
def mail():
    for name in ("aiosmtpd", "gunicorn", "uvicorn"):
        if importlib.util.find_spec(name) is None:
            is_missing(name)
    with MailServer().running() as server:
        yield server


@pytest.fixture(scope="module")
def prepared(mail, tmp_path_factory):
    """A folder with the tables and users, from which a site can be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    site = Site(folder, mail)
    site.manage("migrate", "--verbosity", "0")
    site.manage("shell", "-c", MAKE_USERS.format(password=PASSWORD))
    return folder


@contextmanager
def copied(prepared: Path, folder: Path, mail: MailServer) -> Iterator[Site]:
    shutil.copytree(prepared, folder)
    site = Site(folder, mail)
    try:
        yield site
    finally:
        site.kill()


@pytest.fixture(scope="module")
def site(mail, prepared, tmp_path_factory):
    """The site with all its processes, for all tests of this module."""
    with copied(prepared, tmp_path_factory.mktemp("site") / "var", mail) as site:
        site.start(*WEB_SERVERS, "worker")
        yield site


@pytest.fixture
def new_site(mail, prepared, tmp_path):
    """A site of this test alone; none of its processes runs yet."""
    with copied(prepared, tmp_path / "var", mail) as site:
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
def test_codes_travel_by_e_mail_and_sign_their_owner_in(visit, site, mail, server):
    """R-74, R-81, R-82, R-101: from the password to a code out of the mailbox."""
    ada = visit(server)
    page = ada.generate()
    codes = page.codes
    assert (page.status, page.path, len(codes)) == (200, DASHBOARD, 10)
    assert ada.get(DASHBOARD).codes == []

    with mail.busy():
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

    (letter,) = mail.letters_with_codes(ada.email)
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

    for letter in mail.letters:
        assert len(letter.recipients) == 1
    for code in codes:
        assert site.places_of(code) == []


@pytest.mark.parametrize("server", WEB_SERVERS)
def test_an_e_mail_that_was_refused_can_be_sent_again(visit, site, mail, server):
    """R-81, R-83: the page says that it failed, and neither queue nor log holds a code of it."""
    ada = visit(server)
    codes = ada.generate().codes
    mail.refused.add(ada.email)
    ada.send_email()
    assert "failed" in ada.follow()
    page = ada.get(DASHBOARD)
    assert "could not be sent. You can try again." in html.unescape(page.text)
    assert mail.letters_with_codes(ada.email) == []
    assert "codes not sent" in site.log("worker").read_text()

    mail.refused.remove(ada.email)
    ada.submit(page, f"{PREFIX}email/")
    assert "sent" in ada.follow()
    (letter,) = mail.letters_with_codes(ada.email)
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


def test_under_wsgi_streams_hold_no_worker(visit, mail):
    """R-101: three that ask again at once, before two workers."""
    ada = visit("wsgi")
    ada.generate()
    is_over = threading.Event()
    seen: list[list[str]] = []

    def ask_again_and_again():
        while not is_over.is_set():
            seen.append(list(ada.stream()))

    with mail.busy():
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


def test_under_asgi_twenty_streams_leave_the_site_answering(visit, site, mail):
    """R-101: twenty of four users; a fifth user sees nothing of it, and each hears of their own."""
    users = [visit("asgi") for _ in range(4)]
    for user in users:
        user.generate()
    with mail.busy():
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


def test_under_asgi_a_user_has_five_streams_and_gets_them_back(visit, mail):
    """R-101: a sixth is refused; those that a browser leaves are free again."""
    ada = visit("asgi")
    ada.generate()
    with mail.busy():
        ada.send_email()
        streams = [ada.stream() for _ in range(MAX_STREAMS)]
        assert [next(iter(stream)) for stream in streams] == ["queued"] * MAX_STREAMS
        refused = ada.get(EVENTS)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "25")
        for stream in streams:
            stream.response.close()
        wait_for(lambda: ada.open(EVENTS).status == 200, PROMPT_SECONDS)
    assert "sent" in ada.follow()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux what is open")
def test_under_asgi_open_streams_hold_no_database_connection(visit, site, mail):
    """R-101: many people who wait for a slow mail server do not use up a database."""
    ada = visit("asgi")
    ada.generate()
    with mail.busy():
        ada.send_email()
        streams = [iter(ada.stream()) for _ in range(MAX_STREAMS)]
        assert [next(states) for states in streams] == ["queued"] * MAX_STREAMS
        wait_for(lambda: site.open_databases("asgi") == 0, PROMPT_SECONDS)
    assert [list(states) for states in streams] == [["sent"]] * MAX_STREAMS


@pytest.mark.parametrize("server", WEB_SERVERS)
def test_a_stream_ends_when_its_user_signs_out(visit, mail, server):
    """R-101"""
    ada = visit(server)
    ada.generate()
    with mail.busy():
        ada.send_email()
        streams = [iter(ada.stream()) for _ in range(2)]
        assert [next(states) for states in streams] == ["queued"] * 2
        began = time.monotonic()
        ada.sign_out()
        assert [list(states) for states in streams] == [[], []]
        assert time.monotonic() - began < PROMPT_SECONDS
        assert ada.get(EVENTS).path == f"{PASSWORD_LOGIN}?next={EVENTS}"
        assert ada.get(STATUS).path == f"{PASSWORD_LOGIN}?next={STATUS}"


def test_sigterm_ends_servers_and_worker_and_loses_no_e_mail(new_site, mail):
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
    wait_for(lambda: any(it.codes == codes for it in mail.letters_with_codes(ada.email)))
    new_site.stop("worker")
    for code in codes:
        assert new_site.places_of(code) == []


def test_what_the_demo_prints_leads_the_whole_way(new_site):
    """In by password, with a past; new codes; in with one of them, and with no older one."""
    for _start in range(2):
        said = new_site.manage("seed_demo")
    url, name, password = re.search(
        r"(http\S+next=\S+).*? Sign in as (\w+) with the password (\S+)", said, re.DOTALL
    ).groups()
    (old_code,) = CODE.findall(said)
    new_site.start("asgi")
    ada = Browser(new_site, "asgi", name)

    page = ada.get(LOGIN)
    page = ada.submit(page, LOGIN, email=ada.email, recovery_code=old_code)
    assert (page.path, page.codes) == (DASHBOARD, [])
    assert page.text.count('<li class="batch">') == 2
    ada.sign_out()

    path = url.removeprefix("http://127.0.0.1:8000")
    page = ada.submit(ada.get(path), path, username=name, password=password)
    assert page.path == DASHBOARD
    page = ada.submit(page, f"{PREFIX}generate/", days_to_expire="")
    page = ada.submit(page, f"{PREFIX}generate/")
    assert len(page.codes) == 10
    code = page.codes[0]
    assert "is on its way." in ada.send_email().text
    ada.sign_out()

    page = ada.submit(ada.get(LOGIN), LOGIN, email=ada.email, recovery_code=old_code)
    assert page.path == LOGIN
    page = ada.submit(page, LOGIN, email=ada.email, recovery_code=code)
    assert page.path == DASHBOARD
