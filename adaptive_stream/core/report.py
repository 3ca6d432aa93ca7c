"""From arrays to the events that people read.

Owns the wording of alerts and the layout of a model's status. Never changes anything. Called by the fleet, off the hot
path: once for each alert that is told and for the models whose status is due, together.
"""

from __future__ import annotations

import math
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.events import (
    Alert,
    AlertStatus,
    BaselineSource,
    Estimate,
    ModelStatus,
    OpenAlert,
    SeriesStatus,
)
from adaptive_stream.contracts.field import Severity
from adaptive_stream.contracts.figure import BETTER_HIGH, DRIFT, FLOW, LABELLED, REPORTED, SERVED
from adaptive_stream.contracts.rule import FIGURES
from adaptive_stream.core.answer import KINDS
from adaptive_stream.core.join import Outcome
from adaptive_stream.core.model import FROZEN, STOPPED
from adaptive_stream.monitor import figures
from adaptive_stream.monitor.alert import Stage, threshold
from adaptive_stream.monitor.baseline import NAMES
from adaptive_stream.monitor.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from adaptive_stream.config.rule import Rule
    from adaptive_stream.contracts.drift import DriftStatus
    from adaptive_stream.core.fleet import Fleet
    from adaptive_stream.monitor.figures import Ends, Figure
    from adaptive_stream.monitor.monitor import Looked

NAMESPACE = uuid.UUID("b7b2a6e4-0f5e-5f0e-9d3c-2f0f5f1f7c3d")  # of alert ids; any constant would do
TOTAL = "total"  # beside the figures of the window
METRICS = (*LABELLED, *SERVED)
WORDS = {
    "feedback_age_s": "seconds since the last feedback",
    "predictions_age_s": "seconds since the last prediction",
    "volume_fold": "volume against the usual one (times more or less)",
    "refused_rate": "share of records in the dead letters",
    "data_drift": "evidence for a drift of the data (1: an alarm)",
    "performance_drift": "evidence for a risen loss (1: an alarm)",
    "performance_gain": "evidence for a fallen loss (1: an alarm)",
}
ENDS = {  # of an alarm of the detectors; settings that changed begin the watching anew
    "data_drift": "what changed in the inputs and outputs of {} is what is usual now, or is watched anew",
    "performance_drift": "the loss of {} is back, was accepted, or is watched anew",
    "performance_gain": "what the loss of {} fell to is what is usual now, or is watched anew",
}


def alert_events(fleet: Fleet, looked: Looked, *, now_ms: int) -> Iterator[Alert]:
    """Yield an alert for each life that began, grew worse, is told again or ended."""
    turns = looked.turns
    for place in (*turns.fired.tolist(), *turns.escalated.tolist(), *turns.repeated.tolist()):
        yield _alert(fleet, looked, place, status=AlertStatus.FIRING, now_ms=now_ms)
    for place in turns.resolved.tolist():
        yield _alert(fleet, looked, place, status=AlertStatus.RESOLVED, now_ms=now_ms)


def _alert(fleet: Fleet, looked: Looked, place: int, *, status: AlertStatus, now_ms: int) -> Alert:
    col, rule, name = fleet.monitor.series.col, looked.rule, looked.name
    series = int(looked.series[place])
    at = series, fleet.monitor.rule_place(name)
    model_id, variant_id, channel_id = fleet.monitor.series.keys[series]
    starts_at = format_time(int(col["starts_ms"][at]))
    value, baseline = float(looked.figure.value[place]), float(looked.baseline[place])
    (low,), (high,) = looked.figure.ends(np.array([place]))
    level = threshold(rule, baseline)
    is_main = rule.compare != "absolute" and rule.metric == fleet.monitor.baselines.main
    evidence: dict[str, Any] = {
        "n": int(looked.figure.n[place]),
        "low": float(low),
        "high": float(high),
        "metric": rule.metric,
        "window_s": fleet.family.monitor.panes * fleet.family.monitor.pane_s,
    }
    if rule.compare != "absolute":
        evidence |= {"baseline": baseline, "baseline_version": int(col["baseline_version"][series])}
    if is_main:
        distance = baseline - value if rule.is_below else (value - baseline) / fleet.family.tolerance
        evidence |= {"baseline_n": int(col["baseline_count"][series]), "drop": distance}
    drifted = fleet.drift.alarm(series, rule.metric) if fleet.drift is not None and rule.metric in DRIFT else None
    if fleet.drift is not None and drifted is not None:
        evidence |= fleet.drift.told(drifted)
    annotations = {
        "summary": _summary(rule, model_id, value, baseline, level, is_over=status is AlertStatus.RESOLVED),
        "recommended_action": rule.recommended_action,
    }
    if fleet.drift is not None and drifted is not None:
        annotations["summary"] = fleet.drift.words(drifted, model_id)
    if rule.runbook:
        annotations["runbook_url"] = rule.runbook
    return Alert(
        alert_id=str(uuid.uuid5(NAMESPACE, f"{model_id}\0{variant_id}\0{channel_id}\0{name}\0{starts_at}")),
        status=status,
        labels={
            "alertname": name,
            "severity": _severity(rule, is_high=bool(col["is_high"][at])).value,
            "model_id": model_id,
            "variant_id": variant_id,
            "channel_id": channel_id,
        },
        annotations=annotations,
        value=value if math.isfinite(value) else 0.0,
        threshold=level if math.isfinite(level) else 0.0,
        evidence={key: item for key, item in evidence.items() if not isinstance(item, float) or math.isfinite(item)},
        starts_at=starts_at,
        ends_at=format_time(now_ms) if status is AlertStatus.RESOLVED else None,
    )


