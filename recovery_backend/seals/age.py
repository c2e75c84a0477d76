"""How far the beginning of the audit is old enough to go, by its seals and not by what SQL says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.conf import conf
from recovery_backend.keys import Key, keyring
from recovery_backend.seals import fingerprints, receipts
from recovery_backend.seals.receipts import Extent
from recovery_backend.seals.rows import RecoveryCodeAuditSeal

# Seals that are younger than their rows, after a pause or a late start, are read row by row. What
# is beyond these waits for the next purge.
SEALS_READ = 100


@dataclass(frozen=True, slots=True)
class Aged:
    """What a purge may announce, and remove."""

    extent: Extent
    last_row: int | None
    """The last row that it may remove; None where seals set no limit."""
    last_trail_row: int | None
    """The same for the rows of TRAIL."""


def aged(moment: datetime, trail_moment: datetime) -> Aged:
    """What ended at this moment or before; rows of TRAIL end at one of their own."""
    before, keys = receipts.purged(), {key.id: key for key in keyring()}
    trail = _Reader(trail_moment, before, keys, reads_trail=True).through()
    rows = trail
    if moment != trail_moment:
        rows = _Reader(moment, before, keys, reads_trail=False).through()
    # What was announced once stays so: the row that did it may be among those that go.
    extent = Extent(max(before.through, rows, trail), max(before.trail_through, trail))
    return Aged(extent, _last_row(moment, rows), _last_row(trail_moment, trail))


def _last_row(moment: datetime, through: int) -> int | None:
    seals = RecoveryCodeAuditSeal.objects.order_by("number").values_list("last_row", flat=True)
    newest = seals.last() or 0
    if through >= newest and not conf.AUDIT_CHAIN:
        return None
    # With a chain, a row that goes while it is being sealed would be missed for ever, so it waits.
    # Rows of old seals go even if nobody can check these (a lost key): without a receipt.
    return max(through, seals.filter(sealed_at__lte=moment).last() or 0)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the seals from the oldest on, up to the first row that is not proven to be so old."""

    moment: datetime
    before: Extent
    keys: Mapping[str, Key]
    reads_trail: bool

    def through(self) -> int:
        last = self.before.trail_through if self.reads_trail else self.before.through
        last = max(last, self._last_of_old_seals())
        for seal in islice(_seals_after(last), SEALS_READ):
            if seal.first_row > last + 1 or not seal.is_genuine(self.keys):
                return last
            stays = self._first_that_stays(seal, last)
            if stays is not None:
                return stays - 1
            last = seal.last_row
        return last

    def _last_of_old_seals(self) -> int:
        """Rows are older than their seal, and than each one after it, whatever they say now."""
        old = RecoveryCodeAuditSeal.objects.filter(sealed_at__lte=self.moment)
        for pk in old.order_by("-number").values_list("pk", flat=True):
            seal = old.filter(pk=pk).first()  # another purge may just have forgotten it
            if seal and seal.is_genuine(self.keys):
                return seal.last_row
        return 0

    def _first_that_stays(self, seal: RecoveryCodeAuditSeal, last: int) -> int | None:
        """The first row of this seal that is too young, altered, or removed by SQL."""
        rows = RecoveryCodeAudit.objects.filter(pk__gt=last, pk__lte=seal.last_row).order_by("pk")
        now = fingerprints.present(rows, self.keys[seal.key_id])
        young = set(rows.filter(at__gt=self.moment).values_list("pk", flat=True))
        for pk, sealed in fingerprints.read(seal.row_digests).items():
            if pk <= last or (sealed.is_trail and not self.reads_trail):
                continue
            is_there = pk in now and pk not in young and sealed.is_unchanged(now[pk])
            if not is_there and (pk in now or not self.before.covers(sealed)):
                return pk
        return None


def _seals_after(row: int) -> Iterator[RecoveryCodeAuditSeal]:
    # One by one: MariaDB's client would read the whole table into memory for one cursor.
    seals = RecoveryCodeAuditSeal.objects.filter(last_row__gt=row).order_by("number")
    seal = seals.first()
    while seal is not None:
        yield seal
        seal = seals.filter(number__gt=seal.number).first()
