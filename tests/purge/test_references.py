"""What points to the rows that a purge removes."""

from __future__ import annotations

import pytest
from django.apps import apps

from recovery_backend.cooldown import RecoveryCodeCooldown
from recovery_backend.models import (
    RecoveryCode,
    RecoveryCodeAudit,
    RecoveryCodeAuditScheduler,
    RecoveryCodeBatch,
    RecoveryCodeCleanUpScheduler,
    RecoveryCodeEmailLog,
    RecoveryCodePurgeHistory,
    RecoveryCodeReminderScheduler,
)

LEAVES = [RecoveryCode, RecoveryCodeAudit, RecoveryCodeCooldown, RecoveryCodeEmailLog]


class TestWhatPointsToIt:
    """Rows are deleted without a look for what points to them."""

    def pointing_to(self, model):
        return {
            field.model
            for other in apps.get_models(include_auto_created=True)
            for field in other._meta.local_fields
            if field.remote_field and field.remote_field.model._meta.concrete_model is model
        }

    @pytest.mark.parametrize("model", LEAVES)
    def test_nothing_points_to_what_is_purged(self, model):
        assert self.pointing_to(model) == set()

    def test_only_codes_point_to_batches(self):
        """And a batch is deleted in a statement that finds none."""
        assert self.pointing_to(RecoveryCodeBatch) == {RecoveryCode}

    def test_only_schedules_point_to_runs(self):
        """And the last run of a schedule is kept."""
        assert self.pointing_to(RecoveryCodePurgeHistory) == {
            RecoveryCodeCleanUpScheduler,
            RecoveryCodeAuditScheduler,
            RecoveryCodeReminderScheduler,
        }
