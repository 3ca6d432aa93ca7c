"""Intervals that stay valid however often one looks.

Owns confidence sequences for means, for the shares that a confusion matrix is read by, and for the area under the ROC
curve, all from counts and sums alone. Never keeps state and never loops over rows. Called by the monitor for every
figure that it shows.

An interval holds over the life of a growing sample: the chance that it *ever* misses the truth is at most ``alpha``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

ALPHA = 0.05
# The mixture is tightest where the intrinsic time n/4 is about RHO * (2 log(1/alpha) + log(1 + 2 log(1/alpha))): with
# 16, near n = 500, where a first decision is usually made.
RHO = 16.0
# The bets of ``bounded_mean`` are drawn from Beta(STRENGTH p + 1/2, STRENGTH (1 - p) + 1/2), centred on the mean that
# is tested. Widths at a mean of 0.9 for 100, 500 and 20,000 values: 0.188, 0.0821, 0.0150 with 30; 0.182, 0.0837,
# 0.0154 with 15; 0.203, 0.0814, 0.0146 with 60; 0.198, 0.0954, 0.0172 with 0 (Jeffreys' prior, the same for each p).
# The half keeps every mean of 0 or 1 excluded that the values exclude.
STRENGTH = 30.0
TUNED_FOR = 500.0  # values at which ``asymptotic_mean`` and ``auc_binned`` are tightest; again a first decision
# Values that the central limit theorem lags behind: variances are raised by SKEW / n, a tenth of the width at n = 500.
# With 0, 50 and 100, streams of 20,000 looked at every tenth value are covered: squares of normals .92, .94, .95;
# lognormal of shape 1 .88, .93, .94; exponential .94, .96, .97.
SKEW = 100.0
TINY = 1e-300  # the least mean whose logarithm is taken
LOG_GAMMA = math.lgamma(STRENGTH + 1)
ROUNDS = 60  # of the search for an end; five are usual
CLOSE = 1e-6  # what of an interval's half width the search leaves open


def confidence_sequence(
    count: ArrayLike, mean: ArrayLike, *, alpha: float = ALPHA
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return lower and upper ends for means of independent values in [0, 1].

    Over the whole life of a growing mean, the chance that the interval ever misses the truth is at most ``alpha``.

    Args:
        count: how many values, any shape; where it is 0 the interval is [0, 1].
        mean: their means, the same shape.
        alpha: chance of a miss.

    Returns:
        Two arrays of the shape of ``count``, inside [0, 1].

    Source:
        Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
        Statistics 49, 2021, eq. 14 (two-sided normal mixture); values in [0, 1] are 1/4-sub-Gaussian.
    """
    n = np.asarray(count, dtype=np.float64)
    centre = np.asarray(mean, dtype=np.float64)
    v = n / 4
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = np.sqrt((v + RHO) * np.log((v + RHO) / (RHO * alpha**2))) / n
    radius = np.where(n > 0, radius, 1.0)
    centre = np.where(n > 0, centre, 0.5)
    return np.clip(centre - radius, 0.0, 1.0), np.clip(centre + radius, 0.0, 1.0)


def bounded_mean(n: ArrayLike, total: ArrayLike, *, alpha: float = ALPHA) -> tuple[Array, Array]:
    """Return lower and upper ends for means of independent values in [0, 1], from their count and sum.

    They are narrow where the mean is near 0 or 1, as the values vary less there: at a mean of 0.9 they have 0.6 of the
    width of ``confidence_sequence``, at 0.99 a quarter.

    Args:
        n: how many values, any shape; where it is 0 the interval is [0, 1].
        total: their sums, broadcast against ``n``; cut to [0, n].
        alpha: chance of ever missing the mean.

    Returns:
        Two arrays inside [0, 1], around the observed mean. About 3 us a row.

    Source:
        Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
        Statistics 49, 2021, prop. 7 (beta-binomial mixture). Against the mean p, the bet q^x (1-q)^(1-x) over
        p^x (1-p)^(1-x) is convex in x, so that on [0, 1] it lies below its chord and is fair for every distribution
        with mean p, not for zeros and ones alone (Waudby-Smith, Ramdas, "Estimating means of bounded random variables
        by betting", JRSS B 86, 2024). The mixture of the bets over q is a beta function; the interval is every p whose
        mixture never reached 1/alpha.
    """
    count, sums = np.broadcast_arrays(np.asarray(n, dtype=np.float64), np.asarray(total, dtype=np.float64))
    count = np.maximum(count, 0.0)
    sums = np.clip(sums, 0.0, count)
    both = _lower_end(np.stack([count, count]), np.stack([sums, count - sums]), alpha=alpha)
    return both[0], 1.0 - both[1]


