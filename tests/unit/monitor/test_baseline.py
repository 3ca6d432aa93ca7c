"""What every figure is compared with: learned once, ordered, or stated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from adaptive_stream.contracts.events import Metrics
from adaptive_stream.monitor.baseline import PLACE, Source, place_of
from adaptive_stream.monitor.ring import NEVER
from adaptive_stream.stats.rows import Rows
from tests.unit.monitor.measured import Measured, ms

ONE = np.array([0])


def baseline(made: Measured, metric: str, series: int = 0) -> float:
    return float(made.held("baselines", series)[PLACE[metric]])


def order(made: Measured, *, now_s: float = 0, **values: float) -> None:
    made.monitor.order_baselines(ONE, {name: np.array([value]) for name, value in values.items()}, now_ms=ms(now_s))


@pytest.mark.parametrize("cut", [1, 3, 7, 25])
def test_the_first_labels_make_the_baseline_however_they_come(cut: int) -> None:
    made = Measured()
    labels = [1.0] * 7 + [0.0] * 18
    for start in range(0, 25, cut):
        part = labels[start : start + cut]
        made.label([0.9] * len(part), part, at_s=start)
    assert baseline(made, "accuracy") == 0.7
    assert baseline(made, "brier") == pytest.approx((7 * 0.01 + 3 * 0.81) / 10)
    assert baseline(made, "calibration_error") == pytest.approx(0.2)
    held = {name: made.held(f"baseline_{name}") for name in ("count", "version", "source", "at")}
    assert held == {"count": 10, "version": 1, "source": Source.LEARNED, "at": ms(9 // cut * cut)}


@pytest.mark.parametrize("cut", [1, 4, 25])
def test_the_first_predictions_make_that_of_latency_confidence_and_errors(cut: int) -> None:
    made = Measured()
    outputs = [math.nan, 0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.6, math.nan] + [math.nan] * 15
    for start in range(0, 25, cut):
        made.serve(outputs[start : start + cut], latency=20.0)
    assert baseline(made, "error_rate") == 0.2
    assert baseline(made, "confidence") == pytest.approx(0.75)
    assert 15 < baseline(made, "latency_p95_ms") < 27


def test_until_enough_labels_came_there_is_no_baseline() -> None:
    made = Measured("a", "b")
    made.label([0.9] * 19, [1.0] * 19, series=[0] * 9 + [1] * 10)
    assert math.isnan(baseline(made, "accuracy"))
    assert baseline(made, "accuracy", 1) == 1
    assert (made.held("baseline_source"), made.held("baseline_source", 1)) == (Source.NONE, Source.LEARNED)


def test_what_is_frozen_stays() -> None:
    made = Measured()
    made.label([0.9] * 10, [1.0] * 10)
    before = made.held("baselines").copy()
    made.label([0.9] * 50, [0.0] * 50, at_s=60)
    assert np.array_equal(made.held("baselines"), before, equal_nan=True)


def test_the_calibration_map_is_there_from_the_first_look_after_the_baseline() -> None:
    made = Measured()
    made.label([0.9] * 9, [1.0] * 9)
    made.look(60)
    assert np.isnan(made.held("map")).all()
    made.label([0.9], [0.0], at_s=60)
    assert np.isnan(made.held("map")).all(), "in the midst of a run it would depend on where runs end"
    made.look(120)
    knots = made.held("map").copy()
    assert (np.diff(knots) >= 0).all()
    assert ((knots >= 0) & (knots <= 1)).all()
    made.label([0.9] * 50, [0.0] * 50, at_s=120)
    made.look(180)
    assert (made.held("map") == knots).all()


def test_a_stated_objective_is_there_from_the_start_and_beats_what_is_learned() -> None:
    made = Measured(monitor={"baseline": 0.9, "baselines": {"latency_p95_ms": 50.0, "brier": 0.1}})
    assert (made.held("baseline_source"), made.held("baseline_version")) == (Source.STATED, 1)
    made.serve([0.9] * 10, latency=200.0)
    made.label([0.9] * 10, [0.0] * 10)
    assert [baseline(made, name) for name in ("accuracy", "latency_p95_ms", "brier")] == [0.9, 50.0, 0.1]
    assert baseline(made, "log_loss") == pytest.approx(-math.log(0.1)), "for the others there is a learned one"
    assert (made.held("baseline_source"), made.held("baseline_version")) == (Source.STATED, 1)


def test_an_order_beats_what_is_stated_and_what_is_learned_figure_by_figure() -> None:
    made = Measured(monitor={"baseline": 0.9})
    order(made, accuracy=0.6, now_s=77)
    order(made, brier=0.2, log_loss=math.nan, now_s=78)
    made.label([0.9] * 10, [1.0] * 10)
    assert (baseline(made, "accuracy"), baseline(made, "brier")) == (0.6, 0.2)
    assert baseline(made, "log_loss") == pytest.approx(-math.log(0.9))
    held = {name: made.held(f"baseline_{name}") for name in ("version", "source", "at")}
    assert held == {"version": 3, "source": Source.ORDERED, "at": ms(78)}


def test_the_source_is_that_of_the_main_figure() -> None:
    made = Measured()
    order(made, latency_p95_ms=50.0)
    assert made.held("baseline_source") == Source.NONE
    made.label([0.9] * 10, [1.0] * 10)
    assert made.held("baseline_source") == Source.LEARNED


def test_the_first_figure_that_a_tool_reports_is_its_baseline() -> None:
    made = Measured()
    for accuracy, latency in ((0.9, None), (0.7, 30.0), (0.5, 60.0)):
        made.monitor.report(0, Metrics(model_id="m", accuracy=accuracy, latency_ms=latency))
    assert (baseline(made, "reported_accuracy"), baseline(made, "reported_latency_ms")) == (0.9, 30.0)


@pytest.mark.parametrize(("task", "main"), [("regression", "mean_absolute_error"), ("multiclass", "accuracy")])
def test_each_kind_of_task_has_its_main_figure(task: str, main: str) -> None:
    made = Measured(task=task, tolerance=10.0)
    made.label([1.0] * 10, [2.0] * 5 + [1.0] * 5)
    assert made.monitor.baselines.main == main
    assert baseline(made, main) == 0.5


@pytest.mark.parametrize("metric", ["estimated_accuracy", "arrived_accuracy"])
def test_expected_and_arrived_figures_are_compared_with_the_measured_ones(metric: str) -> None:
    assert place_of(metric) == PLACE["accuracy"]


def test_a_later_series_has_a_baseline_of_its_own() -> None:
    made: Any = Measured(monitor={"baseline": 0.9})
    order(made, accuracy=0.1)
    second = made.monitor.add(("m", "v", "app"), row=0)
    assert (baseline(made, "accuracy"), baseline(made, "accuracy", second)) == (0.1, 0.9)


# -- another configuration ---------------------------------------------------------------------------------------------


def restarted(made: Measured, **monitor: Any) -> Measured:  # noqa: ANN401
    """Return the series as they come back under other settings of the monitor."""
    again = Measured(monitor=monitor)
    again.monitor.series = Rows([*again.monitor.series._columns.values()])
    again.monitor.series.load([made.monitor.series.page(0)])
    again.monitor.restate()
    return again


def test_a_changed_objective_reaches_series_that_come_back_and_the_version_goes_on() -> None:
    made = Measured(monitor={"baseline": 0.9, "baselines": {"brier": 0.1}})
    made.label([0.9] * 10, [1.0] * 10)
    again = restarted(made, baseline=0.7, baselines={"brier": 0.2})
    assert (baseline(again, "accuracy"), baseline(again, "brier")) == (0.7, 0.2)
    assert (again.held("baseline_source"), again.held("baseline_version")) == (Source.STATED, 2)
    assert again.held("is_news"), "its alerts are looked at against what is stated now"
    assert again.monitor.series.take_dirty(), "the next snapshot holds it"


def test_an_objective_that_did_not_change_changes_nothing() -> None:
    made = Measured(monitor={"baseline": 0.9, "baselines": {"brier": 0.1}})
    made.label([0.9] * 10, [1.0] * 10)
    again = restarted(made, baseline=0.9, baselines={"brier": 0.1})
    assert again.monitor.series.page(0) == made.monitor.series.page(0)
    assert not again.monitor.series.take_dirty()


@pytest.mark.parametrize("stated", [1.0, 0.7])
def test_an_objective_takes_the_place_of_what_was_learned_even_where_it_says_the_same(stated: float) -> None:
    made = Measured()
    made.label([0.9] * 10, [1.0] * 10)
    again = restarted(made, baseline=stated)
    assert baseline(again, "accuracy") == stated
    assert baseline(again, "brier") == pytest.approx(0.01), "of the others what was learned stays"
    held = {name: again.held(f"baseline_{name}") for name in ("version", "source", "at")}
    assert held == {"version": 2, "source": Source.STATED, "at": NEVER}


def test_an_objective_is_there_before_anything_was_learned() -> None:
    made = Measured()
    made.label([0.9] * 9, [1.0] * 9)
    again = restarted(made, baseline=0.7)
    again.label([0.9], [1.0])
    assert (baseline(again, "accuracy"), again.held("baseline_source")) == (0.7, Source.STATED)
    assert baseline(again, "brier") == pytest.approx(0.01)


def test_what_an_order_has_set_stays_figure_by_figure_until_all_is_learned_anew() -> None:
    made = Measured(monitor={"baseline": 0.9, "baselines": {"brier": 0.1, "log_loss": 0.3}})
    order(made, accuracy=0.6)
    order(made, brier=0.2, log_loss=math.nan)
    again = restarted(made, baseline=0.7, baselines={"brier": 0.25, "log_loss": 0.4})
    assert [baseline(again, name) for name in ("accuracy", "brier", "log_loss")] == [0.6, 0.2, 0.4]
    assert again.held("baseline_source") == Source.ORDERED
    again.monitor.relearn_baselines(ONE)
    assert [baseline(again, name) for name in ("accuracy", "brier", "log_loss")] == [0.7, 0.25, 0.4]
    assert baseline(restarted(again, baseline=0.8), "accuracy") == 0.8
