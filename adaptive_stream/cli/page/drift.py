"""Drift in words, as a table, and as pictures: the evidence over time, and what moved, before and since.

Owns how a change is said. Never decides that there is one. Called by the section of a series, and by the verb ``drift``
for the words.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptive_stream.cli.page import table as tables
from adaptive_stream.cli.page.axis import extent
from adaptive_stream.cli.page.markup import Markup, clipped, element, instant, number, place, share, text
from adaptive_stream.cli.page.plot import CHAR, Plot, runs, thinned
from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.drift import DriftState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptive_stream.cli.page.chart import Scene
    from adaptive_stream.contracts.drift import DriftedStream, DriftStatus, DriftTest, DriftWatch

PERFORMANCE = "performance"
ALL_PICTURES = 4  # of a detail that leaves none out
MAX_SHOWN = 6  # streams with a picture
WIDTH, HEIGHT, LEFT, TOP = 330, 84, 8, 22
LEAST_SHARE = 0.005  # of the evidence: "0 %" of it is nothing to be told
LEAST_EVIDENCE = -2.0  # powers of ten below which the picture ends
COLUMNS = ("stream", "of the evidence", "change", "effect", "before → since", "since", "events", "tests (Holm)")
TESTS = {"kolmogorov_smirnov": "KS", "mann_whitney": "Cliff's delta", "welch_t": "t", "variance": "log variance ratio"}
SMALL = 0.0001  # a p-value below it is as good as nothing


# -- words -------------------------------------------------------------------------------------------------------------


def watch_words(watch: DriftWatch) -> str:
    """Return where a detector is, in a sentence without a stop.

    >>> from adaptive_stream.contracts.drift import DriftState, DriftWatch
    >>> watch_words(DriftWatch(state=DriftState.GATHERING, seen=300, wanted=2000, evidence=0.0, alarm_line=6.0))
    'gathering its reference, 300 of 2,000'
    """
    since = "" if watch.reference_at is None else f", reference of {instant(parse_time(watch.reference_at))} UTC"
    version = f" (version {watch.reference_version})" if watch.reference_version > 1 else ""
    if watch.state is DriftState.OFF:
        return "not watched"
    if watch.state is DriftState.GATHERING:
        after = "" if watch.alarmed_at is None else f" after the alarm of {instant(parse_time(watch.alarmed_at))} UTC"
        return f"gathering its reference{after}, {watch.seen:,} of {watch.wanted:,}"
    against = f"evidence 10^{watch.evidence:.1f}, alarm at 10^{watch.alarm_line:.1f}"
    if watch.state is DriftState.DRIFTED:
        at = "" if watch.alarmed_at is None else f" since the alarm of {instant(parse_time(watch.alarmed_at))} UTC"
        return f"drifted{at}; {against}{since}{version}"
    return f"watching {watch.seen:,} since its reference; {against}{since}{version}"


def change_words(stream: DriftedStream) -> str:
    """Return what became of a stream: its direction, with the level it is about."""
    return stream.change if stream.level is None else f"{stream.level}: {stream.change}"


def effect_words(stream: DriftedStream) -> str:
    """Return how far a stream moved, with its unit."""
    return "-" if stream.effect is None else f"{number(stream.effect)} {stream.effect_unit or ''}".rstrip()


def since_words(stream: DriftedStream) -> str:
    """Return when a stream changed, with the interval."""
    if stream.since is None:
        return "-"
    ends = [at for at in (stream.since_low, stream.since_high) if at is not None]
    between = f" ({' to '.join(instant(parse_time(at)) for at in ends)})" if len(ends) == 2 else ""
    return f"{instant(parse_time(stream.since))}{between}"


def stream_cells(stream: DriftedStream) -> tuple[str, ...]:
    """Return the cells of a stream, in the order of ``COLUMNS``."""
    return (
        stream.name,
        share(stream.share),
        change_words(stream),
        effect_words(stream),
        "-" if stream.share_before is None else f"{number(stream.share_before)} → {number(stream.share_since)}",
        since_words(stream),
        f"{stream.events:,}",
        ", ".join(words_of_test(test) for test in stream.tests) or "-",
    )


def words_of_test(test: DriftTest) -> str:
    """Return a test with its statistic and its adjusted p-value.

    >>> from adaptive_stream.contracts.drift import DriftTest
    >>> words_of_test(DriftTest(test="welch_t", statistic=-31.9, p_value=1e-218))
    't -31.90 (p < 0.0001)'
    """
    p = f"< {SMALL}" if test.p_value < SMALL else f"= {number(test.p_value)}"
    return f"{TESTS.get(test.test, test.test)} {number(test.statistic)} (p {p})"


def told(drift: DriftStatus) -> list[DriftedStream]:
    """Return the streams that have a part in the evidence, those of the performance first."""
    return [stream for stream in (*drift.performance.streams, *drift.data.streams) if stream.share >= LEAST_SHARE]


def filled(streams: Sequence[DriftedStream]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the columns in which some stream has something, and the rows."""
    rows = [stream_cells(stream) for stream in streams]
    kept = [n for n in range(len(COLUMNS)) if any(row[n] != "-" for row in rows)]
    return [COLUMNS[n] for n in kept], [tuple(row[n] for n in kept) for row in rows]


