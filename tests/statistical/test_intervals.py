"""Coverage of every interval under continuous looking, and what its width costs.

A stream grows to 20,000 values and is looked at after every tenth. It is covered where no look misses the truth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from adaptive_stream.stats import calibration, quantile
from adaptive_stream.stats.interval import (
    ALPHA,
    asymptotic_mean,
    auc_binned,
    bounded_mean,
    confidence_sequence,
    f1,
    precision,
    recall,
)
from adaptive_stream.stats.slope import slope
from tests.statistical.figure import share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.statistical.figure import Figures

    Array = NDArray[np.float64]

STEP, LENGTH = 10, 20_000
LOOKS = np.arange(STEP, LENGTH + 1, STEP, dtype=np.float64)
GOAL = 1 - ALPHA


def ever_missed(truth: float, low: Array, high: Array) -> NDArray[np.bool_]:
    return ((low > truth) | (high < truth)).any(axis=-1)


def bounded(n: Array, total: Array) -> tuple[Array, Array]:
    """The interval of each (n, total); whole totals of many streams are often the same."""
    pairs, place = np.unique(np.stack([n.ravel(), total.ravel()]), axis=1, return_inverse=True)
    low, high = bounded_mean(pairs[0], pairs[1])
    return low[place].reshape(n.shape), high[place].reshape(n.shape)


def covered(figures: Figures, name: str, missed: NDArray[np.bool_], *, goal: float = GOAL) -> bool:
    """Note the coverage and whether it keeps the promise; the interval is that of the simulation."""
    value, low, high = share(int((~missed).sum()), len(missed))
    return figures.add(f"coverage: {name}", value, low=low, high=high, goal=f">= {goal}", met=value >= goal)


@pytest.mark.parametrize("truth", [0.8, 0.9, 0.95, 0.99])
def test_the_mean_of_hits_is_covered_at_every_look(truth: float, figures: Figures) -> None:
    dice = np.random.default_rng([1, int(truth * 100)])
    totals = np.cumsum(dice.binomial(STEP, truth, (1_000, len(LOOKS))), axis=1).astype(np.float64)
    low, high = bounded(np.broadcast_to(LOOKS, totals.shape), totals)
    assert covered(figures, f"bounded_mean, Bernoulli {truth}", ever_missed(truth, low, high))


@pytest.mark.parametrize(("a", "b"), [(4.5, 0.5), (2.0, 2.0)])
def test_the_mean_of_bounded_scores_is_covered_at_every_look(a: float, b: float, figures: Figures) -> None:
    dice = np.random.default_rng([2, int(a)])
    totals = np.cumsum(dice.beta(a, b, (200, LENGTH)), axis=1)[:, STEP - 1 :: STEP]
    low, high = bounded_mean(np.broadcast_to(LOOKS, totals.shape), totals)
    assert covered(figures, f"bounded_mean, beta({a}, {b})", ever_missed(a / (a + b), low, high))


def test_the_textbook_interval_is_not_covered() -> None:
    """The simulation sees what it is there to see."""
    dice = np.random.default_rng(3)
    means = np.cumsum(dice.binomial(STEP, 0.9, (400, len(LOOKS))), axis=1) / LOOKS
    radius = 1.96 * np.sqrt(means * (1 - means) / LOOKS)
    assert ever_missed(0.9, means - radius, means + radius).mean() > 5 * ALPHA


@pytest.mark.parametrize("count", [500, 20_000])
@pytest.mark.parametrize(("truth", "at_most"), [(0.8, 0.85), (0.9, 0.65), (0.95, 0.6), (0.99, 0.5)])
def test_the_interval_is_much_narrower_than_one_that_knows_no_variance(
    truth: float, at_most: float, count: int, figures: Figures
) -> None:
    low, high = bounded_mean(count, truth * count)
    wide_low, wide_high = confidence_sequence(count, truth)
    ratio = float((high - low) / (wide_high - wide_low))
    name = f"width: bounded_mean over confidence_sequence, mean {truth}, n {count}"
    assert figures.add(name, ratio, low=ratio, high=ratio, goal=f"<= {at_most}", met=ratio <= at_most)


@pytest.mark.parametrize(
    ("name", "goal"),
    [("exponential", GOAL), ("square of a normal", GOAL), ("lognormal 0.5", GOAL), ("lognormal 1.0", 0.9)],
)
def test_the_mean_of_unbounded_values_is_covered_at_every_look(name: str, goal: float, figures: Figures) -> None:
    """Log loss is like the first, squared error like the second; the last has the tail where the promise wears thin."""
    dice, size = np.random.default_rng([4, len(name)]), (100, LENGTH)
    draw, truth = {
        "exponential": (lambda: dice.exponential(1, size), 1.0),
        "square of a normal": (lambda: dice.standard_normal(size) ** 2, 1.0),
        "lognormal 0.5": (lambda: dice.lognormal(0, 0.5, size), math.exp(0.125)),
        "lognormal 1.0": (lambda: dice.lognormal(0, 1.0, size), math.exp(0.5)),
    }[name]
    missed = []
    for _ in range(10):
        values = draw()
        totals = np.cumsum(values, axis=1)[:, STEP - 1 :: STEP]
        squares = np.cumsum(values**2, axis=1)[:, STEP - 1 :: STEP]
        low, high = asymptotic_mean(np.broadcast_to(LOOKS, totals.shape), totals, squares)
        missed.append(ever_missed(truth, low, high))
    assert covered(figures, f"asymptotic_mean, {name}", np.concatenate(missed), goal=goal)


def test_precision_recall_and_f1_are_covered_at_every_look(figures: Figures) -> None:
    dice, cells = np.random.default_rng(5), np.array([0.12, 0.03, 0.05, 0.80])  # tp, fp, fn, tn
    counts = np.cumsum(dice.multinomial(STEP, cells, (200, len(LOOKS))), axis=1).astype(np.float64)
    tp, fp, fn = (counts[..., cell] for cell in range(3))
    for name, truth, (_, low, high) in (
        ("precision", 12 / 15, precision(tp, fp)),
        ("recall", 12 / 17, recall(tp, fn)),
        ("f1", 24 / 32, f1(tp, fp, fn)),
    ):
        assert covered(figures, name, ever_missed(truth, low, high))


@pytest.mark.parametrize("positive", [0.5, 0.1])
def test_the_area_under_the_curve_is_covered_at_every_look(positive: float, figures: Figures) -> None:
    """Two normals apart by 1.2, so that the area is 0.80; in 20 bins of the score, whose own area is the truth."""
    dice, bins, apart, streams = np.random.default_rng([6, int(positive * 10)]), 20, 1.2, 400
    edges = np.linspace(-3, 4.2, bins - 1)
    up = np.diff(np.r_[0.0, ndtr(edges - apart), 1.0])
    down = np.diff(np.r_[0.0, ndtr(edges), 1.0])
    truth = float((up * (np.cumsum(down) - down / 2)).sum())
    missed = []
    for _ in range(streams // 50):
        cells = dice.multinomial(STEP, np.r_[positive * up, (1 - positive) * down], (50, len(LOOKS)))
        counts = np.cumsum(cells, axis=1)
        _, low, high = auc_binned(counts[..., :bins], counts[..., bins:])
        missed.append(ever_missed(truth, low, high))
    assert covered(figures, f"auc_binned, {positive:.0%} positive", np.concatenate(missed))


@pytest.mark.parametrize("shape", [0.25, 1.0])
def test_latency_quantiles_are_covered_at_every_look(shape: float, figures: Figures) -> None:
    """Lognormal latencies of 20 ms: what interpolation inside a bin gets wrong counts against the interval."""
    dice, levels = np.random.default_rng([7, int(shape * 100)]), np.array([0.5, 0.95, 0.99])
    chances = np.diff(np.r_[0.0, ndtr(np.log(quantile.EDGES_MS[1:-1] / 20) / shape), 1.0])
    truths = 20 * np.exp(shape * ndtri(levels))
    missed = []
    for _ in range(10):
        counts = np.cumsum(dice.multinomial(STEP, chances, (20, len(LOOKS))), axis=1)
        for level, truth in zip(levels, truths, strict=True):
            _, low, high = quantile.quantile(counts, level)
            missed.append(ever_missed(truth, low, high))
    by_level = np.stack(missed).reshape(10, len(levels), 20)
    for place, level in enumerate(levels):
        name = f"quantile {level}, lognormal {shape}"
        assert covered(figures, name, by_level[:, place].ravel())


def calibration_counts(bend: float, *, streams: int, seed: int) -> tuple[Array, Array, Array]:
    """Sums by bin at every look, where probabilities are uniform and the label's odds are theirs to the ``bend``."""
    dice, bins = np.random.default_rng([8, seed]), calibration.BINS
    looks = LENGTH // 100
    p = dice.random((streams, LENGTH))
    odds = (p / (1 - p)) ** bend
    labels = dice.random((streams, LENGTH)) < odds / (1 + odds)
    place = calibration.place(p) + bins * (np.arange(LENGTH) // 100) + bins * looks * np.arange(streams)[:, None]
    sums = []
    for weights in (np.ones_like(p), p, labels.astype(np.float64)):
        each = np.bincount(place.ravel(), weights.ravel(), streams * looks * bins)
        sums.append(np.cumsum(each.reshape(streams, looks, bins), axis=1))
    return sums[0], sums[1], sums[2]


def test_a_calibrated_model_is_not_called_broken_at_any_look(figures: Figures) -> None:
    _, low, _ = calibration.calibration_error(*calibration_counts(1.0, streams=200, seed=1))
    value, least, most = share(int((low > 0).any(axis=-1).sum()), len(low))
    name = "calibration_error: low end above 0 ever, calibrated"
    assert figures.add(name, value, low=least, high=most, goal="<= 0.05", met=most <= ALPHA)


def test_a_broken_model_is_called_broken_and_its_error_is_covered(figures: Figures) -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    odds = (grid / (1 - grid)) ** 0.5  # twice as sure as it should be
    gaps = (odds / (1 + odds) - grid).reshape(calibration.BINS, -1).mean(axis=1)
    truth = float(np.abs(gaps).mean())
    n, predicted, labels = calibration_counts(0.5, streams=100, seed=2)
    _, low, high = calibration.calibration_error(n, predicted, labels)
    assert covered(figures, f"calibration_error, overconfident by {truth:.3f}", ever_missed(truth, low, high))
    first = (np.argmax(low > 0, axis=-1) + 1) * 100
    slowest = float(np.quantile(first, 0.95))
    assert (low[:, -1] > 0).all()
    name = f"calibration_error: labels until 95 % of models overconfident by {truth:.3f} are called so"
    assert figures.add(name, slowest, low=first.min(), high=first.max(), goal="<= 3000", met=slowest <= 3_000)


@pytest.mark.parametrize("panes", [10, 24])
@pytest.mark.parametrize("kind", ["equal counts", "unequal counts", "one bad pane", "scatter between panes"])
def test_the_slope_is_covered_at_one_look(kind: str, panes: int, figures: Figures) -> None:
    dice, streams = np.random.default_rng([9, panes]), 4_000
    counts = np.full((streams, panes), 200.0)
    rate = np.full((streams, panes), 0.85)
    if kind == "unequal counts":
        counts = np.round(10 ** dice.uniform(1, 3, counts.shape))
    if kind == "one bad pane":
        rate[np.arange(streams), dice.integers(0, panes, streams)] -= 0.3
    if kind == "scatter between panes":
        rate = np.clip(rate + 0.02 * dice.standard_normal(rate.shape), 0.01, 0.99)
    hits = dice.binomial(counts.astype(np.int64), rate)
    smooth = (hits + 1) / (counts + 2)
    _, low, high = slope(hits / counts, smooth * (1 - smooth) / counts)
    value, least, most = share(int(((low <= 0) & (high >= 0)).sum()), streams)
    name = f"coverage: slope over {panes} panes, {kind}"
    assert figures.add(name, value, low=least, high=most, goal=f">= {GOAL}", met=value >= GOAL)
