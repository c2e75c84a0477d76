"""Recovery codes: how they are made, read from what people type, and turned into digests."""

from __future__ import annotations

import hmac
import math
import re
import secrets
import unicodedata
from typing import NoReturn
from uuid import UUID

from django.views.decorators.debug import sensitive_variables

from recovery_backend.conf import conf
from recovery_backend.keys import Key, framed, keyring

# 56 characters that nobody confuses: no 0 O o, no 1 l I.
ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789"
GROUPS = 6
GROUP_LENGTH = 6
LENGTH = GROUPS * GROUP_LENGTH

# NFKC of a million characters takes over a second, so the length is looked at before anything
# else. A printed line with every group spaced out and a list number stays under this.
MAX_TYPED_LENGTH = 256

# "3. " or "[ ] 12) " before a code that was copied with its line.
LIST_MARKER = re.compile(r"^[\s\[\]☐□▢•*]*(?:\d{1,3}[.):]\s)?")
DASHES = "\u2212\u2043\u02d7\u30fc\uff70"
# A code of another package: digits, or letters and digits. Too weak to be looked for without
# knowing whose it should be, so it works after the first factor only.
SHORT_CODE = re.compile(r"[0-9A-Za-z]{4,35}")
# A code of django-auth-recovery-codes: as long as ours, of letters and digits that ours lack too.
IMPORTED_CODE = re.compile(r"[0-9A-Za-z]{36}")
# What it keeps of one: an HMAC-SHA3-512 in hexadecimal.
FOREIGN_DIGEST = re.compile(r"[0-9a-f]{128}")
# What authenticator apps show, typed into the same field.
ONE_TIME_PASSWORD = re.compile(r"[0-9]{6}")
CONTROL_SPACES = "\t\n\r\f\v\x1c\x1d\x1e\x1f\x85"


def entropy_bits(alphabet: str = ALPHABET, length: int = LENGTH) -> float:
    """How many bits an attacker has to guess (R-02); 112 allow a fast hash (ASVS 6.5.2)."""
    return length * math.log2(len(set(alphabet)))


def generate() -> str:
    """A new code in display form: six groups of six, each character equally likely (R-01)."""
    return display("".join(secrets.choice(ALPHABET) for _ in range(LENGTH)))


def display(canonical: str) -> str:
    """The code as people read it: groups of six with dashes between them."""
    return "-".join(
        canonical[start : start + GROUP_LENGTH] for start in range(0, len(canonical), GROUP_LENGTH)
    )


def canonicalise(typed: object) -> str | None:
    """The 36 characters of a typed code, or None for anything else (R-04).

    Spaces, dashes of any kind, invisible characters and a list number before the code are
    dropped. Letters keep their case, and look-alikes are never replaced.
    """
    if not isinstance(typed, str) or len(typed) > MAX_TYPED_LENGTH:
        return None
    kept = _without_separators(typed)
    if len(kept) != LENGTH or not set(kept) <= set(ALPHABET):
        return None
    return kept


def canonicalise_short(typed: object) -> str | None:
    """The characters of a short code that was adopted from another package, or None."""
    return _matching(SHORT_CODE, typed)


def canonicalise_imported(typed: object) -> str | None:
    """The 36 characters of a code that may come from django-auth-recovery-codes, or None."""
    return _matching(IMPORTED_CODE, typed)


def _matching(form: re.Pattern[str], typed: object) -> str | None:
    if not isinstance(typed, str) or len(typed) > MAX_TYPED_LENGTH:
        return None
    kept = _without_separators(typed)
    return kept if form.fullmatch(kept) else None


def _without_separators(typed: str) -> str:
    return "".join(c for c in LIST_MARKER.sub("", typed) if not _is_separator(c))


def _is_separator(character: str) -> bool:
    return (
        character in DASHES
        or character in CONTROL_SPACES
        or unicodedata.category(character) in {"Zs", "Zl", "Zp", "Cf", "Pd"}
    )


