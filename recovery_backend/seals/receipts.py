"""What a purge leaves in the audit, so that what it removed is not missed."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recovery_backend.audit import Event, RecoveryCodeAudit
from recovery_backend.keys import keyring, write_key
from recovery_backend.seals.fingerprints import Fingerprint


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of the audit's beginning a purge may have removed."""

    through: int = 0
    """Up to this row all are old enough to go, apart from those of TRAIL."""
    trail_through: int = 0
    """Up to this row those are, too."""

    def covers(self, row: Fingerprint) -> bool:
        """Whether that row may be gone."""
        return row.pk <= (self.trail_through if row.is_trail else self.through)

    @property
    def parts(self) -> tuple[str, str]:
        return str(self.through), str(self.trail_through)


def receipt(extent: Extent) -> dict[str, Any]:
    """What a purge puts into the data of its AUDIT_PURGED row; nothing where no sealed row may go.

    Without the key nobody can write one, so a row that was removed by SQL stays missing.
    """
    if not extent.through:
        return {}
    digest = write_key().mac("seal", "purge", *extent.parts).hex()
    return {"through": extent.through, "trail_through": extent.trail_through, "receipt": digest}


def received(data: Mapping[str, Any]) -> Extent:
    """What a receipt says may be gone; nothing for one that is not genuine."""
    through, trail_through = data.get("through"), data.get("trail_through")
    claimed = data.get("receipt")
    if not isinstance(through, int) or not isinstance(trail_through, int):
        return Extent()
    if not isinstance(claimed, str):
        return Extent()
    extent = Extent(through, trail_through)
    genuine = (key.mac("seal", "purge", *extent.parts).hex() for key in keyring())
    is_genuine = any(hmac.compare_digest(one.encode(), claimed.encode()) for one in genuine)
    return extent if is_genuine else Extent()


def purged() -> Extent:
    """What all genuine receipts together say."""
    rows = RecoveryCodeAudit.objects.filter(event=Event.AUDIT_PURGED)
    extents = [received(data) for data in rows.values_list("data", flat=True)]
    through = max((it.through for it in extents), default=0)
    return Extent(through, max((it.trail_through for it in extents), default=0))