def _severity(rule: Rule, *, is_high: bool) -> Severity:
    return Severity.HIGH if is_high or rule.medium is None else Severity(rule.severity)


def _summary(rule: Rule, model_id: str, value: float, baseline: float, level: float, *, is_over: bool) -> str:
    against = f"baseline {baseline:.3f}" if rule.compare != "absolute" else f"limit {level:.3g}"
    words = WORDS.get(rule.metric, rule.metric)
    if is_over and rule.metric in ENDS and rule.first_level >= 1.0:  # below it is a rule for evidence, not for alarms
        return ENDS[rule.metric].format(model_id)
    if is_over:
        return f"{words} of {model_id} is back at {value:.3f}, {against}"
    return f"{words} of {model_id} {'fell' if rule.is_below else 'rose'} to {value:.3f}, {against}"


def model_statuses(fleet: Fleet, rows: NDArray[np.int64], *, now_ms: int) -> list[ModelStatus]:
    """Return the whole summaries of these models; their figures are computed together."""
    if not len(rows):
        return []
    table = fleet.monitor.series
    owners = table.col["row"][: table.count]
    series = np.flatnonzero(np.isin(owners, rows))
    series = series[np.argsort(owners[series], kind="stable")]
    found = fleet.monitor.window(series, now_ms=now_ms).some(BETTER_HIGH)
    found[TOTAL] = _total(fleet, series)
    ends = figures.intervals({name: found[name] for name in found if name not in FLOW})
    view = View(fleet.family, fleet.monitor, series, now_ms=now_ms)
    drifts = fleet.drift.statuses(series, now_ms=now_ms) if fleet.drift is not None else [None] * len(series)
    of_row: dict[int, list[int]] = {}
    for place, owner in enumerate(owners[series].tolist()):
        of_row.setdefault(owner, []).append(place)
    return [
        _model(
            fleet,
            row,
            [_series(fleet, found, ends, view, drift=drifts[place], place=place) for place in of_row.get(row, [])],
            now_ms=now_ms,
        )
        for row in rows.tolist()
    ]


def _model(fleet: Fleet, row: int, series: list[SeriesStatus], *, now_ms: int) -> ModelStatus:
    col = fleet.models.col
    kind, at = int(col["adaptation_kind"][row]), int(col["adaptation_at"][row])
    return ModelStatus(
        model_id=fleet.models.keys[row][0],
        family=fleet.name,
        at=format_time(now_ms),
        series=series,
        feedback={o.name.lower(): int(n) for o, n in zip(Outcome, col["outcomes"][row], strict=True)},
        waiting=int(col["waiting"][row]),
        adaptations=int(col["adaptations"][row]),
        last_adaptation=KINDS[kind] if kind >= 0 else None,
        last_adaptation_at=format_time(at) if kind >= 0 else None,
        reported={n: float(v) for n, v in zip(FIGURES, col["reported"][row], strict=True) if not np.isnan(v)},
        frozen=bool(col["flags"][row] & FROZEN),
        stopped=bool(col["flags"][row] & STOPPED),
    )


