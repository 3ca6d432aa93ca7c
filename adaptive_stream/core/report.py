"""From arrays to the events that people read.

Owns the wording of alerts and the layout of a model's status. Never changes anything. Called by the fleet, off the hot
path: once for each alert that changed and each model whose status is due.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.events import (
    Alert,
    AlertStatus,
    Estimate,
    ModelStatus,
    PaneFigures,
    SeriesStatus,
    Severity,
)
from adaptive_stream.contracts.rule import FIGURES
from adaptive_stream.core.answer import KINDS
from adaptive_stream.core.join import Outcome
from adaptive_stream.core.model import FROZEN, STOPPED
from adaptive_stream.monitor.alert import Stage
from adaptive_stream.stats.interval import confidence_sequence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adaptive_stream.core.fleet import Fleet
    from adaptive_stream.monitor.alert import Turns
    from adaptive_stream.monitor.prequential import Windows

NAMESPACE = uuid.UUID("b7b2a6e4-0f5e-5f0e-9d3c-2f0f5f1f7c3d")  # of alert ids; any constant would do


def alert_events(
    fleet: Fleet, looked: NDArray[np.int64], windows: Windows, turns: Turns, *, now_ms: int
) -> Iterator[Alert]:
    """Yield an alert for each life that began, grew worse or ended."""
    for place in (*turns.fired.tolist(), *turns.escalated.tolist()):
        yield _alert(fleet, int(looked[place]), windows, place, status=AlertStatus.FIRING, now_ms=now_ms)
    for place in turns.resolved.tolist():
        yield _alert(fleet, int(looked[place]), windows, place, status=AlertStatus.RESOLVED, now_ms=now_ms)


def _alert(fleet: Fleet, series: int, windows: Windows, place: int, *, status: AlertStatus, now_ms: int) -> Alert:
    monitor, rule = fleet.monitor, fleet.family.alerts
    col = monitor.series.col
    model_id, variant_id, channel_id = monitor.series.keys[series]
    name, metric = names(fleet)
    starts_at = format_time(int(col["starts_ms"][series]))
    baseline, mean = float(col["baseline"][series]), float(windows.mean[place])
    value = monitor.figure(mean)
    ends = sorted((monitor.figure(float(windows.low[place])), monitor.figure(float(windows.high[place]))))
    window_s = fleet.family.monitor.panes * fleet.family.monitor.pane_s
    verb = "fell to" if fleet.family.task != "regression" else "rose to"
    summary = f"{metric} of {model_id} {verb} {value:.3f}, baseline {monitor.figure(baseline):.3f}"
    if status is AlertStatus.RESOLVED:
        summary = f"{metric} of {model_id} is back at {value:.3f}, baseline {monitor.figure(baseline):.3f}"
    return Alert(
        alert_id=str(uuid.uuid5(NAMESPACE, f"{model_id}\0{variant_id}\0{channel_id}\0{name}\0{starts_at}")),
        status=status,
        labels={
            "alertname": name,
            "severity": (Severity.HIGH if col["is_high"][series] else Severity.MEDIUM).value,
            "model_id": model_id,
            "variant_id": variant_id,
            "channel_id": channel_id,
        },
        annotations={"summary": summary, "recommended_action": "trigger_retraining"},
        value=value,
        threshold=monitor.figure(baseline - rule.drop),
        evidence={
            "n": int(windows.n[place]),
            "low": ends[0],
            "high": ends[1],
            "baseline": monitor.figure(baseline),
            "baseline_n": int(col["baseline_count"][series]),
            "drop": baseline - mean,
            "window_s": window_s,
        },
        starts_at=starts_at,
        ends_at=format_time(now_ms) if status is AlertStatus.RESOLVED else None,
    )


def names(fleet: Fleet) -> tuple[str, str]:
    """Return the names of the alert and of the metric."""
    if fleet.family.task == "regression":
        return "ErrorIncreased", "mean_absolute_error"
    return "AccuracyDegraded", "accuracy"


def model_status(fleet: Fleet, row: int, *, now_ms: int) -> ModelStatus:
    """Return the whole summary of one model."""
    col = fleet.models.col
    table = fleet.monitor.series
    series = np.flatnonzero(table.col["row"][: table.count] == row)
    windows = fleet.monitor.windows(series, now_ms=now_ms)
    kind, at = int(col["adaptation_kind"][row]), int(col["adaptation_at"][row])
    reported = col["reported"][row]
    return ModelStatus(
        model_id=fleet.models.keys[row][0],
        family=fleet.name,
        at=format_time(now_ms),
        series=[_series(fleet, int(s), windows, place, now_ms=now_ms) for place, s in enumerate(series)],
        feedback={o.name.lower(): int(n) for o, n in zip(Outcome, col["outcomes"][row], strict=True)},
        waiting=int(col["waiting"][row]),
        adaptations=int(col["adaptations"][row]),
        last_adaptation=KINDS[kind] if kind >= 0 else None,
        last_adaptation_at=format_time(at) if kind >= 0 else None,
        reported={name: float(v) for name, v in zip(FIGURES, reported, strict=True) if not np.isnan(v)},
        frozen=bool(col["flags"][row] & FROZEN),
        stopped=bool(col["flags"][row] & STOPPED),
    )


def _series(fleet: Fleet, series: int, windows: Windows, place: int, *, now_ms: int) -> SeriesStatus:
    monitor = fleet.monitor
    col = monitor.series.col
    _, variant_id, channel_id = monitor.series.keys[series]
    labelled, name = int(col["labelled"][series]), names(fleet)
    total = float(col["score_sum"][series]) / labelled if labelled else np.nan
    low, high = confidence_sequence(labelled, total)
    baseline = float(col["baseline"][series])
    set_at, stage = int(col["baseline_at"][series]), Stage(int(col["stage"][series]))
    return SeriesStatus(
        variant_id=variant_id,
        channel_id=channel_id,
        metric=name[1],
        predictions=int(col["predictions"][series]),
        labelled=labelled,
        window=_estimate(fleet, int(windows.n[place]), windows.mean[place], windows.low[place], windows.high[place]),
        total=_estimate(fleet, labelled, total, low, high),
        baseline=None
        if np.isnan(baseline)
        else Estimate(n=int(col["baseline_count"][series]), value=monitor.figure(baseline)),
        baseline_set_at=format_time(set_at) if set_at >= 0 else None,
        panes=list(_panes(fleet, series, now_ms=now_ms)),
        alerts={} if stage is Stage.OK else {name[0]: stage.name.lower()},
    )


def _estimate(fleet: Fleet, n: int, mean: float, low: object, high: object) -> Estimate:
    if n == 0:
        return Estimate(n=0)
    figure = fleet.monitor.figure
    ends = sorted((figure(float(low)), figure(float(high))))  # type: ignore[arg-type]  # numpy scalars
    return Estimate(n=n, value=figure(float(mean)), low=ends[0], high=ends[1])


def _panes(fleet: Fleet, series: int, *, now_ms: int) -> Iterator[PaneFigures]:
    settings, col = fleet.family.monitor, fleet.monitor.series.col
    oldest = (now_ms - 1) // (settings.pane_s * 1000) - settings.panes
    numbers, counts, sums = col["pane"][series], col["pane_count"][series], col["pane_sum"][series]
    for slot in np.argsort(numbers).tolist():
        if numbers[slot] > oldest and counts[slot]:
            yield PaneFigures(
                starts_at=format_time(int(numbers[slot]) * settings.pane_s * 1000),
                labelled=int(counts[slot]),
                value=fleet.monitor.figure(float(sums[slot] / counts[slot])),
            )