def _lower_end(n: Array, s: Array, *, alpha: float) -> Array:
    """Return the least mean that the values leave possible, by bracketed secants (Illinois).

    The search runs on the square root of the log mixture over the arcsine of the root of p: there both are close to a
    straight line, and neither p nor 1 - p is ever rounded to nothing.
    """
    mean = np.divide(s, n, out=np.zeros_like(s), where=n > 0)
    at_mean = np.arcsin(np.sqrt(mean))
    floor = _log_mixture(at_mean, n, s)
    limit = math.log(1 / alpha)
    goal = np.sqrt(np.maximum(limit - floor, 0.0))
    # where a normal mixture of the same strength would end; then the first step beyond the ends of the bracket
    guess = at_mean - np.sqrt((limit + np.log1p(n / STRENGTH) / 2) / (2 * np.maximum(n, 1.0)))
    out = np.full_like(mean, math.sqrt(TINY))
    at_out = _excess(out, n, s, floor, goal)
    low = np.zeros_like(mean)
    rows = np.flatnonzero((at_out > 0) & (s > 0))  # elsewhere every mean down to 0 is possible
    given = np.stack([each.ravel()[rows] for each in (n, s, floor, goal)])
    start, out, at_out, middle = (each.ravel()[rows] for each in (at_mean, out, at_out, guess))
    inside, at_inside, side = start, -given[3], np.zeros_like(start)
    for _ in range(ROUNDS):
        middle = np.where((middle > out) & (middle < inside), middle, (out + inside) / 2)
        value = _excess(middle, *given)
        is_out = value > 0
        # Illinois: an end that stays for a second time counts half, so that both ends close in
        at_inside = np.where(is_out, np.where(side > 0, at_inside / 2, at_inside), value)
        at_out = np.where(is_out, value, np.where(side < 0, at_out / 2, at_out))
        out, inside = np.where(is_out, middle, out), np.where(is_out, inside, middle)
        side = np.where(is_out, 1.0, -1.0)
        low.flat[rows] = np.sin(np.maximum(middle - 2 * CLOSE * (start - middle), 0.0)) ** 2  # a step to the safe side
        left = (np.abs(value) > CLOSE * given[3]) & (inside - out > CLOSE * (start - out))
        if not left.any():
            break
        rows, given = rows[left], given[:, left]
        start, out, at_out, inside, at_inside, side = (
            each[left] for each in (start, out, at_out, inside, at_inside, side)
        )
        middle = out + (inside - out) * at_out / (at_out - at_inside)
    return np.minimum(low, mean)


def _excess(angle: Array, n: Array, s: Array, floor: Array, goal: Array) -> Array:
    """Return how far the mixture is beyond its limit, 0 at the end of the interval."""
    excess: Array = np.sqrt(np.maximum(_log_mixture(angle, n, s) - floor, 0.0)) - goal
    return excess


def _log_mixture(angle: Array, n: Array, s: Array) -> Array:
    """Return the log of the mixture against the mean sin(angle)^2."""
    p, q = np.maximum(np.sin(angle) ** 2, TINY), np.maximum(np.cos(angle) ** 2, TINY)
    a, b, f = STRENGTH * p + 0.5, STRENGTH * q + 0.5, n - s
    # the beta functions share what depends on n alone
    logs: Array = gammaln(a + s) - gammaln(a) + gammaln(b + f) - gammaln(b) - s * np.log(p) - f * np.log(q)
    return logs - gammaln(n + (STRENGTH + 1)) + LOG_GAMMA


def asymptotic_mean(
    n: ArrayLike, total: ArrayLike, total_square: ArrayLike, *, alpha: float = ALPHA
) -> tuple[Array, Array]:
    """Return lower and upper ends for means of unbounded values: log loss, squared error, milliseconds.

    The promise is that of a central limit theorem at every look, with a margin for skew while values are few. A tail
    so heavy that the variance is not seen for thousands of values (a lognormal of shape 2) breaks it.

    Args:
        n: how many values, any shape; where it is below 2 the interval is the whole line.
        total: their sums, the same shape.
        total_square: the sums of their squares. Values far from 0 beside their spread lose digits here; subtract a
            constant first.
        alpha: chance of ever missing the mean.

    Returns:
        Two arrays of the shape of ``n``.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
        sequences", Annals of Statistics 52, 2024, th. 2.2, and eq. 9 for the value of rho.
    """
    count, sums, squares = (np.asarray(one, dtype=np.float64) for one in (n, total, total_square))
    some = np.maximum(count, 2.0)
    mean = sums / some
    # what rounding leaves of a variance of nothing must not be negative, nor pass for certainty
    spread = np.maximum(squares / some - mean**2, np.finfo(np.float64).eps * squares / some) * some / (some - 1)
    radius = np.sqrt(spread) * _radius(some, alpha=alpha)
    is_known = count >= 2
    return np.where(is_known, mean - radius, -np.inf), np.where(is_known, mean + radius, np.inf)