def _series(
    fleet: Fleet,
    found: Mapping[str, Figure],
    ends: Mapping[str, Ends],
    view: View,
    *,
    drift: DriftStatus | None,
    place: int,
) -> SeriesStatus:
    monitor, series = fleet.monitor, int(view.series[place])
    col, main = monitor.series.col, monitor.baselines.main
    _, variant_id, channel_id = monitor.series.keys[series]
    labelled = int(col["labelled"][series])
    baselines = col["baselines"][series]
    baseline, set_at = float(baselines[NAMES.index(main)]), int(col["baseline_at"][series])
    source = int(col["baseline_source"][series])
    alerts = list(_open_alerts(fleet, found, series, place))
    return SeriesStatus(
        variant_id=variant_id,
        channel_id=channel_id,
        metric=main,
        predictions=int(col["predictions"][series]),
        labelled=labelled,
        window=_estimate(found[main], ends[main], place),
        total=_estimate(found[TOTAL], ends[TOTAL], place),
        baseline=None if math.isnan(baseline) else Estimate(n=int(col["baseline_count"][series]), value=baseline),
        baseline_set_at=format_time(set_at) if set_at >= 0 else None,
        baseline_version=int(col["baseline_version"][series]),
        baseline_source=list(BaselineSource)[source - 1] if source else None,
        baselines={name: float(v) for name, v in zip(NAMES, baselines, strict=True) if not np.isnan(v)},
        metrics=_estimates(found, ends, METRICS, "", place),
        arrived=_estimates(found, ends, METRICS, "arrived_", place),
        estimated=_estimates(found, ends, METRICS, "estimated_", place),
        reported=_estimates(found, ends, tuple(REPORTED), "reported_", place),
        values=dict(monitor.values.get(series, {})),
        trends=view.trends(place),
        health=view.health(found, place),
        calibration=view.calibration(place),
        classes=view.classes(),
        confusion=view.confusion(place),
        panes=view.panes(place),
        alerts={alert.alertname: alert.stage for alert in alerts},
        open_alerts=alerts,
        drift=drift,
    )


def _total(fleet: Fleet, series: NDArray[np.int64]) -> Figure:
    """Return the main figure over the whole life of each series."""
    col, tolerance = fleet.monitor.series.col, fleet.family.tolerance
    n, score = col["labelled"][series].astype(np.float64), col["score_sum"][series]
    if fleet.family.task == "regression":
        return figures.mean(n, n - score, lambda share: share * tolerance)
    return figures.mean(n, score)


def _estimates(
    found: Mapping[str, Figure], ends: Mapping[str, Ends], names: tuple[str, ...], prefix: str, place: int
) -> dict[str, Estimate]:
    shown = {
        name: _estimate(found[prefix + name], ends[prefix + name], place) for name in names if prefix + name in found
    }
    return {name: estimate for name, estimate in shown.items() if estimate.value is not None}


def _estimate(figure: Figure, ends: Ends, place: int) -> Estimate:
    n, value = round(float(figure.n[place])), float(figure.value[place])
    if not n or not math.isfinite(value):
        return Estimate(n=n)
    if figure.is_exact:
        return Estimate(n=n, value=value)
    low, high = float(ends[0][place]), float(ends[1][place])
    return Estimate(
        n=n, value=value, low=low if math.isfinite(low) else None, high=high if math.isfinite(high) else None
    )


def _open_alerts(fleet: Fleet, found: Mapping[str, Figure], series: int, place: int) -> Iterator[OpenAlert]:
    monitor = fleet.monitor
    col = monitor.series.col
    for number in np.flatnonzero(col["stage"][series]).tolist():
        name, rule = monitor.rules[number]
        baseline = float(monitor.baseline(rule, np.array([series]))[0])
        value, level = float(found[rule.metric].value[place]), threshold(rule, baseline)
        starts_ms, silenced_ms = int(col["starts_ms"][series, number]), int(col["silenced_ms"][series, number])
        yield OpenAlert(
            alertname=name,
            stage=Stage(int(col["stage"][series, number])).name.lower(),
            severity=_severity(rule, is_high=bool(col["is_high"][series, number])),
            since=format_time(int(col["since_ms"][series, number])),
            starts_at=format_time(starts_ms) if starts_ms >= 0 else None,
            value=value if math.isfinite(value) else None,
            threshold=level if math.isfinite(level) else None,
            acknowledged=bool(col["acknowledged"][series, number]),
            silenced_until=format_time(silenced_ms) if silenced_ms >= 0 else None,
        )
