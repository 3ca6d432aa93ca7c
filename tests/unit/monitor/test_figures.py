"""Every figure against a plain recount of the same small stream."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest

from adaptive_stream.contracts.events import Metrics
from adaptive_stream.monitor.tally import LEAST_LOSS
from adaptive_stream.stats import quantile
from tests.unit.monitor.measured import Measured, ms

SEEDS = range(6)
ONE = np.array([0])


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def drawn(seed: int, *, size: int = 60) -> tuple[list[float], list[float]]:
    """Outputs on a coarse grid, so that some are equal, and labels that go with them."""
    dice = random.Random(seed)  # noqa: S311 - a seed is no secret
    outputs = [dice.randrange(21) / 20 for _ in range(size)]
    return outputs, [float(dice.random() < output) for output in outputs]


def recount(outputs: list[float], labels: list[float], threshold: float) -> dict[str, tuple[int, float]]:
    pairs = [(output >= threshold, label == 1) for output, label in zip(outputs, labels, strict=True)]
    tp, fp = pairs.count((True, True)), pairs.count((True, False))
    fn, tn = pairs.count((False, True)), pairs.count((False, False))
    n = len(pairs)
    losses = [
        -math.log(max(LEAST_LOSS, output if label else 1 - output))
        for output, label in zip(outputs, labels, strict=True)
    ]
    bins: dict[int, list[tuple[float, float]]] = {}
    for output, label in zip(outputs, labels, strict=True):
        bins.setdefault(min(19, int(output * 20)), []).append((output, label))
    gaps = [abs(sum(output - label for output, label in held)) for held in bins.values()]
    wins = [
        1.0 if up > down else 0.5 if up == down else 0.0
        for up, is_up in zip(outputs, labels, strict=True)
        for down, is_down in zip(outputs, labels, strict=True)
        if is_up and not is_down
    ]
    return {
        "accuracy": (n, (tp + tn) / n),
        "precision": (tp + fp, tp / (tp + fp)),
        "recall": (tp + fn, tp / (tp + fn)),
        "f1_score": (tp + fp + fn, 2 * tp / (2 * tp + fp + fn)),
        "log_loss": (n, statistics.fmean(losses)),
        "brier": (n, statistics.fmean((o - y) ** 2 for o, y in zip(outputs, labels, strict=True))),
        "calibration_error": (n, sum(gaps) / n),
        "auc": (n, statistics.fmean(wins)),
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("channel", "threshold"), [("web", 0.5), ("app", 0.8)])
def test_binary_figures_are_those_of_a_recount_at_the_channels_own_threshold(
    seed: int, channel: str, threshold: float
) -> None:
    made = Measured(channel, thresholds={"app": 0.8})
    outputs, labels = drawn(seed)
    for start in range(0, 60, 17):
        made.label(outputs[start : start + 17], labels[start : start + 17], at_s=start)
    found = {name: made.figure(name) for name in recount(outputs, labels, threshold)}
    assert found == {name: (n, close(value)) for name, (n, value) in recount(outputs, labels, threshold).items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_regression_figures_are_those_of_a_recount(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seed is no secret
    pairs = [(dice.gauss(0, 5), dice.gauss(0, 5)) for _ in range(50)]
    made = Measured(task="regression", tolerance=100.0)
    made.label([output for output, _ in pairs], [label for _, label in pairs])
    errors = [abs(output - label) for output, label in pairs]
    assert made.figure("mean_absolute_error") == (50, close(statistics.fmean(errors)))
    root = math.sqrt(statistics.fmean(error * error for error in errors))
    assert made.figure("root_mean_squared_error") == (50, close(root))


@pytest.mark.parametrize("seed", SEEDS)
def test_multiclass_figures_are_those_of_a_recount(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seed is no secret
    names = dice.choice([(0, 1, 2), (0, 2)])  # a class that does not occur has no share in the mean
    pairs = [(float(dice.choice(names)), float(dice.choice(names))) for _ in range(40)]
    made = Measured(task="multiclass")
    made.label([output for output, _ in pairs], [label for _, label in pairs])
    shares = []
    for name in names:
        tp = sum(output == label == name for output, label in pairs)
        wrong = sum((output == name) != (label == name) for output, label in pairs)
        shares.append(2 * tp / (2 * tp + wrong))
    assert made.figure("accuracy") == (40, close(sum(output == label for output, label in pairs) / 40))
    assert made.figure("f1_macro") == (40, close(statistics.fmean(shares)))


def test_a_label_is_credited_to_the_time_of_its_prediction_and_counts_as_it_arrived() -> None:
    made = Measured()
    made.label([0.9] * 4, [1] * 4, at_s=0, came_s=0)
    made.label([0.9] * 4, [0] * 4, at_s=0, came_s=300)  # late ones, all misses
    assert made.figure("accuracy", now_s=60) == (8, 0.5)
    late = 60 * 9  # the pane of the predictions has left the window, that of the late labels has not
    assert made.figure("accuracy", now_s=late)[0] == 0
    assert made.figure("arrived_accuracy", now_s=late) == (4, 0)


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_latency_quantiles_are_within_a_bin_of_those_of_the_values(spread: float) -> None:
    dice = random.Random(1)  # noqa: S311 - a seed is no secret
    values = sorted(dice.lognormvariate(3, spread) for _ in range(999))
    made = Measured()
    made.serve([0.5] * 999, latency=values)
    step = quantile.EDGES_MS[1] / quantile.EDGES_MS[0]
    for name, share in (("latency_p50_ms", 0.5), ("latency_p95_ms", 0.95), ("latency_p99_ms", 0.99)):
        n, value = made.figure(name)
        assert n == 999
        assert 1 / step < value / values[int(share * 999)] < step


def test_confidence_is_what_is_given_and_else_that_of_the_likelier_class() -> None:
    made = Measured()
    made.serve([0.9, 0.2, 0.5, math.nan], confidence=[math.nan, math.nan, 0.3, math.nan])
    assert made.figure("confidence") == (3, close((0.9 + 0.8 + 0.3) / 3))
    given = Measured(task="regression")
    given.serve([5.0, 6.0], confidence=[math.nan, 0.25])
    assert given.figure("confidence") == (1, 0.25), "a number says nothing of how sure it is"


def test_failures_and_labels_are_shares_of_what_was_served() -> None:
    made = Measured()
    made.serve([0.9] * 6 + [math.nan] * 2)
    made.label([0.9] * 2, [1, 1])
    assert made.figure("error_rate") == (8, 0.25)
    assert made.figure("labelled_share") == (8, 0.25)


def test_without_events_there_is_no_figure() -> None:
    made = Measured()
    found = made.monitor.window(ONE, now_ms=1)
    for name in ("accuracy", "precision", "auc", "calibration_error", "latency_p95_ms", "error_rate"):
        assert found[name].n[0] == 0
        assert math.isnan(found[name].value[0])


def test_every_figure_lies_in_its_interval() -> None:
    made = Measured(monitor={"baseline_labels": 30})
    outputs, labels = drawn(3)
    made.label(outputs, labels)
    made.look(60)
    made.serve(outputs, latency=[1 + 100 * output for output in outputs], at_s=60)
    found = made.monitor.window(ONE, now_ms=10**15)
    assert found["accuracy"].n[0] == 0, "long after, nothing is in the window"
    for name in (*recount(outputs, labels, 0.5), "estimated_accuracy", "estimated_f1_score", "latency_p95_ms"):
        window = made.monitor.window(ONE, now_ms=ms(120))
        figure = window[name]
        (low,), (high,) = figure.ends(ONE)
        assert low <= figure.value[0] <= high, name


def test_expected_figures_begin_after_the_baseline_and_are_the_mean_of_what_the_map_says() -> None:
    made = Measured(thresholds={"web": 0.6}, monitor={"baseline_labels": 40})
    outputs, labels = drawn(2, size=40)
    made.serve(outputs)
    made.label(outputs, labels)
    assert made.figure("estimated_accuracy")[0] == 0, "what came before the map is not expected anything of"
    made.look(60)
    fresh = [0.05, 0.33, 0.5, 0.61, 0.99]
    made.serve(fresh, at_s=60)
    knots = made.held("map").tolist()

    def trusted(p: float) -> float:
        place = min(19, int(p * 20))
        share = p * 20 - place
        return knots[place] * (1 - share) + knots[place + 1] * share

    tp = sum(trusted(p) for p in fresh if p >= 0.6)
    fp = sum(1 - trusted(p) for p in fresh if p >= 0.6)
    fn = sum(trusted(p) for p in fresh if p < 0.6)
    assert made.figure("estimated_accuracy", now_s=120) == (5, close(1 - (fp + fn) / 5))
    assert made.figure("estimated_precision", now_s=120)[1] == close(tp / (tp + fp))
    assert made.figure("estimated_recall", now_s=120)[1] == close(tp / (tp + fn))
    assert made.figure("estimated_f1_score", now_s=120)[1] == close(2 * tp / (2 * tp + fp + fn))


def test_what_tools_report_is_the_newest_of_each_name() -> None:
    made = Measured()
    for place in range(12):
        made.monitor.report(0, Metrics(model_id="m", accuracy=0.5 + place / 100, values={"free": float(place)}))
    assert made.figure("reported_accuracy") == (12, 0.61)
    assert made.figure("reported_latency_ms")[0] == 0
    assert made.monitor.values == {0: {"free": 11.0}}
