"""The laws of the intervals, for every finite input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln, xlogy

from adaptive_stream.stats.calibration import BINS, CENTRES, calibrate, calibration_error, isotonic, place, platt
from adaptive_stream.stats.interval import STRENGTH, asymptotic_mean, auc_binned, bounded_mean
from adaptive_stream.stats.quantile import BINS as LATENCY_BINS
from adaptive_stream.stats.quantile import LEAST_MS, MOST_MS, quantile
from adaptive_stream.stats.slope import slope

counts = st.one_of(st.integers(0, 50), st.integers(0, 10**9))
shares = st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 1e-12, 0.5]))
alphas = st.sampled_from([0.05, 0.01, 0.3, 1e-6])
histograms = st.lists(st.integers(0, 10_000), min_size=LATENCY_BINS, max_size=LATENCY_BINS)
bins = st.lists(st.tuples(st.integers(0, 2_000), st.floats(0, 1), st.floats(0, 1)), min_size=BINS, max_size=BINS)


def sums(drawn: list[tuple[int, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, sums of probabilities inside their bins, and sums of whole labels."""
    n, inside, rate = np.array(drawn).T
    return n, n * (np.arange(BINS) + inside) / BINS, np.floor(n * rate)


@given(n=counts, share=shares, alpha=alphas)
def test_the_interval_of_a_bounded_mean_is_around_it_and_inside_the_unit_interval(
    n: int, share: float, alpha: float
) -> None:
    low, high = bounded_mean(n, n * share, alpha=alpha)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= n * share / n + 1e-15
        assert high >= n * share / n - 1e-15


@given(n=st.integers(1, 10**7), share=shares, alpha=alphas)
def test_every_mean_outside_is_excluded_and_every_mean_inside_is_not(n: int, share: float, alpha: float) -> None:
    """The possible means are one interval: nothing beyond an end becomes possible again."""
    s = n * share
    low, high = bounded_mean(n, s, alpha=alpha)
    p = np.concatenate([np.geomspace(1e-12, 0.5, 300), 1 - np.geomspace(0.5, 1e-12, 300)])
    a, b = STRENGTH * p + 0.5, STRENGTH * (1 - p) + 0.5
    excess = betaln(a + s, b + n - s) - betaln(a, b) - xlogy(s, p) - xlogy(n - s, 1 - p) + np.log(alpha)
    margin = 0.05  # the search stops near the end, on the safe side
    assert (excess[(p < low) | (p > high)] > -margin).all()
    assert (excess[(p > low) & (p < high)] < margin).all()


@given(n=st.integers(1, 10**6), share=shares)
def test_less_certainty_never_makes_it_wider(n: int, share: float) -> None:
    ends = [bounded_mean(n, n * share, alpha=alpha) for alpha in (0.001, 0.05, 0.5)]
    slack = 1e-9
    assert ends[0][0] <= ends[1][0] + slack
    assert ends[1][0] <= ends[2][0] + slack
    assert ends[0][1] >= ends[1][1] - slack
    assert ends[1][1] >= ends[2][1] - slack


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_the_interval_of_any_mean_is_around_it_and_finite(values: list[float]) -> None:
    data = np.array(values)
    low, high = asymptotic_mean(len(data), data.sum(), (data**2).sum())
    assert np.isfinite([low, high]).all()
    assert low <= data.mean() + 1e-9 * abs(data.mean())
    assert high >= data.mean() - 1e-9 * abs(data.mean())


@given(up=histograms, down=histograms)
def test_the_area_turns_round_with_the_labels(up: list[int], down: list[int]) -> None:
    value, low, high = auc_binned(up, down)
    turned, turned_low, turned_high = auc_binned(down, up)
    if sum(up) and sum(down):
        assert 0 <= low <= value <= high <= 1
        assert np.allclose([value, low, high], [1 - turned, 1 - turned_high, 1 - turned_low], atol=1e-9)
    else:
        assert np.isnan(value)
        assert np.isnan(turned)


@given(histogram=histograms, alpha=alphas)
def test_quantiles_ascend_and_lie_in_their_intervals(histogram: list[int], alpha: float) -> None:
    levels = np.array([0.01, 0.5, 0.9, 0.99])
    value, low, high = quantile(np.tile(histogram, (4, 1)), levels, alpha=alpha)
    if sum(histogram):
        assert (np.diff(value) >= 0).all()
        assert ((low >= LEAST_MS) & (low <= value) & (value <= high) & (high <= MOST_MS * (1 + 1e-12))).all()
    else:
        assert np.isnan(value).all()


@given(
    values=st.lists(st.one_of(st.just(np.nan), st.floats(-1e3, 1e3)), min_size=1, max_size=30),
    spread=st.lists(st.floats(0, 1e3), min_size=30, max_size=30),
)
def test_a_slope_lies_in_its_interval_and_turns_with_its_values(values: list[float], spread: list[float]) -> None:
    variances = np.array(spread[: len(values)])
    value, low, high = slope(values, variances)
    if np.isfinite(values).sum() < 3:
        assert np.isnan(value)
    else:
        assert low <= value <= high
        assert np.isfinite([low, high]).all()
        turned = slope(-np.array(values), variances)
        assert np.allclose([value, low, high], [-turned[0], -turned[2], -turned[1]])


@given(drawn=bins)
def test_the_calibration_error_lies_in_its_interval(drawn: list[tuple[int, float, float]]) -> None:
    value, low, high = calibration_error(*sums(drawn))
    assert 0 <= low <= high <= 1
    if sum(n for n, _, _ in drawn):
        assert low <= value <= high


@given(drawn=bins, p=st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_calibration_never_changes_an_order(drawn: list[tuple[int, float, float]], p: list[float]) -> None:
    ordered = np.sort(p)
    for fit in (isotonic, platt):
        x, y = fit(*sums(drawn))
        assert ((y > 0) & (y < 1)).all()
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= -1e-12).all()
        assert (place(x) - np.arange(BINS) <= 1).all()
        found = calibrate(ordered, x[None], y[None], rows=np.zeros(len(ordered), dtype=np.int64))
        assert (np.diff(found) >= -1e-12).all()
        assert ((found >= y[0]) & (found <= y[-1])).all()


@pytest.mark.slow
@given(drawn=st.lists(bins, min_size=2, max_size=4))
def test_rows_of_calibration_are_as_each_alone(drawn: list[list[tuple[int, float, float]]]) -> None:
    each = [sums(one) for one in drawn]
    together = [np.stack(part) for part in zip(*each, strict=True)]
    for of_rows in (isotonic, platt, calibration_error):
        whole = of_rows(*together)
        for row, alone in enumerate(each):
            for found, wanted in zip(whole, of_rows(*alone), strict=True):
                assert np.allclose(found[row], wanted, equal_nan=True)


@given(scale=st.floats(0.2, 5))
def test_an_isotonic_map_of_many_labels_is_their_rate(scale: float) -> None:
    rate = CENTRES**scale
    n = np.full(BINS, 1e7)
    _, y = isotonic(n, n * CENTRES, n * rate)
    assert np.allclose(y, rate, atol=1e-5)
