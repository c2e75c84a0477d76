"""Writes docs/openapi.yaml from the endpoints of the JSON API (`make docs`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "openapi.yaml"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.with_api.settings"
    django.setup()
    from recovery_backend_api import schema

    PAGE.write_text(schema.text())


if __name__ == "__main__":
    main()
