"""Secrets on their way through the frames of other libraries."""

from __future__ import annotations


class Masked(str):
    """A text whose `repr` says that there is one, and no more: error reports show that (R-84)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<masked>"
