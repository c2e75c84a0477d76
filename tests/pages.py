"""Where our pages are, and what tests send to them."""

from __future__ import annotations

LOGIN = "/auth/recovery-codes/login/"
DASHBOARD = "/auth/recovery-codes/dashboard/"
PASSWORD = "correct horse"
WRONG_CODE = "-".join(["AAAAAA"] * 6)
JSON = {"Accept": "application/json"}
