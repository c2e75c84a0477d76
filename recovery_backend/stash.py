"""The plaintext of new codes on its way to their owner: sealed, and for a short time only.

Between generation and delivery it is AES-256-GCM ciphertext in the row of its batch, where the same
UPDATE that replaces or deletes the batch ends it too. Its key is made of three parts: a cookie of
the owner's browser, the key of the session, and the site's own key. So a copied database shows no
code, nor does a copied cookie, and another session of the same user opens nothing (R-70).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.views.decorators.debug import sensitive_variables

from recovery_backend.addresses import email_of
from recovery_backend.conf import conf
from recovery_backend.keys import Key, framed, keyring, write_key

SESSION_KEY = "recovery_backend_stash"
COOKIE = "recovery_codes_key"
KEY_BYTES = 32
NONCE_BYTES = 12
MAX_COOKIES = 4
UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# "step": short codes for the second step, which another package's pages show.
Purpose = Literal["session", "step", "email"]


@dataclass(frozen=True, slots=True)
class Stashed:
    """The codes of one batch in display form, and until when they may be delivered."""

    batch_id: UUID
    expires_at: datetime
    codes: tuple[str, ...] = field(repr=False)


@sensitive_variables()
def keep(
    request: HttpRequest,
    user: AbstractBaseUser,
    batch_id: UUID,
    codes: Iterable[str],
    *,
    purpose: Purpose = "session",
) -> str:
    """The codes of a new batch, sealed for this session and this browser; for the batch's row.

    `write_cookie` has to hand the browser its part of the key with the response.
    """
    if request.session.session_key is None:
        request.session.create()
    secret = secrets.token_hex(KEY_BYTES)
    expires_at = timezone.now() + timedelta(seconds=conf.STASH_TTL)
    request.session[SESSION_KEY] = {
        "batch": str(batch_id),
        "expires_at": expires_at.timestamp(),
        "owner": _owner(write_key(), user),
        "purpose": purpose,
    }
    request._recovery_stash_secret = secret  # type: ignore[attr-defined]
    request._recovery_stash_purpose = purpose  # type: ignore[attr-defined]
    parts = (secret, str(request.session.session_key))
    return seal(purpose, user, batch_id, expires_at, codes, *parts)


@sensitive_variables()
def read(
    request: HttpRequest,
    user: AbstractBaseUser,
    batch_id: UUID,
    sealed: str,
    *,
    purpose: Purpose = "session",
) -> Stashed | None:
    """The codes that this session and this browser may still deliver together; else None.

    A cookie that is missing, garbled or of another session reads as None, and so do codes from
    before a change of password or e-mail address (R-70 to R-72).
    """
    for secret in _secrets(request):
        parts = (secret, str(request.session.session_key))
        if stashed := unseal(purpose, user, batch_id, sealed, *parts):
            return stashed
    return None


def has_cookie(request: HttpRequest) -> bool:
    """Whether this browser has a part of a key, whatever it opens."""
    return COOKIE in request.COOKIES


def may_open(request: HttpRequest) -> bool:
    """Whether this request has a part of a key: by cookie, brought along, or of its own sealing."""
    return has_cookie(request) or bool(_secrets(request))


def use_no_cookie(request: HttpRequest) -> None:
    """Write no cookie for this request: its client keeps its part of the key by itself."""
    request._recovery_stash_cookieless = True  # type: ignore[attr-defined]


@sensitive_variables()
def client_part(request: HttpRequest) -> str:
    """The client's part of the key of codes that this request has sealed; "" if it has none."""
    return getattr(request, "_recovery_stash_secret", None) or ""


@sensitive_variables()
def bring(request: HttpRequest, part: str) -> None:
    """Let the request open codes by the part of the key that its client has kept by itself."""
    request._recovery_stash_brought = part  # type: ignore[attr-defined]


def is_noted(request: HttpRequest) -> bool:
    """Whether this session knows of codes that were sealed for it. Reads the session."""
    return SESSION_KEY in request.session


def noted_batch(request: HttpRequest) -> UUID | None:
    """The batch whose codes were sealed for this session."""
    noted = _noted(request)
    return UUID(noted["batch"]) if noted else None


def is_for_other_pages(request: HttpRequest) -> bool:
    """Whether the codes that were sealed for this session are for another package's pages."""
    return (_noted(request) or {}).get("purpose") == "step"


def is_over(request: HttpRequest, user: AbstractBaseUser) -> bool:
    """Whether sealed codes have to go: expired, or their owner's credentials changed (R-72)."""
    noted = _noted(request)
    if noted is None:
        return is_noted(request)
    is_owners = noted["owner"] in {_owner(key, user) for key in keyring()}
    return not is_owners or noted["expires_at"] <= timezone.now().timestamp()


def forget(request: HttpRequest) -> None:
    """Let this session and this browser know of no codes. The batch's row is not touched."""
    purpose: Purpose = "step" if is_for_other_pages(request) else "session"
    request.session.pop(SESSION_KEY, None)
    request._recovery_stash_secret = ""  # type: ignore[attr-defined]
    request._recovery_stash_purpose = purpose  # type: ignore[attr-defined]


