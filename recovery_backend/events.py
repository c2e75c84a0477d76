"""The "your e-mail was sent" stream: server-sent events that never hold a worker (R-101)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from asgiref.sync import sync_to_async
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.cache import cache

from recovery_backend.keys import write_key

logger = logging.getLogger("recovery_backend")

LIFE_SECONDS = 25.0
TICK_SECONDS = 1.0
HEARTBEAT_SECONDS = 10.0
RECONNECT_MS = 3000
MAX_STREAMS = 5

FINAL_STATES = {"none", "sent", "failed"}
HEARTBEAT = ": still here\n\n"


def event(state: str) -> str:
    """One event with the state of the e-mail, and when the browser may ask again."""
    return f"retry: {RECONNECT_MS}\nevent: state\ndata: {json.dumps({'state': state})}\n\n"


async def stream(
    state_of: Callable[[], str | None], close: Callable[[], None]
) -> AsyncIterator[str]:
    """The state whenever it changes, until it is final or None (signed out), or time is up."""
    read = sync_to_async(state_of)
    started = spoke_at = time.monotonic()
    told = None
    try:
        while time.monotonic() - started < LIFE_SECONDS:
            state = await read()
            if state is None:
                return
            if state != told or time.monotonic() - spoke_at >= HEARTBEAT_SECONDS:
                yield event(state) if state != told else HEARTBEAT
                told, spoke_at = state, time.monotonic()
            if state in FINAL_STATES:
                return
            await asyncio.sleep(TICK_SECONDS)
    finally:
        await sync_to_async(close)()


def open_place(user: AbstractBaseUser) -> bool:
    """Take one of the MAX_STREAMS places of a user; whether there was one.

    Raises what the cache raises when it is down.
    """
    key, seconds = cache_key(user), int(2 * LIFE_SECONDS)
    cache.add(key, 0, timeout=seconds)
    try:
        taken = cache.incr(key)
    except ValueError:  # it expired just now: nobody else is there
        return True
    if taken > MAX_STREAMS:
        close_place(user)
        return False
    # The count outlives every stream that it counts; places of a server that died go with it.
    cache.touch(key, seconds)
    return True


def close_place(user: AbstractBaseUser) -> None:
    """Give a place back."""
    try:
        with suppress(ValueError):  # it expired
            cache.decr(cache_key(user))
    except Exception as error:  # cache clients raise what they like; the count expires by itself
        logger.warning("place not given back: %s", type(error).__name__)


def cache_key(user: AbstractBaseUser) -> str:
    """Where a user's places are counted: an HMAC, for any primary key, under this site's key."""
    return f"recovery_backend:streams:{write_key().mac('throttle', 'streams', str(user.pk)).hex()}"
