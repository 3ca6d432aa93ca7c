"""The frame that pictures over time share: a plot area, its axes, lines, bands, bars, and labels beside lines.

Owns where ink goes inside one SVG, and that all of it stays inside. Never knows what is drawn. Called by the charts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adaptive_stream.cli.page.axis import Scale, time_ticks, value_ticks
from adaptive_stream.cli.page.markup import Markup, element, place, text

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, LEFT, RIGHT = 760, 54, 180  # pixels; at the right stand the labels of the lines
TOP, BOTTOM = 24, 38  # above stands the unit, below two lines of time
LANE = 17  # height of a line of names above the plot
LABEL_GAP = 15  # between two labels' base lines
CHAR = 6.4  # about the width of a character of 11 pixels

Point = tuple[float, float]
"""Milliseconds since the epoch, and a value."""


@dataclass(slots=True)
class Plot:
    """One picture in the making.

    Args:
        name: unique on the page; the ids of its title and its description begin with it.
        span_ms: of time.
        values: the ends of the value axis.
        height: of the plot area.
        lanes: lines of names above it.
    """

    name: str
    span_ms: tuple[float, float]
    values: tuple[float, float]
    height: int = 150
    lanes: int = 0
    behind: list[Markup] = field(default_factory=list)
    ink: list[Markup] = field(default_factory=list)
    labels: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def top(self) -> int:
        """The first pixel of the plot area."""
        return TOP + self.lanes * LANE

    @property
    def x(self) -> Scale:
        """Time to pixels."""
        return Scale(*self.span_ms, LEFT, WIDTH - RIGHT)

    @property
    def y(self) -> Scale:
        """Values to pixels."""
        return Scale(*self.values, self.top + self.height, self.top)

    def line(self, lines: Sequence[Sequence[Point]], *, style: str) -> None:
        """Draw lines; a point alone is a dot."""
        x, y = self.x, self.y
        for run in lines:
            if len(run) == 1:
                at, value = run[0]
                self.ink.append(element("circle", cx=x(at), cy=y(value), r=1.8, class_=style))
            else:
                self.ink.append(element("path", d=_path([(x(at), y(value)) for at, value in run]), class_=style))

    def band(self, bands: Sequence[Sequence[tuple[float, float, float]]], *, style: str) -> None:
        """Fill between lows and highs, each with its time; one alone is a whisker."""
        x, y = self.x, self.y
        for run in bands:
            there = [(x(at), y(high)) for at, _, high in run]
            back = [(x(at), y(low)) for at, low, _ in reversed(run)]
            if len(run) == 1:
                (at, above), (_, below) = there[0], back[0]
                self.ink.append(element("path", d=f"M{place(at)},{place(above)}V{place(below)}", class_="whisker"))
            else:
                self.ink.append(element("path", d=f"{_path([*there, *back])}Z", class_=style))

    def shade(self, spans: Sequence[Point], *, style: str) -> None:
        """Shade stretches of time over the whole height, behind everything; what overlaps is not darker."""
        steps = []
        for start, end in spans:
            width = max(1.5, self.x(end) - self.x(start))
            left = min(self.x(start), WIDTH - RIGHT - width)
            steps.append(f"M{place(left)},{self.top}h{place(width)}v{self.height}h-{place(width)}Z")
        if steps:
            self.behind.append(element("path", d="".join(steps), class_=f"span {style}"))

    def bars(self, points: Sequence[Point], *, width_ms: float, style: str) -> None:
        """Stand a bar on each point's stretch of time, from zero: thick strokes of one path."""
        x, y = self.x, self.y
        foot = place(y(0.0))
        width = 0.84 * width_ms * (WIDTH - RIGHT - LEFT) / (self.span_ms[1] - self.span_ms[0])
        first, last = LEFT + width / 2, WIDTH - RIGHT - width / 2
        steps = [
            f"M{place(min(max(x(at + width_ms / 2), first), last))},{foot}V{place(y(value))}"
            for at, value in points
            if value > 0
        ]
        if steps:
            self.ink.append(element("path", d="".join(steps), stroke_width=width, class_=style))

    def level(self, value: float, *, since_ms: float, style: str) -> None:
        """Draw a level line from an instant to the right edge."""
        start, at = place(self.x(since_ms)), place(self.y(value))
        self.ink.append(element("path", d=f"M{start},{at}H{WIDTH - RIGHT}", class_=style))

    def instant(self, at_ms: float, words: str, *, style: str) -> None:
        """Draw a line at an instant over the whole height, with a title."""
        line = f"M{place(self.x(at_ms))},{self.top}v{self.height}"
        self.ink.append(element("path", element("title", text(words)), d=line, class_=style))

    def label(self, value: float, words: str, *, style: str) -> None:
        """Name a line at the right edge, at the height of its last value."""
        self.labels.append((self.y(value), words, style))

    def drawn(self, *, title: str, description: str, unit: str) -> Markup:
        """Return the picture."""
        bottom = self.top + self.height
        picture = element(
            "svg",
            element("title", text(title), id=f"{self.name}-t"),
            element("desc", text(description), id=f"{self.name}-d"),
            *self.behind,
            *self._values_axis(),
            *self.ink,
            *self._time_axis(),
            element("text", text(f"{unit}; time in UTC"), x=0, y=13),
            *self._named(),
            viewBox=f"0 0 {WIDTH} {bottom + BOTTOM}",
            class_="plot",
            role="img",
            aria_labelledby=f"{self.name}-t {self.name}-d",
        )
        return element("div", picture, class_="wide")

    def _values_axis(self) -> list[Markup]:
        ticks = value_ticks(*self.values, about=4 if self.height > 100 else 3)
        grid = "".join(f"M{LEFT},{place(self.y(tick.at))}H{WIDTH - RIGHT}" for tick in ticks)
        names = [element("text", text(tick.label), x=LEFT - 7, y=self.y(tick.at) + 4) for tick in ticks]
        return [element("path", d=grid, class_="grid"), element("g", *names, class_="end")] if ticks else []

    def _time_axis(self) -> list[Markup]:
        bottom = self.top + self.height
        ticks = [(self.x(tick.at), tick) for tick in time_ticks(*self.span_ms)]
        marks = "".join(f"M{place(at)},{bottom}v4" for at, _ in ticks)
        names = [element("text", text(tick.label), x=at, y=bottom + 17) for at, tick in ticks]
        names += [
            element("text", text(tick.context), x=at, y=bottom + 32, class_="strong")
            for at, tick in ticks
            if tick.context
        ]
        frame = element("path", d=f"M{LEFT},{bottom}H{WIDTH - RIGHT}{marks}", class_="frame")
        return [frame, element("g", *names, class_="middle")] if names else [frame]

    def _named(self) -> list[Markup]:
        """Return the labels, moved apart where they would touch."""
        top, bottom = self.top + 4.0, float(self.top + self.height + 4)
        heights: list[float] = []
        for at, _, _ in sorted(self.labels):
            heights.append(max(at + 4, heights[-1] + LABEL_GAP if heights else top))
        for count in range(len(heights) - 1, -1, -1):
            lowest = bottom if count == len(heights) - 1 else heights[count + 1] - LABEL_GAP
            heights[count] = min(heights[count], lowest)
        return [
            element("text", text(words, chars=26), x=WIDTH - RIGHT + 8, y=at, class_=f"label {style}")
            for at, (_, words, style) in zip(heights, sorted(self.labels), strict=True)
        ]


