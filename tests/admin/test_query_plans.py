"""Lists and pages of large tables of the admin are read by indexes."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeAuditSeal,
    RecoveryCodeBatch,
    RecoveryCodeCooldown,
    RecoveryCodeEmailLog,
    RecoveryCodePurgeHistory,
    RecoveryCodeSetup,
)
from tests.admin.conftest import READ_ONLY, rows, seal_of, url

FILL = """
INSERT INTO auth_user (username, email, password, first_name, last_name, is_active, is_staff,
    is_superuser, date_joined)
SELECT 'member' || n, 'member' || n || '@example.com', '', '', '', true, false, false, now()
FROM generate_series(1, 50000) n;

INSERT INTO recovery_backend_recoverycodebatch (public_id, user_id, status, issued_at, modified_at,
    number_issued, has_viewed, has_downloaded, email_state, is_emergency, purged_used,
    purged_invalidated, purged_deleted, purged_expired, expiry_note, sealed)
SELECT gen_random_uuid(), id, CASE id % 5 WHEN 1 THEN 'active' ELSE 'superseded' END,
    now() - random() * interval '200 days', now(), 10, true, false, 'none', false,
    0, 0, 0, 0, 'none', ''
FROM auth_user;

INSERT INTO recovery_backend_recoverycode (batch_id, user_id, digest, bind, key_id, kind,
    status, retired_at)
SELECT b.id, b.user_id, gen_random_uuid(), ''::bytea, 'k', 'own', CASE b.status WHEN 'active'
    THEN 'active' ELSE 'invalidated' END, CASE b.status WHEN 'active' THEN NULL ELSE b.issued_at END
FROM recovery_backend_recoverycodebatch b, generate_series(1, 2);

INSERT INTO recovery_backend_recoverycodeaudit (at, event, outcome, reason, user_id, actor_id,
    account, user_agent, request_id, path, data)
SELECT now() - n * interval '2 minutes',
    CASE WHEN n % 10 = 0 THEN 'recovery.login.success' ELSE 'recovery.login.fail' END,
    CASE WHEN n % 10 = 0 THEN 'done' ELSE 'refused' END, '',
    CASE WHEN n % 10 = 0 THEN (SELECT min(id) FROM auth_user) + n % 10000 END,
    CASE WHEN n % 1000 = 0 THEN (SELECT min(id) FROM auth_user) + n % 7 END,
    md5(n::text), '', '', '', '{}'
FROM generate_series(1, 100000) n;

INSERT INTO recovery_backend_recoverycodeemaillog (user_id, batch, recipient, state, queued_at)
SELECT user_id, public_id, '', CASE WHEN id % 9 = 0 THEN 'failed' ELSE 'sent' END, issued_at
FROM recovery_backend_recoverycodebatch;

INSERT INTO recovery_backend_recoverycodecooldown (key, account, failures, refused, updated_at)
SELECT md5(n::text), md5((n / 2)::text), 1, 0, now() - n * interval '1 minute'
FROM generate_series(1, 50000) n;

INSERT INTO recovery_backend_recoverycodepurgehistory (kind, trigger, policy_name, started_at,
    codes_removed, batches_removed, audit_rows_removed, other_rows_removed, messages_sent,
    has_more, error)
SELECT 'codes', 'schedule', '', now() - n * interval '1 hour', 0, 0, 0, 0, 0, false, ''
FROM generate_series(1, 50000) n;

INSERT INTO recovery_backend_recoverycodesetup (user_id) SELECT id FROM auth_user;

ANALYZE;
"""


@pytest.fixture
def large_site(db, make_user):
    """Tables that are large enough for the database to mind."""
    if connection.vendor != "postgresql":
        pytest.skip("asks PostgreSQL for its plans")
    user = make_user(username="member0")
    seals = (seal_of(number) for number in range(1, 20_001))
    RecoveryCodeAuditSeal.objects.bulk_create(seals)
    with connection.cursor() as cursor:
        cursor.execute(FILL)
    return user


@pytest.fixture
def plans(db):
    """The plans of all queries of a block."""

    @contextmanager
    def explained():
        kept = []

        def explain(execute, sql, params, many, context):
            if sql.startswith("SELECT"):
                execute(f"EXPLAIN {sql}", params, many, context)
                kept.append("\n".join(line for (line,) in context["cursor"].fetchall()))
            return execute(sql, params, many, context)

        with connection.execute_wrapper(explain):
            yield kept

    return explained


@pytest.mark.services
def test_lists_filters_and_searches_are_read_by_indexes(
    large_site, admin_client, plans, monkeypatch
):
    monkeypatch.setattr("recovery_backend.admin.records.NEWEST", 5000)
    day = (timezone.localdate() - timedelta(days=60)).isoformat()
    whole = [{}, {"p": "100"}, {"o": "1"}, {"o": "-1"}]
    periods = [{"period": value} for value in ("1", "7", "30", "90", day)]
    person = [{"user": large_site.pk + 50}, {"q": "member50"}, {"q": "member50@example.com"}]
    batch = RecoveryCodeBatch.objects.order_by("pk")[1000]
    by_batch = [{"q": str(batch.public_id)}]
    questions = {
        RecoveryCodeBatch: [*whole, *periods, *person, *by_batch]
        + [{"status__exact": "active"}, {"status__exact": "superseded", "period": "90"}],
        RecoveryCode: [*whole, *periods, *person, *by_batch, {"batch": batch.pk}],
        RecoveryCodeAudit: [*whole, *periods, *person, {"q": "admin"}, {"outcome__exact": "done"}]
        + [{"event__exact": "recovery.login.success", "period": "30"}],
        RecoveryCodeEmailLog: [*whole, *periods, *person, *by_batch, {"state__exact": "failed"}],
        RecoveryCodeCooldown: [*whole, {"q": "member50@example.com"}],
        RecoveryCodePurgeHistory: [*whole, *periods],
        RecoveryCodeSetup: [*whole, *person],
        RecoveryCodeAuditSeal: whole,
    }
    scans = []
    for model, asked in questions.items():
        for parameters in asked:
            with plans() as found:
                answer = admin_client.get(url(model), parameters)
            assert answer.status_code == 200 and len(rows(answer)) <= 50, (model, parameters)
            bad = [plan for plan in found if "Seq Scan on recovery_backend" in plan]
            scans += [f"{model.__name__} {parameters}\n{plan}" for plan in bad]
    assert not scans, "\n\n".join(scans)


@pytest.mark.services
def test_a_page_of_a_row_is_read_by_indexes(large_site, admin_client, plans):
    for model in READ_ONLY:
        row = model.objects.first()
        with plans() as found:
            assert admin_client.get(url(model, "change", row.pk)).status_code == 200
        assert not [plan for plan in found if "Seq Scan on recovery_backend" in plan]
