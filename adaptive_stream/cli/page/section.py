"""One series of the page: what is the matter in a sentence, then the pictures, then the figures.

Owns the order of a section and its words. Never decides how much detail fits; the document does. Called by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptive_stream.cli.page import table as tables
from adaptive_stream.cli.page.chart import Scene, figure_chart, metric_chart, volume_chart
from adaptive_stream.cli.page.drift import ALL_PICTURES, drift_section
from adaptive_stream.cli.page.markup import Markup, clipped, element, instant, join, number, text
from adaptive_stream.cli.page.square import calibration_chart, confusion_chart, folded
from adaptive_stream.contracts.clock import parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptive_stream.cli.page.history import Life
    from adaptive_stream.contracts.events import Health, PaneFigures, SeriesStatus

PARTS = {0.0: "0", 0.5: "½", 1.0: "1"}


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is shown: the finest that keeps the page below its limit is taken.

    Args:
        points: of a line.
        panes: rows of a table of panes.
        alerts: rows.
        adaptations: rows.
        names: rows of a table of metrics, open alerts, classes, counts.
        chars: of a text in a table.
        pictures: over time; the calibration curve and the confusion matrix only with all of these.
    """

    points: int
    panes: int
    alerts: int
    adaptations: int
    names: int
    chars: int
    pictures: int = ALL_PICTURES


def section(
    series: SeriesStatus,
    panes: Sequence[tuple[int, PaneFigures]],
    lives: Sequence[Life],
    evidence: Sequence[tuple[int, float, float]] = (),
    *,
    name: str,
    now_ms: int,
    detail: Detail,
) -> Markup:
    """Return the section of a series.

    Args:
        series: of the newest status.
        panes: oldest first, with the instant each began.
        lives: the series' alerts, newest first.
        evidence: for drift, at each status.
        name: unique on the page, the target of the table of contents.
        now_ms: the instant of the newest status.
        detail: how much.
    """
    scene = Scene(name, series, panes, lives, now_ms, detail.points)
    parts = [
        element("h2", text(series.variant_id), element("small", text(f" on {series.channel_id}")), id=name),
        element("p", badge(series.health), text(f" {verdict(series)}"), class_="verdict"),
        element("p", text(_footing(series)), class_="note"),
        *_open(series, detail),
        *_time(scene, detail),
        *drift_section(scene, evidence, chars=detail.chars, limit=detail.names, pictures=detail.pictures),
        *(_shape(series, name, detail) if detail.pictures == ALL_PICTURES else ()),
        tables.metrics_table(series, chars=detail.chars, limit=detail.names),
        *_views(series, detail),
    ]
    return element("section", *parts, aria_labelledby=name)


def badge(health: Health | None) -> Markup:
    """Return the level of health as a word in a frame; the colour only repeats it."""
    level = "health unknown" if health is None else health.level.value.replace("_", " ")
    style = "insufficient_data" if health is None else health.level.value
    return element("strong", text(level), class_=f"badge {style}")


def verdict(series: SeriesStatus) -> str:
    """Return how a series does, in sentences."""
    name, window = words_of(series.metric), series.window
    said = []
    if window.value is None:
        said.append(f"No label in the window yet, so its {name} is not known.")
    else:
        sure = "" if window.low is None else f" (95 % interval {tables.interval(window)}; n {window.n:,})"
        said.append(f"Its {name} is {number(window.value)}{sure}{_against(series, window.value)}.")
    trend = series.trends.get(series.metric)
    if trend is not None and trend.slope is not None:
        slope = f", {number(trend.slope)} a pane" if trend.direction.value != "stable" else ""
        said.append(f"It is {trend.direction.value} over the last {trend.panes} panes{slope}.")
    estimated = series.estimated.get(series.metric)
    if estimated is not None and estimated.value is not None:
        said.append(f"Without labels it would be estimated as {number(estimated.value)} (blind to concept drift).")
    firing = [f"{alert.alertname} ({alert.severity.value})" for alert in series.open_alerts if alert.stage == "firing"]
    if firing:
        rest = f" and {len(firing) - 3:,} more" if len(firing) > 3 else ""
        said.append(f"Firing: {', '.join(clipped(alert, 60) for alert in firing[:3])}{rest}.")
    else:
        said.append("No alert fires.")
    return " ".join(said)


def words_of(metric: str) -> str:
    """Return a metric's name in words.

    >>> words_of("mean_absolute_error")
    'mean absolute error'
    """
    return clipped(metric, 60).replace("_", " ")


