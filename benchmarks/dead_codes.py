"""A table of which a third are codes that a purge removes, scattered as a site leaves them.

Of each hundred batches of ten codes,
- 25 were replaced by newer ones long ago: every code is dead, two were used before;
- 3 expired long ago;
- 2 were replaced lately: their codes are kept, all but a few;
- 10 expire one day, and 60 never do: three batches of four have one code that was used long ago.

They lie in the table in no order of time, so that a page of the purge reaches all over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.utils import timezone

from benchmarks.database import CODES_IN_BATCH, clone, issue, make_users, settle
from recovery_backend.models import RecoveryCode, RecoveryCodeBatch

RETENTION_DAYS = 30

DAY = 86_400
# A number that shares no factor with what follows the %, so that neighbours end up far apart.
KIND = "({batch} * 37) %% 100"
REPLACED = f"({KIND} < 25 OR {KIND} IN (28, 29))"
EXPIRED = f"{KIND} BETWEEN 25 AND 27"
SPENT = f"{KIND} >= 30 AND {{batch}} %% 4 <> 0 AND n %% {CODES_IN_BATCH} = 0"

# Seconds since a moment, of the batch or of the code.
LONG_AGO = f"{(RETENTION_DAYS + 1) * DAY} + ({{number}} * 2654435761) %% {730 * DAY}"
LATELY = f"({{number}} * 2654435761) %% {(RETENTION_DAYS - 1) * DAY}"
ENDED = f"(CASE WHEN {KIND} < 25 THEN {LONG_AGO} WHEN {KIND} IN (28, 29) THEN {LATELY} END)"
BEFORE = f"(n * 2654435761) %% {365 * DAY}"
ISSUED = f"{1_200 * DAY} + ({{number}} * 2654435761) %% {365 * DAY}"
EXPIRES = (
    f"CASE WHEN {EXPIRED} THEN {LONG_AGO} WHEN {KIND} BETWEEN 30 AND 39 THEN -{DAY} * ({KIND}) END"
)

# A moment so many seconds ago, and random values, in each dialect.
AGO = {
    "postgresql": "now() - make_interval(secs => {seconds})",
    "sqlite": "datetime(julianday('now') - ({seconds}) / 86400.0)",
}
UUID = {"postgresql": "gen_random_uuid()", "sqlite": "lower(hex(randomblob(16)))"}
BYTES = {
    "postgresql": "sha256(gen_random_uuid()::text::bytea)",
    "sqlite": "randomblob(32)",
}


@dataclass(frozen=True)
class Dead:
    """How many codes a purge has to remove, by what had become of them."""

    retired: int
    expired: int

    @property
    def codes(self) -> int:
        return self.retired + self.expired


def fill(codes: int) -> Dead:
    """Add that many codes, with their batches and owners, to the database in use."""
    user = make_users("template", 1)[0]
    issue(user)
    batch = RecoveryCodeBatch.objects.get(user=user)
    code = RecoveryCode.objects.filter(batch=batch)[0]
    with _trusted_foreign_keys():
        _clone(user, batch, code, codes)
    settle()
    cutoff = timezone.now() - timedelta(days=RETENTION_DAYS)
    active = RecoveryCode.objects.filter(status=RecoveryCode.Status.ACTIVE)
    return Dead(
        retired=RecoveryCode.objects.filter(retired_at__lte=cutoff).count(),
        expired=active.filter(expires_at__lte=cutoff).count(),
    )


def _clone(user: User, batch: RecoveryCodeBatch, code: RecoveryCode, codes: int) -> None:
    count = codes // CODES_IN_BATCH
    email = "'filler' || n || '@example.com'"
    first_user = clone(user, count, username="'filler' || n", email=email)
    first_batch = clone(batch, count, user_id=f"{first_user} + n", **_batch("n"))
    number = f"(n / {CODES_IN_BATCH})"
    clone(
        code,
        codes,
        user_id=f"{first_user} + {number}",
        batch_id=f"{first_batch} + {number}",
        **_code(number),
    )


def _batch(number: str) -> dict[str, str]:
    replaced = REPLACED.format(batch=number)
    ended = ENDED.format(batch=number, number=number)
    issued = ISSUED.format(number=number)
    return {
        "public_id": UUID[connection.vendor],
        "status": f"CASE WHEN {replaced} THEN 'superseded' ELSE 'active' END",
        "issued_at": _ago(issued),
        "modified_at": _ago(f"COALESCE({ended}, {issued})"),
        "retired_at": _ago(ended),
        "expires_at": _ago(EXPIRES.format(batch=number, number=number)),
    }


def _code(batch: str) -> dict[str, str]:
    replaced, spent = REPLACED.format(batch=batch), SPENT.format(batch=batch)
    ended = ENDED.format(batch=batch, number=batch)
    is_used = f"n %% {CODES_IN_BATCH} < 2"
    return {
        "digest": UUID[connection.vendor],
        "bind": BYTES[connection.vendor],
        "status": f"CASE WHEN {spent} THEN 'used' WHEN NOT {replaced} THEN 'active'"
        f" WHEN {is_used} THEN 'used' ELSE 'invalidated' END",
        "retired_at": _ago(
            f"CASE WHEN {spent} THEN {LONG_AGO.format(number='n')}"
            f" WHEN {is_used} THEN {ended} + {BEFORE} ELSE {ended} END"
        ),
        "expires_at": _ago(EXPIRES.format(batch=batch, number=batch)),
    }


def _ago(seconds: str) -> str:
    return AGO[connection.vendor].format(seconds=seconds)


@contextmanager
def _trusted_foreign_keys() -> Iterator[None]:
    """Millions of rows point to rows that were made just before."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor, suppress(DatabaseError):  # for superusers only
        cursor.execute("SET session_replication_role = replica")
    yield
    with connection.cursor() as cursor, suppress(DatabaseError):
        cursor.execute("RESET session_replication_role")
