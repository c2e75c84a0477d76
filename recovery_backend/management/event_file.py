"""The events of a period as a file: complete or not there at all, and in memory a page at a time."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TextIO

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q
from django.utils import timezone

from recovery_backend.audit import RecoveryCodeAudit
from recovery_backend.exports.text import FORMULA
from recovery_backend.statistics import Period

PAGE = 1000
FIELDS = [field.attname for field in RecoveryCodeAudit._meta.concrete_fields]
Event = Mapping[str, Any]


class Sink(Protocol):
    """Where text is written to: a file, or what a command prints to."""

    def write(self, text: str, /) -> object: ...


def events(period: Period) -> Iterator[Event]:
    """The events of a period, oldest first."""
    rows = RecoveryCodeAudit.objects.filter(at__gte=period.since, at__lt=period.until)
    rows = rows.order_by("at", "id")
    page = list(rows.values(*FIELDS)[:PAGE])
    while page:
        yield from page
        last = page[-1]
        # The first condition is where the index is entered.
        after = rows.filter(at__gte=last["at"]).filter(Q(at__gt=last["at"]) | Q(id__gt=last["id"]))
        page = list(after.values(*FIELDS)[:PAGE])


def write_csv(sink: Sink, period: Period) -> int:
    """A table for spreadsheets, none of whose cells is a formula (R-78); how many events."""
    writer = csv.writer(sink, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(FIELDS)
    number = 0
    for event in events(period):
        writer.writerow(_cell(event[name]) for name in FIELDS)
        number += 1
    return number


def write_json(sink: Sink, period: Period) -> int:
    """A list of objects, one in a line; how many events."""
    number = 0
    sink.write("[")
    for event in events(period):
        sink.write(",\n" if number else "\n")
        sink.write(_json({**event, "at": _utc(event["at"])}))
        number += 1
    sink.write("\n]\n")
    return number


FORMATS: dict[str, Callable[[Sink, Period], int]] = {"csv": write_csv, "json": write_json}
# Spreadsheets need to be told that it is Unicode.
ENCODINGS = {"csv": "utf-8-sig", "json": "utf-8"}


@contextmanager
def replaced(path: Path, encoding: str) -> Iterator[TextIO]:
    """A new file that takes the place of `path` when the block is done, and only then.

    Nobody but its owner may read it. Raises `OSError`.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".recovery_audit.")
    try:
        with os.fdopen(descriptor, "w", encoding=encoding, newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return _utc(value)
    text = _json(value) if isinstance(value, (dict, list)) else str(value)
    return FORMULA.sub(r"\1'", text)


def _json(value: object) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)


def _utc(moment: datetime) -> str:
    # With USE_TZ off a moment is the server's own time, and no zone is known.
    return (moment if timezone.is_naive(moment) else moment.astimezone(UTC)).isoformat()
