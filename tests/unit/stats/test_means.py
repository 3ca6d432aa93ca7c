"""Intervals from counts and sums: what each end is, and where it must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import betaln, xlogy

from adaptive_stream.stats.interval import (
    ALPHA,
    SKEW,
    STRENGTH,
    TUNED_FOR,
    asymptotic_mean,
    auc_binned,
    bounded_mean,
    confidence_sequence,
    f1,
    precision,
    recall,
)


def log_mixture(p: float, n: float, s: float) -> float:
    """The mixture as the paper writes it, against the mean p."""
    a, b = STRENGTH * p + 0.5, STRENGTH * (1 - p) + 0.5
    return float(betaln(a + s, b + n - s) - betaln(a, b) - xlogy(s, p) - xlogy(n - s, 1 - p))


@pytest.mark.parametrize(("n", "s"), [(1, 1), (7, 3.3), (500, 450), (500, 499), (20_000, 18_000), (10**6, 5)])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_at_both_ends_the_mixture_reaches_its_limit(n: float, s: float, alpha: float) -> None:
    low, high = bounded_mean(n, s, alpha=alpha)
    limit = math.log(1 / alpha)
    for end in (float(low), float(high)):
        if 0 < end < 1:
            assert log_mixture(end, n, s) == pytest.approx(limit, abs=5e-3)  # the search stops on the safe side
    assert log_mixture((float(low) + float(high)) / 2, n, s) < limit


def test_the_interval_at_500_values_of_mean_nine_tenths_has_its_figure() -> None:
    low, high = bounded_mean(500, 450)
    assert float(low) == pytest.approx(0.85385, abs=1e-5)
    assert float(high) == pytest.approx(0.93591, abs=1e-5)
    wide_low, wide_high = confidence_sequence(500, 0.9)
    assert high - low < 0.65 * (wide_high - wide_low)


def test_without_values_every_mean_is_possible() -> None:
    low, high = bounded_mean([0, 0], [0, 3])
    assert low.tolist() == [0, 0]
    assert high.tolist() == [1, 1]


def test_only_zeros_leave_zero_possible_and_a_single_hit_excludes_it() -> None:
    low, high = bounded_mean([100, 100, 100, 100], [0, 1, 99, 100])
    assert low[0] == 0 < low[1]
    assert high[3] == 1 > high[2]
    assert high[0] < 0.1


def test_a_score_and_its_complement_have_mirrored_intervals() -> None:
    n, s = np.array([1.0, 30.0, 4_000.0]), np.array([0.25, 29.0, 1_234.5])
    low, high = bounded_mean(n, s)
    mirrored_low, mirrored_high = bounded_mean(n, n - s)
    assert np.allclose(low, 1 - mirrored_high, atol=1e-12)
    assert np.allclose(high, 1 - mirrored_low, atol=1e-12)


def test_a_billion_values_are_narrow_and_finite() -> None:
    n = 1e9
    low, high = bounded_mean(n, [0, 0.5, n / 2, n - 0.5, n])
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()
    assert (high - low < 3e-4).all()


def test_counts_broadcast_against_sums_in_any_shape() -> None:
    low, high = bounded_mean(np.array([[10], [100]]), np.array([1, 5, 9]))
    assert low.shape == high.shape == (2, 3)
    assert bounded_mean(10, 5)[0].shape == ()


def test_the_asymptotic_ends_are_those_of_the_paper_with_the_margin_for_skew() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0] * 100)
    n, alpha = len(values), 0.05
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / TUNED_FOR
    radius = math.sqrt((n * rho2 + 1) / (n**2 * rho2) * math.log((n * rho2 + 1) / alpha**2))
    radius *= values.std(ddof=1) * math.sqrt(1 + SKEW / n)
    low, high = asymptotic_mean(n, values.sum(), (values**2).sum(), alpha=alpha)
    assert float(low) == pytest.approx(values.mean() - radius, rel=1e-9)
    assert float(high) == pytest.approx(values.mean() + radius, rel=1e-9)


def test_one_value_says_nothing_of_an_unbounded_mean() -> None:
    low, high = asymptotic_mean([0, 1, 2], [0.0, 3.0, 6.0], [0.0, 9.0, 20.0])
    assert low[:2].tolist() == [-math.inf] * 2
    assert high[:2].tolist() == [math.inf] * 2
    assert np.isfinite([low[2], high[2]]).all()


def test_rounding_does_not_make_a_variance_negative() -> None:
    value, n = 1e8 + 0.1, 1_000
    low, high = asymptotic_mean(n, n * value, n * value**2 * (1 - 1e-16))
    assert low <= value <= high
    assert high - low < 10


def test_precision_recall_and_f1_are_what_their_names_say() -> None:
    tp, fp, fn = 80.0, 20.0, 40.0
    assert precision(tp, fp)[0] == pytest.approx(0.8)
    assert recall(tp, fn)[0] == pytest.approx(80 / 120)
    assert f1(tp, fp, fn)[0] == pytest.approx(2 * 0.8 * (2 / 3) / (0.8 + 2 / 3))
    for value, low, high in (precision(tp, fp), recall(tp, fn), f1(tp, fp, fn)):
        assert 0 < low < value < high < 1


def test_f1_is_narrower_than_a_union_of_precision_and_recall() -> None:
    tp, fp, fn = 80.0, 20.0, 40.0
    _, low, high = f1(tp, fp, fn)
    _, *of_precision = precision(tp, fp, alpha=ALPHA / 2)
    _, *of_recall = recall(tp, fn, alpha=ALPHA / 2)
    union = [2 * p * r / (p + r) for p, r in zip(of_precision, of_recall, strict=True)]
    assert union[0] < low < high < union[1]


def test_without_positives_the_shares_are_unknown() -> None:
    for value, low, high in (precision(0, 0), recall(0, 0), f1(0, 0, 0)):
        assert math.isnan(value)
        assert (low, high) == (0, 1)


def test_the_area_is_the_share_of_pairs_in_order_with_ties_half() -> None:
    dice = np.random.default_rng(1)
    up, down = dice.integers(2, 8, 60), dice.integers(0, 6, 90)
    pairs = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    value, low, high = auc_binned(np.bincount(up, minlength=8), np.bincount(down, minlength=8))
    assert float(value) == pytest.approx(pairs.mean())
    assert low < value < high


def test_the_spread_of_the_area_is_delongs() -> None:
    dice = np.random.default_rng(2)
    up, down = dice.integers(2, 8, 600), dice.integers(0, 6, 900)
    pairs = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    variance = pairs.mean(axis=1).var(ddof=1) / 600 + pairs.mean(axis=0).var(ddof=1) / 900 + 0.5 / 600**2
    value, _, high = auc_binned(np.bincount(up, minlength=8), np.bincount(down, minlength=8))
    # the mean of values whose variance is 1,500 times that of the area has the same interval
    square = (1_499 / 1_500 * variance * 1_500) * 1_500
    _, unit_high = asymptotic_mean(1_500, 0.0, square)
    assert float(high - value) == pytest.approx(float(unit_high), rel=1e-9)


def test_classes_wholly_apart_are_no_certainty() -> None:
    few = auc_binned([0, 0, 20], [20, 0, 0])
    many = auc_binned([0, 0, 20_000], [20_000, 0, 0])
    assert few[0] == many[0] == 1
    assert few[1] < 0.8
    assert many[1] > 0.995


def test_without_one_class_the_area_is_unknown() -> None:
    value, low, high = auc_binned([[0, 0], [3, 4], [0, 0]], [[1, 2], [0, 0], [0, 0]])
    assert np.isnan(value).all()
    assert low.tolist() == [0, 0, 0]
    assert high.tolist() == [1, 1, 1]
