"""Adding to the chain, and taking from its beginning what is purged."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Min
from django.utils import timezone

from recovery_backend.audit import RecoveryCodeAudit, logger
from recovery_backend.keys import write_key
from recovery_backend.seals import fingerprints, notes, receipts
from recovery_backend.seals.rows import RecoveryCodeAuditSeal
from recovery_backend.transactions import in_transaction

# Transactions take their row's number when they write it and show it when they commit. One that
# takes longer than this has its rows reported as added later.
SETTLED = timedelta(minutes=10)
ROWS_PER_SEAL = 1000
SEALS_PER_CALL = 100


def seal() -> int:
    """Seal the settled rows that no seal covers yet; how many that were.

    At most 100,000 in one call, which takes seconds: the rest is the next call's. Sealers that
    run at the same time make one chain. Raises `ImproperlyConfigured` without a key.
    """
    total = 0
    for _ in range(SEALS_PER_CALL):
        sealed = in_transaction(_seal_next)
        total += sealed
        if sealed < ROWS_PER_SEAL:
            break
    if total:
        _miss_seals()
    return total


def _miss_seals() -> None:
    missing = notes.missing()
    if missing:
        # Whatever was altered before is sealed now, so this must not wait for somebody to verify.
        logger.error("audit seals were removed or made anew: %s is missing", max(missing).head)


def _seal_next() -> int:
    last = RecoveryCodeAuditSeal.objects.defer("row_digests").order_by("number").last()
    after = last.last_row if last else 0
    rows = _settled(after).order_by("pk")[:ROWS_PER_SEAL]
    key = write_key()
    found = list(fingerprints.taken(rows, key))
    if not found:
        return 0
    new = RecoveryCodeAuditSeal(
        number=last.number + 1 if last else 1,
        # Seals join without a gap, also where row numbers have one.
        first_row=after + 1,
        last_row=found[-1].pk,
        previous=last.digest if last else "",
        row_digests=fingerprints.written(found),
        key_id=key.id,
    )
    new.digest = new.digest_under(key)
    new.save(force_insert=True)  # of two sealers one fails on the number, and starts over
    # The log is often kept where the database's masters cannot reach it.
    logger.info("audit sealed to row %s, head %s", new.last_row, new.head)
    return len(found)


def _settled(after: int) -> Any:
    now = timezone.now()
    rows = RecoveryCodeAudit.objects.filter(pk__gt=after)
    # A row from the future would hold the chain up until then, so it counts as settled.
    fresh = rows.filter(at__gt=now - SETTLED, at__lte=now + SETTLED).aggregate(first=Min("pk"))
    return rows if fresh["first"] is None else rows.filter(pk__lt=fresh["first"])


def forget() -> int:
    """Remove the seals whose rows are all purged, but never the newest; how many.

    The chain goes on from the newest, and whoever kept its head must find it again.
    """
    oldest = RecoveryCodeAudit.objects.aggregate(first=Min("pk"))["first"]
    newest = RecoveryCodeAuditSeal.objects.order_by("number").values_list("pk", flat=True).last()
    if oldest is None or newest is None:
        return 0
    # What SQL removed is gone too, but its seal stays to say so.
    purged = RecoveryCodeAuditSeal.objects.filter(last_row__lte=receipts.purged().trail_through)
    return purged.filter(last_row__lt=oldest).exclude(pk=newest).delete()[0]
