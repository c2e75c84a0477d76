"""Which font can write a text, and how it is set in lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate
from threading import Lock

from django.utils import translation
from django.utils.functional import Promise
from reportlab.lib.colors import Color, HexColor
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR, BOLD, CODE_FONT, SIGNS = "Helvetica", "Helvetica-Bold", "Courier-Bold", "ZapfDingbats"

# reportlab reads a font file by one shared position while it embeds the letters in use.
font_lock = Lock()


@dataclass(frozen=True, slots=True)
class Run:
    """Text that a font can write; not whole when some of it had to be left out."""

    text: str
    font: str
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Typefaces:
    """The standard fonts, and one font file for what those cannot write."""

    path: str | None

    def run(self, text: str | Promise, latin_font: str = REGULAR) -> Run:
        """The text as it can be written; our own words rather in English than incomplete."""
        run = self._run(str(text), latin_font)
        if run.is_whole or isinstance(text, str):
            return run
        with translation.override("en"):
            return self._run(str(text), latin_font)

    def _run(self, text: str, latin_font: str) -> Run:
        latin = text.encode("cp1252", "replace").decode("cp1252")
        if latin == text or not self.path:
            return Run(latin, latin_font, latin == text)
        font = _font(self.path)
        kept = "".join(c if ord(c) in font.face.charToGlyph else "?" for c in text)
        return Run(kept, font.fontName, kept == text and not _is_right_to_left(text))


def _is_right_to_left(text: str) -> bool:
    # Drawn letter by letter from the left, such text is not what its reader expects.
    return any(unicodedata.bidirectional(character) in {"R", "AL"} for character in text)


def is_font(path: str) -> bool:
    """Whether this is a TrueType file that can be read, for the check at start-up."""
    try:
        with font_lock:
            _font(path)
    except Exception:  # a damaged file fails in many ways
        return False
    return True


@lru_cache(maxsize=4)
def _font(path: str) -> TTFont:
    name = f"recovery_backend_{sha256(path.encode()).hexdigest()[:12]}"
    pdfmetrics.registerFont(TTFont(name, path))
    return pdfmetrics.getFont(name)


INK, SOFT, ACCENT, RULE, EDGE = map(
    HexColor, ("#16211f", "#4a5a57", "#0a6457", "#d3dcda", "#748681")
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text; `leading` is how far below the line before it stands."""

    text: str
    font: str
    size: float
    leading: float
    indent: float = 0
    colour: Color = INK


def set_text(
    run: Run,
    size: float,
    width: float,
    *,
    leading: float,
    most: int = 2,
    indent: float = 0,
    colour: Color = INK,
) -> list[Line]:
    """The text in lines of this width, `most` at most; what is cut off ends in dots."""
    return [
        Line(text, run.font, size, leading, indent, colour)
        for text in wrapped(run, size, width - indent, most)
    ]


def wrapped(run: Run, size: float, width: float, most: int) -> Iterator[str]:
    rest = run.text
    for _position in range(most - 1):
        fitting = fitting_length(rest, run.font, size, width)
        if fitting == len(rest):
            break
        space = rest.rfind(" ", 0, fitting + 1)
        end = space if space > 0 else fitting
        yield rest[:end]
        rest = rest[end:].lstrip()
    if fitting_length(rest, run.font, size, width) == len(rest):
        yield rest
        return
    dots = pdfmetrics.stringWidth("...", run.font, size)
    yield rest[: fitting_length(rest, run.font, size, width - dots)] + "..."


def fitting_length(text: str, font: str, size: float, width: float) -> int:
    """How many characters from the start fit into the width; one at least."""
    widths = accumulate(pdfmetrics.stringWidth(character, font, size) for character in text)
    return max(sum(1 for end in widths if end <= width), min(len(text), 1))
