"""The administration: tables to look at, schedules to edit, and a desk to help one user."""

from recovery_backend.admin import batches, codes, cooldowns, desk, overview, records, schedules

__all__ = ["batches", "codes", "cooldowns", "desk", "overview", "records", "schedules"]
