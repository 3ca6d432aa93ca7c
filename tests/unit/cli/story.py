"""A model's story for the tests of what is shown: statuses, alerts and adaptations from the contract's own structs."""

from __future__ import annotations

from typing import Any

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.drift import DriftedStream, DriftState, DriftStatus, DriftTest, DriftWatch, PastDrift
from adaptive_stream.contracts.events import (
    Adaptation,
    AdaptationKind,
    Alert,
    AlertStatus,
    BaselineSource,
    CalibrationBin,
    Direction,
    Estimate,
    Health,
    HealthLevel,
    ModelStatus,
    OpenAlert,
    PaneFigures,
    SeriesStatus,
    Trend,
    Trigger,
)
from adaptive_stream.contracts.field import Severity

START_MS = 1_370_044_800_000  # 1 June 2013
HOUR_MS = 3_600_000
METRICS = ("accuracy", "precision", "recall", "f1", "log_loss", "brier", "ece", "auc", "latency_p95_ms", "error_rate")


def at(hours: float) -> str:
    return format_time(START_MS + round(hours * HOUR_MS))


def pane(number: int) -> PaneFigures:
    value = 0.8 + 0.0001 * (number % 97)
    return PaneFigures(
        starts_at=at(number),
        labelled=90,
        value=value,
        low=value - 0.05,
        high=value + 0.05,
        arrived=80,
        arrived_value=value - 0.01,
        estimated=value + 0.01,
        predictions=100 + number % 7,
        failed=number % 3,
        latency_ms=10.0 + number % 5,
        confidence=0.75,
    )


def estimates() -> dict[str, Estimate]:
    """Return every metric with figures that are nobody else's."""
    return {
        name: Estimate(n=1000 + place, value=0.5011 + place / 100, low=0.4022 + place / 100, high=0.6033 + place / 100)
        for place, name in enumerate(METRICS)
    }


def series(variant: str = "v12", channel: str = "web", *, panes: range = range(48)) -> SeriesStatus:
    return SeriesStatus(
        variant_id=variant,
        channel_id=channel,
        metric="accuracy",
        predictions=5300,
        labelled=5200,
        window=Estimate(n=2400, value=0.7123, low=0.6912, high=0.7334),
        total=Estimate(n=5200, value=0.7511, low=0.74, high=0.76),
        baseline=Estimate(n=1000, value=0.8321),
        baseline_set_at=at(3),
        baseline_version=4,
        baseline_source=BaselineSource.ORDERED,
        baselines={"latency_p95_ms": 19.25, "latency_ms": 11.0},
        metrics=estimates(),
        arrived={"accuracy": Estimate(n=2380, value=0.7251, low=0.7, high=0.74)},
        estimated={"accuracy": Estimate(n=2500, value=0.8061, low=0.8, high=0.84)},
        reported={"recall": Estimate(n=3, value=0.6671)},
        values={"conversion": 0.0417},
        trends={"accuracy": Trend(direction=Direction.DECLINING, panes=10, slope=-0.0123, low=-0.02, high=-0.01)},
        health=Health(level=HealthLevel.FAIR, points=1.5, parts={"accuracy": 0.0, "latency": 0.5, "errors": 1.0}),
        calibration=[CalibrationBin(n=100 + k, predicted=k / 10, observed=min(1.0, k / 9)) for k in range(10)],
        classes=["on time", "late"],
        confusion=[[1500, 301], [397, 204]],
        panes=[pane(number) for number in panes],
        alerts={"AccuracyDegraded": "firing"},
        open_alerts=[
            OpenAlert(
                alertname="AccuracyDegraded",
                stage="firing",
                severity=Severity.HIGH,
                since=at(40),
                starts_at=at(40),
                value=0.7123,
                threshold=0.7777,
                acknowledged=True,
            ),
            OpenAlert(
                alertname="LatencyHigh",
                stage="pending",
                severity=Severity.MEDIUM,
                since=at(47),
                silenced_until=at(99),
            ),
        ],
    )


def watch(**fields: Any) -> DriftWatch:  # noqa: ANN401
    return DriftWatch(
        **{"state": DriftState.WATCHING, "seen": 5300, "wanted": 2000, "evidence": 1.25, "alarm_line": 6.0, **fields}
    )


def moved(name: str = "temp", **fields: Any) -> DriftedStream:  # noqa: ANN401
    return DriftedStream(
        **{
            "name": name,
            "share": 0.71,
            "change": "down",
            "effect": -0.8321,
            "effect_unit": "sd",
            "share_before": 0.615,
            "share_since": 0.3825,
            "events": 412,
            "since": at(30),
            "since_low": at(29),
            "since_high": at(31),
            "tests": [DriftTest(test="kolmogorov_smirnov", statistic=0.41, p_value=0.00002)],
            "edges": [float(number) for number in range(31)],
            "before": [60] * 32,
            "since_counts": [0] * 16 + [25] * 16,
            **fields,
        }
    )


def drift(**fields: Any) -> DriftStatus:  # noqa: ANN401
    return DriftStatus(
        **{
            "data": watch(
                state=DriftState.DRIFTED, evidence=6.5, alarmed_at=at(40), reference_at=at(2), streams=[moved()]
            ),
            "performance": watch(autocorrelation=0.31),
            "history": [PastDrift(at=at(20), kind="covariate", name="wind_speed", change="wider")],
            **fields,
        }
    )


def bare(variant: str = "v1") -> SeriesStatus:
    """Return a series as a worker gives it that knows nothing yet."""
    return SeriesStatus(
        variant_id=variant,
        channel_id="default",
        metric="accuracy",
        predictions=0,
        labelled=0,
        window=Estimate(n=0),
        total=Estimate(n=0),
    )


def status(*parts: SeriesStatus, model: str = "late-flights", hours: float = 48) -> ModelStatus:
    return ModelStatus(
        model_id=model,
        family="flights",
        at=at(hours),
        series=list(parts),
        feedback={"joined": 5200, "orphan": 44},
        waiting=1312,
        adaptations=7,
        reported={"memory_usage_mb": 512.0},
    )


def alert(
    number: int, *, hours: float, ends: float | None = None, name: str = "AccuracyDegraded", summary: str = "it fell"
) -> Alert:
    return Alert(
        alert_id=f"a{number}",
        status=AlertStatus.FIRING if ends is None else AlertStatus.RESOLVED,
        labels={"alertname": name, "severity": "high", "model_id": "m", "variant_id": "v12", "channel_id": "web"},
        annotations={"summary": summary},
        value=0.71,
        threshold=0.78,
        evidence={},
        starts_at=at(hours),
        ends_at=None if ends is None else at(ends),
    )


def adaptation(number: int, *, to: str = "v13") -> Adaptation:
    return Adaptation(
        adaptation_id=f"d{number}",
        kind=AdaptationKind.PROMOTED,
        model_id="m",
        trigger=Trigger.DRIFT,
        evidence={"n": 5200, "gain": 0.0417, "number": number},
        at=at(number),
        from_="v12",
        to=to,
    )
