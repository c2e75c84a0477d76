"""E-mail addresses in the one form in which two of them may be compared (R-24)."""

from __future__ import annotations

import hmac
import string
import unicodedata

from django.contrib.auth.base_user import AbstractBaseUser

# RFC 5321 allows 254 characters; anything longer is nobody's address.
MAX_LENGTH = 254
_ASCII_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def canonical_email(typed: object) -> str:
    """The address trimmed, with ASCII letters in lower case; "" for what cannot be an address.

    Only spellings of the same characters meet: U+212A KELVIN SIGN never becomes a "k", nor a
    dotless "ı" an "i", so no look-alike reaches another person's account.
    """
    if not isinstance(typed, str) or len(typed) > 2 * MAX_LENGTH:
        return ""
    address = typed.strip()
    if len(address) > MAX_LENGTH or not address.isprintable():
        return ""
    if all(unicodedata.normalize("NFC", character) == character for character in address):
        address = unicodedata.normalize("NFC", address)
    return address.translate(_ASCII_LOWER)


def is_same_email(left: object, right: object) -> bool:
    """Whether both are spellings of one address, compared in constant time (R-16)."""
    one, other = (
        canonical_email(value).encode("utf-8", "surrogatepass") for value in (left, right)
    )
    return bool(one) and hmac.compare_digest(one, other)


def masked_email(address: str) -> str:
    """Enough of an address, or of a name, to compare it with one that is told: "a•••@e•••.org"."""
    local, at, domain = address.rpartition("@")
    if not at:
        return f"{address[:1]}•••" if address else ""
    name, dot, ending = domain.rpartition(".")
    return f"{local[:1]}•••@{name[:1]}•••{dot}{ending if dot else ''}"


def email_of(user: AbstractBaseUser) -> str:
    """The user's e-mail address, whatever the user model calls it; "" when there is none."""
    return getattr(user, user.get_email_field_name(), "") or ""
