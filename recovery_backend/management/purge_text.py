"""What a command says of a purge, to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from recovery_backend.purge import Purged


def as_json(done: Purged, retention_days: int, *, is_dry_run: bool) -> str:
    """One object."""
    more = {
        "has_more": done.has_more,
        "retention_days": retention_days,
        "is_dry_run": is_dry_run,
    }
    return json.dumps({**asdict(done), **more})


def in_words(done: Purged) -> str:
    """How many rows of each kind, those without any left out."""
    counted = [
        (done.codes, ngettext("%d code", "%d codes", done.codes)),
        (done.batches, ngettext("%d empty batch", "%d empty batches", done.batches)),
        (done.audit_rows, ngettext("%d audit event", "%d audit events", done.audit_rows)),
        (done.other_rows, ngettext("%d other row", "%d other rows", done.other_rows)),
    ]
    return ", ".join(text % number for number, text in counted if number) or _("nothing")


def rest(done: Purged) -> Iterator[str]:
    """Why there are more rows to remove, if there are."""
    if done.stopped == "rows":
        yield _("There are more: MAX_DELETIONS_PER_RUN was reached.")
    elif done.stopped == "time":
        yield _("There are more: the time was over. Run it again for the rest.")
