"""A risen loss through the core: an alarm until it is back or accepted, whatever comes in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.contracts.clock import parse_time
from tests.unit.core.scene import alerts
from tests.unit.core.weather import Weather, named

if TYPE_CHECKING:
    from adaptive_stream.contracts.drift import DriftStatus
    from adaptive_stream.contracts.events import Alert
    from adaptive_stream.core.slice import Stepped

MINUTE = ".monitor.pane_s=60"
DAY_S = 86_400


def risen(*overrides: str, accuracy: float = 0.6) -> Weather:
    """Return a model whose loss has risen from .1, with a reference of what it rose to."""
    scene = Weather(MINUTE, *overrides)
    scene.days(2_000)
    assert named(scene.days(2_000, accuracy=accuracy), "PerformanceDrift") == ["firing"]
    return scene


def restarted(scene: Weather, *overrides: str) -> Weather:
    """Return the model after a restart with other settings."""
    other = Weather(MINUTE, *overrides)
    frozen = scene.driver.freeze()
    other.driver.pages, other.driver.predictions = scene.driver.pages, scene.driver.predictions
    other.driver.fleets = other.driver.thaw(frozen)
    other.driver._ends = scene.driver._ends
    other.now_s, other._number, other._dice = scene.now_s, scene._number, scene._dice
    return other


def watched(scene: Weather) -> DriftStatus:
    found = scene.status().series[0].drift
    assert found is not None
    return found


def of_performance(told: Stepped) -> list[Alert]:
    return [alert for alert in alerts(told) if alert.labels["alertname"].startswith("Performance")]


# -- back --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_is_an_alarm_until_it_is_back_whatever_the_new_reference_says() -> None:
    scene = risen()
    assert not of_performance(scene.days(4_000, accuracy=0.6)), "ten references of labels at the worse level"
    drift = watched(scene)
    assert (drift.performance.state, drift.performance.streams[0].name) == ("drifted", "loss")
    assert drift.performance.alarmed_at is not None
    assert drift.history == [], "it is not over"
    [over] = of_performance(scene.days(1_800))
    assert over.status == "resolved", "and not news that it improved: it is what it was"
    assert over.annotations["summary"] == "the loss of m is back, was accepted, or is watched anew"
    drift = watched(scene)
    assert drift.performance.alarmed_at is None
    assert {(past.name, past.change) for past in drift.history} == {("loss", "up"), ("loss", "down")}
    assert named(scene.days(3_000, accuracy=0.6), "PerformanceDrift")[0] == "firing", "and it is found again"


@pytest.mark.slow
def test_half_back_is_not_back() -> None:
    scene = risen(accuracy=0.5)
    assert not of_performance(scene.days(6_000, accuracy=0.7))
    assert [alert.status for alert in of_performance(scene.days(1_800))] == ["resolved"]


@pytest.mark.slow
def test_back_too_slowly_for_the_detectors_is_back_all_the_same() -> None:
    scene = risen()
    for accuracy in np.linspace(0.6, 0.84, 24):
        assert not of_performance(scene.days(600, accuracy=accuracy))
    told = scene.step()
    for accuracy in np.linspace(0.84, 0.9, 6):
        told.outputs.extend(scene.days(1_200, accuracy=accuracy).outputs)
    assert [(alert.labels["alertname"], alert.status) for alert in of_performance(told)] == [
        ("PerformanceDrift", "resolved")
    ]


@pytest.mark.slow
def test_silence_and_a_few_good_labels_after_it_are_no_evidence() -> None:
    scene = risen()
    scene.now_s += 2 * DAY_S
    told = scene.after(10, *scene.serve(10, accuracy=1.0))
    assert [alert.status for alert in of_performance(told)] == ["firing"], "told again, once a day"
    assert not of_performance(scene.days(3_000, accuracy=0.6))
    assert watched(scene).performance.state == "drifted"


@pytest.mark.slow
def test_the_reference_of_what_is_back_is_gathered_before_anything_is_said() -> None:
    scene = risen()
    [over] = of_performance(scene.days(1_800))
    assert over.status == "resolved"
    assert watched(scene).performance.state == "gathering" or watched(scene).performance.seen < 1_800
    assert not of_performance(scene.days(6_000)), "what it came back from is no reference to be better than"


# -- further, and accepted ---------------------------------------------------------------------------------------------


def test_a_further_rise_is_the_same_alarm_and_tells_the_whole_rise() -> None:
    scene = Weather(MINUTE)
    scene.days(2_000)
    [alert] = of_performance(scene.days(2_000, accuracy=0.8))
    first = watched(scene).performance
    assert not of_performance(scene.days(1_000, accuracy=0.4)), "it fires already"
    drift = watched(scene)
    [loss] = drift.performance.streams
    assert loss.share_before == pytest.approx(0.1, abs=0.03)
    assert loss.effect == pytest.approx(0.5, abs=0.1)
    assert (loss.since, loss.since_high) == (first.streams[0].since, first.streams[0].since_high)
    assert drift.performance.alarmed_at == first.alarmed_at
    assert first.alarmed_at is not None
    assert parse_time(first.alarmed_at) <= parse_time(alert.starts_at), "since the first of them"
    assert drift.history == [], "a part of what is open is not past"


@pytest.mark.slow
def test_what_is_accepted_is_over_at_once_and_the_reference_of_what_comes() -> None:
    scene = risen()
    scene.step(scene.order("set_baseline", args={"reference": True}))
    assert [alert.status for alert in of_performance(scene.after(10))] == ["resolved"]
    assert not of_performance(scene.days(1_000, accuracy=0.6))
    assert named(scene.days(2_000), "PerformanceImproved")[0] == "firing", "against what was accepted"


def test_a_silent_model_is_accepted_too() -> None:
    scene = risen()
    scene.step(scene.order("set_baseline", args={"reference": True}))
    scene.after(30 * DAY_S)
    assert "PerformanceDrift" not in scene.status().series[0].alerts


@pytest.mark.slow
def test_what_is_kept_does_not_come_back_by_itself() -> None:
    scene = risen(".drift.after_alarm=keep")
    assert not of_performance(scene.days(6_000))
    scene.step(scene.order("set_baseline", args={"reference": True}))
    assert [alert.status for alert in of_performance(scene.after(10))] == ["resolved"]


# -- with the data -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_data_that_drift_later_are_not_why() -> None:
    scene = Weather(MINUTE)
    scene.days(3_000)
    assert named(scene.days(3_000, accuracy=0.6), "PerformanceDrift") == ["firing"]
    told = scene.days(800, shift=1.0, accuracy=0.6)
    severities = [each.labels["severity"] for each in alerts(told) if each.labels["alertname"] == "DataDrift"]
    assert severities == ["info"]


@pytest.mark.slow
def test_data_that_drift_when_the_loss_rose_before_the_window_are_not_why() -> None:
    scene = risen(".monitor.panes=5")
    scene.days(4_000, accuracy=0.6)
    told = scene.days(800, shift=1.0, accuracy=0.6)
    severities = [each.labels["severity"] for each in alerts(told) if each.labels["alertname"] == "DataDrift"]
    assert severities == ["info"]


def test_a_feature_that_is_named_as_the_loss_is_not_the_loss() -> None:
    scene = risen(".features=[{name: loss}, {name: wind}, {name: origin, kind: categorical, levels: [EWR, JFK, LGA]}]")
    told = scene.days(800, shift=1.0, accuracy=0.6)
    [alert] = [each for each in alerts(told) if each.labels["alertname"] == "DataDrift"]
    assert alert.evidence["streams"][0]["name"] == "loss"
    assert "design_effect" not in alert.evidence["recommendation"], "it is the first of its kind"


# -- restarts ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_restarts_change_nothing() -> None:
    whole, broken = risen(), risen()
    for days in (600, 1_200, 600):
        broken.driver.fleets = broken.driver.thaw(broken.driver.freeze())
        whole.days(days)
        broken.days(days)
    assert watched(whole).performance.alarmed_at is None
    assert whole.driver.fleets.dump() == broken.driver.fleets.dump()


@pytest.mark.slow
def test_an_objective_that_is_stated_afterwards_decides() -> None:
    scene = restarted(risen(), ".monitor.baseline=0.5")
    assert [alert.status for alert in of_performance(scene.days(3_000, accuracy=0.7))] == ["resolved"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "now", "ends"),
    [("keep", "rereference", ["resolved"]), ("rereference", "keep", [])],  # kept, it waits for an order
)
def test_another_setting_of_what_an_alarm_begins_does_not_end_it(then: str, now: str, ends: list[str]) -> None:
    scene = restarted(risen(f".drift.after_alarm={then}"), f".drift.after_alarm={now}")
    assert not of_performance(scene.days(3_000, accuracy=0.6))
    assert [alert.status for alert in of_performance(scene.days(1_800))] == ends


@pytest.mark.slow
def test_panes_of_another_length_do_not_end_it() -> None:
    scene = restarted(risen(), ".monitor.pane_s=50")
    assert not of_performance(scene.days(3_000, accuracy=0.6))
    assert [alert.status for alert in of_performance(scene.days(1_800))] == ["resolved"]
