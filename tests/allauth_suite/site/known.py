"""Tests of allauth that fail on our tables, each with its reason. All others have to pass."""

from __future__ import annotations

AUTH = "tests/apps/mfa/recovery_codes/test_auth.py"

KNOWN = {
    f"{AUTH}::test_flow": "asks allauth's own class, which finds no codes in our marker",
    f"{AUTH}::test_validate_code_on_stale_instance": (
        "asks allauth's own class, which finds no codes in our marker"
    ),
    f"{AUTH}::test_validate_non_ascii_code": (
        "asks allauth's own class, of a user with no other factor, whose row we do not keep"
    ),
}
