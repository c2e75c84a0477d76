"""Writes docs/settings.md from the table in recovery_backend/conf.py (`make docs`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"

HEAD = """\
# Settings

*Made from the table in `recovery_backend/conf.py` by `make docs`; change it there.*

Only `DJANGO_AUTH_RECOVERY_KEY` is required. Every setting is read when it is needed, so
`override_settings` works in tests. A value of the wrong type or out of bounds is an error of
`manage.py check` ([E001](checks.md)), a name that does not exist a warning with the nearest one
that does ([W002](checks.md)). Durations are in seconds unless the name says days.
"""


def default_of(row: Any) -> str:
    if row.kind == "key":
        return "**required**"
    return f"`{list(row.default) if isinstance(row.default, tuple) else row.default!r}`"


def value_of(row: Any) -> str:
    """What may be written, in words."""
    if row.kind in {"choice", "rate"}:
        return str(row.bounds)
    return ": ".join(filter(None, (row.kind.removesuffix(" or None"), row.bounds)))


def section(group: str, note: str, rows: list[Any]) -> str:
    lines = [f"\n## {group}\n"]
    if note:
        lines.append(f"{note}\n")
    lines += ["| setting | value | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| `{row.name}` | {value_of(row)} | {default_of(row)} | {row.help} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page, as the table would have it."""
    sys.path.insert(0, str(ROOT))
    from recovery_backend.conf import GROUPS, table

    rows = list(table())
    return HEAD + "".join(
        section(group, note, [row for row in rows if row.group == group])
        for group, note in GROUPS.items()
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
