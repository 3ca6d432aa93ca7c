"""From records to alerts: each default rule on a stream made for it, what stays silent, what a restore keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.config import load
from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import Reject
from adaptive_stream.contracts.events import Alert, Metrics
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.slice import Slice
from adaptive_stream.testing.driver import thaw
from tests.unit.core.scene import START_MS, Scene, alerts, prediction

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptive_stream.core.fleets import Fleets
    from adaptive_stream.core.slice import Stepped

PANE_S, PANES = 60, 24
WINDOW_S = PANE_S * PANES
SETTINGS = (
    f".monitor.pane_s={PANE_S}",
    f".monitor.panes={PANES}",
    ".monitor.baseline_labels=200",
    ".monitor.baseline_predictions=200",
)
Told = list[tuple[str, str]]  # status and severity


def scene(*overrides: str) -> Scene:
    return Scene(*SETTINGS, *overrides)


def told(stepped: Stepped, name: str) -> Told:
    return [(a.status.value, a.labels["severity"]) for a in alerts(stepped) if a.labels["alertname"] == name]


def names(stepped: Stepped) -> set[str]:
    return {alert.labels["alertname"] for alert in alerts(stepped)}


def serve(stage: Scene, count: int, output: float = 0.9, **fields: object) -> None:
    stage.step(*(prediction(stage.next_id(), output, **fields) for _ in range(count)))


def later(stage: Scene) -> Stepped:
    """Let the window pass."""
    return stage.after(WINDOW_S + PANE_S)


def refuse(stage: Scene, count: int) -> None:
    """Refuse records of the model before the core sees them."""
    stage.driver.fleets.step(Slice([], [], [], [], refused=[(0, "m")] * count))


# Each of these yields what is told of its rule after each act; between them time passes.


def accuracy(stage: Scene) -> list[Stepped]:
    stage.label(300)
    said = [stage.after(10)]
    stage.label(0, 30)
    said.append(stage.after(10))
    stage.label(0, 60)
    said += [stage.after(10), stage.after(10), later(stage)]
    stage.label(300)
    return [*said, stage.after(10)]


def error(stage: Scene) -> list[Stepped]:
    def miss(by: float, count: int) -> Stepped:
        for _ in range(count):
            made = prediction(stage.next_id(), 100.0)
            stage.send(made, stage.correction(made.prediction_id, 100.0 + by))
        stage.step()
        return stage.after(10)

    said = [miss(0.0, 300), miss(1.0, 30), miss(1.0, 60), stage.after(10), later(stage)]
    return [*said, miss(0.0, 300)]


def estimated(stage: Scene) -> list[Stepped]:
    stage.label(190, 10, output=0.95)
    said = [stage.after(10)]
    serve(stage, 1_500, 0.95)
    stage.after(10)
    serve(stage, 340, 0.55)
    said.append(stage.after(10))
    serve(stage, 600, 0.55)
    said += [stage.after(10), stage.after(10), later(stage)]
    serve(stage, 1_000, 0.95)
    return [*said, stage.after(10)]


def calibration(stage: Scene) -> list[Stepped]:
    stage.label(180, 20)
    stage.label(360, 40)
    said = [stage.after(10)]
    stage.label(200, 120)
    said.append(stage.after(10))
    stage.label(0, 600)
    said += [stage.after(10), stage.after(10), later(stage)]
    stage.label(540, 60)
    return [*said, stage.after(10)]


def latency(stage: Scene) -> list[Stepped]:
    serve(stage, 300, latency_ms=20.0)
    said = [stage.after(10)]
    serve(stage, 200, latency_ms=90.0)
    said += [stage.after(10), stage.after(10), later(stage)]
    serve(stage, 300, latency_ms=20.0)
    return [*said, stage.after(10)]


def failures(stage: Scene) -> list[Stepped]:
    serve(stage, 300)
    said = [stage.after(10)]
    stage.step(*(prediction(stage.next_id(), None, failed=True) for _ in range(100)))
    said += [stage.after(10), stage.after(10), later(stage)]
    serve(stage, 300)
    return [*said, stage.after(10)]


def feedback(stage: Scene) -> list[Stepped]:
    stage.label(100)
    said = [stage.after(172_800)]
    serve(stage, 99)
    said.append(stage.after(10))
    serve(stage, 1)
    said += [stage.after(10), stage.after(10)]
    stage.label(1)
    return [*said, stage.after(10)]


def predictions(stage: Scene) -> list[Stepped]:
    serve(stage, 100)
    said = [stage.after(86_400), stage.after(10), stage.after(10)]
    serve(stage, 1)
    return [*said, stage.after(10)]


def volume(stage: Scene) -> list[Stepped]:
    said = []
    stage.now_s += -(stage.now_ms // 1000) % WINDOW_S + WINDOW_S / 2
    for count in (10, 150, 150, 150, 600, 20, 250, 1):
        serve(stage, count)
        said += [stage.after(10)]
        stage.now_s += WINDOW_S - 10
    return said[3:]


def dead_letters(stage: Scene) -> list[Stepped]:
    serve(stage, 500)
    refuse(stage, 1)
    said = [stage.after(10)]
    refuse(stage, 24)
    said.append(stage.after(10))
    refuse(stage, 200)
    said += [stage.after(10), stage.after(10), stage.after(2 * WINDOW_S)]
    serve(stage, 500)
    return [*said, stage.after(10)]


FIRES, HIGH, ENDS, HIGH_ENDS = (
    ("firing", "medium"),
    ("firing", "high"),
    ("resolved", "medium"),
    ("resolved", "high"),
)
# rule: how it is brought about, what is told after each act
RULES: dict[str, tuple[Callable[[Scene], list[Stepped]], list[Told]]] = {
    "AccuracyDegraded": (accuracy, [[], [FIRES], [HIGH], [], [], [HIGH_ENDS]]),
    "ErrorIncreased": (error, [[], [FIRES], [HIGH], [], [], [HIGH_ENDS]]),
    "EstimatedAccuracyLow": (estimated, [[], [FIRES], [HIGH], [], [], [HIGH_ENDS]]),
    "CalibrationBroken": (calibration, [[], [FIRES], [HIGH], [], [], [HIGH_ENDS]]),
    "LatencyHigh": (latency, [[], [FIRES], [], [], [ENDS]]),
    "ErrorRateHigh": (failures, [[], [HIGH], [], [], [HIGH_ENDS]]),
    "FeedbackSilent": (feedback, [[], [], [FIRES], [], [ENDS]]),
    "PredictionsSilent": (predictions, [[], [FIRES], [], [ENDS]]),
    "VolumeAnomaly": (volume, [[], [], [FIRES], [HIGH], [HIGH_ENDS]]),
    "DeadLetterRateHigh": (dead_letters, [[], [FIRES], [HIGH], [], [], [HIGH_ENDS]]),
}


@pytest.mark.parametrize("name", RULES)
def test_each_default_rule_fires_grows_worse_and_ends_on_a_stream_made_for_it(name: str) -> None:
    act, expected = RULES[name]
    stage = scene(".task=regression") if name == "ErrorIncreased" else scene()
    said = act(stage)
    assert [told(stepped, name) for stepped in said] == expected
    lives = {a.alert_id for stepped in said for a in alerts(stepped) if a.labels["alertname"] == name}
    assert len(lives) == 1, "one life, one id"


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_is_off_says_nothing(name: str) -> None:
    act, _ = RULES[name]
    task = [".task=regression"] if name == "ErrorIncreased" else []
    assert all(not told(stepped, name) for stepped in act(scene(*task, f".alerts.{name}.enabled=false")))


@pytest.mark.slow
def test_a_steady_model_fires_nothing_at_all() -> None:
    stage = scene()
    said = []
    for _ in range(60):
        stage.label(45, 5, latency_ms=20.0, confidence=0.9)
        said.append(stage.after(120))
    assert not [a for stepped in said for a in alerts(stepped) if a.labels["model_id"] == "m"]
    assert stage.status().series[0].baseline is not None


def report(stage: Scene, **figures: float) -> Stepped:
    stage.step(Metrics(model_id="m", **figures))
    return stage.after(10)


# figure, what a tool reports in turn, what is told: the numbers of docs/guide/monitoring.md
REPORTED: dict[str, tuple[str, list[float], list[Told]]] = {
    "ReportedAccuracyDegraded": ("accuracy", [0.90, 0.85, 0.849, 0.80, 0.799, 0.85],
                                 [[], [], [FIRES], [], [HIGH], [HIGH_ENDS]]),
    "ReportedLatencyHigh": ("latency_ms", [100.0, 200.0, 200.1, 200.0], [[], [], [FIRES], [ENDS]]),
    "ReportedErrorRateHigh": ("error_rate", [0.10, 0.11, 0.10], [[], [HIGH], [HIGH_ENDS]]),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTED)
def test_what_tools_report_is_held_against_the_first_of_its_kind_to_the_last_digit(name: str) -> None:
    figure, values, expected = REPORTED[name]
    stage = scene()
    said = [report(stage, **{figure: value}) for value in values]
    assert [told(stepped, name) for stepped in said] == expected
    actions = {a.annotations["recommended_action"] for stepped in said for a in alerts(stepped)}
    assert actions <= {"trigger_retraining", "optimize_inference", "immediate_investigation"}


def test_silence_is_found_by_the_cut_times_while_no_record_comes() -> None:
    stage = scene()
    serve(stage, 100)
    fleets = stage.driver.fleets
    fleets.step(Slice([], [], [], [], cut_ms=1_000_000))
    assert fleets.idle(1_000_000 + 86_400_000) == []
    [found, status] = fleets.idle(1_000_000 + 86_401_000)
    assert isinstance(found, Alert)
    assert (found.labels["alertname"], found.value) == ("PredictionsSilent", 86_401)
    assert status.TYPE == "adaptive.model-status"
    assert fleets.idle(1_000_000 + 86_500_000) == [], "once is enough"
    serve(stage, 1)
    assert told(stage.after(10), "PredictionsSilent") == [ENDS]


def test_an_alert_carries_its_evidence() -> None:
    stage = scene()
    accuracy_of = stage.label(300)
    assert not alerts(accuracy_of)
    stage.label(0, 200)
    [alert] = [a for a in alerts(stage.after(10)) if a.labels["alertname"] == "AccuracyDegraded"]
    assert alert.labels == {
        "alertname": "AccuracyDegraded",
        "severity": "high",
        "model_id": "m",
        "variant_id": "default",
        "channel_id": "default",
    }
    evidence = alert.evidence
    assert evidence["low"] <= alert.value <= evidence["high"] < evidence["baseline"]
    assert (alert.value, evidence["n"], evidence["baseline"], evidence["baseline_n"]) == (0.6, 500, 1.0, 200)
    assert evidence["drop"] == pytest.approx(0.4)
    assert alert.threshold == pytest.approx(0.95)
    assert evidence["window_s"] == WINDOW_S
    assert alert.annotations["recommended_action"] == "trigger_retraining"
    assert alert.annotations["runbook_url"].endswith("#accuracydegraded")
    assert "accuracy of m fell to 0.600, baseline 1.000" in alert.annotations["summary"]
    assert alert.ends_at is None


def test_an_error_is_told_in_the_units_of_the_label() -> None:
    stage = scene(".task=regression", ".tolerance=20", ".monitor.baseline=2")
    for number in range(400):
        stage.send(prediction(f"p{number}", 100.0), stage.correction(f"p{number}", 110.0))
    stage.step()
    alert, drift = alerts(stage.after(10))
    assert drift.labels["alertname"] == "PerformanceDrift", "the objective is stated: no reference is waited for"
    assert (alert.labels["alertname"], alert.value, alert.evidence["baseline_n"]) == ("ErrorIncreased", 10, 200)
    assert alert.threshold == pytest.approx(2 + 0.05 * 20)
    assert alert.evidence["drop"] == pytest.approx(8 / 20)
    assert alert.evidence["low"] < 10 < alert.evidence["high"]
    assert "mean_absolute_error of m rose to 10.000, baseline 2.000" in alert.annotations["summary"]


def test_multiclass_accuracy_falls_like_any_other() -> None:
    stage = scene(".task=multiclass", ".classes=[red, green, blue]", ".monitor.baseline=0.9")
    for number in range(300):
        label = ["red", "green", "blue"][number % 3]
        stage.send(prediction(f"p{number}", "green"), stage.correction(f"p{number}", label))
    stage.step()
    alert, drift = alerts(stage.after(10))
    assert (alert.labels["alertname"], drift.labels["alertname"]) == ("AccuracyDegraded", "PerformanceDrift")
    assert alert.value == pytest.approx(1 / 3)


def test_a_rule_of_ones_own_is_told_by_its_name_with_its_own_words() -> None:
    rule = (
        ".alerts.TooFewLabels={metric: labelled_share, medium: 0.5, min_count: 20, needs_evidence: false,"
        " recommended_action: call_the_shop, runbook: 'https://x/y'}"
    )
    stage = scene(rule)
    stage.label(20)
    serve(stage, 30)
    [alert] = alerts(stage.after(10))
    assert (alert.labels["alertname"], alert.value) == ("TooFewLabels", 0.4)
    assert alert.annotations["recommended_action"] == "call_the_shop"
    assert alert.annotations["runbook_url"] == "https://x/y"


def test_each_variant_and_channel_is_measured_and_alerted_by_itself() -> None:
    stage = scene(".monitor.baseline=0.9")
    good, bad = {"variant_id": "v1", "channel_id": "web"}, {"variant_id": "v1", "channel_id": "app"}
    stage.label(200, 0, **good)
    stage.label(0, 200, **bad)
    stage.label(200, 0, **{**bad, "variant_id": "v2"})
    stepped = stage.after(10)
    found = {(a.labels["variant_id"], a.labels["channel_id"]) for a in alerts(stepped)}
    assert found == {("v1", "app")}
    figures = {(series.variant_id, series.channel_id): series.window.value for series in stage.status().series}
    assert figures == {("v1", "web"): 1, ("v1", "app"): 0, ("v2", "app"): 1}


def test_a_stopped_model_is_not_scored() -> None:
    stage = scene(".monitor.baseline=0.9")
    stage.step(prediction("p"), stage.order("stop"))
    stage.label(0, 200)
    assert "AccuracyDegraded" not in names(stage.after(10))


def test_a_late_label_is_credited_to_the_time_of_its_prediction() -> None:
    stage = scene()
    stage.step(prediction("p"), prediction("q", occurred_at="2020-09-13T11:57:00Z"))
    stage.after(300, stage.correction("p", 0.0), stage.correction("q", 1.0))
    [series] = stage.status().series
    starts = [(parse_time(pane.starts_at) - START_MS) / 60_000 for pane in series.panes]
    assert list(zip(starts, [pane.value for pane in series.panes], strict=True)) == [(-3, 1), (0, 0), (5, None)]
    assert [pane.arrived for pane in series.panes] == [0, 0, 2]


BAD_METRICS = {
    '{"model_id": "m"}': "$",
    '{"model_id": "m", "accuracy": 1.2}': "$.accuracy",
    '{"model_id": "m", "accuracy": -0.1}': "$.accuracy",
    '{"model_id": "m", "latency_ms": -1.0}': "$.latency_ms",
    '{"model_id": "m", "memory_usage_mb": -1}': "$.memory_usage_mb",
    '{"model_id": "m", "error_rate": "high"}': "$.error_rate",
    '{"model_id": "m", "latency_ms": 1e999}': "$",
    '{"model_id": "m", "accuracy": NaN}': "$",
    '{"model_id": "m", "values": {"x": "y"}}': "$.values",
}


@pytest.mark.parametrize("text", BAD_METRICS)
def test_metrics_that_measure_nothing_or_nothing_possible_are_refused_with_their_place(text: str) -> None:
    with pytest.raises(Reject) as refused:
        Codec().decode(Topic.METRICS, text.encode(), ())
    assert refused.value.path.startswith(BAD_METRICS[text])
    assert refused.value.message


# -- another configuration ---------------------------------------------------------------------------------------------


def changed(stage: Scene, *overrides: str) -> Fleets:
    """Restore under other settings."""
    named = ["families.f.match=[m*]", *(f"families.f{text}" for text in (*SETTINGS, *overrides))]
    named += ["families.f.monitor.evaluate_every_s=10", "families.f.monitor.status_interval_s=20"]
    frozen = stage.driver.freeze()
    pages = {key: stage.driver.pages[key] for key in frozen.directory}
    return thaw(load([], {}, named), frozen.head, pages, stage.driver.predictions)


def test_lives_follow_the_names_of_their_rules_into_another_configuration() -> None:
    stage = scene(".alerts.Mine={metric: accuracy, medium: 0.9, min_count: 10}")
    stage.label(300)
    stage.label(0, 300)
    assert names(stage.after(10)) >= {"AccuracyDegraded", "Mine"}
    before = {a.alertname: a.starts_at for a in stage.status().series[0].open_alerts}
    fleets = changed(stage, ".alerts.First={metric: brier, high: 0.99}", ".alerts.AccuracyDegraded.enabled=true")
    status = fleets.status("m")
    assert status is not None
    after = {a.alertname: a.starts_at for a in status.series[0].open_alerts}
    assert after == {name: at for name, at in before.items() if name != "Mine"}
    fleets = changed(stage, ".alerts.AccuracyDegraded.enabled=false", ".alerts.Mine={metric: recall, medium: 0.1}")
    status = fleets.status("m")
    assert status is not None
    assert "AccuracyDegraded" not in status.series[0].alerts
    assert status.series[0].alerts["Mine"] == "firing"


@pytest.mark.parametrize("other", [".monitor.pane_s=30", ".monitor.panes=48", ".monitor.panes=12"])
def test_panes_of_another_length_or_number_begin_anew_and_go_on(other: str) -> None:
    stage = scene()
    stage.label(300, latency_ms=20.0)
    fleets = changed(stage, other)
    status = fleets.status("m")
    assert status is not None
    [series] = status.series
    assert fleets.counters()["dropped"]["columns_reset"] > 0
    assert (series.total.n, series.window.n, series.panes, series.calibration) == (300, 0, [], [])
    assert series.baseline is not None
    assert series.baseline.value == 1
    stage.driver.fleets = fleets
    stage.label(40, 10, latency_ms=20.0)
    [series] = stage.status().series
    assert (series.window.n, series.window.value) == (50, 0.8)
    assert series.metrics["latency_p95_ms"].n == 50
    assert sum(bin_.n for bin_ in series.calibration) == 50
    assert stage.driver.fleets.fleets[0].monitor.series.col["volume_count"][0] == 50


def test_the_same_configuration_resets_nothing() -> None:
    stage = scene()
    stage.label(300)
    fleets = changed(stage)
    assert fleets.counters()["dropped"]["columns_reset"] == 0
    assert fleets.dump() == stage.driver.fleets.dump()


def test_a_refused_record_counts_from_the_first_event_of_its_model_on_however_slices_are_cut() -> None:
    counts = set()
    for cuts in ((3,), (1, 2), (2, 1), (1, 1, 1)):
        stage = scene()
        events = [prediction("p1", model_id="m-2"), prediction("p2"), prediction("p3")]
        start = 0
        for size in cuts:
            refused = [(place - start, "m") for place in (1, 2, 3) if start < place <= start + size]
            part = slice(start, start + size)
            stage.driver.fleets.step(
                Slice(
                    topics=[Topic.PREDICTIONS] * size,
                    offsets=list(range(start, start + size)),
                    times_ms=[START_MS] * size,
                    events=list(events[part]),
                    refused=refused,
                )
            )
            start += size
        [number] = np.flatnonzero(stage.fleet.monitor.series.col["row"][:2] == stage.fleet.row("m"))
        counts.add(float(stage.fleet.monitor.series.col["refusals_refused"][number].sum()))
    assert counts == {2.0}
