"""Quantiles of latencies from bins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive_stream.stats.interval import bounded_mean
from adaptive_stream.stats.quantile import BINS, EDGES_MS, LEAST_MS, MOST_MS, place, quantile


def counted(values: np.ndarray) -> np.ndarray:
    return np.bincount(place(values), minlength=BINS)


def test_a_latency_falls_between_the_edges_of_its_bin() -> None:
    values = np.geomspace(0.0501, 299_000, 1_000)
    bins = place(values)
    assert bins.dtype == np.int64
    assert (EDGES_MS[bins] <= values).all()
    assert (values <= EDGES_MS[bins + 1]).all()


def test_what_is_outside_counts_at_the_ends() -> None:
    assert place([-1, 0, 1e-9, 1e9, math.inf]).tolist() == [0, 0, 0, BINS - 1, BINS - 1]


@pytest.mark.parametrize("shape", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("q", [0.5, 0.95, 0.99])
def test_a_smooth_quantile_is_found_within_two_percent(shape: float, q: float) -> None:
    values = np.random.default_rng(1).lognormal(3, shape, 200_000)
    value, low, high = quantile(counted(values), q)
    assert float(value) == pytest.approx(np.quantile(values, q), rel=0.02)
    assert low < value < high


def test_values_that_are_all_one_are_known_only_to_their_bin() -> None:
    value, low, high = quantile(counted(np.full(10_000, 12.0)), 0.95)
    assert low <= 12.0 <= high
    assert low in EDGES_MS
    assert high in EDGES_MS
    assert float(value) == pytest.approx(12.0, rel=0.38)


def test_nothing_is_known_of_an_empty_histogram() -> None:
    value, low, high = quantile(np.zeros(BINS), 0.5)
    assert math.isnan(value)
    assert (low, high) == (LEAST_MS, MOST_MS)


def test_a_few_values_leave_the_end_of_the_tail_open() -> None:
    values = np.random.default_rng(2).lognormal(3, 0.5, 100)
    _, low, high = quantile(counted(values), 0.99)
    assert low > LEAST_MS
    assert high == MOST_MS


def test_the_ends_hold_the_counts_that_the_bound_on_the_share_leaves_possible() -> None:
    """Among 1,000 values, the share below the p90 must be one whose interval holds 0.9."""
    values = np.sort(np.random.default_rng(3).lognormal(3, 0.5, 1_000))
    _, low, high = quantile(counted(values), 0.9)
    below = np.searchsorted(values, [float(low), float(high)])
    ranks = np.arange(1_001)
    of_rank = bounded_mean(1_000, ranks)
    possible = ranks[(of_rank[0] <= 0.9) & (of_rank[1] >= 0.9)]
    assert below[0] == pytest.approx(possible[0], abs=10)  # interpolation inside a bin moves a few values
    assert below[1] == pytest.approx(possible[-1], abs=10)


def test_many_histograms_are_as_each_alone() -> None:
    dice = np.random.default_rng(4)
    counts = dice.multinomial(500, np.full(BINS, 1 / BINS), (2, 3))
    counts[1, 1] = 0
    together = quantile(counts, 0.95)
    for row in np.ndindex(2, 3):
        for whole, alone in zip(together, quantile(counts[row], 0.95), strict=True):
            assert whole[row] == pytest.approx(float(alone), nan_ok=True)


def test_panes_added_up_are_one_histogram() -> None:
    dice = np.random.default_rng(5)
    first, second = dice.lognormal(3, 1, 300), dice.lognormal(4, 1, 200)
    assert (counted(first) + counted(second) == counted(np.concatenate([first, second]))).all()


def test_latencies_beyond_the_last_edge_have_a_quantile_within_its_interval() -> None:
    for count in (1, 3, 1_000):
        value, low, high = quantile(np.tile(counted(np.full(count, 2 * MOST_MS)), (3, 1)), [0.5, 0.95, 0.99])
        assert (low <= value).all()
        assert (value <= high).all()
        assert (high == MOST_MS).all()
