"""The purge as somebody would write it who needs nothing but PostgreSQL: one statement a page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from psycopg import sql

from benchmarks import database

CODES = sql.Identifier("recovery_backend_recoverycode")
BATCHES = sql.Identifier("recovery_backend_recoverycodebatch")

# What ended, and what expired, each by its own index.
SWEEPS = {"retired_at": "status <> 'active'", "expires_at": "status = 'active'"}

PAGE = """
WITH page AS MATERIALIZED (
    SELECT {moment} AS moment, id FROM {codes}
    WHERE {condition} AND {moment} <= %(cutoff)s AND ({moment}, id) > (%(moment)s, %(id)s)
    ORDER BY {moment}, id LIMIT %(page_size)s
), gone AS (
    DELETE FROM {codes} WHERE id = ANY (ARRAY (SELECT id FROM page)) AND {condition}
    RETURNING batch_id, status
){more}
SELECT moment, id, (SELECT count(*) FROM gone) FROM page ORDER BY moment DESC, id DESC LIMIT 1
"""
COUNTERS = """, counted AS (
    SELECT batch_id,
        count(*) FILTER (WHERE status = 'used') AS used,
        count(*) FILTER (WHERE status = 'invalidated') AS invalidated,
        count(*) FILTER (WHERE status = 'deleted') AS deleted,
        count(*) FILTER (WHERE status = 'active') AS expired
    FROM gone GROUP BY batch_id
), told AS (
    UPDATE {batches} AS batch SET
        purged_used = purged_used + used,
        purged_invalidated = purged_invalidated + invalidated,
        purged_deleted = purged_deleted + deleted,
        purged_expired = purged_expired + expired
    FROM counted WHERE batch.id = counted.batch_id
)"""


def delete(name: str, cutoff: datetime, page_size: int) -> Iterator[int]:
    """Delete the dead codes of this database, a page with each step; how many were on it."""
    return _pages(name, cutoff, page_size, sql.SQL(""))


def delete_and_count(name: str, cutoff: datetime, page_size: int) -> Iterator[int]:
    """As `delete`, and keep the counters of the batches, in the same statement."""
    return _pages(name, cutoff, page_size, sql.SQL(COUNTERS).format(batches=BATCHES))


def _pages(name: str, cutoff: datetime, page_size: int, more: sql.Composable) -> Iterator[int]:
    with database.connect(database.server_name(name)) as connection:
        for moment, condition in SWEEPS.items():
            statement = sql.SQL(PAGE).format(
                moment=sql.Identifier(moment),
                condition=sql.SQL(condition),
                codes=CODES,
                more=more,
            )
            last = {"moment": datetime.min.replace(tzinfo=cutoff.tzinfo), "id": 0}
            fixed = {"cutoff": cutoff, "page_size": page_size}
            while row := connection.execute(statement, {**fixed, **last}, prepare=True).fetchone():
                last = {"moment": row[0], "id": row[1]}
                yield row[2]