class PresentedCode:
    """A code that somebody typed, as digests only: safe to log, pass on and put in a form.

    Bad input makes a `PresentedCode` too, which matches nothing and costs the same (R-26).
    """

    __slots__ = ("_seals", "_short_seals", "is_short", "is_well_formed")

    @sensitive_variables()
    def __init__(self, typed: object) -> None:
        canonical, imported = canonicalise(typed), canonicalise_imported(typed)
        has_imported = bool(conf.IMPORTED_KEY and imported)
        self.is_well_formed = canonical is not None or has_imported
        short = canonicalise_short(typed)
        self.is_short = short is not None and not ONE_TIME_PASSWORD.fullmatch(short)
        self._seals = {key.id: _seals(key, canonical, imported) for key in keyring()}
        self._short_seals = {key.id: [_short_seal(key, short or "")] for key in keyring()}

    def __repr__(self) -> str:
        return "<PresentedCode>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A presented code is never stored.")

    def digests(self) -> list[UUID]:
        """What to look for in the table: for each key of the keyring one digest, or two."""
        return [_digest(seal) for seals in self._seals.values() for seal in seals]

    def short_digests(self, user_id: object) -> list[UUID]:
        """What to look for among the short codes of one user: the same code is another's too."""
        seals = self._short_seals.values()
        return [_short_digest(seal, user_id) for (seal,) in seals]

    def is_bound_to(
        self,
        bind: bytes,
        *,
        key_id: str,
        user_id: object,
        batch_id: object,
        is_short: bool = False,
    ) -> bool:
        """Whether the stored tag says that this code was made for this user and batch (R-17)."""
        seals = self._short_seals if is_short else self._seals
        # An unknown key id binds nothing: an empty key would be one that everybody has.
        is_known = key_id in seals
        equal = []
        for seal in seals.get(key_id, [secrets.token_bytes(32)]):
            equal.append(hmac.compare_digest(bind, _bind(seal, user_id, batch_id)))
        return any(equal) and is_known


@sensitive_variables()
def stored_form(code: str, key: Key, *, user_id: object, batch_id: object) -> tuple[UUID, bytes]:
    """What a row keeps of a new code: the digest to look it up by, and the tag of its owner."""
    canonical = canonicalise(code)
    if canonical is None:
        raise ValueError("Not a recovery code.")
    seal = _seal(key, canonical)
    return _digest(seal), _bind(seal, user_id, batch_id)


@sensitive_variables()
def stored_short_form(
    code: str, key: Key, *, user_id: object, batch_id: object
) -> tuple[UUID, bytes]:
    """As `stored_form`, of a short code of another package."""
    canonical = canonicalise_short(code)
    if canonical is None:
        raise ValueError("Not a recovery code.")
    seal = _short_seal(key, canonical)
    return _short_digest(seal, user_id), _bind(seal, user_id, batch_id)


@sensitive_variables()
def stored_imported_form(
    foreign: str, key: Key, *, user_id: object, batch_id: object
) -> tuple[UUID, bytes]:
    """As `stored_form`, of a code that is known by its digest in django-auth-recovery-codes only.

    Raises `ValueError` for what is no such digest.
    """
    if not FOREIGN_DIGEST.fullmatch(foreign):
        raise ValueError("Not a digest of django-auth-recovery-codes.")
    seal = _imported_seal(key, foreign)
    return _digest(seal), _bind(seal, user_id, batch_id)


@sensitive_variables()
def imported_digests(foreign: str) -> list[UUID]:
    """What to look for in the table, for a code that is known by its foreign digest only."""
    return [_digest(_imported_seal(key, foreign)) for key in keyring()]


@sensitive_variables()
def _seals(key: Key, canonical: str | None, imported: str | None) -> list[bytes]:
    """The code as one of ours and, where some were moved in, as one of those."""
    seals = [_seal(key, canonical or "")]
    if imported_key := conf.IMPORTED_KEY:
        # What is no code costs the same, and is not even the digest of nothing.
        foreign = _foreign_digest(imported or secrets.token_hex(LENGTH // 2), imported_key)
        seals.append(_imported_seal(key, foreign))
    return seals


@sensitive_variables()
def _foreign_digest(canonical: str, imported_key: str) -> str:
    return hmac.digest(imported_key.encode(), canonical.encode(), "sha3_512").hex()


# The seal is the one keyed value from which digest and bind both follow. It exists in memory
# only; neither of the two leads back to it, nor to the other.
@sensitive_variables()
def _seal(key: Key, canonical: str) -> bytes:
    return key.mac("code", canonical)


@sensitive_variables()
def _imported_seal(key: Key, foreign: str) -> bytes:
    return key.mac("imported", foreign)


@sensitive_variables()
def _short_seal(key: Key, canonical: str) -> bytes:
    return key.mac("step", canonical)


def _short_digest(seal: bytes, user_id: object) -> UUID:
    return UUID(bytes=hmac.digest(seal, framed("lookup", str(user_id)), "sha256")[:16], version=4)


def _digest(seal: bytes) -> UUID:
    # 122 of 256 bits, as a UUID that MariaDB's own column type takes: it refuses other variants.
    return UUID(bytes=hmac.digest(seal, b"lookup", "sha256")[:16], version=4)


def _bind(seal: bytes, user_id: object, batch_id: object) -> bytes:
    return hmac.digest(seal, framed("bind", str(user_id), str(batch_id)), "sha256")
