"""What can go wrong with an API key, beside what can go wrong with a code."""

from __future__ import annotations

from recovery_backend.exceptions import RecoveryCodeError


class KeyRefused(RecoveryCodeError):
    """Raised for a key that may not be used: which of the reasons it is, is not told."""


class KeysTurnedOff(RecoveryCodeError):
    """Raised when a key should be made and the site has none (API_KEYS_ENABLED)."""
