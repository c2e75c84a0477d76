"""What can go wrong, as states that carry data. Misconfiguration is Django's `ImproperlyConfigured`."""

from __future__ import annotations


class RecoveryCodeError(Exception):
    """Base of all refusals in this package. Catch it; raise one of its children."""


class CooldownActive(RecoveryCodeError):
    """Raised while a client has to wait before the next try."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__(f"Wait {wait_seconds} seconds before the next try.")
        self.wait_seconds = wait_seconds


class PlaintextGone(RecoveryCodeError):
    """Raised when codes are asked for that this session may no longer show."""


class AlreadyDelivered(RecoveryCodeError):
    """Raised on a second delivery of one batch. `how` is "download" or "email"."""

    def __init__(self, how: str) -> None:
        super().__init__(f"These codes were delivered already ({how}).")
        self.how = how


class NoActiveBatch(RecoveryCodeError):
    """Raised when a user has no active batch to work on."""
