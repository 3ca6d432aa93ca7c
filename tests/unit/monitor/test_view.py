"""What a status shows: health by its points, trends with their direction, panes, curves and matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.contracts.events import Metrics
from adaptive_stream.monitor.view import View
from tests.unit.core.scene import Scene, prediction
from tests.unit.monitor.measured import Measured, family, ms

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import Health, Trend

# accuracy against .9, latency against 100 ms, error rate; points, level: the numbers of docs/guide/monitoring.md
SCORES = [
    ((0.90, 110.0, 0.01), 3.0, "excellent"),
    ((0.95, 50.0, 0.0), 3.0, "excellent"),
    ((0.88, 110.0, 0.01), 2.5, "excellent"),
    ((0.88, 110.1, 0.01), 2.0, "good"),
    ((0.88, 150.0, 0.01), 2.0, "good"),
    ((0.88, 150.0, 0.05), 1.5, "fair"),
    ((0.88, 150.1, 0.05), 1.0, "poor"),
    ((0.879, 150.0, 0.05), 1.0, "poor"),
    ((0.5, 900.0, 0.051), 0.0, "poor"),
]


def health(*reports: dict[str, float]) -> Health:
    scene = Scene()
    scene.step(*(Metrics(model_id="m", **figures) for figures in reports))
    found = scene.status().series[0].health
    assert found is not None
    return found


def three(accuracy: float, latency_ms: float, error_rate: float) -> dict[str, float]:
    return {"accuracy": accuracy, "latency_ms": latency_ms, "error_rate": error_rate}


@pytest.mark.parametrize(("figures", "points", "level"), SCORES)
def test_health_is_a_score_of_three_parts(figures: tuple[float, float, float], points: float, level: str) -> None:
    found = health(three(0.9, 100.0, 0.0), three(*figures))
    assert (found.points, found.level) == (points, level)
    assert set(found.parts) == {"quality", "latency", "errors"}


def test_one_measurement_says_nothing_of_health() -> None:
    assert health(three(0.9, 100.0, 0.0)).level == "insufficient_data"


def test_what_is_missing_neither_helps_nor_harms() -> None:
    found = health({"accuracy": 0.9}, {"accuracy": 0.88})
    assert (found.parts, found.points, found.level) == ({"quality": 0.5}, 1.5, "fair")
    found = health({"accuracy": 0.9, "error_rate": 0.0}, {"accuracy": 0.9, "error_rate": 0.02})
    assert (found.parts, found.points, found.level) == ({"quality": 1.0, "errors": 0.5}, 2.25, "good")
    found = health({"latency_ms": 10.0, "error_rate": 0.0}, {"latency_ms": 10.0, "error_rate": 0.0})
    assert found.level == "insufficient_data", "speed alone says nothing of a model"
    assert found.points is None


def test_what_is_measured_beats_what_is_reported() -> None:
    scene = Scene(".monitor.baseline=0.9")
    scene.step(*(Metrics(model_id="m", accuracy=value) for value in (0.9, 0.1)))
    found = scene.status().series[0].health
    assert found is not None
    assert found.parts["quality"] == 0
    scene.label(95, 5)
    found = scene.status().series[0].health
    assert found is not None
    assert (found.parts["quality"], found.parts["errors"]) == (1, 1)


def test_the_quality_of_a_regression_is_its_error_as_a_share_of_the_tolerance() -> None:
    for label, points in ((10.0, 1.0), (10.15, 0.5), (10.5, 0.0)):
        scene = Scene(".task=regression", ".tolerance=10", ".monitor.baseline=0.0")
        for number in range(5):
            scene.send(prediction(f"p{number}", 10.0), scene.correction(f"p{number}", label))
        scene.step()
        found = scene.status().series[0].health
        assert found is not None
        assert found.parts["quality"] == points


# -- trends ------------------------------------------------------------------------------------------------------------


def trends(**values: list[float]) -> dict[str, Trend]:
    scene = Scene()
    for turn in range(max(map(len, values.values()))):
        scene.send(Metrics(model_id="m", **{name: given[turn] for name, given in values.items() if turn < len(given)}))
    scene.step()
    return scene.status().series[0].trends


@pytest.mark.parametrize(
    ("step", "accuracy", "latency"),
    [(0.01, "improving", "declining"), (-0.01, "declining", "improving"), (0.0005, "stable", "stable")],
)
def test_a_trend_knows_which_way_is_better(step: float, accuracy: str, latency: str) -> None:
    values = [0.5 + step * turn for turn in range(10)]
    found = trends(accuracy=values, latency_ms=values)
    assert found["reported_accuracy"].direction == accuracy
    assert found["reported_latency_ms"].direction == latency
    assert found["reported_accuracy"].slope == pytest.approx(step)


def test_the_last_ten_reports_make_a_trend() -> None:
    found = trends(accuracy=[0.9, 0.8, 0.7, 0.6, *(0.3 + 0.02 * turn for turn in range(10))])["reported_accuracy"]
    assert (found.direction, found.panes) == ("improving", 10)


def test_what_jumps_about_is_stable_however_steep_its_line() -> None:
    found = trends(accuracy=[0.5, 0.9, 0.4, 0.8, 0.5, 0.9, 0.6])["reported_accuracy"]
    assert found.direction == "stable"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_two_reports_are_no_trend() -> None:
    found = trends(accuracy=[0.5, 0.9])["reported_accuracy"]
    assert (found.direction, found.panes, found.slope) == ("stable", 2, None)


@pytest.mark.parametrize(("task", "main"), [("binary", "accuracy"), ("regression", "mean_absolute_error")])
@pytest.mark.parametrize(("first", "direction"), [(20, "improving"), (160, "declining"), (90, "stable")])
def test_measured_quality_and_latency_go_pane_by_pane(task: str, main: str, first: int, direction: str) -> None:
    made = Measured(task=task)
    step = {"improving": 20, "declining": -20, "stable": 0}[direction]
    for pane in range(8):
        hits = first + step * pane
        made.label([1.0] * 200, [1.0] * hits + [0.0] * (200 - hits), at_s=60 * pane)
        spread = np.linspace(0.9, 1.1, 50)
        made.serve([1.0] * 50, at_s=60 * pane, latency=(spread * (200 - hits)).tolist())
    view = View(family(task=task), made.monitor, np.array([0]), now_ms=ms(480))
    found = view.trends(0)
    assert {name: trend.direction for name, trend in found.items()} == {main: direction, "latency_ms": direction}
    assert {trend.panes for trend in found.values()} == {8}


# -- panes and histograms ----------------------------------------------------------------------------------------------


def test_panes_hold_what_was_served_in_them_and_what_arrived() -> None:
    made = Measured()
    made.serve([0.9, 0.8, float("nan")], at_s=0, latency=[10, 30, float("nan")])
    made.label([0.9, 0.8], [1, 0], at_s=0, came_s=130)
    view = View(family(), made.monitor, np.array([0]), now_ms=ms(180))
    first, second = view.panes(0)
    assert (first.predictions, first.failed, first.labelled, first.value, first.arrived) == (3, 1, 2, 0.5, 0)
    assert (first.latency_ms, first.confidence) == (20, pytest.approx(0.85))
    assert (second.predictions, second.labelled, second.value) == (0, 0, None)
    assert (second.arrived, second.arrived_value) == (2, 0.5)
    assert first.low is not None
    assert first.high is not None
    assert first.low < 0.5 < first.high


def test_an_error_is_shown_in_the_units_of_the_label() -> None:
    made = Measured(task="regression", tolerance=10.0)
    made.label([5.0, 5.0], [9.0, 7.0])
    [pane] = View(family(task="regression", tolerance=10.0), made.monitor, np.array([0]), now_ms=ms(60)).panes(0)
    assert pane.value == pytest.approx(3)
    assert pane.low is not None
    assert pane.high is not None
    assert pane.low < 3 < pane.high


def test_the_calibration_curve_has_a_point_for_each_bin_with_labels() -> None:
    made = Measured()
    made.label([0.11, 0.13, 0.93, 1.0], [0, 1, 1, 1])
    bins = View(family(), made.monitor, np.array([0]), now_ms=ms(60)).calibration(0)
    assert [(bin_.n, round(bin_.predicted, 3), bin_.observed) for bin_ in bins] == [
        (2, 0.12, 0.5),
        (1, 0.93, 1),
        (1, 1.0, 1),
    ]


def test_a_confusion_matrix_has_a_row_for_each_true_class() -> None:
    made = Measured()
    made.label([0.9, 0.9, 0.9, 0.1, 0.1], [1, 1, 0, 1, 0])
    view = View(family(), made.monitor, np.array([0]), now_ms=ms(60))
    assert (view.classes(), view.confusion(0)) == (["0", "1"], [[1, 1], [1, 2]])
    made = Measured(task="multiclass")
    made.label([0, 1, 1, 2], [0, 0, 1, 2])
    view = View(family(task="multiclass"), made.monitor, np.array([0]), now_ms=ms(60))
    assert (view.classes(), view.confusion(0)) == (["a", "b", "c"], [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