def health_words(health: Health) -> str:
    """Return the points of a health and its parts.

    >>> from adaptive_stream.contracts.events import Health, HealthLevel
    >>> health_words(Health(level=HealthLevel.FAIR, points=1.5, parts={"accuracy": 0.5, "errors": 1.0}))
    '1.5 of 3 points: accuracy ½, errors 1'
    """
    parts = ", ".join(
        f"{clipped(name, 40)} {PARTS.get(part, number(part))}" for name, part in list(health.parts.items())[:9]
    )
    points = (
        "no points" if health.points is None or not math.isfinite(health.points) else f"{health.points:g} of 3 points"
    )
    return f"{points}: {parts}" if parts else points


def baseline_words(series: SeriesStatus) -> str:
    """Return the baseline with where it comes from."""
    baseline = series.baseline
    if baseline is None or baseline.value is None:
        return "no baseline yet"
    said = [f"baseline {number(baseline.value)}"]
    if series.baseline_source is not None:
        said.append(series.baseline_source.value)
    if baseline.n:
        said.append(f"n {baseline.n:,}")
    if series.baseline_version:
        said.append(f"version {series.baseline_version:,}")
    if series.baseline_set_at is not None:
        said.append(f"set {instant(parse_time(series.baseline_set_at))} UTC")
    return ", ".join(said)


def _against(series: SeriesStatus, value: float) -> str:
    baseline = series.baseline.value if series.baseline is not None else None
    if baseline is None:
        return ", without a baseline yet"
    gap = value - baseline
    if abs(gap) < 0.00005 * max(1.0, abs(baseline)):
        return f", at its baseline of {number(baseline)}"
    return f", {number(abs(gap))} {'above' if gap > 0 else 'below'} its baseline of {number(baseline)}"


def _footing(series: SeriesStatus) -> str:
    health = f" Health: {health_words(series.health)}." if series.health is not None else ""
    total = f"Since the beginning: {series.predictions:,} predictions, {series.labelled:,} labelled"
    ever = "" if series.total.value is None else f", {words_of(series.metric)} {number(series.total.value)}"
    baseline = baseline_words(series)
    return f"{baseline[:1].upper()}{baseline[1:]}.{health} {total}{ever}."


def _views(series: SeriesStatus, detail: Detail) -> list[Markup]:
    """Return the figures that are not of the window by prediction time: whose they are stands above each."""
    views = (
        ("As labels arrived in the window", series.arrived),
        (f"Estimated ({tables.BLIND})", series.estimated),
        ("Reported by tools", series.reported),
    )
    made = [
        tables.estimates_table(caption, found, chars=detail.chars, limit=detail.names)
        for caption, found in views
        if found
    ]
    if series.values:
        rows = list(series.values.items())
        made.append(
            tables.table(
                "Last values from tools",
                ("name", "value"),
                rows[: detail.names],
                chars=detail.chars,
                more=len(rows[detail.names :]),
            )
        )
    return [element("div", *made, class_="row")] if made else []


def _open(series: SeriesStatus, detail: Detail) -> list[Markup]:
    if not series.open_alerts:
        return []
    return [tables.open_alerts_table(series, chars=detail.chars, limit=detail.names)]


def _time(scene: Scene, detail: Detail) -> list[Markup]:
    """Return the pictures over time, each below its name, and their figures."""
    charts = (
        (f"{words_of(scene.series.metric).capitalize()} over time", metric_chart(scene)),
        ("Volume", volume_chart(scene)),
        ("Latency", figure_chart(scene, lambda p: p.latency_ms, name="latency_ms", unit="milliseconds")),
        ("Confidence", figure_chart(scene, lambda p: p.confidence, name="confidence", unit="mean confidence")),
    )[: detail.pictures]
    made = [part for title, chart in charts if chart is not None for part in (element("h3", text(title)), chart)]
    if not made:
        return [element("p", text("No pane has a figure in this stretch of time."), class_="note")]
    if not detail.panes:
        return made
    figures = tables.panes_table(scene.series, scene.panes, rows=detail.panes)
    return [*made, tables.folded(f"The figures of these pictures ({len(scene.panes):,} panes)", figures)]


def _shape(series: SeriesStatus, name: str, detail: Detail) -> list[Markup]:
    """Return the calibration curve and the confusion matrix, side by side where there is room."""
    made = []
    curve = calibration_chart(series.calibration, name=f"{name}-cal")
    if curve is not None:
        figures = tables.folded(
            "The figures of this picture", tables.calibration_table(series.calibration, rows=detail.names)
        )
        made.append(element("div", element("h3", text("Calibration")), curve, figures))
    matrix = confusion_chart(series.classes, series.confusion, name=f"{name}-con")
    if matrix is not None:
        figures = tables.confusion_table(*folded(series.classes, series.confusion), chars=detail.chars)
        inside = tables.folded("The figures of this picture", figures)
        made.append(element("div", element("h3", text("Confusion matrix")), matrix, inside))
    return [element("div", join(made), class_="pair")] if made else []
