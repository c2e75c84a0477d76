"""The keyring: which keys make and recognise digests, and how a key's uses are kept apart."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from recovery_backend.conf import conf
from recovery_backend.setting_types import KEY_BYTES

Label = Literal["id", "code", "step", "imported", "throttle", "stash", "audit", "seal", "api_key"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key, known by an id that can be stored and shown. Its material never shows."""

    id: str
    material: bytes = field(repr=False)

    def subkey(self, label: Label) -> bytes:
        """A key for one use only: what one label makes says nothing about another (R-12)."""
        return hmac.digest(self.material, f"recovery_backend/1/{label}".encode(), "sha256")

    def mac(self, label: Label, *parts: str) -> bytes:
        """The 32-byte HMAC-SHA-256 of `parts`, each with its length, under this label's key."""
        return hmac.digest(self.subkey(label), framed(*parts), "sha256")


def framed(*parts: str) -> bytes:
    """The parts as one message in which no part can pose as two."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


@lru_cache(maxsize=16)
def _key(text: str) -> Key:
    material = hashlib.sha256(text.encode()).digest()
    key = Key("", material)
    return Key(key.mac("id").hex()[:12], material)


def keyring() -> list[Key]:
    """The configured keys; the first one writes, the others only read (R-13).

    Raises `ImproperlyConfigured` for a missing, short or placeholder key (R-18).
    """
    return [_key(conf.KEY), *(_key(text) for text in conf.KEY_FALLBACKS)]


def write_key() -> Key:
    """The key for everything new. Raises `ImproperlyConfigured` as `keyring` does."""
    return _key(conf.KEY)


def generate_key() -> str:
    """A new key of 256 random bits, in hexadecimal: it needs no quoting anywhere."""
    return secrets.token_hex(KEY_BYTES)
