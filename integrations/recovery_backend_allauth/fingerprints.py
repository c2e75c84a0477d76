"""By what a session knows its clients again: browser and network, as HMACs of what they are."""

from __future__ import annotations

import re
from typing import Literal

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest

from recovery_backend.clients import client_of
from recovery_backend.keys import Key, keyring, write_key

Kind = Literal["browser", "network"]
KINDS: tuple[Kind, ...] = ("browser", "network")

# "Chrome/126.0.0.0", "Build/TP1A.220624.014" and "rv:128.0", then "Windows NT 10.0", "CPU iPhone OS 17_5_1".
PRODUCT_VERSION = re.compile(r"[/:][^\s;()]*")
NUMBER = re.compile(r"[\d._]+")


def browser_of(user_agent: str) -> str:
    """The user agent without the numbers that change when browser or system is updated."""
    named = NUMBER.sub("", PRODUCT_VERSION.sub("", user_agent))
    return " ".join(named.split())


def fingerprint(request: HttpRequest, user: AbstractBaseUser, kind: Kind) -> str:
    """What is stored of the client of this request."""
    return _mac(write_key(), user, kind, _seen(request, kind))


def is_among(known: list[str], request: HttpRequest, user: AbstractBaseUser, kind: Kind) -> bool:
    """Whether the client of this request is one of these, also under an older key."""
    seen = _seen(request, kind)
    return any(_mac(key, user, kind, seen) in known for key in keyring())


def _seen(request: HttpRequest, kind: Kind) -> str:
    client = client_of(request)
    return browser_of(client.user_agent) if kind == "browser" else client.network


def _mac(key: Key, user: AbstractBaseUser, kind: Kind, seen: str) -> str:
    # Named for the use: no account's HMAC in the audit can be one of these.
    return key.mac("audit", "session", kind, str(user.pk), seen).hex()
