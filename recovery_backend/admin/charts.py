"""Charts as geometry: numbers in, boxes and labels out, all of them inside the picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from django.utils.formats import date_format, number_format

# Units of the picture, which is scaled to the page. The style sheet has the font size too.
WIDTH = 320
HEIGHT = 170
FONT_SIZE = 12
TOP = FONT_SIZE
BOTTOM = HEIGHT - 2 * FONT_SIZE
GAP = 6
BAR_WIDTH = 100
MAX_TICKS = 4
MAGNITUDES = "kMGTPE"


@dataclass(frozen=True, slots=True)
class Label:
    """Text that ends, begins or is centred at a point of its base line."""

    x: float
    y: float
    text: str
    anchor: Literal["start", "middle", "end"]

    @property
    def left(self) -> float:
        share = {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor]
        return self.x - share * text_width(self.text)

    @property
    def right(self) -> float:
        return self.left + text_width(self.text)


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across the picture, and the number that it stands for."""

    y: float
    label: Label


@dataclass(frozen=True, slots=True)
class Column:
    """One number of one day, as a box on the base line or on the box below it."""

    series: int
    name: str
    day: date
    number: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Series:
    """What is counted, and how often on each day."""

    name: str
    numbers: Sequence[int]

    @property
    def total(self) -> int:
        return sum(self.numbers)


@dataclass(frozen=True, slots=True)
class ColumnChart:
    """A column for each day; the series of one day stand on each other."""

    name: str
    title: str
    days: Sequence[date]
    series: Sequence[Series]
    columns: Sequence[Column]
    ticks: Sequence[Tick]
    labels: Sequence[Label]
    left: float
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def peak(self) -> tuple[date, int]:
        """The day with the most, the first of several, and how many that is."""
        sums = [sum(numbers) for numbers in self._by_day()]
        number = max(sums)
        return self.days[sums.index(number)], number

    def rows(self) -> list[tuple[date, tuple[int, ...]]]:
        """The numbers as a table, the newest day first."""
        return list(zip(self.days, self._by_day(), strict=True))[::-1]

    def _by_day(self) -> list[tuple[int, ...]]:
        return list(zip(*(series.numbers for series in self.series), strict=True))


def column_chart(
    name: str, title: str, days: Sequence[date], series: Sequence[Series]
) -> ColumnChart:
    """The chart of these days, of which there is at least one."""
    highest = max(sum(numbers) for numbers in zip(*(s.numbers for s in series), strict=True))
    steps = _steps(highest)
    texts = [compact(step) for step in steps]
    left = round(max(map(text_width, texts)) + GAP, 2)
    return ColumnChart(
        name=name,
        title=title,
        days=days,
        series=series,
        columns=_columns(days, series, left, steps[-1]),
        ticks=[
            _tick(step, steps[-1], text, left) for step, text in zip(steps, texts, strict=True)
        ],
        labels=_day_labels(days, left),
        left=left,
    )


def bar_width(number: int, whole: int) -> float:
    """How long the bar of a share is; something is never invisible."""
    if number <= 0 or whole <= 0:
        return 0
    return max(1.0, round(BAR_WIDTH * min(number, whole) / whole, 2))


def compact(number: int) -> str:
    """The number in a few characters: 950, 9,500, 12k, 1.5M."""
    if number < 10_000:
        return number_format(number, force_grouping=True)
    power = min((len(str(number)) - 1) // 3, len(MAGNITUDES))
    tenths = number * 10 // 1000**power
    text = number_format(tenths / 10 if tenths % 10 else tenths // 10)
    return f"{text}{MAGNITUDES[power - 1]}"


def text_width(text: str) -> float:
    """About how wide the text is at most, in a usual font."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return FONT_SIZE * (wide + 0.62 * (len(text) - wide))


def _steps(highest: int) -> list[int]:
    """Round numbers from 0 to one that is not below the highest."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            step = factor * size
            if step * MAX_TICKS >= highest:
                count = max(1, -(-highest // step))
                return [step * number for number in range(count + 1)]
        size *= 10


def _tick(step: int, top: int, text: str, left: float) -> Tick:
    y = BOTTOM - _height(step, top)
    return Tick(y, Label(round(left - GAP / 2, 2), round(y + FONT_SIZE / 3, 2), text, "end"))


def _height(number: int, top: int) -> float:
    return round((BOTTOM - TOP) * (number / top), 2)


def _columns(
    days: Sequence[date], series: Sequence[Series], left: float, top: int
) -> list[Column]:
    space = (WIDTH - left) / len(days)
    width = round(min(space * 0.8, 4 * FONT_SIZE), 2)
    columns = []
    for position, day in enumerate(days):
        x = round(left + space * position + (space - width) / 2, 2)
        below = 0
        for number, one in enumerate(series):
            count = one.numbers[position]
            height = _height(below + count, top) - _height(below, top)
            y = BOTTOM - _height(below + count, top)
            if count:
                columns.append(Column(number, one.name, day, count, x, y, width, height))
            below += count
    return columns


def _day_labels(days: Sequence[date], left: float) -> list[Label]:
    """The last day, and the first and the middle one where there is room."""
    y = HEIGHT - FONT_SIZE / 2
    last = Label(WIDTH, y, _day_text(days[-1]), "end")
    first = Label(left, y, _day_text(days[0]), "start")
    if len(days) == 1 or first.right + GAP > last.left:
        return [last]
    place = len(days) // 2
    x = left + (WIDTH - left) * (place + 0.5) / len(days)
    middle = Label(round(x, 2), y, _day_text(days[place]), "middle")
    has_room = first.right + GAP <= middle.left and middle.right + GAP <= last.left
    return [first, middle, last] if has_room and len(days) > 2 else [first, last]


def _day_text(day: date) -> str:
    return date_format(day, "MONTH_DAY_FORMAT")
