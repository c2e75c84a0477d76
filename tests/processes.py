"""The example site as real processes, as `make demo` starts them, with a real mail server."""

from __future__ import annotations

import asyncio
import email.policy
import html
import http.client
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

from recovery_backend.codes import canonicalise
from tests.pages import DASHBOARD, LOGIN, PASSWORD
from tests.unwrapping import unwrapped

ROOT = Path(__file__).parent.parent
PREFIX = DASHBOARD.removesuffix("dashboard/")
EVENTS = f"{PREFIX}events/"
STATUS = f"{PREFIX}email/status/"
PASSWORD_LOGIN = "/accounts/login/"
CODE = re.compile(r"\b(?:\w{6}-){5}\w{6}\b", re.ASCII)

# Everything is waited for, nothing is slept through. Long enough for a busy machine; where it
# proves that no stream is in the way, shorter than the life of a stream.
PATIENCE_SECONDS = 60.0
PROMPT_SECONDS = 15.0

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

    def environment(self, **settings: str) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PORT": "0",
            "PYTHONUNBUFFERED": "1",
            "EXAMPLE_SITE_VAR": str(self.folder),
            "EXAMPLE_SITE_SMTP": f"127.0.0.1:{self.mail.port}",
            **settings,
        }

    def manage(self, *arguments: str) -> str:
        """What the command prints."""
        command = [sys.executable, "example_site/manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *names: str, **settings: str) -> None:
        for name in names:
            command = shlex.split(self.commands[name].replace("$PORT", "0"))
            with self.log(name).open("wb") as log:
                self.processes[name] = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=self.environment(**settings),
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

    def port(self, server: str) -> str:
        return re.search(r"http://127\.0\.0\.1:(\d+)", self.log(server).read_text())[1]

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
        self.base = f"http://localhost:{site.port(server)}"
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

    def post_json(self, path: str, **fields: str) -> Answer:
        request = urllib.request.Request(  # noqa: S310
            f"{self.base}{path}", json.dumps(fields).encode(), {"Content-Type": "application/json"}
        )
        return self._read(self.opener.open(request, timeout=PATIENCE_SECONDS))

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        with response:
            text = response.read().decode()
        path = response.url.removeprefix(self.base)
        return Answer(response.status, path, response.headers, text)

    def sign_in(self) -> None:
        page = self.get(PASSWORD_LOGIN)
        answer = self.submit(page, PASSWORD_LOGIN, login=self.name, password=PASSWORD)
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


@contextmanager
def copied(prepared: Path, folder: Path, mail: MailServer) -> Iterator[Site]:
    shutil.copytree(prepared, folder)
    site = Site(folder, mail)
    try:
        yield site
    finally:
        site.kill()
