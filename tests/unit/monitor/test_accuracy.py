"""From records to alerts: what is scored where, what fires, and what stays silent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.contracts.clock import parse_time
from tests.unit.core.scene import START_MS, Scene, alerts, prediction

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import Alert, Correction

AN_HOUR = 60  # predictions
SETTINGS = (
    ".monitor.pane_s=3600",
    ".monitor.panes=6",
    ".monitor.evaluate_every_s=600",
    ".monitor.status_interval_s=3600",
    ".monitor.baseline_labels=500",
    ".alerts.AccuracyDegraded.min_count=100",
)


class Service:
    """A model that serves at an even pace; each label comes an hour after its prediction."""

    def __init__(self, *overrides: str, seed: int = 0) -> None:
        self.scene = Scene(*SETTINGS, *overrides)
        self._dice = np.random.default_rng(seed)
        self._unlabelled: deque[Correction] = deque()

    def serve(self, hours: int, *, accuracy: float) -> list[Alert]:
        scene = self.scene
        for _ in range(hours * AN_HOUR):
            scene.now_s += 3_600 / AN_HOUR
            made = prediction(scene.next_id(), 0.9)
            scene.send(made)
            self._unlabelled.append(scene.correction(made.prediction_id, float(self._dice.random() < accuracy)))
            if len(self._unlabelled) > AN_HOUR:
                scene.send(self._unlabelled.popleft())
        return alerts(scene.driver.run())

    @property
    def hour(self) -> float:
        return self.scene.now_s / 3_600


def hour_of(text: str) -> float:
    return (parse_time(text) - START_MS) / 3_600_000


@pytest.mark.parametrize("seed", range(3))
def test_a_drop_fires_and_its_end_resolves(seed: int) -> None:
    service = Service(seed=seed)
    assert service.serve(24, accuracy=0.95) == []
    down_at = service.hour
    told = service.serve(24, accuracy=0.60)
    up_at = service.hour
    told += service.serve(24, accuracy=0.95)
    assert [alert.status for alert in told] in (["firing", "resolved"], ["firing", "firing", "resolved"])
    first, last = told[0], told[-1]
    assert down_at + 1 < hour_of(first.starts_at) < down_at + 6
    assert last.ends_at is not None
    assert up_at + 1 < hour_of(last.ends_at) < up_at + 8, "labels come an hour late, and the window is six"
    assert len({alert.alert_id for alert in told}) == 1
    assert told[-1].labels["severity"] == "high"


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_stays_as_it_was_fires_nothing(seed: int) -> None:
    service = Service(seed=seed)
    assert service.serve(24 * 3, accuracy=0.8) == []
    [series] = service.scene.status("m").series
    assert series.labelled > 4_000
    assert series.baseline is not None


def test_an_alert_carries_its_evidence() -> None:
    service = Service(seed=1)
    service.serve(24, accuracy=0.95)
    [alert, *_] = service.serve(24, accuracy=0.3)
    assert alert.labels == {
        "alertname": "AccuracyDegraded",
        "severity": alert.labels["severity"],
        "model_id": "m",
        "variant_id": "default",
        "channel_id": "default",
    }
    evidence = alert.evidence
    assert evidence["low"] <= alert.value <= evidence["high"] < evidence["baseline"]
    assert evidence["n"] >= 100
    assert evidence["baseline_n"] == 500
    assert evidence["drop"] == pytest.approx(evidence["baseline"] - alert.value)
    assert alert.threshold == pytest.approx(evidence["baseline"] - 0.05)
    assert evidence["window_s"] == 6 * 3_600
    assert alert.annotations["recommended_action"] == "trigger_retraining"
    assert f"fell to {alert.value:.3f}" in alert.annotations["summary"]
    assert alert.ends_at is None


def test_while_it_lasts_the_status_says_so() -> None:
    service = Service(".alerts.AccuracyDegraded.for_s=7200", seed=1)
    service.serve(24, accuracy=0.95)
    seen = []
    for _ in range(16):
        service.serve(1, accuracy=0.3)
        seen.append(service.scene.status().series[0].alerts.get("AccuracyDegraded", "ok"))
    for _ in range(16):
        service.serve(1, accuracy=0.95)
        seen.append(service.scene.status().series[0].alerts.get("AccuracyDegraded", "ok"))
    order = [stage for place, stage in enumerate(seen) if place == 0 or seen[place - 1] != stage]
    # with no cool-down a resolution rests after one look, within the hour
    assert [stage for stage in order if stage != "resolved"] == ["ok", "pending", "firing", "ok"]


def test_a_stated_objective_fires_without_a_learned_baseline() -> None:
    service = Service(".monitor.baseline=0.9")
    [alert, *_] = service.serve(12, accuracy=0.5)
    assert (alert.evidence["baseline"], alert.evidence["baseline_n"]) == (0.9, 0)


def test_a_stopped_model_fires_nothing() -> None:
    service = Service(".monitor.baseline=0.9")
    service.scene.step(prediction("p"), service.scene.order("stop"))
    assert service.serve(24, accuracy=0.0) == []


def test_each_variant_and_channel_is_measured_and_alerted_by_itself() -> None:
    scene = Scene(*SETTINGS, ".monitor.baseline=0.9")
    good, bad = {"variant_id": "v1", "channel_id": "web"}, {"variant_id": "v1", "channel_id": "app"}
    scene.label(200, 0, **good)
    scene.label(0, 200, **bad)
    scene.label(200, 0, **{**bad, "variant_id": "v2"})
    [alert] = alerts(scene.after(600))
    assert (alert.labels["variant_id"], alert.labels["channel_id"]) == ("v1", "app")
    found = {(series.variant_id, series.channel_id): series.window.value for series in scene.status().series}
    assert found == {("v1", "web"): 1, ("v1", "app"): 0, ("v2", "app"): 1}


def test_an_error_that_grows_fires_by_its_own_name() -> None:
    scene = Scene(*SETTINGS, ".task=regression", ".tolerance=20", ".monitor.baseline=2")
    for number in range(400):
        scene.send(prediction(f"p{number}", 100.0), scene.correction(f"p{number}", 110.0))
    scene.step()
    [alert] = alerts(scene.after(600))
    assert alert.labels["alertname"] == "ErrorIncreased"
    assert alert.value == 10
    assert alert.threshold == pytest.approx(2 + 0.05 * 20)
    assert alert.evidence["low"] < 10 < alert.evidence["high"]
    assert "mean_absolute_error of m rose to 10.000, baseline 2.000" in alert.annotations["summary"]


def test_multiclass_accuracy_falls_like_any_other() -> None:
    scene = Scene(*SETTINGS, ".task=multiclass", ".classes=[red, green, blue]", ".monitor.baseline=0.9")
    for number in range(300):
        label = ["red", "green", "blue"][number % 3]
        scene.send(prediction(f"p{number}", "green"), scene.correction(f"p{number}", label))
    scene.step()
    [alert] = alerts(scene.after(600))
    assert alert.value == pytest.approx(1 / 3)


def test_a_late_label_is_credited_to_the_time_of_its_prediction() -> None:
    scene = Scene(*SETTINGS)
    scene.step(prediction("p"), prediction("q", occurred_at="2020-09-13T11:30:00Z"))
    scene.after(2 * 3_600, scene.correction("p", 0.0), scene.correction("q", 1.0))
    [series] = scene.status().series
    assert [(hour_of(pane.starts_at), pane.value) for pane in series.panes] == [(-1, 1), (0, 0)]


def test_the_expired_label_of_an_old_prediction_moves_the_total_alone() -> None:
    scene = Scene(*SETTINGS)
    scene.step(prediction("p"))
    scene.after(7 * 3_600, scene.correction("p", 0.0))
    [series] = scene.status().series
    assert (series.total.n, series.window.n, series.panes) == (1, 0, [])
    assert scene.dropped == {"pane_expired": 1}