def runs(points: Sequence[Point], *, max_gap_ms: float) -> list[list[Point]]:
    """Return the stretches of points without a gap in time.

    >>> runs([(0, 1.0), (1, 1.0), (9, 1.0)], max_gap_ms=2)
    [[(0, 1.0), (1, 1.0)], [(9, 1.0)]]
    """
    made: list[list[Point]] = []
    for point in points:
        if made and point[0] - made[-1][-1][0] <= max_gap_ms:
            made[-1].append(point)
        else:
            made.append([point])
    return made


def thinned(lines: Sequence[Sequence[Point]], limit: int) -> list[list[Point]]:
    """Return at most about so many points: of each stretch its lowest and its highest, so that no peak is lost.

    >>> thinned([[(0, 0.0), (1, 9.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 1.5)]], 4)
    [[(0, 0.0), (1, 9.0), (3, 1.0), (4, 2.0)]]
    """
    count = sum(map(len, lines))
    if count <= limit:
        return [list(line) for line in lines]
    if len(lines) > limit // 4:  # more gaps than can be seen
        lines = [[point for line in lines for point in line]]
    return [_peaks(line, max(1, limit * len(line) // count // 2)) for line in lines]


def _peaks(line: Sequence[Point], stretches: int) -> list[Point]:
    kept: set[int] = set()
    for number in range(stretches):
        stretch = range(number * len(line) // stretches, (number + 1) * len(line) // stretches)
        if stretch:
            kept.add(min(stretch, key=lambda at: (line[at][1], -at)))
            kept.add(max(stretch, key=lambda at: (line[at][1], at)))
    return [line[at] for at in sorted(kept)]


def _path(corners: Sequence[Point]) -> str:
    return "M" + "L".join(f"{place(x)},{place(y)}" for x, y in corners)
