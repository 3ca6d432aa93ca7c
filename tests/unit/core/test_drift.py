"""Drift through the core: events in; alerts, statuses and the state of a reference out."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.contracts.events import Correction
from tests.unit.core.scene import Scene, adaptations, alerts, prediction

if TYPE_CHECKING:
    from pathlib import Path

    from adaptive_stream.contracts.events import InputEvent
    from adaptive_stream.core.slice import Stepped

SETTINGS = (
    ".features=[{name: temp}, {name: wind}, {name: origin, kind: categorical, levels: [EWR, JFK, LGA]}]",
    ".drift.reference_predictions=800",
    ".drift.reference_labels=400",
    ".monitor.baseline_labels=10000",
)


class Weather(Scene):
    """A model whose inputs and hits are drawn, one prediction a tenth of a second, each labelled at once."""

    def __init__(self, *overrides: str) -> None:
        super().__init__(*SETTINGS, *overrides)
        self._dice = random.Random(7)  # noqa: S311 - no secret

    def serve(self, count: int, *, shift: float = 0.0, accuracy: float = 0.9, missing: float = 0.0) -> list[InputEvent]:
        events: list[InputEvent] = []
        for _ in range(count):
            temp = None if self._dice.random() < missing else self._dice.gauss(shift, 1)
            features = [temp, self._dice.expovariate(1), self._dice.choice(("EWR", "JFK", "LGA"))]
            made = prediction(self.next_id(), features=features, confidence=0.5 + self._dice.random() / 2)
            hit = float(self._dice.random() < accuracy)
            events += [made, Correction(
                feedback_id=self.next_id(), prediction_id=made.prediction_id, model_id="m", label=hit
            )]  # fmt: skip
        return events

    def days(self, count: int, *, shift: float = 0.0, accuracy: float = 0.9, missing: float = 0.0) -> Stepped:
        """Serve and label, a hundred in every ten seconds, and return all that was said."""
        told = self.step()
        for _ in range(0, count, 100):
            told.outputs.extend(
                self.after(10, *self.serve(100, shift=shift, accuracy=accuracy, missing=missing)).outputs
            )
        return told


def named(told: Stepped, name: str) -> list[str]:
    return [alert.status.value for alert in alerts(told) if alert.labels["alertname"] == name]


def test_a_steady_stream_gathers_its_reference_and_then_is_watched_in_peace() -> None:
    scene = Weather()
    scene.days(300)
    drift = scene.status().series[0].drift
    assert drift is not None
    assert (drift.data.state, drift.data.seen, drift.data.wanted) == ("gathering", 300, 800)
    assert (drift.performance.state, drift.performance.seen, drift.performance.wanted) == ("gathering", 300, 400)
    assert not alerts(scene.days(4_000))
    drift = scene.status().series[0].drift
    assert drift is not None
    assert drift.data.state == drift.performance.state == "watching"
    assert drift.data.alarm_line == 6.0
    assert drift.data.evidence < 4
    assert drift.data.reference_version == 1
    assert drift.data.reference_at is not None


def test_inputs_that_move_are_news_that_names_them_while_the_performance_holds() -> None:
    scene = Weather()
    scene.days(2_000)
    told = scene.days(600, shift=1.0)
    [alert] = [each for each in alerts(told) if each.labels["alertname"] == "DataDrift"]
    assert alert.labels["severity"] == "info"
    assert alert.annotations["recommended_action"] == "inspect_inputs"
    assert "temp" in alert.annotations["summary"]
    leading = alert.evidence["streams"][0]
    assert (leading["name"], leading["change"]) == ("temp", "up")
    assert 0.5 < leading["effect"] < 1.5
    assert alert.evidence["kind"] == "covariate"
    assert alert.evidence["recommendation"].startswith("while the labels show no loss")
    assert not named(told, "PerformanceDrift")
    drift = scene.status().series[0].drift
    assert drift is not None
    assert drift.data.streams[0].name == "temp"
    assert len(drift.data.streams[0].since_counts) == len(drift.data.streams[0].before)


def test_what_is_new_becomes_usual_when_its_reference_is_complete() -> None:
    scene = Weather()
    scene.days(2_000)
    assert named(scene.days(600, shift=1.0), "DataDrift") == ["firing"]
    assert named(scene.days(2_000, shift=1.0), "DataDrift") == ["resolved"]
    drift = scene.status().series[0].drift
    assert drift is not None
    assert (drift.data.state, drift.data.reference_version) == ("watching", 2)
    assert [(past.name, past.change) for past in drift.history] == [("temp", "up")]


def test_a_drift_that_is_kept_fires_until_somebody_orders_a_reference() -> None:
    scene = Weather(".drift.after_alarm=keep")
    scene.days(2_000)
    assert named(scene.days(3_000, shift=1.0), "DataDrift") == ["firing"]
    assert scene.status().series[0].drift.data.state == "drifted"  # type: ignore[union-attr]
    [answer] = adaptations(scene.step(scene.order("set_baseline", args={"reference": True})))
    assert (answer.kind, answer.evidence["reference"]) == ("baseline_set", True)
    assert scene.status().series[0].drift.data.state == "gathering"  # type: ignore[union-attr]
    assert named(scene.days(2_000, shift=1.0), "DataDrift") == ["resolved"]


def test_a_loss_that_rises_is_a_drift_of_performance_and_makes_that_of_the_data_urgent() -> None:
    scene = Weather()
    scene.days(2_000)
    told = scene.days(800, shift=1.0, accuracy=0.6)
    alert = next(each for each in alerts(told) if each.labels["alertname"] == "PerformanceDrift")
    assert alert.labels["severity"] == "medium"
    assert alert.evidence["streams"][0]["name"] == "loss"
    assert alert.evidence["streams"][0]["change"] == "up"
    assert alert.evidence["recommendation"].startswith("retrain on what came since")
    urgent = [each.labels["severity"] for each in alerts(told) if each.labels["alertname"] == "DataDrift"]
    assert "high" in urgent


def test_a_loss_beyond_a_stated_objective_is_found_without_a_reference() -> None:
    scene = Weather(".monitor.baseline=0.9")
    told = scene.days(700, accuracy=0.6)
    assert named(told, "PerformanceDrift")[0] == "firing"
    assert not named(scene.days(100, accuracy=0.6), "PerformanceImproved")


def test_a_loss_that_falls_is_news() -> None:
    scene = Weather()
    scene.days(2_000, accuracy=0.7)
    told = scene.days(1_500, accuracy=0.95)
    assert named(told, "PerformanceImproved")[0] == "firing"
    assert not named(told, "PerformanceDrift")


def test_values_that_begin_to_be_missing_are_found() -> None:
    scene = Weather()
    scene.days(2_000)
    [alert] = [each for each in alerts(scene.days(800, missing=0.3)) if each.labels["alertname"] == "DataDrift"]
    leading = alert.evidence["streams"][0]
    assert (leading["name"], leading["change"]) == ("temp", "more missing")
    assert alert.evidence["recommendation"] == "look at what delivers temp: its values are more missing"


def test_where_drift_is_not_watched_nothing_is_said_of_it() -> None:
    scene = Weather(".drift.enabled=false")
    scene.days(1_200)
    assert not alerts(scene.days(600, shift=2.0))
    assert scene.status().series[0].drift is None
    [answer] = adaptations(scene.step(scene.order("set_baseline", args={"reference": True})))
    assert answer.kind == "rejected"


@pytest.mark.parametrize("cut", [700, 1_900, 2_350])
def test_a_snapshot_in_the_middle_changes_nothing(cut: int) -> None:
    whole, broken = Weather(), Weather()
    for scene in (whole, broken):
        scene.days(cut, shift=0.0 if cut < 2_000 else 0.5)
    broken.driver.fleets = broken.driver.thaw(broken.driver.freeze())
    for scene in (whole, broken):
        scene.days(1_500, shift=1.0)
    assert whole.driver.fleets.dump() == broken.driver.fleets.dump()
    assert whole.status() == broken.status()


def test_other_features_begin_with_a_reference_of_their_own() -> None:
    scene = Weather()
    scene.days(1_200)
    frozen = scene.driver.freeze()
    other = Weather(".features=[{name: temp}]")
    other.driver.pages, other.driver.predictions = scene.driver.pages, scene.driver.predictions
    other.driver.fleets = other.driver.thaw(frozen)
    assert other.dropped["drift_reset"] == 1
    assert other.status().series[0].drift.data.state == "gathering"  # type: ignore[union-attr]
    assert other.status().series[0].predictions == 1_200


def test_with_a_reference_from_a_file_the_first_predictions_are_judged(tmp_path: Path) -> None:
    dice = random.Random(1)  # noqa: S311 - no secret
    origins = ("EWR", "JFK", "LGA")
    rows = [f"{dice.choice(origins)},{dice.expovariate(1)},{dice.gauss(0, 1)}" for _ in range(2_000)]
    file = tmp_path / "training.csv"
    file.write_text("origin,wind,temp\n" + "\n".join(rows), encoding="utf-8")
    scene = Weather(f".drift.reference_file={file}")
    scene.days(100)
    drift = scene.status().series[0].drift
    assert drift is not None
    watch = drift.data
    assert (watch.state, watch.seen, watch.reference_version) == ("watching", 100, 1)
    assert watch.reference_at is not None
    told = scene.days(500, shift=1.0)
    [alert] = [alert for alert in alerts(told) if alert.labels["alertname"] == "DataDrift"]
    assert alert.evidence["streams"][0]["name"] == "temp"
    # what the file does not have is not watched: the model's outputs are others than none, and that is no news
    assert "output" not in alert.evidence["affected"]
    thawed = scene.driver.thaw(scene.driver.freeze())
    assert thawed.dump() == scene.driver.fleets.dump()
