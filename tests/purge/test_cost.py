"""How many statements a purge takes, and by which index."""

from __future__ import annotations

import pytest
from django.db import connection

from recovery_backend.models import RecoveryCode
from recovery_backend.purge import pages, purge_codes
from tests.purge.conftest import DAY, add_batch, counts_codes


class TestCost:
    def test_a_page_costs_few_statements(self, user, statements):
        for _number in range(10):
            add_batch(user, *[("used", 31 * DAY)] * 10)
        with statements() as once:
            assert purge_codes(30, batch_size=100, max_rows=100).codes == 100
        for _number in range(10):
            add_batch(user, *[("used", 31 * DAY)] * 10)
        with statements() as ten_times:
            assert purge_codes(30, batch_size=10, max_rows=100).codes == 100
        assert (len(ten_times) - len(once)) / 9 <= 6
        assert len([sql for sql in once if counts_codes(sql)]) == 1

    def test_any_number_of_keys_fits(self, user, statements):
        """However few parameters a statement takes."""
        batch = add_batch(user, *[("used", 31 * DAY)] * 3000)
        keys = list(batch.codes.values_list("pk", flat=True))
        with statements() as sent:
            assert pages.delete(RecoveryCode.objects.all(), keys) == 3000
        most = connection.features.max_query_params or 10_000
        assert len(sent) == -(-3000 // (min(most, 10_000) - 20))

    @pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite has one writer")
    def test_the_one_writer_takes_small_pages(self, user):
        add_batch(user, *[("used", 31 * DAY)] * 600)
        told = []
        purge_codes(30, batch_size=1000, on_page=lambda done: told.append(done.codes))
        assert sorted(set(told) - {0}) == [100, 200, 300, 400, 500, 600]

    @pytest.mark.services
    @pytest.mark.skipif(
        connection.vendor != "postgresql", reason="only PostgreSQL plans by these partial indexes"
    )
    @pytest.mark.parametrize(
        ("state", "index"),
        [("used", "recovery_code_retired"), ("active", "recovery_code_expiring")],
    )
    def test_pages_are_found_by_the_partial_index(self, user, state, index):
        add_batch(user, *[(state, (40 + number) * DAY) for number in range(50)])
        plans = []

        def explain(execute, sql, params, many, context):
            if sql.lstrip().startswith("WITH page"):
                with connection.connection.cursor() as cursor:
                    cursor.execute(f"EXPLAIN {sql}", params)
                    plans.append("\n".join(line for (line,) in cursor.fetchall()))
            return execute(sql, params, many, context)

        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
        with connection.execute_wrapper(explain):
            assert purge_codes(30, batch_size=20).codes == 50
        assert sum(index in plan for plan in plans) >= 3, plans
