"""Recovery codes as files that a user takes along."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.views.decorators.debug import sensitive_variables

from recovery_backend.conf import conf
from recovery_backend.exports.paper import pdf
from recovery_backend.exports.sheet import CodeSheet
from recovery_backend.exports.text import csv_table, txt
from recovery_backend.exports.typefaces import is_font

__all__ = ["FORMATS", "CodeSheet", "ExportFile", "is_font", "render"]

FORMATS = ("txt", "csv", "pdf")


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file to hand over: its name, its type, and its bytes."""

    name: str
    content_type: str
    content: bytes = field(repr=False)


@sensitive_variables()
def render(file_format: str, sheet: CodeSheet) -> ExportFile:
    """The sheet as a file, in the active language and time zone. ValueError: no such format."""
    if file_format not in FORMATS:
        raise ValueError("The format must be txt, csv or pdf.")
    write, content_type = {
        "txt": (txt, "text/plain; charset=utf-8"),
        "csv": (csv_table, "text/csv; charset=utf-8"),
        "pdf": (pdf, "application/pdf"),
    }[file_format]
    return ExportFile(f"{conf.DEFAULT_FILE_NAME}.{file_format}", content_type, write(sheet))
