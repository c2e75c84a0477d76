"""Batches of recovery codes and their rows. Cooldown and audit rows live beside their rules."""

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models.batches import (
    MAX_DAYS_TO_EXPIRE,
    Issued,
    RecoveryCodeBatch,
    lock,
    shown_email_state,
)
from recovery_backend.models.codes import PartialIndex, RecoveryCode, RecoveryCodeQuerySet
from recovery_backend.models.owners import (
    RecoveryCodeEmailLog,
    RecoveryCodeSetup,
    owners_of_email,
)
from recovery_backend.schedules import (
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
)

__all__ = [
    "MAX_DAYS_TO_EXPIRE",
    "Issued",
    "PartialIndex",
    "RecoveryCode",
    "RecoveryCodeAudit",
    "RecoveryCodeAuditScheduler",
    "RecoveryCodeBatch",
    "RecoveryCodeCleanUpScheduler",
    "RecoveryCodeCooldown",
    "RecoveryCodeEmailLog",
    "RecoveryCodePurgeHistory",
    "RecoveryCodeQuerySet",
    "RecoveryCodeSetup",
    "lock",
    "owners_of_email",
    "shown_email_state",
]
