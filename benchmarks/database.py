"""The run's own databases, and the rows in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from psycopg import sql

from recovery_backend.codes import generate
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeBatch,
    RecoveryCodeCooldown,
)

CODES_IN_BATCH = 10
# A database of the sign-ins and the number of codes in it.
SIZES = {"small": 10_000, "large": 1_000_000}
# As a site on SQLite is advised to have it, and the example site has it.
SQLITE_OPTIONS = {
    "timeout": 20,
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL;",
}

# n = 0, 1, ... as a table.
NUMBERS = {
    "postgresql": "generate_series(0, %s) n",
    "sqlite": "(WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < %s)"
    " SELECT n FROM s)",
}

# A user, the plain codes of their batch.
Owner = tuple[User, list[str]]


opened: dict[str, BaseDatabaseWrapper] = {}


@contextmanager
def temporary_databases() -> Iterator[None]:
    """Drop at the end of the block what `create` made in it."""
    try:
        yield
    finally:
        for name in list(opened):
            drop(name)


def create(name: str, *, copy_of: str | None = None) -> None:
    """A new database: empty, or like another one to the last page of its files."""
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(server_name(name)))
    with _server() as server:
        if copy_of is not None:
            opened[copy_of].close()
            origin = sql.Identifier(server_name(copy_of))
            statement += sql.SQL(" TEMPLATE {}").format(origin)
            if server.info.server_version >= 150000:  # before, there was no other way
                statement += sql.SQL(" STRATEGY file_copy")
        server.execute(statement)
    opened[name] = connections.create_connection("default")
    opened[name].settings_dict = {
        **connections.settings["default"],
        "NAME": server_name(name),
    }


def drop(name: str) -> None:
    wrapper = opened.pop(name)
    wrapper.close()
    if wrapper.vendor == "postgresql":
        database = sql.Identifier(server_name(name))
        with _server() as server:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def open_file(name: str, path: Path) -> None:
    """A database in a file of SQLite."""
    config = {**connections.settings["default"], "NAME": str(path), "OPTIONS": SQLITE_OPTIONS}
    opened[name] = SQLite(config, "default")


def server_name(name: str) -> str:
    return f"{connections.settings['default']['NAME']}_{name}"


def connect(dbname: str) -> psycopg.Connection:
    """A connection past Django, on which each statement is a transaction."""
    config = connections.settings["default"]
    return psycopg.connect(
        host=config["HOST"],
        user=config["USER"],
        password=config["PASSWORD"],
        dbname=dbname,
        autocommit=True,
    )


def _server() -> psycopg.Connection:
    return connect("postgres")


def use(name: str) -> None:
    """Let everything that follows happen in this database, on a connection of its own.

    One connection with two schemas would not do: PostgreSQL plans its prepared statements anew
    whenever the schema changes.
    """
    connections["default"] = opened[name]


def build(size: str, owners: int) -> list[Owner]:
    """Make the tables and fill them; the owners whose codes are known in plaintext.

    The owners come first, so that their rows are as cold as anybody's.
    """
    create(size)
    migrate(size)
    known = [issue(user) for user in make_users("owner", owners)]
    fill(known[0][0], SIZES[size] - RecoveryCode.objects.count())
    return known


def migrate(name: str) -> None:
    """Use this database from now on, with our tables in it."""
    use(name)
    call_command("migrate", verbosity=0)


def make_users(name: str, count: int) -> list[User]:
    """New users with unusable passwords."""
    return get_user_model().objects.bulk_create(
        User(username=f"{name}{n}", email=f"{name}{n}@example.com", password="!")
        for n in range(count)
    )


def issue(user: User) -> Owner:
    """The user with a new batch of codes."""
    plain_codes, _ = RecoveryCodeBatch.create_recovery_batch(user, number_of_codes=CODES_IN_BATCH)
    return user, plain_codes


def fill(user: User, codes: int) -> None:
    """Add that many codes, their batches and owners, and a counter and an audit row for each owner."""
    count = codes // CODES_IN_BATCH
    hex_digits = "encode(sha256(gen_random_uuid()::text::bytea), 'hex')"
    address = "'filler' || n || '@example.com'"
    first_user = clone(user, count, username="'filler' || n", email=address)
    owner = f"{first_user} + n"
    batch = RecoveryCodeBatch.objects.filter(user=user).get()
    first_batch = clone(batch, count, user_id=owner, public_id="gen_random_uuid()")
    clone(
        RecoveryCode.objects.filter(batch=batch)[0],
        codes,
        batch_id=f"{first_batch} + n / {CODES_IN_BATCH}",
        user_id=f"{first_user} + n / {CODES_IN_BATCH}",
        digest="gen_random_uuid()",
        bind="sha256(gen_random_uuid()::text::bytea)",
        # Every tenth code was used.
        status="CASE mod(n, 10) WHEN 0 THEN 'used' ELSE 'active' END",
        retired_at="CASE mod(n, 10) WHEN 0 THEN now() END",
    )
    clone(RecoveryCodeAudit.objects.filter(user=user)[0], count, user_id=owner)
    counter = RecoveryCodeCooldown.objects.create(key=generate(), account="")
    clone(counter, count, key=hex_digits, account=hex_digits)
    settle()


def settle() -> None:
    """Leave nothing for the server to do later on."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("ANALYZE")
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        cursor.execute("VACUUM ANALYZE")
        with suppress(DatabaseError):  # for superusers only
            cursor.execute("CHECKPOINT")


def clone(row: models.Model, times: int, **expressions: str) -> int:
    """Copy a row, some columns from SQL expressions over n = 0, 1, ...; the key of the first copy."""
    quote = connection.ops.quote_name
    key = row._meta.pk
    columns = [
        str(field.column)
        for field in row._meta.concrete_fields
        if field is not key or field.column in expressions
    ]
    names = ", ".join(map(quote, columns))
    values = ", ".join(expressions.get(column, f"t.{quote(column)}") for column in columns)
    table = quote(row._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {values}"  # noqa: S608  # names of our own
            f" FROM {table} t, {NUMBERS[connection.vendor]}"
            f" WHERE t.{quote(str(key.column))} = %s",
            [times - 1, row.pk],
        )
    if key.name in expressions:
        return 0
    newest = type(row)._default_manager.aggregate(newest=models.Max("pk"))["newest"]
    return int(newest) - times + 1
