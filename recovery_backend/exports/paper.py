"""The codes as a page to print, drawn without any mark-up (R-79)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO

from django.utils import translation
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables
from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfgen.canvas import Canvas

from recovery_backend.conf import conf
from recovery_backend.exports.sheet import (
    ADVICE,
    ADVICE_TITLE,
    NOTE,
    TITLE,
    CodeSheet,
    facts_of,
    one_line,
)
from recovery_backend.exports.typefaces import (
    ACCENT,
    BOLD,
    CODE_FONT,
    EDGE,
    INK,
    REGULAR,
    RULE,
    SIGNS,
    SOFT,
    Line,
    Run,
    Typefaces,
    font_lock,
    set_text,
)

logger = logging.getLogger("recovery_backend")

FONT_PROBLEM = (
    "%s: DJANGO_AUTH_RECOVERY_CODES_PDF_FONT cannot be used, a PDF was written without it. "
    "Name a TrueType file (.ttf) that the server can read."
)

# In points, from the lower left corner.
PAGE_WIDTH: float = A4[0]
PAGE_HEIGHT: float = A4[1]
MARGIN = 54.0
# With these, ten codes end above the fold, which then hides them.
TOP = PAGE_HEIGHT - 40.0
ROW = 22.0
PADDING = 20.0
CARD_END = 12.0
CARD_WIDTH = PAGE_WIDTH - 2 * MARGIN
TEXT_WIDTH = CARD_WIDTH - 2 * PADDING
MAX_LABEL = 130.0
BOX = 11.0
CODE_SIZE = 14.0
FOOTER = 30.0


@sensitive_variables()
def pdf(sheet: CodeSheet) -> bytes:
    if path := conf.PDF_FONT:
        try:
            with font_lock:
                return _drawn(sheet, Typefaces(path))
        except Exception as problem:  # a damaged file fails in many ways, some only when embedded
            logger.error(FONT_PROBLEM, type(problem).__name__)
    return _drawn(sheet, Typefaces(None))


@sensitive_variables()
def _drawn(sheet: CodeSheet, faces: Typefaces) -> bytes:
    heading, advice = _heading(sheet, faces), _advice(faces)
    room = TOP - MARGIN - PADDING - CARD_END - _height(heading)
    pages = _pages(sheet.codes, int((room - _height(advice)) / ROW), int(room / ROW))
    output = BytesIO()
    canvas = _canvas(output, sheet, faces)
    for number, page in enumerate(pages, 1):
        bottom = _draw_card(canvas, heading, page)
        if number == 1:
            _draw(canvas, advice, MARGIN, bottom)
        _draw_edges(canvas, faces.run(_page_of(number, len(pages))))
        canvas.showPage()
    canvas.save()
    return output.getvalue()


def _canvas(output: BytesIO, sheet: CodeSheet, faces: Typefaces) -> Canvas:
    site, title = one_line(sheet.site_name), faces.run(TITLE).text
    language = (translation.get_language() or "en") if title == str(TITLE) else "en"
    canvas = Canvas(output, pagesize=A4, pageCompression=1, invariant=1, lang=language)
    canvas.setTitle(f"{title} – {site}" if site else title)
    canvas.setAuthor(site)
    canvas.setSubject("")
    canvas.setCreator("")
    return canvas


def _page_of(number: int, count: int) -> Promise:
    return format_lazy(_("Page {number} of {count}"), number=number, count=count)


@sensitive_variables()
def _pages(codes: Sequence[str], first: int, further: int) -> list[list[tuple[int, str]]]:
    """Numbered codes, page by page; one empty page when there are none."""
    numbered = list(enumerate(codes, 1))
    starts = range(first, len(numbered), further)
    return [numbered[:first], *(numbered[start : start + further] for start in starts)]


def _heading(sheet: CodeSheet, faces: Typefaces) -> list[Line]:
    site, account = (faces.run(one_line(name), BOLD) for name in (sheet.site_name, sheet.account))
    lines = set_text(faces.run(TITLE, BOLD), 22, TEXT_WIDTH, leading=26)
    if site.text:
        lines += set_text(site, 12, TEXT_WIDTH, leading=19, colour=ACCENT)
    lines += _fact_lines(facts_of(replace(sheet, site_name="")), faces)
    if not (site.is_whole and account.is_whole):
        lines += set_text(faces.run(NOTE), 9, TEXT_WIDTH, leading=14, most=3, colour=SOFT)
    return [*lines, _gap(14)]


def _fact_lines(
    facts: Sequence[tuple[Promise, str | Promise]], faces: Typefaces
) -> Iterator[Line]:
    labels = [
        set_text(faces.run(label), 10, MAX_LABEL, leading=16, most=1, colour=SOFT)[0]
        for label, _value in facts
    ]
    indent = 14 + max(pdfmetrics.stringWidth(line.text, line.font, 10) for line in labels)
    yield _gap(8)
    for label, (_label, value) in zip(labels, facts, strict=True):
        first, *more = set_text(faces.run(value), 10, TEXT_WIDTH, leading=13, indent=indent)
        yield label
        yield replace(first, leading=0)
        yield from more


def _advice(faces: Typefaces) -> list[Line]:
    lines = [_gap(20), *set_text(faces.run(ADVICE_TITLE, BOLD), 12, CARD_WIDTH, leading=18)]
    for sentence in ADVICE:
        lines.append(Line("–", BOLD, 10.5, 19, colour=ACCENT))
        first, *more = set_text(
            faces.run(sentence), 10.5, CARD_WIDTH, leading=14, most=3, indent=14
        )
        lines += [replace(first, leading=0), *more]
    return lines


def _gap(height: float) -> Line:
    return Line("", REGULAR, 10, height)


def _height(lines: Sequence[Line]) -> float:
    return sum(line.leading for line in lines)


def _draw(canvas: Canvas, lines: Sequence[Line], x: float, y: float) -> float:
    """Draw the lines from `y` downwards; answers where the last one stands."""
    for line in lines:
        y -= line.leading
        canvas.setFillColor(line.colour)
        canvas.setFont(line.font, line.size)
        canvas.drawString(x + line.indent, y, line.text)
    return y


@sensitive_variables()
def _draw_card(canvas: Canvas, heading: Sequence[Line], page: Sequence[tuple[int, str]]) -> float:
    """Draw the part to cut out; answers where it ends."""
    height = PADDING + CARD_END + _height(heading) + len(page) * ROW
    _draw_cut_line(canvas, TOP - height, height)
    y = _draw(canvas, heading, MARGIN + PADDING, TOP - PADDING)
    for number, code in page:
        y -= ROW
        _draw_row(canvas, number, code, y)
    return TOP - height


def _draw_cut_line(canvas: Canvas, bottom: float, height: float) -> None:
    canvas.setStrokeColor(EDGE)
    canvas.setLineWidth(0.6)
    canvas.setDash(4, 3)
    canvas.roundRect(MARGIN, bottom, CARD_WIDTH, height, 8)
    canvas.setDash()
    canvas.setFillColor(EDGE)
    canvas.setFont(SIGNS, 12)
    canvas.drawString(MARGIN + PADDING, bottom + height - 4, "✂")


@sensitive_variables()
def _draw_row(canvas: Canvas, number: int, code: str, bottom: float) -> None:
    left, baseline = MARGIN + PADDING, bottom + 7
    canvas.setStrokeColor(RULE)
    canvas.line(left, bottom + ROW, left + TEXT_WIDTH, bottom + ROW)
    canvas.setStrokeColor(EDGE)
    canvas.setLineWidth(0.9)
    canvas.roundRect(left + 1, baseline - 1, BOX, BOX, 2)
    canvas.setFillColor(SOFT)
    canvas.setFont(REGULAR, 10)
    canvas.drawRightString(left + 46, baseline, f"{number}.")
    canvas.setFillColor(INK)
    canvas.setFont(CODE_FONT, CODE_SIZE)
    canvas.drawString(left + 58, baseline, code)


def _draw_edges(canvas: Canvas, page_of: Run) -> None:
    """Draw the page number, and short marks where the sheet folds in the middle."""
    canvas.setStrokeColor(EDGE)
    canvas.setLineWidth(0.6)
    for start in (0.0, PAGE_WIDTH - 14):
        canvas.line(start, PAGE_HEIGHT / 2, start + 14, PAGE_HEIGHT / 2)
    canvas.setFillColor(SOFT)
    canvas.setFont(page_of.font, 8.5)
    canvas.drawCentredString(PAGE_WIDTH / 2, FOOTER, page_of.text)
