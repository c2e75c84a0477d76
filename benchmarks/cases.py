"""What is measured. A case is set up outside the clock, and returns what runs under it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.contrib.auth import authenticate
from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import User
from django.core.cache import cache
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone

from benchmarks import database
from benchmarks.database import CODES_IN_BATCH, Owner
from recovery_backend import codes, exports, tasks
from recovery_backend.emails import Notice
from recovery_backend.exports import CodeSheet
from recovery_backend.models import RecoveryCodeAudit, RecoveryCodeBatch

# Says whether what it did ended as it should.
Timed = Callable[[], bool]

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
REPEATS = 5
# How many owners one round uses up, in each database.
OWNERS = {"small": REPEATS, "large": 5 * REPEATS}

numbers = itertools.count()


@dataclass(frozen=True)
class Case:
    name: str
    set_up: Callable[[], Timed]
    size: str = "large"
    repeats: int = REPEATS
    """How often in one round."""


def all_cases(known: dict[str, list[Owner]]) -> list[Case]:
    """Every case; `known` has the owners for all rounds."""
    small, large = iter(known["small"]), iter(known["large"])
    database.use("large")
    new = iter(database.make_users("new", len(known["large"])))
    audit = RecoveryCodeAudit.objects.all()[0]
    password = make_password("correct horse battery staple")
    regular = next(new)
    for _batch in range(20):
        RecoveryCodeBatch.create_recovery_batch(regular, number_of_codes=CODES_IN_BATCH)
    return [
        Case("hash", lambda: lambda: not check_password("wrong horse", password), repeats=1),
        Case("wrong", lambda: attempt(*stranger())),
        Case("wrong again", lambda: attempt_again(*stranger())),
        Case("right", lambda: attempt(*owner(large, 4))),
        Case("right again", lambda: attempt_again(*owner(large, 5))),
        Case("small", lambda: attempt_warm(*owner(small, 4)), size="small"),
        Case("large", lambda: attempt_warm(*owner(large, 4))),
        Case("first", lambda: attempt(*owner(large, 0))),
        Case("last", lambda: attempt(*owner(large, CODES_IN_BATCH - 1))),
        Case("queue", lambda: notify(audit)),
        Case("generate", lambda: generate(next(new))),
        Case("generate page", lambda: generate_page(next(new))),
        Case("page", lambda: dashboard(regular), repeats=1),
        Case("page, cached", lambda: dashboard_again(regular), repeats=1),
        Case("pdf", lambda: paper(regular)),
        Case("replace", lambda: generate(database.issue(next(new))[0])),
    ]


def stranger() -> tuple[None, str, str]:
    """Nobody, by an address that was never tried and a code that was never issued."""
    return None, f"stranger{next(numbers)}@example.com", codes.generate()


def owner(known: Iterator[Owner], position: int) -> tuple[User, str, str]:
    """The next owner, with the code at this position of their batch."""
    user, plain_codes = next(known)
    return user, user.email, plain_codes[position]


def attempt(user: User | None, email: str, code: str, request: HttpRequest | None = None) -> Timed:
    """A sign-in that ends with this user."""
    request = request or post()
    return lambda: authenticate(request, email=email, recovery_code=code) == user


def attempt_again(user: User | None, email: str, code: str) -> Timed:
    """A sign-in that ends with this user, after a failed one from the same network."""
    request = post()
    attempt(None, email, codes.generate(), request)()
    return attempt(user, email, code, request)


def attempt_warm(user: User, email: str, code: str) -> Timed:
    """A sign-in that ends with this user, on a connection that has just served somebody else."""
    attempt(*stranger())()
    return attempt(user, email, code)


def notify(audit: RecoveryCodeAudit) -> Timed:
    def hand_over() -> bool:
        tasks.notify(Notice.CODE_USED, audit)
        return True

    return hand_over


def generate(user: User) -> Timed:
    def create() -> bool:
        plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(
            user, number_of_codes=CODES_IN_BATCH
        )
        return len(plain_codes) == CODES_IN_BATCH

    return create


def generate_page(user: User) -> Timed:
    """The whole answer to the button "Generate": from request to redirect."""
    client = Client()
    client.force_login(user)

    def press() -> bool:
        return client.post(reverse("recovery_generate")).status_code == 302

    return press


def dashboard(user: User) -> Timed:
    """The whole dashboard, of a user with twenty batches."""
    client = Client()
    client.force_login(user)
    cache.clear()
    return lambda: client.get(reverse("recovery_dashboard")).status_code == 200


def dashboard_again(user: User) -> Timed:
    load = dashboard(user)
    load()
    return load


def paper(user: User) -> Timed:
    sheet = CodeSheet(
        codes=tuple(codes.generate() for _number in range(CODES_IN_BATCH)),
        site_name="Example",
        account=user.email,
        issued_at=timezone.now(),
        expires_at=None,
    )
    return lambda: exports.render("pdf", sheet).content.startswith(b"%PDF")


def post() -> HttpRequest:
    """A request from a network that was never seen."""
    number = next(numbers)
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return RequestFactory(REMOTE_ADDR=address, HTTP_USER_AGENT=USER_AGENT).post("/login/")
