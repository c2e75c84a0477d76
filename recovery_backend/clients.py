"""Who is calling: the address, network and browser behind a request. Nothing here ever raises."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.http import HttpRequest

from recovery_backend.conf import conf

MAX_USER_AGENT = 256
MAX_REQUEST_ID = 64


@dataclass(frozen=True, slots=True)
class Client:
    """The other end of a request, as far as it can be known. All fields may be empty."""

    address: str = ""
    user_agent: str = ""
    request_id: str = ""
    path: str = ""

    @property
    def network(self) -> str:
        """The /32 (IPv4) or /64 (IPv6) that shares a cooldown (R-54); "" when unknown."""
        if not self.address:
            return ""
        return str(ip_network((self.address, 64 if ":" in self.address else 32), strict=False))


NOBODY = Client()


def client_of(request: HttpRequest | None) -> Client:
    """The client of a request; `NOBODY` when there is none."""
    if request is None:
        return NOBODY
    meta = request.META
    return Client(
        address=_address(meta),
        user_agent=printable(meta.get("HTTP_USER_AGENT"), MAX_USER_AGENT),
        request_id=printable(meta.get("HTTP_X_REQUEST_ID"), MAX_REQUEST_ID),
        path=printable(request.path, 128),
    )


def masked_network(address: str) -> str:
    """An address with its end cut off (/24, /48), to show to an owner without naming a host."""
    parsed = _parsed(address)
    if parsed is None:
        return ""
    return str(ip_network((str(parsed), 24 if parsed.version == 4 else 48), strict=False))


def printable(value: object, length: int) -> str:
    """Text without control, bidi and other invisible characters, cut to `length` (R-118)."""
    if not isinstance(value, str):
        return ""
    return "".join(
        character if unicodedata.category(character)[0] not in "CZ" or character == " " else " "
        for character in value[:length]
    )


def _address(meta: dict[str, object]) -> str:
    parsed = None
    if proxies := conf.TRUSTED_PROXY_COUNT:
        hops = str(meta.get("HTTP_X_FORWARDED_FOR", ""))[-2048:].split(",")
        # Each proxy appends whom it saw, so only the last `proxies` entries can be trusted.
        if len(hops) >= proxies:
            parsed = _parsed(hops[-proxies])
    parsed = parsed or _parsed(meta.get("REMOTE_ADDR"))
    return str(parsed) if parsed else ""


def _parsed(value: object) -> IPv4Address | IPv6Address | None:
    text = value.strip() if isinstance(value, str) else ""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
