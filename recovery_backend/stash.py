"""The plaintext of new codes on its way to their owner: sealed, and for a short time only.

Between generation and delivery it lies in the session as AES-256-GCM ciphertext. One half of the
key is in a cookie of the owner's browser, the other half is derived from the site's own key, so
neither a copied session table nor a copied cookie shows a code (R-70).
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from recovery_backend.addresses import email_of
from recovery_backend.conf import conf
from recovery_backend.keys import Key, framed, keyring, write_key

SESSION_KEY = "recovery_backend_stash"
COOKIE = "recovery_codes_key"
KEY_BYTES = 32
NONCE_BYTES = 12
MAX_ID = 2**63 - 1  # what a database takes: a larger one could not even be recorded

Purpose = Literal["session", "email"]


@dataclass(frozen=True, slots=True)
class Stashed:
    """The codes of one batch in display form, and until when they may be delivered."""

    batch_id: int
    expires_at: datetime
    codes: tuple[str, ...] = field(repr=False)


@sensitive_variables()
def keep(
    request: HttpRequest, user: AbstractBaseUser, batch_id: int, codes: Iterable[str]
) -> datetime:
    """Put the codes of a new batch into the session, in place of older ones; until when they stay.

    `write_cookie` has to hand the browser its half of the key with the response.
    """
    secret = secrets.token_hex(KEY_BYTES)
    expires_at = timezone.now() + timedelta(seconds=conf.STASH_TTL)
    request.session[SESSION_KEY] = {
        "batch": batch_id,
        "expires_at": expires_at.timestamp(),
        "owner": _owner(write_key(), user),
        "sealed": seal("session", user, batch_id, expires_at, codes, secret),
    }
    request._recovery_stash_secret = secret  # type: ignore[attr-defined]
    return expires_at


@sensitive_variables()
def read(request: HttpRequest, user: AbstractBaseUser) -> Stashed | None:
    """The codes that this session and this browser may still deliver together; else None.

    A cookie that is missing, garbled or another session's reads as None, and so does a stash of
    another user, or one from before a change of password or e-mail address (R-70 to R-72).
    """
    kept = _kept(request)
    secret = request.COOKIES.get(COOKIE, "")
    if kept is None or len(secret) != 2 * KEY_BYTES:
        return None
    return unseal("session", user, kept["batch"], kept["sealed"], secret)


def is_kept(request: HttpRequest) -> bool:
    """Whether this session holds sealed codes, of whatever age. Reads the session."""
    return SESSION_KEY in request.session


def is_over(request: HttpRequest, user: AbstractBaseUser) -> bool:
    """Whether sealed codes have to go: expired, or their owner's credentials changed (R-72)."""
    kept = _kept(request)
    if kept is None:
        return is_kept(request)
    is_owners = kept["owner"] in {_owner(key, user) for key in keyring()}
    return not is_owners or kept["expires_at"] <= timezone.now().timestamp()


def batch_of(request: HttpRequest) -> int | None:
    """The batch whose codes this session holds."""
    kept = _kept(request)
    return kept["batch"] if kept else None


def wipe(request: HttpRequest) -> None:
    """Forget the codes now. Does nothing when there are none."""
    request.session.pop(SESSION_KEY, None)
    request._recovery_stash_secret = ""  # type: ignore[attr-defined]


def write_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Hand the browser its half of the key, or take back one that opens nothing any more."""
    secret = getattr(request, "_recovery_stash_secret", None)
    path = reverse("recovery_dashboard").removesuffix("dashboard/")
    if secret:
        response.set_cookie(
            COOKIE,
            secret,
            max_age=conf.STASH_TTL,
            path=path,
            secure=settings.SESSION_COOKIE_SECURE or request.is_secure(),
            httponly=True,
            samesite="Strict",
        )
    elif COOKIE in request.COOKIES and (secret == "" or not is_kept(request)):
        response.delete_cookie(COOKIE, path=path, samesite="Strict")


@sensitive_variables()
def seal(
    purpose: Purpose,
    user: AbstractBaseUser,
    batch_id: int,
    expires_at: datetime,
    codes: Iterable[str],
    secret: str = "",
) -> str:
    """The codes as text that only this site can open, for this user, batch and purpose."""
    key = write_key()
    nonce = secrets.token_bytes(NONCE_BYTES)
    plain = json.dumps({"expires_at": expires_at.timestamp(), "codes": list(codes)})
    cipher = AESGCM(key.mac("stash", purpose, secret))
    sealed = cipher.encrypt(nonce, plain.encode(), _binding(key, purpose, user, batch_id))
    return base64.urlsafe_b64encode(nonce + sealed).decode()


@sensitive_variables()
def unseal(
    purpose: Purpose, user: AbstractBaseUser, batch_id: int, sealed: str, secret: str = ""
) -> Stashed | None:
    """What `seal` was given, before it expires and for the same user, batch and purpose."""
    for key in keyring():
        plain = _decrypt(key, purpose, user, batch_id, sealed, secret)
        if plain is not None:
            return _unexpired(batch_id, plain)
    return None


@sensitive_variables()
def _decrypt(
    key: Key, purpose: Purpose, user: AbstractBaseUser, batch_id: int, sealed: str, secret: str
) -> bytes | None:
    try:
        raw = base64.urlsafe_b64decode(sealed)
        cipher = AESGCM(key.mac("stash", purpose, secret))
        nonce, body = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        return cipher.decrypt(nonce, body, _binding(key, purpose, user, batch_id))
    except (InvalidTag, binascii.Error, ValueError):
        return None


@sensitive_variables()
def _unexpired(batch_id: int, plain: bytes) -> Stashed | None:
    payload = json.loads(plain)
    if payload["expires_at"] <= timezone.now().timestamp():
        return None
    expires_at = datetime.fromtimestamp(payload["expires_at"], UTC)
    return Stashed(batch_id, expires_at, tuple(payload["codes"]))


def _binding(key: Key, purpose: Purpose, user: AbstractBaseUser, batch_id: int) -> bytes:
    return framed(purpose, str(user.pk), str(batch_id), _owner(key, user))


@sensitive_variables()
def _owner(key: Key, user: AbstractBaseUser) -> str:
    # Changes with the password and the e-mail address, so that either change ends the stash.
    return key.mac("stash", "owner", str(user.pk), user.password, email_of(user)).hex()


def _kept(request: HttpRequest) -> dict[str, Any] | None:
    kept = request.session.get(SESSION_KEY)
    types = {"batch": int, "expires_at": float, "owner": str, "sealed": str}
    if not isinstance(kept, dict):
        return None
    if not all(isinstance(kept.get(name), kind) for name, kind in types.items()):
        return None
    return kept if 0 < kept["batch"] <= MAX_ID else None
