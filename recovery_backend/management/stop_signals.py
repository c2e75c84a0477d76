"""Signals that ask a command to stop, heard between two pages: so what it says is exact."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(KeyboardInterrupt):
    """Raised for SIGTERM, as `KeyboardInterrupt` is for Ctrl-C."""


ERRORS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
# Where a worker or a server has its own, that one stays.
USUAL = {signal.SIG_DFL, signal.default_int_handler}


def exit_code(error: KeyboardInterrupt) -> int:
    """What a shell expects of a process that ended so."""
    return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


@contextmanager
def waiting() -> Iterator[Callable[[], None]]:
    """Have the first signal wait for the next call of the function given, which raises it.

    The second one does not wait: a page may hang.
    """
    asked: list[type[KeyboardInterrupt]] = []
    usual: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(ERRORS[signal.Signals(number)])
        _restore(usual)

    def look() -> None:
        if asked:
            raise asked[0]

    for number in ERRORS if threading.current_thread() is threading.main_thread() else ():
        if signal.getsignal(number) in USUAL:
            usual[number] = signal.signal(number, note)
    try:
        yield look
    finally:
        _restore(usual)


def _restore(usual: dict[signal.Signals, Any]) -> None:
    for number, action in usual.items():
        signal.signal(number, action)
