"""A logging set-up that can be merged into a project's own without losing any of it."""

from __future__ import annotations

import copy
import logging
import logging.handlers
import os
import re
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Any

LOG_DIR_VARIABLE = "DJANGO_AUTH_RECOVERY_CODES_LOG_DIR"
MAX_BYTES = 5 * 1024 * 1024
BACKUPS = 5

_CHARACTER = "[A-HJ-NP-Za-km-np-z2-9]"
_SEPARATOR = "[\\s\u2010-\u2015\u2212\u200b-\u200f\u00ad\ufeff-]{0,3}"
CODE_SHAPED = re.compile(
    rf"(?<![0-9A-Za-z])(?:{_CHARACTER}{{6}}{_SEPARATOR}){{5}}{_CHARACTER}{{6}}(?![0-9A-Za-z])"
)
MASK = "[recovery code removed]"


class RedactionFilter(logging.Filter):
    """Masks code-shaped text in a record: a second line of defence, since none is ever logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # logging reports a record that cannot be formatted
            return True
        if CODE_SHAPED.search(text):
            record.msg, record.args = CODE_SHAPED.sub(MASK, text), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = CODE_SHAPED.sub(MASK, record.exc_text)
        return True


class LazyRotatingFileHandler(logging.handlers.RotatingFileHandler):
    """A rotating file in the log folder, both made at the first record and never at import.

    Where the folder cannot be written, it warns once and writes to standard error.
    """

    def __init__(self, file_name: str) -> None:
        self.file_name = file_name
        super().__init__(
            file_name, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True
        )

    def _open(self) -> TextIOWrapper:
        folder = Path(os.environ.get(LOG_DIR_VARIABLE) or "logs")
        self.baseFilename = str(folder.absolute() / self.file_name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return super()._open()
        except OSError as error:
            self.maxBytes = 0  # nothing to rotate
            sys.stderr.write(f"WARNING {folder} cannot be written ({error.strerror}).\n")
            return open(sys.stderr.fileno(), "w", encoding="utf-8", closefd=False)  # noqa: SIM115


DJANGO_AUTH_RECOVERY_CODES_LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "recovery_backend_redaction": {"()": "recovery_backend.log_config.RedactionFilter"},
    },
    "formatters": {
        "recovery_backend": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
    },
    "handlers": {
        "recovery_backend_console": {
            "class": "logging.StreamHandler",
            "filters": ["recovery_backend_redaction"],
            "formatter": "recovery_backend",
        },
        "recovery_backend_file": {
            "()": "recovery_backend.log_config.LazyRotatingFileHandler",
            "file_name": "recovery_backend.log",
            "filters": ["recovery_backend_redaction"],
            "formatter": "recovery_backend",
        },
    },
    "loggers": {
        "recovery_backend": {
            "handlers": ["recovery_backend_console", "recovery_backend_file"],
            "level": "INFO",
            "propagate": False,
        },
    },
}


def merge_logging(logging_settings: dict[str, Any]) -> dict[str, Any]:
    """The project's LOGGING with ours added. Where both name a thing, the project's stays.

    Both arguments' contents are left as they are; the result is a new dict.
    """
    merged = copy.deepcopy(DJANGO_AUTH_RECOVERY_CODES_LOGGING)
    for section, value in copy.deepcopy(logging_settings).items():
        if isinstance(value, dict) and isinstance(merged.get(section), dict):
            merged[section] = {**merged[section], **value}
        else:
            merged[section] = value
    return merged
