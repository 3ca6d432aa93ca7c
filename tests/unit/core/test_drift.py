"""Drift through the core: events in; alerts, statuses and the state of a reference out."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace
from pyarrow import parquet

from adaptive_stream.config import load
from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.drift import DriftedStream
from adaptive_stream.contracts.events import Prediction
from adaptive_stream.core.drift import Drifts
from adaptive_stream.core.finding import Alarmed
from adaptive_stream.monitor.monitor import Monitor
from tests.unit.core.scene import Scene, adaptations, alerts, prediction
from tests.unit.core.weather import Weather, named

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from adaptive_stream.drift.drift import State

SMALL = ".features=[{name: temp}]", ".drift.reference_predictions=512", ".drift.reference_labels=100"


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
    assert scene.status().series[0].drift.history == [], "what is not over is nothing past"  # type: ignore[union-attr]
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
    assert scene.status().series[0].drift.history == []  # type: ignore[union-attr]
    assert named(scene.days(2_000, shift=1.0), "DataDrift") == ["resolved"]
    assert len(scene.status().series[0].drift.history) == 1  # type: ignore[union-attr]


@pytest.mark.slow
def test_what_drifts_again_is_told_with_the_setting_for_what_comes_and_goes() -> None:
    scene = Weather()
    scene.days(2_000)
    first, second = (
        next(each for each in alerts(scene.days(2_600, shift=shift)) if each.labels["alertname"] == "DataDrift")
        for shift in (1.0, -1.0)
    )
    assert "design_effect" not in first.evidence["recommendation"]
    apart, advice = second.evidence["recommendation"].split("; temp drifted ")[1].split(" predictions before, too: ")
    assert 2_500 < int(apart.replace(",", "")) < 2_700
    assert advice == "if it comes and goes, see drift.design_effect"


def test_an_alarm_is_past_beside_one_that_is_open() -> None:
    scene = Weather()
    scene.days(2_000)
    assert named(scene.days(2_600, shift=1.0), "DataDrift") == ["firing", "resolved"]
    assert named(scene.days(600, shift=-1.0), "DataDrift") == ["firing"]
    drift = scene.status().series[0].drift
    assert drift is not None
    assert [(past.name, past.change) for past in drift.history] == [("temp", "up")]
    assert drift.data.alarmed_at is not None
    assert parse_time(drift.history[0].at) < parse_time(drift.data.alarmed_at)


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
    assert alert.evidence["recommendation"] == "look at what delivers temp: its values are missing more often"


def test_what_moved_among_levels_is_shown_with_their_names() -> None:
    scene = Weather()
    scene.days(2_000)
    events = [
        replace(each, features=[*each.features[:2], "EWR"]) if isinstance(each, Prediction) else each
        for each in scene.serve(600)
    ]
    told = scene.after(10, *events)
    told.outputs.extend(scene.after(10).outputs)
    [alert] = [each for each in alerts(told) if each.labels["alertname"] == "DataDrift"]
    assert "levels" not in alert.evidence["streams"][0], "a status draws, an alert does not"
    drift = scene.status().series[0].drift
    assert drift is not None
    [leading, *_] = drift.data.streams
    shown = {name: n for name, n in zip(leading.levels, leading.since_counts, strict=True) if n}
    assert (leading.name, leading.levels[-1]) == ("origin", "other")
    assert {*leading.levels} == {"EWR", "JFK", "LGA", "", "other"}
    assert max(shown, key=shown.__getitem__) == "EWR"


def test_a_model_that_begins_to_fail_is_said_to_fail() -> None:
    scene = Weather()
    scene.days(2_000)
    told = scene.step()
    for _ in range(6):
        made = [replace(each, failed=place % 10 < 4) for place, each in enumerate(scene.serve(100)[::2])]
        told.outputs.extend(scene.after(10, *made).outputs)
    [alert] = [each for each in alerts(told) if each.labels["alertname"] == "DataDrift"]
    assert "the outputs of m drifted: the model fails more often by " in alert.annotations["summary"]
    assert alert.evidence["recommendation"] == "the model fails more often: look at its errors"


def test_an_instant_lies_where_the_series_had_events() -> None:
    scene = Weather()
    scene.now_s = 50 * 60  # into a pane of an hour
    scene.days(3_000)
    first_ms, change_ms = scene.now_ms - 290_000, scene.now_ms
    [alert] = [each for each in alerts(scene.days(600, shift=1.0)) if each.labels["alertname"] == "DataDrift"]
    leading = alert.evidence["streams"][0]
    assert abs(parse_time(leading["since"]) - change_ms) <= 20_000
    assert parse_time(leading["since_low"]) == first_ms
    assert parse_time(leading["since_high"]) == parse_time(alert.starts_at)


def test_the_interval_of_a_change_ends_where_panes_end() -> None:
    scene = Weather(".monitor.pane_s=60")
    scene.days(3_000)
    change_ms = scene.now_ms
    told = scene.days(1_200, shift=0.7, accuracy=0.5)
    for name in ("DataDrift", "PerformanceDrift"):
        alert = next(each for each in alerts(told) if each.labels["alertname"] == name)
        since, low, high = (
            parse_time(alert.evidence["streams"][0][end]) for end in ("since", "since_low", "since_high")
        )
        assert abs(since - change_ms) <= 30_000
        assert low <= min(since, change_ms)
        assert max(since, change_ms) <= high
        assert low % 60_000 == 0
        assert high % 60_000 == 0 or high == parse_time(alert.starts_at)


@pytest.mark.parametrize(("at_once", "expected"), [(256, [40]), (15, [15, 15, 10])])
def test_however_many_alarms_are_open_their_states_are_asked_for_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int, expected: list[int]
) -> None:
    family = load([], {}, ["families.f.match=[m*]", *(f"families.f{text}" for text in SMALL)]).families["f"]
    drifts = Drifts(family, Monitor(family))
    count, dice = 20, np.random.default_rng(1)
    for number in range(count):
        drifts.engine.add(("m", "v", f"c{number}"))
    is_long, is_labelled = np.arange(count) < 9, np.arange(count) % 3 == 0
    series = np.repeat(np.arange(count), np.where(is_long, 540, 300))
    columns = {"features": dice.normal(size=(len(series), 1)), "output": dice.random(len(series))}
    columns["confidence"] = dice.random(len(series))
    drifts.observe(series, columns, now_ms=np.zeros(len(series), dtype=np.int64))
    labelled = np.repeat(np.arange(count), np.where(is_labelled, 128, 64))
    losses = (dice.random(len(labelled)) < 0.5).astype(np.float64)
    drifts.losses(labelled, losses, now_ms=np.zeros(len(labelled), dtype=np.int64))
    drifts.alarms = {
        (number, is_performance): Alarmed(
            series=number, is_performance=is_performance, is_gain=False, kind="covariate", severity="low", at_ms=0,
            affected=[], streams=[DriftedStream(name="x", share=1.0, change="up")], numbers=[], is_dated=True,
        )
        for number in range(count)
        for is_performance in (True, False)
    }  # fmt: skip
    asked, states = list[int](), drifts.engine.states

    def counted(series: NDArray[np.int64]) -> tuple[list[State], list[State]]:
        asked.append(len(series))
        return states(series)

    monkeypatch.setattr(drifts.engine, "states", counted)
    monkeypatch.setattr("adaptive_stream.core.drift.AT_ONCE", at_once)
    share = drifts.evidence(np.arange(count))[1]
    assert (share["performance_drift"] > 1).all()
    drifts.settle(now_ms=0)
    assert asked == expected
    assert {number for number, is_performance in drifts.alarms if not is_performance} == set(range(9, count))
    assert {number for number, is_performance in drifts.alarms if is_performance} == set(range(count)) - {
        0,
        3,
        6,
        9,
        12,
        15,
        18,
    }


def test_a_series_has_two_open_alarms_however_often_it_alarms() -> None:
    family = load([], {}, ["families.f.match=[m*]", *(f"families.f{text}" for text in SMALL)]).families["f"]
    drifts, dice, count = Drifts(family, Monitor(family)), np.random.default_rng(1), 3
    for number in range(count):
        drifts.engine.add(("m", "v", f"c{number}"))
    series = np.tile(np.arange(count), 1_200)
    newest = set[int]()
    for turn in range(20):
        columns = {"features": dice.normal(4.0 * turn, 1, (len(series), 1)), "output": dice.random(len(series))}
        columns["confidence"] = dice.random(len(series))
        now_ms = np.full(len(series), turn)
        drifts.observe(series, columns, now_ms=now_ms)
        drifts.losses(series, (dice.random(len(series)) < (0.1, 0.6)[turn % 2]) * 1.0, now_ms=now_ms)
        newest |= {alarm.at_ms for alarm in drifts.alarms.values()}
        assert len(drifts.alarms) <= 2 * count
    assert len(drifts.alarms) == 2 * count, "nobody has settled one"
    assert len(newest) >= 10, "ten times the limit and more came"


def test_where_drift_is_not_watched_nothing_is_said_of_it() -> None:
    scene = Weather(".drift.enabled=false")
    scene.days(1_200)
    assert not alerts(scene.days(600, shift=2.0))
    assert scene.status().series[0].drift is None
    [answer] = adaptations(scene.step(scene.order("set_baseline", args={"reference": True})))
    assert answer.kind == "rejected"


@pytest.mark.slow
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


def test_rows_of_a_file_are_coded_as_predictions_are(tmp_path: Path) -> None:
    dice = random.Random(1)  # noqa: S311 - no secret
    walls, zones = ("none", "brick"), (1.0, 2.0)
    columns = {
        "wall": [dice.choice(walls) for _ in range(2_000)],
        "zone": [dice.choice(zones) for _ in range(2_000)],
    }
    file = tmp_path / "training.parquet"
    parquet.write_table(pa.table(columns), file)
    scene = Scene(
        ".features=[{name: wall, kind: categorical, levels: [none, brick]},"
        " {name: zone, kind: categorical, levels: ['1', '2']}]",
        ".drift.reference_predictions=800",
        f".drift.reference_file={file}",
    )
    for _ in range(10):
        made = [prediction(scene.next_id(), features=[dice.choice(walls), dice.choice(zones)]) for _ in range(100)]
        assert not alerts(scene.after(10, *made))
