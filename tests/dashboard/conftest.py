"""What the tests of the dashboard share: what can be done there, and from where."""

from __future__ import annotations

HERE = "127.0.0.1"
ACTIONS = [
    "recovery_generate",
    "recovery_verify_setup",
    "recovery_download",
    "recovery_email",
    "recovery_saved",
    "recovery_invalidate",
    "recovery_delete",
    "recovery_delete_all",
]
CHANGES = [name for name in ACTIONS if name not in {"recovery_verify_setup", "recovery_saved"}]
