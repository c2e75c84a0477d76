"""Batches of recovery codes and their rows. Cooldown and audit rows live beside their rules."""

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models.admin_pages import RecoveryCodeDesk, RecoveryCodeOverview
from recovery_backend.models.adopted import adopt, adoptable
from recovery_backend.models.batches import (
    EMERGENCY_HOURS,
    MAX_DAYS_TO_EXPIRE,
    Issued,
    RecoveryCodeBatch,
    lock,
    shown_email_state,
)
from recovery_backend.models.codes import PartialIndex, RecoveryCode, RecoveryCodeQuerySet
from recovery_backend.models.imported import ImportedCode, import_codes, importable
from recovery_backend.models.moved_in import Adopted
from recovery_backend.models.owners import (
    RecoveryCodeEmailLog,
    RecoveryCodeSetup,
    owners_of_email,
    users_of_email,
)
from recovery_backend.schedules import (
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
)
from recovery_backend.seals import RecoveryCodeAuditSeal

__all__ = [
    "EMERGENCY_HOURS",
    "MAX_DAYS_TO_EXPIRE",
    "Adopted",
    "ImportedCode",
    "Issued",
    "PartialIndex",
    "RecoveryCode",
    "RecoveryCodeAudit",
    "RecoveryCodeAuditScheduler",
    "RecoveryCodeAuditSeal",
    "RecoveryCodeBatch",
    "RecoveryCodeCleanUpScheduler",
    "RecoveryCodeCooldown",
    "RecoveryCodeDesk",
    "RecoveryCodeEmailLog",
    "RecoveryCodeOverview",
    "RecoveryCodePurgeHistory",
    "RecoveryCodeQuerySet",
    "RecoveryCodeReminderScheduler",
    "RecoveryCodeSetup",
    "adopt",
    "import_codes",
    "importable",
    "lock",
    "owners_of_email",
    "shown_email_state",
    "users_of_email",
    "adoptable",
]
