"""What each event adds to the counts, and that it adds the same whatever it came with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive_stream.contracts.events import Metrics
from adaptive_stream.monitor.monitor import Monitor
from adaptive_stream.monitor.tally import LARGEST_ERROR, LEAST_LOSS, rank
from adaptive_stream.monitor.view import View
from tests.unit.monitor.measured import Measured, family, ms

MOST_BYTES = 8_192


def test_a_rank_is_the_number_of_earlier_events_of_the_same_series() -> None:
    assert rank(np.array([3, 1, 3, 3, 1, 2])).tolist() == [0, 0, 1, 2, 1, 0]
    assert rank(np.array([], dtype=np.int64)).tolist() == []


def test_a_certain_claim_that_proves_wrong_costs_a_bounded_loss() -> None:
    made = Measured()
    made.label([0.0, 1.0], [1, 0])
    assert made.figure("log_loss") == (2, pytest.approx(-math.log(LEAST_LOSS)))
    made = Measured()
    made.label([0.0, 1.0], [0, 1])
    assert made.figure("log_loss") == (2, 0)


def test_an_error_beyond_all_measure_leaves_finite_sums() -> None:
    made = Measured(task="regression")
    made.label([1e308, 1.0], [-1e308, 1.0])
    assert made.figure("mean_absolute_error") == (2, 0.5), "no error counts for more than the tolerance"
    assert made.figure("root_mean_squared_error")[1] == pytest.approx(LARGEST_ERROR / math.sqrt(2))
    assert np.isfinite(made.held("served_square_square")).all()


def test_a_latency_beyond_all_measure_leaves_finite_sums_and_a_status_that_can_be_read() -> None:
    made = Measured(monitor={"trend_panes": 4})
    made.monitor.report(0, Metrics(model_id="m", latency_ms=5e-324))
    for pane, latency in enumerate((1e308, 20.0, 1e308, 1e308)):
        made.serve([0.9] * 3, latency=[latency, latency, 20.0], at_s=60 * pane)
        made.monitor.report(0, Metrics(model_id="m", latency_ms=1e308))
    assert np.isfinite(made.held("served_latency_square")).all()
    made.look(240)
    view = View(family(monitor={"trend_panes": 4}), made.monitor, np.array([0]), now_ms=ms(240))
    assert [pane.latency_ms is not None and pane.latency_ms < math.inf for pane in view.panes(0)] == [True] * 4
    trends = view.trends(0)
    assert {"latency_ms", "reported_latency_ms"} <= trends.keys()
    assert all(math.isfinite(end) for trend in trends.values() for end in (trend.slope, trend.low, trend.high))


def test_the_newest_labels_are_behind_the_auc_even_when_more_come_at_once() -> None:
    outputs = np.linspace(0, 1, 25).tolist()
    whole, single = Measured(monitor={"auc_labels": 10}), Measured(monitor={"auc_labels": 10})
    whole.label(outputs, [place % 2 for place in range(25)])
    for place, output in enumerate(outputs):
        single.label([output], [place % 2])
    assert whole.held("auc_output").tolist() == single.held("auc_output").tolist()
    assert sorted(whole.held("auc_output").tolist()) == pytest.approx(outputs[15:])
    assert whole.figure("auc")[0] == 10


def test_the_totals_of_a_life_forget_nothing() -> None:
    made = Measured()
    for minute in range(0, 40, 4):
        made.serve([0.9, math.nan], at_s=60 * minute)
        made.label([0.9, 0.2], [1, 1], at_s=60 * minute)
    held = {name: made.held(name) for name in ("predictions", "failed", "labelled", "score_sum")}
    assert held == {"predictions": 20, "failed": 10, "labelled": 20, "score_sum": 10}


def test_ratings_and_preferences_are_feedback_without_a_score() -> None:
    made = Measured()
    made.serve([0.9])
    two = np.array([0, 0])
    made.monitor.rate(two, np.array([0.25, 0.5]), now_ms=np.array([ms(5), ms(6)]))
    assert (made.held("rating_count"), made.held("rating_sum")) == (2, 0.75)
    assert made.held("last_label_ms") == ms(6)
    made.monitor.prefer(two, now_ms=np.array([ms(7), ms(8)]))
    assert (made.held("last_label_ms"), made.held("labelled")) == (ms(8), 0)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_series_without_the_window_of_the_auc_costs_less_than_eight_kilobytes(task: str) -> None:
    made = Monitor(family(task=task, monitor={"auc_labels": 0, "panes": 24, "pane_s": 3_600}))
    size = sum(values.itemsize * int(np.prod(values.shape[1:])) for values in made.series.col.values())
    assert size < MOST_BYTES
