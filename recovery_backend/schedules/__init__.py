"""Scheduled work: the rows that say what and when, and the calendar they are read by."""

from recovery_backend.schedules.rows import (
    LEASE,
    MAX_RETENTION_DAYS,
    SCHEDULERS,
    RecoveryCodeAuditScheduler,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
    RetentionPolicy,
    RunKind,
    Scheduled,
)
from recovery_backend.schedules.timetable import ScheduleType, next_after

__all__ = [
    "LEASE",
    "MAX_RETENTION_DAYS",
    "SCHEDULERS",
    "RecoveryCodeAuditScheduler",
    "RecoveryCodeCleanUpScheduler",
    "RecoveryCodePurgeHistory",
    "RecoveryCodeReminderScheduler",
    "RetentionPolicy",
    "RunKind",
    "ScheduleType",
    "Scheduled",
    "next_after",
]
