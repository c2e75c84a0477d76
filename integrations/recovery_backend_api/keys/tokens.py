"""The text of an API key: how it is made, read from a header, and turned into a digest."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import NoReturn

from django.views.decorators.debug import sensitive_variables

from recovery_backend.conf import conf
from recovery_backend.keys import Key, framed, keyring

# 256 bits: far above the 112 for which ASVS 6.5.2 allows a fast hash.
SECRET_BYTES = 32
PREFIX_BYTES = 6
MAX_PREFIX_LENGTH = 32
KEY = re.compile(rf"([A-Za-z0-9_-]{{1,{MAX_PREFIX_LENGTH}}})\.([0-9a-f]{{{2 * SECRET_BYTES}}})")


def generate_prefix() -> str:
    """A new public name of a key: API_KEY_PREFIX and 48 random bits."""
    return f"{conf.API_KEY_PREFIX}_{secrets.token_hex(PREFIX_BYTES)}"


@sensitive_variables()
def generate(prefix: str) -> str:
    """A new key with this prefix, as its owner gets it: `<prefix>.<secret>`."""
    return f"{prefix}.{secrets.token_hex(SECRET_BYTES)}"


class PresentedKey:
    """A key that came with a request: its prefix, and digests. Safe to log and pass on.

    Bad input makes a `PresentedKey` too, which matches nothing and costs the same.
    """

    __slots__ = ("_seals", "prefix")

    @sensitive_variables()
    def __init__(self, typed: str) -> None:
        match = KEY.fullmatch(typed)
        self.prefix, secret = match.groups() if match else ("", "")
        self._seals = {key.id: _seal(key, self.prefix, secret) for key in keyring()}

    def __repr__(self) -> str:
        return "<PresentedKey>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A presented key is never stored.")

    def is_stored_as(self, digest: bytes, *, key_id: str, user_id: object) -> bool:
        """Whether the stored digest was made of this key, for this user (R-16, R-17)."""
        is_known = key_id in self._seals
        # An unknown key id matches nothing: an empty key would be one that everybody has.
        seal = self._seals[key_id] if is_known else secrets.token_bytes(32)
        return hmac.compare_digest(digest, _digest(seal, user_id)) and is_known


@sensitive_variables()
def stored_digest(text: str, key: Key, *, user_id: object) -> bytes:
    """What a row keeps of a new key: 32 bytes that only this key, and this user, lead to."""
    prefix, _, secret = text.rpartition(".")
    return _digest(_seal(key, prefix, secret), user_id)


@sensitive_variables()
def _seal(key: Key, prefix: str, secret: str) -> bytes:
    return key.mac("api_key", prefix, secret)


def _digest(seal: bytes, user_id: object) -> bytes:
    return hmac.digest(seal, framed(str(user_id)), "sha256")