# -- the page ----------------------------------------------------------------------------------------------------------


def drift_section(
    scene: Scene, evidence: Sequence[tuple[int, float, float]], *, chars: int, limit: int, pictures: int
) -> list[Markup]:
    """Return what is known of a series' drift; nothing where it is not watched.

    Args:
        scene: of the series.
        evidence: of the data and of the performance at each status, as powers of ten.
        chars: of a text in a table.
        limit: rows of a table.
        pictures: as of the page's detail; with one there are words alone, with all of them what moved is drawn.
    """
    drift = scene.series.drift
    if drift is None:
        return []
    made = [
        element("h3", text("Drift")),
        element("p", text(f"Inputs and outputs: {watch_words(drift.data)}.")),
        element("p", text(f"Performance: {watch_words(drift.performance)}.")),
    ]
    if pictures == 1:
        return made
    chart = evidence_chart(scene, evidence, drift)
    if chart is not None:
        made.append(chart)
    streams = told(drift)
    if streams:
        columns, rows = filled(streams[:limit])
        more = len(streams[limit:])
        made.append(tables.table("What moved most", columns, rows, chars=chars, more=more, words=len(columns)))
    moved = streams[: min(MAX_SHOWN, limit)] if pictures == ALL_PICTURES else []
    found = [histogram(stream, name=f"{scene.name}-h{number}") for number, stream in enumerate(moved)]
    drawn = [element("div", picture) for picture in found if picture is not None]
    if drawn:
        made.append(element("div", *drawn, class_="pair"))
    if drift.history:
        past = [(instant(parse_time(p.at)), p.kind, p.name, p.change) for p in reversed(drift.history)]
        made.append(tables.table("Earlier alarms", ("at", "of", "stream", "change"), past, chars=chars, words=4))
    return made


def evidence_chart(scene: Scene, evidence: Sequence[tuple[int, float, float]], drift: DriftStatus) -> Markup | None:
    """Return the evidence over time on a scale of powers of ten, with the line at which it is an alarm.

    Behind it stands the interval of the change that is told of each kind, with a line where it is most likely. Statuses
    come more seldom than evidence grows, and an alarm begins it anew: where it reached the line is known all the same.
    """
    kinds = (("data", "measured", drift.data), (PERFORMANCE, "estimated", drift.performance))
    lines = {
        words: [(float(at), max(found[place_], LEAST_EVIDENCE)) for at, *found in evidence]
        for place_, (words, _, watch) in enumerate(kinds)
        if watch.state is not DriftState.OFF
    }
    points = [value for line in lines.values() for _, value in line]
    if len(points) < 2:
        return None
    line_at = drift.data.alarm_line
    start, stop = min(at for line in lines.values() for at, _ in line), float(scene.now_ms)
    plot = Plot(f"{scene.name}-drift", (start, max(stop, start + 1)), extent([*points, line_at]), height=100)
    plot.level(line_at, since_ms=start, style="baseline")
    plot.label(line_at, f"alarm at 10^{line_at:g}", style="baseline")
    for words, style, watch in kinds:
        if words in lines:
            _date(plot, watch, words)
            gap = 3 * max(1.0, (stop - start) / max(len(lines[words]), 1))
            alarms = [(at, line_at) for at in _alarms(drift, words) if start <= at <= stop]
            plot.line(thinned(runs(sorted([*lines[words], *alarms]), max_gap_ms=gap), scene.points), style=style)
            plot.label(lines[words][-1][1], f"{words} 10^{lines[words][-1][1]:.1f}", style=style)
    return plot.drawn(
        title="evidence for drift over time",
        description="What speaks for a change of the data and of the performance, as powers of ten.",
        unit="evidence, a power of ten",
    )


