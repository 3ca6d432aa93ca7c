"""What an operator does about alerts and baselines, and every order that is refused with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from adaptive_stream.contracts.events import Metrics
from tests.unit.core.scene import Scene, adaptations, alerts, prediction

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import Adaptation
    from adaptive_stream.core.slice import Stepped


def firing(*overrides: str) -> Scene:
    """A model whose reported error rate is too high, told every 30 seconds."""
    scene = Scene(".alerts.ReportedErrorRateHigh.repeat_s=30", *overrides)
    scene.step(prediction("p", 0.9, latency_ms=5.0))
    assert said(report(scene, 0.5)) == ["firing"]
    return scene


def report(scene: Scene, rate: float) -> Stepped:
    scene.step(Metrics(model_id="m", error_rate=rate))
    return scene.after(10)


def said(stepped: Stepped) -> list[str]:
    return [alert.status.value for alert in alerts(stepped)]


def ordered(scene: Scene, action: str, **args: Any) -> Adaptation:  # noqa: ANN401
    [answer] = adaptations(scene.step(scene.order(action, args=args)))
    return answer


def test_what_is_acknowledged_is_not_told_again_but_its_end_is() -> None:
    scene = firing()
    assert [said(scene.after(10)) for _ in range(4)] == [[], [], ["firing"], []]
    answer = ordered(scene, "acknowledge", alertname="ReportedErrorRateHigh")
    assert (answer.kind, answer.evidence["alerts"]) == ("applied", ["ReportedErrorRateHigh"])
    assert scene.status().series[0].open_alerts[0].acknowledged
    assert [said(scene.after(10)) for _ in range(8)] == [[]] * 8
    assert said(report(scene, 0.0)) == ["resolved"]
    assert said(report(scene, 0.5)) == ["firing"]
    assert not scene.status().series[0].open_alerts[0].acknowledged


def test_repeats_are_of_the_same_life() -> None:
    scene = firing()
    found = [alert for _ in range(7) for alert in alerts(scene.after(10))]
    assert len(found) == 2
    assert len({alert.alert_id for alert in found}) == 1
    assert len({alert.starts_at for alert in found}) == 1


def test_while_silenced_nothing_is_told_and_then_what_still_fires() -> None:
    scene = Scene()
    scene.step(prediction("p"))
    answer = ordered(scene, "silence", duration_s=60)
    assert (answer.kind, answer.evidence["action"]) == ("applied", "silence")
    assert said(report(scene, 0.5)) == []
    [held] = scene.status().series[0].open_alerts
    assert (held.stage, held.silenced_until) == ("firing", answer.evidence["until"])
    assert [said(scene.after(10)) for _ in range(6)] == [[], [], [], [], ["firing"], []]
    assert said(report(scene, 0.0)) == ["resolved"]


def test_the_end_of_what_was_never_told_is_not_told() -> None:
    scene = Scene()
    scene.step(prediction("p"))
    ordered(scene, "silence", duration_s=60)
    assert [said(report(scene, rate)) for rate in (0.5, 0.0)] == [[], []]
    assert [said(scene.after(10)) for _ in range(8)] == [[]] * 8


def test_a_silence_is_ended_by_one_of_no_length() -> None:
    scene = Scene()
    scene.step(prediction("p"))
    ordered(scene, "silence", duration_s=3_600)
    assert said(report(scene, 0.5)) == []
    ordered(scene, "silence", duration_s=0)
    assert said(scene.after(10)) == ["firing"]


def test_an_order_about_one_rule_or_one_series_leaves_the_others() -> None:
    scene = Scene()
    scene.step(prediction("p"), prediction("q", channel_id="app"))
    ordered(scene, "silence", duration_s=600, channel_id="app", alertname="ReportedErrorRateHigh")
    for channel in ("app", "default"):
        scene.send(Metrics(model_id="m", channel_id=channel, error_rate=0.5, accuracy=0.9))
        scene.send(Metrics(model_id="m", channel_id=channel, error_rate=0.5, accuracy=0.5))
    scene.step()
    found = {(alert.labels["alertname"], alert.labels["channel_id"]) for alert in alerts(scene.after(10))}
    assert found == {
        ("ReportedErrorRateHigh", "default"),
        ("ReportedAccuracyDegraded", "default"),
        ("ReportedAccuracyDegraded", "app"),
    }


def test_baselines_are_learned_anew_after_a_promotion_and_what_is_stated_stays() -> None:
    scene = Scene(".monitor.baseline_labels=20", ".monitor.baselines={recall: 0.8}")
    scene.label(15, 5)
    [before] = scene.status().series
    assert (before.baselines["accuracy"], before.baseline_version, before.baseline_source) == (0.75, 1, "learned")
    answer = ordered(scene, "set_baseline", relearn=True)
    assert (answer.kind, answer.evidence["series"]) == ("baseline_set", ["default/default"])
    [between] = scene.status().series
    assert (between.baseline, between.baselines, between.baseline_source) == (None, {"recall": 0.8}, None)
    scene.label(18, 2)
    [after] = scene.status().series
    assert (after.baselines["accuracy"], after.baselines["recall"]) == (0.9, 0.8)
    assert (after.baseline_version, after.baseline_source) == (2, "learned")


def test_the_baseline_of_any_figure_is_set_to_what_the_window_tells_or_to_a_value() -> None:
    scene = Scene()
    scene.label(30, 10, latency_ms=50.0)
    answer = ordered(scene, "set_baseline", metric="accuracy")
    assert (answer.kind, answer.evidence["baselines"]) == ("baseline_set", {"default/default": 0.75})
    [series] = scene.status().series
    assert set(series.baselines) == {"accuracy"}, "only what was named"
    ordered(scene, "set_baseline", metric="latency_p95_ms", value=40)
    [series] = scene.status().series
    assert series.baselines == {"accuracy": 0.75, "latency_p95_ms": 40}
    assert (series.baseline_version, series.baseline_source) == (2, "ordered")
    ordered(scene, "set_baseline")
    [series] = scene.status().series
    assert {"accuracy", "precision", "recall", "brier", "latency_p50_ms", "error_rate"} <= set(series.baselines)
    assert series.baselines["latency_p95_ms"] == pytest.approx(50, rel=0.38)  # a bin is a factor of 1.38


@pytest.mark.parametrize(
    ("action", "args", "why"),
    [
        ("set_baseline", {}, "nothing in the window tells the accuracy; give args.value"),
        ("set_baseline", {"metric": "recall"}, "nothing in the window tells the recall"),
        ("set_baseline", {"metric": "accurracy"}, "args.metric must be one of accuracy"),
        ("set_baseline", {"metric": ["accuracy"]}, "args.metric must be one of"),
        ("set_baseline", {"metric": {}}, "args.metric must be one of"),
        ("set_baseline", {"metric": None, "value": 0.5}, "args.metric must be one of"),
        ("set_baseline", {"metric": "mean_absolute_error", "value": 1}, "args.metric must be one of"),
        ("set_baseline", {"metric": "estimated_accuracy", "value": 1}, "args.metric must be one of"),
        ("set_baseline", {"value": 1.2}, "in the range of the metric"),
        ("set_baseline", {"metric": "reported_accuracy", "value": 1.2}, "in the range of the metric"),
        ("set_baseline", {"metric": "calibration_error", "value": 1.2}, "in the range of the metric"),
        ("set_baseline", {"metric": "latency_p95_ms", "value": -1}, "in the range of the metric"),
        ("set_baseline", {"metric": "latency_p95_ms", "value": float("inf")}, "in the range of the metric"),
        ("set_baseline", {"metric": "latency_p95_ms", "value": 10**400}, "in the range of the metric"),
        ("set_baseline", {"value": float("nan")}, "in the range of the metric"),
        ("set_baseline", {"relearn": False}, "args.relearn is true, and stands alone"),
        ("set_baseline", {"relearn": True, "metric": "recall"}, "args.relearn is true, and stands alone"),
        ("set_baseline", {"value": True}, "must be a number"),
        ("set_baseline", {"value": "0.9"}, "must be a number"),
        ("set_baseline", {"valeu": 0.9}, "takes metric, reference, relearn, value, and nothing else"),
        ("acknowledge", {}, "no such alert is firing"),
        ("acknowledge", {"alertname": "Nope"}, "args.alertname must be one of AccuracyDegraded"),
        ("acknowledge", {"alertname": ["AccuracyDegraded"]}, "args.alertname must be one of"),
        ("acknowledge", {"variant_id": "v9"}, "no series of this model"),
        ("acknowledge", {"name": "x"}, "takes alertname, channel_id, variant_id"),
        ("silence", {}, "args.duration_s must be a number"),
        ("silence", {"duration_s": -1}, "args.duration_s must be a number"),
        ("silence", {"duration_s": 1e12}, "args.duration_s must be a number"),
        ("silence", {"duration_s": float("nan")}, "args.duration_s must be a number"),
        ("silence", {"duration_s": True}, "args.duration_s must be a number"),
        ("silence", {"duration_s": 5, "channel_id": {}}, "no series of this model"),
        ("freeze", {"for": "ever"}, "takes no args"),
    ],
)
def test_an_order_that_cannot_be_meant_is_answered_with_the_reason(action: str, args: dict[str, Any], why: str) -> None:
    scene = Scene()
    scene.step(prediction("p"))
    before = scene.fleet.monitor.series.page(0)
    answer = ordered(scene, action, **args)
    assert answer.kind == "rejected"
    assert why in answer.evidence["why"]
    assert scene.fleet.monitor.series.page(0) == before


def test_the_baseline_of_a_model_without_any_series_is_set_from_nothing() -> None:
    scene = Scene()
    scene.step(scene.correction("never-seen"))
    answer = ordered(scene, "set_baseline", value=0.9)
    assert (answer.kind, "nothing in the window" in answer.evidence["why"]) == ("rejected", True)
