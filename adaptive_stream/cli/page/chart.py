"""The pictures of one series over time: its metric, its volume, its latency, its confidence, with the alerts behind.

Owns what is drawn over which panes, and the words beside the lines. Never knows where on the page a picture stands.
Called by the section of a series.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from adaptive_stream.cli.page.axis import DAY_MS, HOUR_MS, MINUTE_MS, SPANS_MS, WEEK_MS, extent, is_drawable
from adaptive_stream.cli.page.markup import Markup, clipped, element, instant, number, text
from adaptive_stream.cli.page.plot import CHAR, LANE, LEFT, RIGHT, TOP, WIDTH, Plot, Point, runs, thinned
from adaptive_stream.contracts.clock import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adaptive_stream.cli.page.history import Life
    from adaptive_stream.contracts.events import PaneFigures, SeriesStatus

MAX_LANES = 3  # of names of alerts above a plot
MAX_SPANS = 60  # alerts that are shaded; more would be one grey
MAX_BARS = 220  # a bar is at least two pixels wide
BREAK = 3.0  # a line breaks where so many panes are missing
SEVERITIES = ("info", "medium", "high")  # the worst in front


@dataclass(frozen=True)
class Scene:
    """What the pictures of a series share.

    Args:
        name: unique on the page.
        series: of the newest status.
        panes: oldest first, with the instant each began.
        lives: the series' alerts, newest first.
        now_ms: the instant of the newest status.
        points: the most that a line may have.
    """

    name: str
    series: SeriesStatus
    panes: Sequence[tuple[int, PaneFigures]]
    lives: Sequence[Life]
    now_ms: int
    points: int

    @cached_property
    def pane_ms(self) -> float:
        """How long a pane is: no event says so, the panes do; an hour where there is but one."""
        starts = [start for start, _ in self.panes]
        return min((b - a for a, b in pairwise(starts)), default=HOUR_MS)

    @cached_property
    def stride_ms(self) -> float:
        """The usual time from one pane to the next that holds anything."""
        starts = [start for start, _ in self.panes]
        return statistics.median([b - a for a, b in pairwise(starts)] or [HOUR_MS])

    @cached_property
    def span_ms(self) -> tuple[float, float]:
        """The time that is drawn."""
        if not self.panes:
            return self.now_ms - HOUR_MS, float(self.now_ms)
        return float(self.panes[0][0]), self.panes[-1][0] + self.pane_ms

    @cached_property
    def shown(self) -> list[Life]:
        """The alerts that are shaded: the newest of those in the time that is drawn."""
        first, last = self.span_ms
        there = [
            life for life in self.lives if life.starts_ms <= last and (life.ends_ms is None or life.ends_ms >= first)
        ]
        return there[: min(MAX_SPANS, self.points // 5)]

    def lines_of(self, figure: Callable[[PaneFigures], float | None]) -> list[list[Point]]:
        """Return a figure of the panes that have it, at the middle of each, with as many points as a line may have."""
        middle = self.pane_ms / 2
        found = [(start + middle, figure(pane)) for start, pane in self.panes]
        known = [(at, value) for at, value in found if value is not None and is_drawable(value)]
        return thinned(runs(known, max_gap_ms=BREAK * self.stride_ms), self.points)

    def bands_of(self, lines: Sequence[Sequence[Point]]) -> list[list[tuple[float, float, float]]]:
        """Return the intervals at the points of lines that were made of the same panes."""
        middle = self.pane_ms / 2
        bounds = {
            start + middle: (pane.low, pane.high)
            for start, pane in self.panes
            if pane.low is not None and pane.high is not None and is_drawable(pane.low) and is_drawable(pane.high)
        }
        found = [[(at, *bounds[at]) for at, _ in line if at in bounds] for line in lines]
        return [band for band in found if band]


def metric_chart(scene: Scene) -> Markup | None:
    """Return the metric with its interval, its baseline, both views, the estimate and the alerts."""
    measured = scene.lines_of(lambda pane: pane.value)
    arrived = scene.lines_of(lambda pane: pane.arrived_value)
    estimated = scene.lines_of(lambda pane: pane.estimated)
    if not (measured or arrived or estimated):
        return None
    series = scene.series
    baseline = series.baseline.value if series.baseline is not None else None
    level = baseline if baseline is not None and is_drawable(baseline) else None
    drawn = [value for line in (*measured, *arrived, *estimated) for _, value in line] + (
        [] if level is None else [level]
    )
    lanes, names = _lanes(scene)
    plot = Plot(f"{scene.name}-metric", scene.span_ms, _with_intervals(drawn, scene), height=210, lanes=lanes)
    _shade(plot, scene.shown, names)
    plot.band(scene.bands_of(measured), style="band")
    if level is not None:
        set_ms = scene.span_ms[0] if series.baseline_set_at is None else parse_time(series.baseline_set_at)
        plot.level(level, since_ms=set_ms, style="baseline")
        plot.label(level, f"baseline {number(level)}", style="baseline")
    for lines, style, words in (
        (estimated, "estimated", "no-label estimate"),
        (arrived, "arrived", "as labels arrived"),
        (measured, "measured", "by prediction time"),
    ):
        plot.line(lines, style=style)
        if lines:
            last = lines[-1][-1][1]
            plot.label(last, f"{words} {_short(last)}", style=style)
    begin, end = scene.span_ms
    metric = clipped(series.metric, 40)
    return plot.drawn(
        title=f"{metric} over time",
        description=f"{metric} by pane from {instant(round(begin))} to {instant(round(end))} UTC, with its "
        f"95 % interval{', the baseline' if level is not None else ''} and {len(scene.shown)} alerts.",
        unit=f"{metric} of each {_per(scene.pane_ms)}, band: 95 % interval",
    )


def volume_chart(scene: Scene) -> Markup | None:
    """Return bars of predictions, labels and failures, summed over natural stretches of time."""
    width = next(
        (span for span in _multiples(scene.pane_ms) if _count(scene, span) <= min(MAX_BARS, scene.points)), None
    )
    if width is None or not any(pane.predictions or pane.labelled or pane.failed for _, pane in scene.panes):
        return None
    kinds: tuple[tuple[str, str, Callable[[PaneFigures], int]], ...] = (
        ("predictions", "predicted", lambda pane: pane.predictions),
        ("labelled", "labelled", lambda pane: pane.labelled),
        ("failed", "failed", lambda pane: pane.failed),
    )
    sums = {words: _summed(scene, count, width) for words, _, count in kinds}
    highest = max(value for found in sums.values() for _, value in found)
    start = min(at for found in sums.values() for at, _ in found)
    span = (min(scene.span_ms[0], start), scene.span_ms[1])
    plot = Plot(f"{scene.name}-volume", span, extent([float(highest)], is_from_zero=True), height=100)
    for words, style, _ in kinds:
        plot.bars(sums[words], width_ms=width, style=style)
        total = sum(value for _, value in sums[words])
        if total or words != "failed":
            last = next((value for _, value in reversed(sums[words]) if value), 0.0)
            plot.label(last, f"{words} {total:,.0f}", style=f"{style}-name")
    return plot.drawn(
        title="volume over time",
        description=f"Predictions, labels credited to them, and failed predictions per {_per(width)}.",
        unit=f"count per {_per(width)}, totals at the right",
    )


def figure_chart(scene: Scene, figure: Callable[[PaneFigures], float | None], *, name: str, unit: str) -> Markup | None:
    """Return one figure of the panes as a line, with its baseline where one of that name is known."""
    lines = scene.lines_of(figure)
    if not lines:
        return None
    level = scene.series.baselines.get(name)
    level = level if is_drawable(level) else None
    values = [value for line in lines for _, value in line] + ([] if level is None else [level])
    plot = Plot(f"{scene.name}-{name}", scene.span_ms, extent(values, is_from_zero=name.endswith("_ms")), height=100)
    _shade(plot, scene.shown, {})
    if level is not None:
        plot.level(level, since_ms=scene.span_ms[0], style="baseline")
        plot.label(level, f"baseline {number(level)}", style="baseline")
    plot.line(lines, style="measured")
    plot.label(lines[-1][-1][1], f"last {number(lines[-1][-1][1])}", style="measured")
    return plot.drawn(
        title=f"{name} over time", description=f"{name} by pane. The table below has the figures.", unit=unit
    )


# -- scales ------------------------------------------------------------------------------------------------------------


def _with_intervals(drawn: Sequence[float], scene: Scene) -> tuple[float, float]:
    """Return a scale that holds every line and nine of ten intervals: those of a handful of labels span everything."""
    lows = sorted(pane.low for _, pane in scene.panes if pane.low is not None and is_drawable(pane.low))
    highs = sorted(pane.high for _, pane in scene.panes if pane.high is not None and is_drawable(pane.high))
    if not lows or not highs:
        return extent(drawn)
    return extent([*drawn, lows[len(lows) // 10], highs[-1 - len(highs) // 10]])


def _multiples(pane_ms: float) -> list[int]:
    longer = [WEEK_MS * 2**power for power in range(1, 20)]
    return [round(pane_ms), *(span for span in (*SPANS_MS, *longer) if span > pane_ms)]


def _count(scene: Scene, width: int) -> float:
    first, last = scene.span_ms
    return (last - first) / max(width, 1)


def _summed(scene: Scene, count: Callable[[PaneFigures], int], width: int) -> list[Point]:
    origin = 4 * DAY_MS if width >= WEEK_MS else scene.panes[0][0] if width == round(scene.pane_ms) else 0
    sums: dict[int, float] = {}
    for start, pane in scene.panes:
        slot = (start - origin) // width * width + origin
        sums[slot] = sums.get(slot, 0.0) + min(count(pane), 10**15)
    return [(float(slot), value) for slot, value in sorted(sums.items())]


def _per(span_ms: float) -> str:
    for unit, name in ((WEEK_MS, "week"), (DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute"), (1000, "second")):
        if span_ms >= unit and span_ms % unit == 0:
            count = round(span_ms / unit)
            return name if count == 1 else f"{count:,} {name}s"
    return f"{span_ms:,.0f} ms"


def _short(value: float) -> str:
    return number(value) if abs(value) >= 10 else f"{value:.3f}"


# -- alerts ------------------------------------------------------------------------------------------------------------


def _lanes(scene: Scene) -> tuple[int, dict[int, tuple[int, float, str]]]:
    """Return how many lines of names are needed, and for the newest alerts the line and the place of the name."""
    x = Plot("", scene.span_ms, (0.0, 1.0)).x
    taken: list[list[tuple[float, float]]] = []
    names: dict[int, tuple[int, float, str]] = {}
    for count, life in enumerate(scene.shown):
        start, end = x(life.starts_ms), x(scene.span_ms[1] if life.ends_ms is None else life.ends_ms)
        words = f"{life.name[:32]} · {life.severity[:8]}"
        width = CHAR * len(words)
        at = start if start + width <= WIDTH - RIGHT else max(LEFT, WIDTH - RIGHT - width)
        needed = (min(start, at) - 8, max(end, at + width) + 8)
        lane = next(
            (n for n, spans in enumerate(taken) if all(needed[1] <= a or needed[0] >= b for a, b in spans)), None
        )
        if lane is None and len(taken) < MAX_LANES:
            taken.append([])
            lane = len(taken) - 1
        if lane is not None:
            taken[lane].append(needed)
            names[count] = (lane, at, words)
    return len(taken), names


def _shade(plot: Plot, shown: Sequence[Life], names: dict[int, tuple[int, float, str]]) -> None:
    """Shade the time of every alert, and write the names of those that have a line."""
    now = plot.span_ms[1]
    for style in SEVERITIES:
        lives = [life for life in shown if _style(life) == style]
        plot.shade([(life.starts_ms, now if life.ends_ms is None else life.ends_ms) for life in lives], style=style)
    for count, (lane, at, words) in names.items():
        life = shown[count]
        start = plot.x(life.starts_ms)
        width = max(3.0, plot.x(now if life.ends_ms is None else life.ends_ms) - start)
        top, left = TOP + lane * LANE, min(start, WIDTH - RIGHT - width)
        style = _style(life)
        plot.behind.append(element("rect", x=left, y=top + LANE - 5, width=width, height=3, class_=f"bar {style}"))
        plot.behind.append(element("text", text(words), x=at, y=top + LANE - 8, class_=f"name {style}"))


def _style(life: Life) -> str:
    return life.severity if life.severity in SEVERITIES else "info"
