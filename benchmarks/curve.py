"""The curve of docs/performance.md as SVG: the time of a page, and of sign-ins beside a purge."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.race import OURS, RAW, Page, Race
from benchmarks.waits import Waits, percentile

WIDTH, HEIGHT = 720, 600
LEFT, RIGHT = 60, 670
BARS = LEFT + 50
# Pages that become one point: their median.
POINTS = 100
PERCENTS = (50, 90, 99)
# What is ours is drawn filled, and in a line without gaps.
KINDS = ("ours", "other")
LOOPS = ("this package", "a loop of DELETE in SQL")
MOMENTS = ("during a purge", "without")

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.heading { font-weight: 600 }
.ground { fill: #ffffff }
.grid { stroke: #d0d7de }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
.ours { stroke: #0550ae } rect.ours { fill: #0550ae }
.other { stroke: #953800; stroke-dasharray: 6 4 }
rect.other { fill: none; stroke-width: 2; stroke-dasharray: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ground { fill: #0d1117 } .grid { stroke: #444c56 }
  .ours { stroke: #79c0ff } rect.ours { fill: #79c0ff } .other { stroke: #ffa657 }
}
"""


@dataclass(frozen=True)
class Scale:
    """From values 0 to `most` to pixels."""

    most: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (self.end - self.start) * value / self.most, 1)

    def ticks(self) -> list[float]:
        """Four to ten round values."""
        step: float = 10 ** math.floor(math.log10(self.most))
        while self.most / step < 4:
            step /= 2
        return [step * n for n in range(int(self.most / step) + 1)]


def draw(race: Race, sign_ins: Waits) -> str:
    """The picture, which says in words what it shows, for those who do not see it."""
    lines = {name: _points(race.pages[name]) for name in (OURS, RAW)}
    body = [*_pages(lines), *_sign_ins(sign_ins)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
            ' role="img" aria-labelledby="title description">',
            '<title id="title">The purge of codes, measured</title>',
            f'<desc id="description">{_description(lines, sign_ins)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
            *body,
            "</svg>\n",
        ]
    )


def _description(lines: dict[str, list[tuple[float, float]]], sign_ins: Waits) -> str:
    first, last = lines[OURS][0], lines[OURS][-1]
    return (
        f"A page of the purge takes {first[1]:.1f} ms at first, and {last[1]:.1f} ms after"
        f" {last[0]:,.0f} rows; a page of the loop in SQL {lines[RAW][0][1]:.1f} and"
        f" {lines[RAW][-1][1]:.1f} ms. Of a hundred sign-ins, the slowest takes"
        f" {percentile(sign_ins.quiet, 99) * 1000:.1f} ms without a purge and"
        f" {percentile(sign_ins.during, 99) * 1000:.1f} ms during one."
    )


def _points(pages: Sequence[Page]) -> list[tuple[float, float]]:
    """Rows removed so far, and the time of a page in ms there."""
    size = max(1, len(pages) // POINTS)
    removed = list(itertools.accumulate(page.rows for page in pages))
    return [
        (removed[n], statistics.median(page.seconds for page in pages[n : n + size]) * 1000)
        for n in range(0, len(pages) - size + 1, size)
    ]


def _pages(lines: dict[str, list[tuple[float, float]]]) -> Iterator[str]:
    points = list(itertools.chain.from_iterable(lines.values()))
    across = Scale(max(x for x, _ in points), LEFT, RIGHT)
    up = Scale(max(y for _, y in points) * 1.1, 300, 60)
    yield _text(LEFT, 28, "Milliseconds for a page of the purge, over rows removed", "heading")
    for value in up.ticks():
        yield f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{up(value)}" y2="{up(value)}"/>'
        yield _text(LEFT - 8, up(value) + 4, f"{value:g}", anchor="end")
    for value in across.ticks():
        yield _text(across(value), 320, f"{value:,.0f}", anchor="middle")
    for name, kind in zip((OURS, RAW), KINDS, strict=True):
        path = " ".join(f"{across(x)},{up(y)}" for x, y in lines[name])
        yield f'<polyline class="line {kind}" points="{path}"/>'
    for number, (kind, label) in enumerate(zip(KINDS, LOOPS, strict=True)):
        x = LEFT + number * 200
        yield f'<polyline class="line {kind}" points="{x},46 {x + 30},46"/>'
        yield _text(x + 38, 50, label)


def _sign_ins(waits: Waits) -> Iterator[str]:
    times = [_percentiles(waits.during), _percentiles(waits.quiet)]
    along = Scale(max(map(max, times)) * 1.15, BARS, RIGHT)
    yield _text(
        LEFT,
        360,
        "Milliseconds for a sign-in, of which one in 2, 10 and 100 takes longer",
        "heading",
    )
    for row, percent in enumerate(PERCENTS):
        yield _text(BARS - 12, 424 + row * 64, f"p{percent}", anchor="end")
    for bar, (kind, label) in enumerate(zip(KINDS, MOMENTS, strict=True)):
        x = LEFT + bar * 200
        yield f'<rect class="{kind}" x="{x}" y="373" width="30" height="10"/>'
        yield _text(x + 38, 382, label)
        for row in range(len(PERCENTS)):
            y = 400 + row * 64 + bar * 22
            end = along(times[bar][row])
            yield f'<rect class="{kind}" x="{BARS}" y="{y}" width="{end - BARS:.1f}" height="16"/>'
            yield _text(end + 8, y + 13, f"{times[bar][row]:.1f}")


def _percentiles(seconds: list[float]) -> list[float]:
    return [percentile(seconds, percent) * 1000 for percent in PERCENTS]


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{name}>{words}</text>'
