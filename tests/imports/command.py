"""`import_recovery_codes`, as the tests of each source call it."""

from __future__ import annotations

import json
from dataclasses import asdict

from recovery_backend.imports import Moved
from recovery_backend.models import RecoveryCode, RecoveryCodeAudit, RecoveryCodeBatch
from tests.commands import call


def run(source, **options):
    """What it wrote, what it wrote as errors, and its exit code."""
    return call("import_recovery_codes", source=source, **options)


def counts(source, **options):
    return json.loads(run(source, json=True, **options)[0])


def counts_of(*, is_dry_run=False, **numbers):
    return {**asdict(Moved(**numbers)), "is_dry_run": is_dry_run}


def ours():
    """Every row of ours that an import could have made."""
    models = (RecoveryCodeBatch, RecoveryCode, RecoveryCodeAudit)
    return [list(model.objects.order_by("pk").values()) for model in models]
