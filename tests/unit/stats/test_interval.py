"""Intervals that stay valid however often one looks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive_stream.stats.interval import ALPHA, RHO, confidence_sequence


def misses(truth: float, *, streams: int, length: int, alpha: float, seed: int) -> float:
    """Return the share of streams whose interval misses the truth at any look."""
    dice = np.random.default_rng(seed)
    n = np.arange(1, length + 1)
    means = np.cumsum(dice.random((streams, length)) < truth, axis=1) / n
    low, high = confidence_sequence(np.broadcast_to(n, means.shape), means, alpha=alpha)
    return float(((low > truth) | (high < truth)).any(axis=1).mean())


@pytest.mark.parametrize("truth", [0.5, 0.8, 0.99])
@pytest.mark.parametrize("alpha", [0.05, 0.4])
def test_over_all_looks_the_truth_is_missed_no_more_often_than_promised(truth: float, alpha: float) -> None:
    streams = 400
    chance = 3 * math.sqrt(alpha * (1 - alpha) / streams)
    assert misses(truth, streams=streams, length=2_000, alpha=alpha, seed=1) <= alpha + chance


def test_an_interval_for_one_look_would_miss_too_often_at_all_looks() -> None:
    """The simulation above can see what it is there to see: the textbook interval, looked at again and again."""
    dice = np.random.default_rng(1)
    n = np.arange(1, 2_001)
    means = np.cumsum(dice.random((400, 2_000)) < 0.5, axis=1) / n
    assert (np.abs(means - 0.5) > 1.96 * 0.5 / np.sqrt(n))[:, 10:].any(axis=1).mean() > 4 * ALPHA


def test_the_ends_are_those_of_the_paper() -> None:
    n, mean, alpha = 400, 0.7, 0.05
    v = n / 4  # the intrinsic time of n values that are 1/4-sub-Gaussian
    radius = math.sqrt((v + RHO) * math.log((v + RHO) / (RHO * alpha**2))) / n
    low, high = confidence_sequence(n, mean, alpha=alpha)
    assert float(low) == pytest.approx(mean - radius, rel=1e-12)
    assert float(high) == pytest.approx(mean + radius, rel=1e-12)
    assert radius == pytest.approx(0.076027, abs=5e-7)


def test_without_values_nothing_is_excluded() -> None:
    low, high = confidence_sequence([0, 0], [math.nan, 0.3])
    assert low.tolist() == [0, 0]
    assert high.tolist() == [1, 1]


def test_more_values_and_less_certainty_make_it_narrower() -> None:
    n = np.arange(1, 5_000)
    low, high = confidence_sequence(n, np.full(len(n), 0.5))
    width = high - low
    assert (np.diff(width) <= 0).all()
    assert width[0] == 1
    assert width[-1] < 0.06
    loose_low, loose_high = confidence_sequence(n, np.full(len(n), 0.5), alpha=0.2)
    assert (loose_high - loose_low <= width).all()
    assert (loose_high - loose_low)[-1] < width[-1]


def test_it_stays_inside_the_unit_interval_around_the_mean_in_any_shape() -> None:
    count, mean = np.array([[1, 10], [100, 100_000]]), np.array([[0.0, 1.0], [0.999, 0.001]])
    low, high = confidence_sequence(count, mean)
    assert low.shape == high.shape == (2, 2)
    assert ((low >= 0) & (high <= 1) & (low <= mean) & (mean <= high)).all()