def note_shown(request: HttpRequest) -> None:
    """Say that the response to this request holds codes, whoever's page it is."""
    request._recovery_codes_shown = True  # type: ignore[attr-defined]


def is_shown(request: HttpRequest) -> bool:
    """Whether the response to this request holds codes, on another package's page."""
    return bool(getattr(request, "_recovery_codes_shown", False))


def write_cookie(request: HttpRequest, response: HttpResponseBase) -> None:
    """Hand the browser its part of the key, or take back one that opens nothing any more."""
    if getattr(request, "_recovery_stash_cookieless", False):
        return
    secret = getattr(request, "_recovery_stash_secret", None)
    purpose: Purpose = getattr(request, "_recovery_stash_purpose", "session")
    if secret:
        response.set_cookie(
            COOKIE,
            secret,
            max_age=conf.STASH_TTL,
            path=_cookie_path(purpose),
            secure=settings.SESSION_COOKIE_SECURE or request.is_secure(),
            httponly=True,
            samesite="Strict",
        )
    elif secret == "" and has_cookie(request):
        response.delete_cookie(COOKIE, path=_cookie_path(purpose), samesite="Strict")


@sensitive_variables()
def seal(
    purpose: Purpose,
    user: AbstractBaseUser,
    batch_id: UUID,
    expires_at: datetime,
    codes: Iterable[str],
    *parts: str,
) -> str:
    """The codes as text that only this site can open, for this user, batch and purpose.

    With the same `parts` of a key, if there are any.
    """
    key = write_key()
    nonce = secrets.token_bytes(NONCE_BYTES)
    plain = json.dumps({"expires_at": expires_at.timestamp(), "codes": list(codes)})
    cipher = AESGCM(key.mac("stash", purpose, *parts))
    sealed = cipher.encrypt(nonce, plain.encode(), _binding(key, purpose, user, batch_id))
    return base64.urlsafe_b64encode(nonce + sealed).decode()


@sensitive_variables()
def unseal(
    purpose: Purpose, user: AbstractBaseUser, batch_id: UUID, sealed: str, *parts: str
) -> Stashed | None:
    """What `seal` was given, before it expires and for the same user, batch and purpose."""
    for key in keyring():
        plain = _decrypt(key, purpose, user, batch_id, sealed, parts)
        if plain is not None:
            return _unexpired(batch_id, plain)
    return None


@sensitive_variables()
def _decrypt(
    key: Key,
    purpose: Purpose,
    user: AbstractBaseUser,
    batch_id: UUID,
    sealed: str,
    parts: tuple[str, ...],
) -> bytes | None:
    try:
        raw = base64.urlsafe_b64decode(sealed)
        cipher = AESGCM(key.mac("stash", purpose, *parts))
        nonce, body = raw[:NONCE_BYTES], raw[NONCE_BYTES:]
        return cipher.decrypt(nonce, body, _binding(key, purpose, user, batch_id))
    except (InvalidTag, binascii.Error, ValueError):
        return None


@sensitive_variables()
def _unexpired(batch_id: UUID, plain: bytes) -> Stashed | None:
    payload = json.loads(plain)
    if payload["expires_at"] <= timezone.now().timestamp():
        return None
    zone = UTC if settings.USE_TZ else None
    expires_at = datetime.fromtimestamp(payload["expires_at"], zone)
    return Stashed(batch_id, expires_at, tuple(payload["codes"]))


def _binding(key: Key, purpose: Purpose, user: AbstractBaseUser, batch_id: UUID) -> bytes:
    return framed(purpose, str(user.pk), str(batch_id), _owner(key, user))


@sensitive_variables()
def _owner(key: Key, user: AbstractBaseUser) -> str:
    # Changes with the password and the e-mail address, so that either change ends the stash.
    password = getattr(user, "password", None) or ""  # some user models have none
    return key.mac("stash", "owner", str(user.pk), password, email_of(user)).hex()


def _secrets(request: HttpRequest) -> list[str]:
    if brought := getattr(request, "_recovery_stash_brought", ""):
        return [brought]
    # A neighbouring subdomain can add cookies of the same name; Django keeps the last one only.
    pairs = request.META.get("HTTP_COOKIE", "").split(";")
    named = (pair.partition("=") for pair in pairs)
    values = [value.strip() for name, _equals, value in named if name.strip() == COOKIE]
    # The request that seals codes may show them too, before the browser has its part.
    values.insert(0, client_part(request))
    return [value for value in values if len(value) == 2 * KEY_BYTES][:MAX_COOKIES]


def _cookie_path(purpose: Purpose) -> str:
    path = reverse("recovery_dashboard").removesuffix("dashboard/")
    root = get_script_prefix()
    if purpose == "step":
        return root
    # Under i18n_patterns the pages have a path for each language.
    return root if path.startswith(f"{root}{get_language()}/") else path


def _noted(request: HttpRequest) -> dict[str, Any] | None:
    noted = request.session.get(SESSION_KEY)
    types = {"batch": str, "expires_at": float, "owner": str}
    if not isinstance(noted, dict) or not all(
        isinstance(noted.get(name), kind) for name, kind in types.items()
    ):
        return None
    return noted if UUID_FORM.fullmatch(noted["batch"]) else None
