"""The command, as the tests of each source call it."""

from __future__ import annotations

import io
import json

from django.core.management import call_command

from recovery_backend.models import RecoveryCode, RecoveryCodeAudit, RecoveryCodeBatch

ZERO = dict.fromkeys(("seen", "users", "codes", "weak", "ended", "unreadable"), 0)


def run(source, **options):
    """What it wrote, what it wrote as errors, and its exit code."""
    return call("import_recovery_codes", source=source, **options)


def call(command, **options):
    """As `run`, for any command."""
    out, err = io.StringIO(), options.pop("stderr", None) or io.StringIO()
    try:
        call_command(command, stdout=out, stderr=err, **options)
    except SystemExit as ended:
        return out.getvalue(), err.getvalue(), ended.code
    return out.getvalue(), err.getvalue(), 0


def counts(source, **options):
    return json.loads(run(source, json=True, **options)[0])


def counts_of(*, is_dry_run=False, **numbers):
    return {**ZERO, **numbers, "is_dry_run": is_dry_run}


def ours():
    """Every row of ours that an import could have made."""
    models = (RecoveryCodeBatch, RecoveryCode, RecoveryCodeAudit)
    return [list(model.objects.order_by("pk").values()) for model in models]
