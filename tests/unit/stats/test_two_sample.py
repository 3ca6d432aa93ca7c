"""The four tests from bins and moments, beside scipy's on the values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as peer

from adaptive_stream.stats.two_sample import (
    fisher,
    holm,
    kolmogorov_smirnov,
    log_variance_ratio,
    mann_whitney,
    moments,
    welch,
)

BINS = 40


def samples(seed: int, shift: float = 0.0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Values on a grid, so that bins hide nothing."""
    dice = np.random.default_rng(seed)
    first, second = dice.normal(0, 1, 800), dice.normal(shift, spread, 300)
    return tuple(np.clip(np.round(one * 5), -20, 19) for one in (first, second))  # type: ignore[return-value]


def counts(values: np.ndarray) -> np.ndarray:
    return np.bincount((values + 20).astype(int), minlength=BINS)


def powers(values: np.ndarray) -> np.ndarray:
    return np.stack([(values**k).sum() for k in (1, 2, 3, 4)])[:, None]


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.3, 1.0), (-0.2, 1.4)])
def test_they_agree_with_those_on_the_values(shift: float, spread: float) -> None:
    a, b = samples(1, shift, spread)
    found = kolmogorov_smirnov(counts(a), counts(b))
    expected = peer.ks_2samp(a, b, method="asymp")
    assert float(found.statistic) == pytest.approx(expected.statistic)
    assert float(found.p_value) == pytest.approx(expected.pvalue, rel=0.2, abs=1e-3)
    ranks, whitney = (
        mann_whitney(counts(a), counts(b)),
        peer.mannwhitneyu(b, a, use_continuity=False, method="asymptotic"),
    )
    assert float(ranks.statistic) == pytest.approx(2 * whitney.statistic / (len(a) * len(b)) - 1)
    assert float(ranks.p_value) == pytest.approx(whitney.pvalue)
    first, second = moments([len(a)], powers(a)), moments([len(b)], powers(b))
    student = peer.ttest_ind(b, a, equal_var=False)
    assert float(welch(first, second).statistic[0]) == pytest.approx(student.statistic)
    assert float(welch(first, second).p_value[0]) == pytest.approx(student.pvalue)
    assert float(first.kurtosis[0]) == pytest.approx(peer.kurtosis(a, fisher=False))
    ratio = log_variance_ratio(first, second)
    assert float(ratio.statistic[0]) == pytest.approx(np.log(b.var(ddof=1) / a.var(ddof=1)))


@pytest.mark.parametrize("law", ["normal", "exponential", "laplace"])
def test_the_test_of_variances_keeps_its_level_where_the_f_test_does_not(law: str) -> None:
    dice = np.random.default_rng(3)
    a, b = (getattr(dice, law)(size=(n, 4_000)) for n in (1_000, 500))
    first, second = (
        moments(np.full(4_000, len(one)), np.stack([(one**k).sum(0) for k in (1, 2, 3, 4)])) for one in (a, b)
    )
    assert (log_variance_ratio(first, second).p_value < 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_a_difference_of_variances_is_found() -> None:
    a, b = samples(5, 0.0, 1.5)
    tested = log_variance_ratio(moments([len(a)], powers(a)), moments([len(b)], powers(b)))
    assert float(tested.p_value[0]) < 1e-6
    assert float(tested.statistic[0]) > 0


def test_nothing_is_said_of_what_is_empty_or_constant() -> None:
    empty, some = np.zeros(BINS), counts(samples(1)[0])
    for test in (kolmogorov_smirnov, mann_whitney):
        assert np.isnan(test(empty, some).statistic)
        assert float(test(some, empty).p_value) == 1.0
    none, constant = moments([0.0], np.zeros((4, 1))), moments([50.0], powers(np.full(50, 2.0)))
    for test in (welch, log_variance_ratio):
        for pair in ((none, constant), (constant, none), (constant, constant)):
            assert float(test(*pair).p_value[0]) == 1.0
            assert np.isnan(test(*pair).statistic[0])


@pytest.mark.parametrize("seed", range(8))
def test_the_test_of_shares_is_twice_the_smaller_tail_of_the_hypergeometric(seed: int) -> None:
    dice = np.random.default_rng(seed)
    n, drawn = dice.integers(1, 60_000, 50), dice.integers(1, 60_000, 50)
    share = dice.choice([1e-4, 0.01, 0.3, 0.999], 50)
    a, b = dice.binomial(n, share), dice.binomial(drawn, np.clip(share + dice.choice([0, 0.02], 50), 0, 1))
    found = fisher(a, n, b, drawn)
    law = peer.hypergeom(n + drawn, a + b, drawn)
    tails = np.minimum(law.cdf(b), law.sf(b - 1))
    is_known = (a + b > 0) & (a + b < n + drawn)
    np.testing.assert_allclose(found.p_value[is_known], np.minimum(2 * tails, 1)[is_known], rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(found.statistic[is_known], (b / drawn - a / n)[is_known])
    assert np.isnan(found.statistic[~is_known]).all()
    assert (found.p_value[~is_known] == 1).all()


def test_holm_pays_for_the_number_of_tests_and_keeps_their_order() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([[0.5], [0.9]]).tolist() == [[1.0], [1.0]]
    assert holm([]).tolist() == []
