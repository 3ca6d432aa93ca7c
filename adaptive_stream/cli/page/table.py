"""The figures in rows: whatever a picture shows can be read here too.

Owns which columns a table has and how many rows it may have. Never draws. Called by the sections and by the document.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from adaptive_stream.cli.page.markup import NOTHING, Markup, element, number, stamp, text
from adaptive_stream.contracts.clock import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adaptive_stream.cli.page.history import Life
    from adaptive_stream.contracts.events import (
        Adaptation,
        CalibrationBin,
        Direction,
        Estimate,
        OpenAlert,
        PaneFigures,
        SeriesStatus,
        Trend,
    )

BLIND = "no labels; blind to concept drift"
ARROWS = {-1: "↘", 0: "→", 1: "↗"}

Cell = Markup | str | int | float | None


def table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, chars: int, more: int = 0, words: int = 1
) -> Markup:
    """Return a table.

    Args:
        caption: what it is about.
        columns: their names.
        rows: of cells; numbers are set to the right.
        chars: what is kept of a long text.
        more: how many rows are not shown.
        words: how many columns, from the left, are texts; the first cell of a row names it.
    """
    head = element(
        "tr",
        *(
            element("th", text(c, chars=chars), scope="col", class_="w" if n < words else None)
            for n, c in enumerate(columns)
        ),
    )
    body = [
        element(
            "tr",
            *(
                element("th" if n == 0 else "td", _cell(cell, chars), scope="row" if n == 0 else None,
                        class_="w" if n < words else None)
                for n, cell in enumerate(row)
            ),
        )
        for row in rows
    ]  # fmt: skip
    rest = element("p", text(f"and {more:,} more"), class_="rest") if more else NOTHING
    shown = element("table", element("caption", text(caption)), element("thead", head), element("tbody", *body))
    return element("div", shown, rest, class_="wide")


def folded(summary: str, inside: Markup) -> Markup:
    """Return what is shown when somebody asks for it, without a script."""
    return element("details", element("summary", text(summary)), inside)


def metrics_table(series: SeriesStatus, *, chars: int, limit: int) -> Markup:
    """Return every metric of the window, by the time of the predictions, beside its baseline and its trend."""
    measured = metrics_of(series)
    if not measured:
        return element("p", text("No metric has a figure yet."))
    rows: list[list[Cell]] = [
        [
            name,
            number(found.value),
            interval(found),
            found.n,
            number(baseline_of(series, name)),
            trend_words(series.trends.get(name)),
        ]
        for name, found in list(measured.items())[:limit]
    ]
    columns = ("metric", "value", "95 % interval", "n", "baseline", "trend")
    return table("Metrics of the window", columns, rows, chars=chars, more=len(measured) - len(rows))


def panes_table(series: SeriesStatus, panes: Sequence[tuple[int, PaneFigures]], *, rows: int) -> Markup:
    """Return the newest panes, newest first."""
    made: list[list[Cell]] = [
        [
            stamp(start),
            pane.predictions,
            pane.failed,
            pane.labelled,
            number(pane.value),
            _between(pane.low, pane.high),
            pane.arrived,
            number(pane.arrived_value),
            number(pane.estimated),
            number(pane.latency_ms),
            number(pane.confidence),
        ]
        for start, pane in reversed(panes[max(0, len(panes) - rows) :])
    ]
    columns = (
        "pane begins (UTC)", "predictions", "failed", "labelled", series.metric, "95 % interval", "labels arrived",
        "of those", "estimated", "latency (ms)", "confidence",
    )  # fmt: skip
    return table("Figures by pane, newest first", columns, made, chars=40, more=len(panes) - len(made))


def calibration_table(bins: Sequence[CalibrationBin], *, rows: int) -> Markup:
    """Return the bins of the calibration curve."""
    made: list[list[Cell]] = [[number(b.predicted), number(b.observed), b.n] for b in bins[:rows]]
    return table("Calibration by bin", ("mean predicted", "share that came true", "n"), made, chars=40, words=0)


def confusion_table(classes: Sequence[str], cells: Sequence[Sequence[int]], *, chars: int) -> Markup:
    """Return the confusion matrix, a row for each true class."""
    made: list[list[Cell]] = [
        [name, *(f"{count:,} ({100 * count / (sum(row) or 1):.1f} %)" for count in row)]
        for name, row in zip(classes, cells, strict=True)
    ]
    return table("Confusion: a row for each true class", ["true", *classes], made, chars=chars)


def alerts_table(lives: Sequence[Life], *, more: int, chars: int, limit: int) -> Markup:
    """Return alerts, newest first."""
    made: list[list[Cell]] = [
        [
            stamp(life.starts_ms),
            "firing" if life.ends_ms is None else stamp(life.ends_ms),
            life.name,
            life.severity,
            _place(life),
            life.summary,
            number(life.value),
            number(life.threshold),
        ]
        for life in lives[:limit]
    ]
    columns = ("began (UTC)", "ended", "alert", "severity", "variant on channel", "summary", "value", "threshold")
    return table("Alerts, newest first", columns, made, chars=chars, more=more + len(lives[limit:]), words=6)


def open_alerts_table(series: SeriesStatus, *, chars: int, limit: int) -> Markup:
    """Return the alerts of a series that are not over."""
    made: list[list[Cell]] = [
        [
            alert.alertname,
            alert.stage,
            alert.severity.value,
            stamp(parse_time(alert.since)),
            attention(alert),
            number(alert.value),
            number(alert.threshold),
        ]
        for alert in series.open_alerts[:limit]
    ]
    columns = ("alert", "stage", "severity", "since (UTC)", "attention", "value", "threshold")
    return table("Open alerts", columns, made, chars=chars, more=len(series.open_alerts[limit:]), words=5)


def adaptations_table(adaptations: Sequence[Adaptation], *, more: int, chars: int, limit: int) -> Markup:
    """Return adaptations, newest first."""
    made: list[list[Cell]] = [
        [
            stamp(parse_time(adaptation.at)),
            adaptation.kind.value,
            adaptation.trigger.value,
            " → ".join(variant for variant in (adaptation.from_, adaptation.to) if variant) or "-",
            evidence_words(adaptation, chars=chars),
        ]
        for adaptation in adaptations[:limit]
    ]
    return table("Adaptations, newest first", ("at (UTC)", "what", "because of", "variant", "evidence"), made,
                 chars=chars, more=more + len(adaptations[limit:]), words=5)  # fmt: skip


def counts_table(caption: str, name: str, counts: Mapping[str, int], *, chars: int, limit: int) -> Markup:
    """Return counts by name."""
    return table(caption, (name, "count"), [[key, count] for key, count in list(counts.items())[:limit]], chars=chars,
                 more=max(0, len(counts) - limit))  # fmt: skip


def estimates_table(caption: str, estimates: Mapping[str, Estimate], *, chars: int, limit: int) -> Markup:
    """Return estimates by name."""
    made: list[list[Cell]] = [[name, number(e.value), interval(e), e.n] for name, e in list(estimates.items())[:limit]]
    return table(caption, ("figure", "value", "95 % interval", "n"), made, chars=chars,
                 more=len(estimates) - len(made))  # fmt: skip


# -- words, which the verb ``status`` uses too -------------------------------------------------------------------------


def metrics_of(series: SeriesStatus) -> dict[str, Estimate]:
    """Return the metrics of the window; where a worker gives but one, that."""
    return series.metrics or ({series.metric: series.window} if series.window.n else {})


def baseline_of(series: SeriesStatus, name: str) -> float | None:
    """Return what a metric is compared with."""
    if name == series.metric and series.baseline is not None:
        return series.baseline.value
    return series.baselines.get(name)


def interval(estimate: Estimate | None) -> str:
    """Return the ends of an interval."""
    return "-" if estimate is None else _between(estimate.low, estimate.high)


def whole(estimate: Estimate | None) -> str:
    """Return an estimate with its interval and its number."""
    if estimate is None or estimate.value is None:
        return "-"
    return f"{number(estimate.value)} [{interval(estimate)}], n {estimate.n:,}"


def trend_words(trend: Trend | None) -> str:
    """Return where a figure goes: the arrow is its slope, the word says whether that is good."""
    if trend is None:
        return "-"
    return f"{arrow(trend.slope, trend.direction)} {trend.direction.value}"


def arrow(slope: float | None, direction: Direction) -> str:
    """Return which way a figure moves, level where nothing is evident."""
    if slope is None or direction.value == "stable":
        return ARROWS[0]
    return ARROWS[(slope > 0) - (slope < 0)]


def evidence_words(adaptation: Adaptation, *, chars: int) -> str:
    """Return the evidence of an adaptation, as much as is asked for."""
    made = []
    for name, value in adaptation.evidence.items():
        shown = number(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False, default=str)
        made.append(f"{name} {shown}")
        if sum(map(len, made)) > chars:
            break
    return ", ".join(made) or "-"


def attention(alert: OpenAlert) -> str:
    """Return who has taken notice of an open alert."""
    said = ["acknowledged"] if alert.acknowledged else []
    if alert.silenced_until is not None:
        said.append(f"silenced until {stamp(parse_time(alert.silenced_until))} UTC")
    return ", ".join(said) or "-"


def _between(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def _place(life: Life) -> str:
    if life.variant_id is None and life.channel_id is None:
        return "the model"
    return f"{life.variant_id or 'every variant'} on {life.channel_id or 'every channel'}"


def _cell(cell: Cell, chars: int) -> Markup:
    if isinstance(cell, int):
        return text(f"{cell:,}" if abs(cell) < 10**15 else f"{cell:.2e}" if abs(cell) < 10**300 else "beyond measure")
    return text(number(cell) if isinstance(cell, float) or cell is None else cell, chars=chars)