def _alarms(drift: DriftStatus, words: str) -> list[float]:
    """Return when the alarms of the data, or of the performance, came that are known: the open one and those before."""
    is_performance = words == PERFORMANCE
    opened = (drift.performance if is_performance else drift.data).alarmed_at
    past = [one.at for one in drift.history if (one.kind == PERFORMANCE) == is_performance]
    return [float(parse_time(at)) for at in (*past, *([] if opened is None else [opened]))]


def _date(plot: Plot, watch: DriftWatch, words: str) -> None:
    """Draw when the change began that is told of a detector."""
    leading = next(iter(watch.streams), None)
    if leading is None or leading.since is None:
        return
    start, stop = plot.span_ms
    since, low, high = (
        float(parse_time(at or leading.since)) for at in (leading.since, leading.since_low, leading.since_high)
    )
    if high >= start:
        plot.shade([(max(low, start), min(high, stop))], style="info")
    if start <= since <= stop:
        plot.instant(since, f"{words}: since {instant(round(since))}", style="baseline")


def histogram(stream: DriftedStream, *, name: str) -> Markup | None:
    """Return how a stream's values fell into its bins before the change, and since."""
    before, since = stream.before, stream.since_counts
    if len(before) != len(since) or not sum(before) or not sum(since):
        return None
    shares = [(b / sum(before), s / sum(since)) for b, s in zip(before, since, strict=True)]
    shown = [n for n, (b, s) in enumerate(shares) if b or s]
    first, last = shown[0], shown[-1]
    shares = shares[first : last + 1]
    most = max(max(pair) for pair in shares)
    step = WIDTH / len(shares)
    foot = TOP + HEIGHT

    def bars(side: int, style: str) -> Markup:
        strokes = "".join(
            f"M{place(LEFT + step * (n + 0.3 + 0.4 * side))},{foot}V{place(foot - HEIGHT * pair[side] / most)}"
            for n, pair in enumerate(shares)
            if pair[side]
        )
        return element("path", d=strokes, stroke_width=round(step * 0.36, 2), class_=style)

    marks = [
        element(
            "text",
            text(clipped(level, max(1, int(step / CHAR)))),
            x=LEFT + step * (n + 0.5),
            y=foot + 15,
            class_="middle",
        )
        for n, level in enumerate(stream.levels[first : last + 1])
    ]
    for n in range(1, len(shares)):
        edge = stream.edges[first + n - 1] if first + n - 1 < len(stream.edges) else math.nan
        if math.isfinite(edge) and n % max(1, len(shares) // 4) == 0:
            marks.append(element("text", text(number(edge)), x=LEFT + step * n, y=foot + 15, class_="middle"))
    title = clipped(f"{clipped(stream.name, 40)}: {change_words(stream)}", 80)
    return element(
        "svg",
        element("title", text(title), id=f"{name}-t"),
        element("desc", text("Shares of the values by bin. The table above says how they moved."), id=f"{name}-d"),
        element("text", text(clipped(title, 44)), x=LEFT, y=13, class_="strong"),
        bars(0, "was"),
        bars(1, "is"),
        element("path", d=f"M{LEFT},{foot}h{WIDTH}", class_="frame"),
        *marks,
        element(
            "text",
            text(f"before (grey), since (blue): share by {'level' if stream.levels else 'bin'}"),
            x=LEFT,
            y=foot + 32,
        ),
        viewBox=f"0 0 {WIDTH + 2 * LEFT} {foot + 40}",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
    )
