"""What the tests of purges share: batches of ended codes, and what is left of them."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from django.utils import timezone

from recovery_backend.models import RecoveryCode, RecoveryCodeBatch

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
# What the documentation promises, in figures of its own.
CLOCK_SKEW = timedelta(minutes=5)
PURGED = ("purged_used", "purged_invalidated", "purged_deleted", "purged_expired")
CODE = "DJANGO_AUTH_RECOVERY_CODE"
CODES = "DJANGO_AUTH_RECOVERY_CODES"


def counters(batch):
    """How many of each kind were purged, by the batch's own row."""
    batch.refresh_from_db()
    return tuple(getattr(batch, name) for name in PURGED)


def add_batch(user, *codes, status="superseded", **fields):
    """A batch of codes, each `(status, ended how long ago)`; an active one: `expired` so long ago."""
    now = timezone.now()
    batch = RecoveryCodeBatch.objects.create(
        user=user, status=status, number_issued=len(codes), **fields
    )
    rows = []
    for state, ago in codes:
        moment = None if ago is None else now - ago
        is_active = state == "active"
        rows.append(
            RecoveryCode(
                batch=batch,
                user=user,
                digest=uuid4(),
                bind=b"\0" * 32,
                key_id="0" * 12,
                status=state,
                expires_at=moment if is_active else None,
                retired_at=None if is_active else moment,
            )
        )
    RecoveryCode.objects.bulk_create(rows)
    return batch


def counts_codes(sql):
    """Whether the statement adds codes to the counters of their batches; on PostgreSQL it does more."""
    return sql.lstrip().startswith(("UPDATE", "WITH page")) and "purged_used" in sql


def left(batch):
    return sorted(batch.codes.values_list("status", flat=True))
