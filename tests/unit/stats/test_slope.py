"""The slope of panes, and its direction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from adaptive_stream.stats.slope import Direction, direction, slope


def test_a_straight_line_has_its_slope_within_its_panes_noise() -> None:
    k, variance = 10, 0.04
    value, low, high = slope(0.3 + 0.02 * np.arange(k), np.full(k, variance))
    radius = stdtrit(k - 2, 0.975) * math.sqrt(variance / ((np.arange(k) - 4.5) ** 2).sum())
    assert float(value) == pytest.approx(0.02)
    assert float(low) == pytest.approx(0.02 - radius)
    assert float(high) == pytest.approx(0.02 + radius)


def test_a_missing_pane_keeps_the_places_of_the_others() -> None:
    values = np.array([1.0, np.nan, 3.0, np.nan, np.nan, 6.0])
    assert float(slope(values, np.full(6, 0.01))[0]) == pytest.approx(1.0)
    assert float(slope(values[~np.isnan(values)], np.full(3, 0.01))[0]) > 2


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, math.nan, 2.0, math.nan], [math.nan] * 3])
def test_fewer_than_three_known_panes_have_no_slope(values: list[float]) -> None:
    value, low, high = slope(values, np.full(len(values), 0.1))
    assert math.isnan(value)
    assert (low, high) == (-math.inf, math.inf)


def test_a_pane_of_unknown_variance_is_left_out() -> None:
    value, _, _ = slope([0.0, 1.0, 50.0, 3.0, 4.0], [1.0, 1.0, math.nan, 1.0, 1.0])
    assert float(value) == pytest.approx(1.0)


def test_a_pane_of_many_labels_counts_more_than_one_of_few() -> None:
    values, least = np.array([0.0, 0.0, 0.0, 0.3]), 1e-2
    heavy = slope(values, [least, least, least, least])[0]
    light = slope(values, [least, least, least, 100 * least])[0]
    assert 0 < float(light) < float(heavy) / 10


def test_one_pane_far_off_hardly_moves_the_slope_and_never_shrinks_its_interval() -> None:
    dice = np.random.default_rng(1)
    clean = 0.9 + 0.01 * dice.standard_normal(24)
    spoilt = clean.copy()
    spoilt[-1] -= 0.5
    variances = np.full(24, 1e-4)
    before, after = slope(clean, variances), slope(spoilt, variances)
    assert abs(after[0] - before[0]) < 5e-4  # least squares moves by 5e-3
    assert after[2] - after[1] >= before[2] - before[1]


def test_panes_that_scatter_beyond_their_variances_widen_the_interval() -> None:
    values = np.tile([0.8, 0.9], 5)
    calm, wild = slope(np.full(10, 0.85), np.full(10, 1e-6)), slope(values, np.full(10, 1e-6))
    assert wild[2] - wild[1] > 10 * (calm[2] - calm[1])


def test_variances_of_nothing_do_not_divide() -> None:
    value, low, high = slope([1.0, 1.0, 1.0, 1.0], np.zeros(4))
    assert value == 0
    assert low < 0 < high
    assert np.isfinite(slope([1.0, 0.9, 1.0, 0.8], [0.0, 0.01, 0.0, 0.02])).all()


def test_rows_are_fitted_as_each_alone() -> None:
    dice = np.random.default_rng(2)
    values, variances = dice.random((3, 5, 12)), dice.random((3, 5, 12)) / 100
    values[0, 0, 2:] = np.nan
    together = slope(values, variances)
    for row in np.ndindex(3, 5):
        for whole, alone in zip(together, slope(values[row], variances[row]), strict=True):
            assert whole[row] == pytest.approx(float(alone), nan_ok=True)


@pytest.mark.parametrize(
    ("steep", "low", "high", "expected"),
    [
        (0.01, 0.005, 0.015, Direction.IMPROVING),
        (-0.01, -0.015, -0.005, Direction.DECLINING),
        (0.01, -0.005, 0.025, Direction.STABLE),  # no evidence
        (0.0005, 0.0004, 0.0006, Direction.STABLE),  # no matter
        (math.nan, -math.inf, math.inf, Direction.STABLE),
    ],
)
def test_a_direction_needs_a_slope_that_matters_and_evidence(
    steep: float, low: float, high: float, expected: Direction
) -> None:
    assert direction(steep, low, high, threshold=0.001, is_better_high=True) == expected
    assert direction(steep, low, high, threshold=0.001, is_better_high=False) == -expected


def test_directions_of_rows_are_an_array() -> None:
    found = direction([0.01, -0.01], [0.005, -0.02], [0.02, -0.005], threshold=0.001, is_better_high=False)
    assert [Direction(one) for one in found] == [Direction.DECLINING, Direction.IMPROVING]
