"""A page of codes as one statement, for PostgreSQL: three times as fast as reading it first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from recovery_backend.models import RecoveryCode, RecoveryCodeBatch, RecoveryCodeQuerySet
from recovery_backend.purge.pages import Cursor, Page, next_rows

CODES = RecoveryCode._meta.db_table
BATCHES = RecoveryCodeBatch._meta.db_table
# The last one is of the batch, so that its row is locked along with the codes.
FIELDS = ("pk", "batch_id", "status", "retired_at", "expires_at", "batch__number_issued")
# An array is looked up in the index, however small PostgreSQL believes the table to be.
PAGE = """
WITH page (id, batch_id, status, retired_at, expires_at, number_issued) AS MATERIALIZED ({page}),
gone AS (
    DELETE FROM {codes} WHERE id = ANY (ARRAY (SELECT id FROM page)) RETURNING id
),
ended AS (
    SELECT batch_id, max(retired_at) AS last_change, {numbers} FROM page GROUP BY batch_id
),
told AS (
    UPDATE {batches} AS batch
    SET {sums}, modified_at = greatest(batch.modified_at, ended.last_change)
    FROM ended
    WHERE batch.id = ended.batch_id AND batch.id = ANY (ARRAY (SELECT batch_id FROM ended))
)
SELECT (SELECT count(*) FROM gone), {moment}, id FROM page ORDER BY {moment} DESC, id DESC LIMIT 1
"""


def remove_codes(
    rows: RecoveryCodeQuerySet,
    moment: str,
    cursor: Cursor | None,
    size: int,
    counters: Mapping[RecoveryCode.Status, str],
) -> Page:
    """Remove the next codes by this moment, and add them to these counters of their batches."""
    page = next_rows(rows, moment, cursor, size).values_list(*FIELDS)
    selected, parameters = page.query.sql_with_params()
    quote = connection.ops.quote_name
    numbers = [
        f"count(*) FILTER (WHERE status = '{status}') AS {counter}"
        for status, counter in counters.items()
    ]
    sums = [f"{counter} = batch.{counter} + ended.{counter}" for counter in counters.values()]
    sql = PAGE.format(
        page=selected,
        codes=quote(CODES),
        batches=quote(BATCHES),
        numbers=", ".join(numbers),
        sums=", ".join(sums),
        moment=moment,
    )
    return _page(sql, parameters, size)


def _page(sql: str, parameters: tuple[Any, ...], size: int) -> Page:
    with connection.cursor() as execution:
        execution.execute(sql, parameters)
        found = execution.fetchone()
    if found is None:
        return 0, None
    removed, *last = found
    return removed, (last[0], last[1]) if removed == size else None
