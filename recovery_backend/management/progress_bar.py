"""How far a command is, for who waits at a terminal."""

from __future__ import annotations

from collections.abc import Callable

from django.core.management.base import OutputWrapper

WIDTH = 30


class ProgressBar:
    """One line that is drawn over itself; nothing where the stream is no terminal."""

    def __init__(self, stream: OutputWrapper, total: Callable[[], int]) -> None:
        self.stream = stream
        self.total = total() if stream.isatty() else 0

    def show(self, number: int) -> None:
        """Draw it with that much done."""
        if self.total:
            share = min(1.0, number / self.total)
            self._draw(f"[{'#' * round(share * WIDTH):{WIDTH}}] {share:4.0%}")

    def clear(self) -> None:
        """Leave an empty line to whatever is written next."""
        if self.total:
            self._draw(" " * (WIDTH + 7))
            self._draw("")

    def _draw(self, text: str) -> None:
        # `str`: the standard error of a command is red otherwise.
        self.stream.write(f"\r{text}", style_func=str, ending="")
        self.stream.flush()
