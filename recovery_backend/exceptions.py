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


class NoAddress(RecoveryCodeError):
    """Raised when an account has no address that is known to be its owner's."""


class EmailTurnedOff(RecoveryCodeError):
    """Raised when codes should be e-mailed and the site does not do that (EMAIL_CODES)."""


class CodeRefused(RecoveryCodeError):
    """Raised for a code that cannot be tested or retired: it is not an unused one of this user."""


class WouldReplace(RecoveryCodeError):
    """Raised when generating would end active codes and nobody confirmed that."""


class SignInTooOld(RecoveryCodeError):
    """Raised when a change asks for a sign-in that is not older than REAUTH_MAX_AGE."""


class FactorUnproven(RecoveryCodeError):
    """Raised when a change asks for a second factor first, which `url` lets the user prove."""

    def __init__(self, url: str) -> None:
        super().__init__("Prove the second factor first.")
        self.url = url


class NotCounted(RecoveryCodeError):
    """Raised for a change that cannot be counted, because the cache is down: nothing is done."""


class NotAllowed(RecoveryCodeError):
    """Raised for help that must not be given. `why` is "staff", "inactive" or "off".

    Staff are helped by superusers only; an inactive account, and one that no code could let in,
    get no emergency code.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"This is not allowed ({why}).")
        self.why = why


class NotVerified(RecoveryCodeError):
    """Raised for a right code, left unspent, of an account whose address has to be verified first."""


class NotTheirs(RecoveryCodeError):
    """Raised for an object that does not exist or belongs to somebody else: which, is not told."""
