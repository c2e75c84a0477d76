"""What bytes hold when they are taken out of their wrappings."""

from __future__ import annotations

import base64
import binascii
import re
import zlib

BASE64 = re.compile(rb"[A-Za-z0-9+/_=-]{24,}")


def unwrapped(blob, depth=3):
    """The bytes, and what they hold in base64 or zlib, the way sessions and queues pack things."""
    yield blob
    if depth == 0:
        return
    for match in BASE64.findall(blob):
        padded = match.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        padded += b"=" * (-len(padded) % 4)
        try:
            raw = base64.b64decode(padded)
        except binascii.Error:
            continue
        yield from unwrapped(raw, depth - 1)
        try:
            yield from unwrapped(zlib.decompress(raw), depth - 1)
        except zlib.error:
            continue
