"""What is published about a model, and when."""

from __future__ import annotations

import pytest

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.events import Metrics
from adaptive_stream.monitor.figures import ALPHA
from adaptive_stream.stats.interval import bounded_mean
from tests.unit.core.scene import START_MS, Scene, prediction, statuses


def test_a_status_is_published_for_models_with_news_on_the_grid_of_statuses() -> None:
    scene = Scene()
    assert statuses(scene.step(prediction("p"), prediction("p", model_id="m2"))) == []
    assert statuses(scene.after(19.9, prediction("q"))) == [], "looked at at 10, told at 20"
    told = statuses(scene.after(0.1, prediction("r", model_id="m2")))
    assert [status.model_id for status in told] == ["m", "m2"]
    assert {status.at for status in told} == {format_time(scene.now_ms)}
    assert [status.series[0].predictions for status in told] == [2, 1], "what came at 20 is news of the next one"
    assert [status.model_id for status in statuses(scene.after(20))] == ["m2"]
    assert [status.model_id for status in statuses(scene.after(20))] == ["m-clock"]
    assert scene.driver.run().outputs == []


def test_many_statuses_are_spread_over_the_interval() -> None:
    scene = Scene(".monitor.statuses_at_once=2")
    scene.step(*(prediction("p", model_id=f"m{number}") for number in range(3)))
    told = {second: statuses(scene.after(1)) for second in range(1, 41)}
    at = {second: [status.model_id for status in some] for second, some in told.items() if some}
    assert at == {20: ["m0", "m1"], 30: ["m2", "m-clock"], 40: ["m-clock"]}
    assert {status.at for status in told[30]} == {format_time(START_MS + 30_000)}


def test_a_round_of_statuses_that_did_not_end_is_told_when_the_next_begins() -> None:
    scene = Scene(".monitor.statuses_at_once=1")
    scene.step(*(prediction("p", model_id=f"m{number}") for number in range(4)))
    assert [status.model_id for status in statuses(scene.after(20))] == ["m0"]
    assert [status.model_id for status in statuses(scene.after(6))] == ["m1"]
    assert [status.model_id for status in statuses(scene.after(14))] == ["m2", "m3", "m-clock"], "no beat is skipped"


def test_what_is_due_in_a_gap_is_told_once_at_its_end() -> None:
    scene = Scene()
    scene.now_s = 3
    scene.step(prediction("p"))
    [status] = statuses(scene.after(1_012))
    assert status.at == format_time(START_MS + 1_010_000), "the last look of the gap, on no grid of statuses itself"
    scene = Scene()
    scene.now_s = 13
    scene.step(prediction("p"))
    assert [status.at for status in statuses(scene.after(12))] == [format_time(START_MS + 20_000)]


def test_a_status_tells_all_there_is_to_know() -> None:
    scene = Scene(".monitor.pane_s=60", ".monitor.panes=3", ".monitor.baseline_labels=10")
    scene.label(9, 1, variant_id="v1", channel_id="web")
    scene.after(60)
    scene.label(3, 1, variant_id="v1", channel_id="web")
    scene.step(
        prediction("waits", variant_id="v2", channel_id="app"),
        scene.correction("early"),
        Metrics(model_id="m", accuracy=0.5, latency_ms=7.5),
        Metrics(model_id="m", accuracy=0.6),
        scene.order("freeze"),
    )
    status = scene.status()
    assert (status.model_id, status.family, status.waiting, status.frozen, status.stopped) == (
        "m",
        "f",
        1,
        True,
        False,
    )
    assert status.feedback == {
        "joined": 14,
        "inline": 0,
        "early": 1,
        "late": 0,
        "orphan": 0,
        "duplicate": 0,
        "capped": 0,
    }
    assert status.reported == {"accuracy": 0.6, "latency_ms": 7.5}
    assert (status.adaptations, status.last_adaptation) == (1, "frozen")
    [first, second, told] = status.series
    assert (first.variant_id, first.channel_id, first.metric) == ("v1", "web", "accuracy")
    assert (first.predictions, first.labelled) == (14, 14)
    assert first.window == first.total
    assert (first.total.n, first.total.value) == (14, 12 / 14)
    assert (first.total.low, first.total.high) == tuple(float(end) for end in bounded_mean(14, 12, alpha=ALPHA))
    assert first.baseline is not None
    assert (first.baseline.n, first.baseline.value) == (10, 0.9)
    assert first.baseline_set_at == format_time(START_MS)
    assert [(pane.starts_at, pane.labelled, pane.value, pane.predictions) for pane in first.panes] == [
        (format_time(START_MS), 10, 0.9, 10),
        (format_time(START_MS + 60_000), 4, 0.75, 4),
    ]
    assert first.alerts == {}
    assert (second.variant_id, second.predictions, second.labelled) == ("v2", 1, 0)
    assert (second.total.n, second.total.value, second.baseline) == (0, None, None)
    assert [(pane.predictions, pane.labelled, pane.value) for pane in second.panes] == [(1, 0, None)]
    assert (told.variant_id, told.predictions, told.reported["accuracy"].value) == ("default", 0, pytest.approx(0.6))