def _radius(n: Array, *, alpha: float) -> Array:
    """Return the half width for values of standard deviation 1: 3.3 / sqrt(n) at n = 500."""
    odds = -2 * math.log(alpha)
    time = n * (odds + math.log(odds + 1)) / TUNED_FOR  # n rho^2
    radius: Array = np.sqrt((time + 1) / time * np.log((time + 1) / alpha**2) * (1 + SKEW / n) / n)
    return radius


def precision(tp: ArrayLike, fp: ArrayLike, *, alpha: float = ALPHA) -> tuple[Array, Array, Array]:
    """Return precision with lower and upper ends: a mean over the predicted positives, in the order they came.

    Args:
        tp: true positives, any shape; expected counts may be fractions.
        fp: false positives, the same shape.
        alpha: chance of ever missing it.

    Returns:
        Value (NaN where nothing was predicted positive), low, high.
    """
    return _share(np.asarray(tp, dtype=np.float64), np.asarray(fp, dtype=np.float64), alpha=alpha)


def recall(tp: ArrayLike, fn: ArrayLike, *, alpha: float = ALPHA) -> tuple[Array, Array, Array]:
    """Return recall with lower and upper ends: a mean over the actual positives, in the order they came.

    Args:
        tp: true positives, any shape.
        fn: false negatives, the same shape.
        alpha: chance of ever missing it.

    Returns:
        Value (NaN where nothing is positive), low, high.
    """
    return _share(np.asarray(tp, dtype=np.float64), np.asarray(fn, dtype=np.float64), alpha=alpha)


def f1(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, *, alpha: float = ALPHA) -> tuple[Array, Array, Array]:
    """Return F1 with lower and upper ends.

    Among the events that are predicted or actual positives, the share J of true positives is a mean, and
    F1 = 2 J / (1 + J) grows with it: one exact interval, where a union over precision and recall pays twice.

    Args:
        tp: true positives, any shape.
        fp: false positives, the same shape.
        fn: false negatives, the same shape.
        alpha: chance of ever missing it.

    Returns:
        Value (NaN where there is no positive of either kind), low, high.
    """
    wrong = np.asarray(fp, dtype=np.float64) + np.asarray(fn, dtype=np.float64)
    share, low, high = _share(np.asarray(tp, dtype=np.float64), wrong, alpha=alpha)
    return 2 * share / (1 + share), 2 * low / (1 + low), 2 * high / (1 + high)


def _share(right: Array, wrong: Array, *, alpha: float) -> tuple[Array, Array, Array]:
    n = right + wrong
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(n > 0, right / n, np.nan)
    low, high = bounded_mean(n, right, alpha=alpha)
    return value, low, high


def auc_binned(positives: ArrayLike, negatives: ArrayLike, *, alpha: float = ALPHA) -> tuple[Array, Array, Array]:
    """Return the area under the ROC curve from histograms of the scores; ties inside a bin count half.

    The area is, but for a vanishing rest, the mean of its influence function over the events, whose variance is that of
    DeLong's structural components; the interval is that of ``asymptotic_mean`` for it. The variance is raised by that
    of half a pair out of order, so that classes as yet wholly apart do not pass for certain.

    Args:
        positives: events of label 1 by score bin, ascending, (..., bins).
        negatives: events of label 0, the same shape.
        alpha: chance of ever missing the area of the binned scores.

    Returns:
        Value, low, high, each (...): NaN, 0 and 1 where a class is absent.

    Source:
        DeLong, DeLong, Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
        characteristic curves", Biometrics 44, 1988; asymptotic linearity: van der Vaart, "Asymptotic Statistics",
        th. 12.6.
    """
    up, down = np.asarray(positives, dtype=np.float64), np.asarray(negatives, dtype=np.float64)
    m, n = up.sum(axis=-1), down.sum(axis=-1)
    has_both = (m > 0) & (n > 0)
    some_m, some_n = np.maximum(m, 1.0), np.maximum(n, 1.0)
    below = (np.cumsum(down, axis=-1) - down / 2) / some_n[..., None]  # negatives that each positive is above
    above = 1.0 - (np.cumsum(up, axis=-1) - up / 2) / some_m[..., None]  # positives that each negative is below
    value = (up * below).sum(axis=-1) / some_m
    spread_up = (up * (below - value[..., None]) ** 2).sum(axis=-1) / np.maximum(m - 1, 1.0)
    spread_down = (down * (above - value[..., None]) ** 2).sum(axis=-1) / np.maximum(n - 1, 1.0)
    variance = spread_up / some_m + spread_down / some_n + 0.5 / np.minimum(some_m, some_n) ** 2
    total = some_m + some_n
    radius = np.sqrt(variance * total) * _radius(total, alpha=alpha)
    return (
        np.where(has_both, value, np.nan),
        np.where(has_both, np.clip(value - radius, 0.0, 1.0), 0.0),
        np.where(has_both, np.clip(value + radius, 0.0, 1.0), 1.0),
    )
