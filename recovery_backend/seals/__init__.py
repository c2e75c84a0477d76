"""The chain of seals over the audit: what was altered, removed or reordered afterwards (R-117)."""

from recovery_backend.seals.age import Aged, aged
from recovery_backend.seals.chain import forget, seal
from recovery_backend.seals.fingerprints import TRAIL
from recovery_backend.seals.notes import note
from recovery_backend.seals.receipts import Extent, receipt
from recovery_backend.seals.rows import RecoveryCodeAuditSeal
from recovery_backend.seals.verdict import Verdict, verify

__all__ = [
    "TRAIL",
    "Aged",
    "Extent",
    "RecoveryCodeAuditSeal",
    "Verdict",
    "aged",
    "forget",
    "note",
    "receipt",
    "seal",
    "verify",
]