def test_a_window_forgets_and_a_total_does_not() -> None:
    scene = Scene(".monitor.pane_s=60", ".monitor.panes=2")
    scene.label(4)
    scene.after(90)
    scene.label(0, 4)
    scene.after(45)
    [series] = scene.status().series
    assert (series.window.n, series.window.value) == (4, 0)
    assert (series.total.n, series.total.value) == (8, 0.5)
    assert [pane.starts_at for pane in series.panes] == [format_time(START_MS + 60_000)]


def test_an_error_is_shown_in_the_units_of_the_label_with_its_interval_the_right_way_up() -> None:
    scene = Scene(".task=regression", ".tolerance=20")
    for number in range(400):
        scene.send(prediction(f"p{number}", 100.0), scene.correction(f"p{number}", 105.0))
    scene.step()
    [series] = scene.status().series
    assert series.metric == "mean_absolute_error"
    assert series.total.value == 5.0
    low, high = bounded_mean(400, 100, alpha=ALPHA)
    assert (series.total.low, series.total.high) == (float(low) * 20, float(high) * 20)
    assert series.total.low < 5.0 < series.total.high


def test_variants_and_channels_beyond_the_limit_share_one_series() -> None:
    scene = Scene(".max_variants=2", ".max_channels=1")
    for number in range(6):
        scene.step(prediction(f"p{number}", variant_id=f"v{number}", channel_id=f"c{number % 2}"))
    named = {(series.variant_id, series.channel_id): series.predictions for series in scene.status().series}
    assert named == {("v0", "c0"): 1, ("v1", "other"): 1, ("other", "c0"): 2, ("other", "other"): 2}
    assert scene.dropped == {"series_folded": 5}


def test_nothing_is_known_of_a_model_that_nobody_saw_or_no_family_covers() -> None:
    scene = Scene()
    scene.step(prediction("p"))
    assert scene.driver.fleets.status("m2") is None
    assert scene.driver.fleets.status("x") is None


def test_the_first_family_whose_pattern_matches_has_the_model() -> None:
    scene = Scene('families.g.match=["*"]', "families.g.task=regression")
    scene.step(prediction("p", model_id="m1"), prediction("p", model_id="x1"))
    assert (scene.status("m1").family, scene.status("x1").family) == ("f", "g")
    assert scene.driver.fleets.gauges()["models"] == 2


def test_records_with_older_times_do_not_turn_back_stream_time() -> None:
    scene = Scene()
    scene.after(100)
    assert scene.driver.fleets.stream_time_ms == scene.now_ms
    scene.after(-50, prediction("p"))
    assert scene.driver.fleets.stream_time_ms == START_MS + 100_000
    assert scene.fleet.join.col["time"][0] == START_MS + 50_000, "a prediction keeps its own time"
