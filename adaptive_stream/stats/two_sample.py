"""Tests of two samples, from what is kept of them: merged bins and moments.

Owns Kolmogorov-Smirnov, Mann-Whitney, Welch's t and a robust test of variances, Fisher's exact test of shares, and
Holm's correction. Never keeps state and never sees a value. Called for verdicts of drift, and by its classic mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import gammaln, kolmogorov, ndtr, stdtr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

NEGLIGIBLE = 1e-12  # part of a sum


class Tested(NamedTuple):
    """A statistic and its two-sided p-value; NaN and 1 where a sample is empty or constant."""

    statistic: Array
    p_value: Array


class Moments(NamedTuple):
    """Size, mean, variance and kurtosis (3 for a normal) of samples, any shape."""

    n: Array
    mean: Array
    variance: Array
    kurtosis: Array


def moments(n: ArrayLike, sums: ArrayLike) -> Moments:
    """Return moments from sums of the first two or four powers, on the last axis but one: (..., powers, k).

    Args:
        n: values of each sample, (..., k).
        sums: of their powers.

    Returns:
        Moments of shape (..., k); the kurtosis is that of a normal where only two powers are given.
    """
    count, powers = np.asarray(n, dtype=np.float64), np.asarray(sums, dtype=np.float64)
    some = np.maximum(count, 1.0)
    raw = powers / some[..., None, :]
    mean = raw[..., 0, :]
    spread = np.maximum(raw[..., 1, :] - mean**2, 0.0)
    kurtosis = np.full_like(mean, 3.0)
    if powers.shape[-2] == 4:
        fourth = raw[..., 3, :] - 4 * mean * raw[..., 2, :] + 6 * mean**2 * raw[..., 1, :] - 3 * mean**4
        kurtosis = np.divide(fourth, spread**2, out=kurtosis, where=spread > 0)
    return Moments(count, mean, spread * some / np.maximum(some - 1, 1.0), np.maximum(kurtosis, 1.0))


def kolmogorov_smirnov(before: ArrayLike, since: ArrayLike) -> Tested:
    """Return the greatest distance of two distribution functions, from counts by bin (..., bins).

    Bins hide what happens inside them, so the distance is never too large and the p-value never too small for it.

    Source:
        Smirnov, "Table for estimating the goodness of fit of empirical distributions", Annals of Mathematical
        Statistics 19, 1948: the limit distribution.
    """
    (a, n), (b, m) = _counted(before), _counted(since)
    difference = (
        np.cumsum(a, axis=-1) / np.maximum(n, 1)[..., None] - np.cumsum(b, axis=-1) / np.maximum(m, 1)[..., None]
    )
    distance = np.abs(difference).max(axis=-1)
    return _known((n > 0) & (m > 0), distance, kolmogorov(distance * np.sqrt(n * m / np.maximum(n + m, 1))))


def mann_whitney(before: ArrayLike, since: ArrayLike) -> Tested:
    """Return Cliff's delta, the chance of being above less that of being below, from counts by bin (..., bins).

    Positive where the second sample is higher. U is (1 + delta) n m / 2; its variance is corrected for ties, and every
    bin is one.

    Source:
        Mann, Whitney, Annals of Mathematical Statistics 18, 1947; Cliff, Psychological Bulletin 114, 1993.
    """
    (a, n), (b, m) = _counted(before), _counted(since)
    below = np.cumsum(a, axis=-1) - a / 2
    pairs = np.maximum(n * m, 1)
    delta = 2 * (b * below).sum(axis=-1) / pairs - 1
    total = n + m
    ties = ((a + b) ** 3 - (a + b)).sum(axis=-1)
    variance = pairs / 12 * (total + 1 - ties / np.maximum(total * (total - 1), 1))
    is_known = (n > 0) & (m > 0) & (variance > 0)
    z = np.divide(delta * pairs / 2, np.sqrt(np.maximum(variance, 0)), out=np.zeros_like(delta), where=is_known)
    return _known(is_known, delta, 2 * ndtr(-np.abs(z)))


def welch(before: Moments, since: Moments) -> Tested:
    """Return Welch's t of the means, positive where the second sample is higher.

    Source:
        Welch, "The generalization of Student's problem when several different population variances are involved",
        Biometrika 34, 1947.
    """
    is_known = (before.n > 1) & (since.n > 1) & (before.variance + since.variance > 0)
    u, v = before.variance / np.maximum(before.n, 1), since.variance / np.maximum(since.n, 1)
    safe = np.where(is_known, u + v, 1.0)
    t = (since.mean - before.mean) / np.sqrt(safe)
    freedom = u**2 / np.maximum(before.n - 1, 1) + v**2 / np.maximum(since.n - 1, 1)
    degrees = np.divide(safe**2, freedom, out=np.ones_like(safe), where=is_known & (freedom > 0))
    return _known(is_known, t, 2 * stdtr(degrees, -np.abs(t)))


def log_variance_ratio(before: Moments, since: Moments) -> Tested:
    """Return the log of the ratio of variances, the second over the first, tested with the kurtosis of the data.

    The F test takes every distribution for a normal: on lognormal data it finds a difference in 62 % of equal samples.

    Source:
        Shoemaker, "Fixing the F test for equal variances", American Statistician 57, 2003: the variance of log s^2 is
        (kurtosis - (n - 3) / (n - 1)) / n.
    """
    is_known = (before.n > 3) & (since.n > 3) & (before.variance > 0) & (since.variance > 0)
    noise = np.zeros_like(before.mean)
    for one in (before, since):
        n = np.maximum(one.n, 4.0)
        noise = noise + np.maximum(one.kurtosis - (n - 3) / (n - 1), 0.0) / n
    ratio = np.log(np.where(is_known, since.variance, 1.0)) - np.log(np.where(is_known, before.variance, 1.0))
    is_known = is_known & (noise > 0)
    return _known(is_known, ratio, 2 * ndtr(-np.abs(ratio) / np.sqrt(np.where(is_known, noise, 1.0))))


def fisher(hits: ArrayLike, n: ArrayLike, hits_since: ArrayLike, n_since: ArrayLike) -> Tested:
    """Return the difference of two shares, the second less the first, tested exactly: twice the smaller tail.

    Args:
        hits: of the first sample, any shape.
        n: its size.
        hits_since: of the second sample.
        n_since: its size.

    Source:
        Fisher, "Statistical Methods for Research Workers", 5th ed. 1934, section 21.02.
    """
    a, size, b, drawn = np.broadcast_arrays(
        *(np.asarray(one, dtype=np.float64) for one in (hits, n, hits_since, n_since))
    )
    all_, total = a + b, size + drawn
    is_known = (size > 0) & (drawn > 0) & (all_ > 0) & (all_ < total)
    is_fewer = b * total < all_ * drawn  # fewer hits are more misses: one tail is enough
    x, marked = np.where(is_fewer, drawn - b, b), np.where(is_fewer, total - all_, all_)
    others = total - marked
    log_chance = _log_choose(marked, x) + _log_choose(others, drawn - x) - _log_choose(total, drawn)
    term, tail = np.ones_like(x), np.ones_like(x)
    while (term > NEGLIGIBLE * tail).any():  # beyond the mean each term is smaller than the one before
        term = term * (marked - x) * (drawn - x) / ((x + 1) * (others - drawn + x + 1))
        tail, x = tail + term, x + 1
    share = b / np.maximum(drawn, 1) - a / np.maximum(size, 1)
    return _known(is_known, share, 2 * np.exp(log_chance) * tail)


def holm(p_values: ArrayLike) -> Array:
    """Return p-values adjusted for their number, over all of the array.

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    flat = p.ravel()
    order = np.argsort(flat, kind="stable")
    adjusted = np.empty_like(flat)
    adjusted[order] = np.maximum.accumulate(flat[order] * np.arange(len(flat), 0, -1))
    return np.minimum(adjusted, 1.0).reshape(p.shape)


def _log_choose(n: Array, k: Array) -> Array:
    found: Array = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found


def _counted(counts: ArrayLike) -> tuple[Array, Array]:
    held = np.asarray(counts, dtype=np.float64)
    return held, held.sum(axis=-1)


def _known(is_known: NDArray[np.bool_], statistic: Array, p_value: Array) -> Tested:
    return Tested(np.where(is_known, statistic, np.nan), np.where(is_known, np.clip(p_value, 0.0, 1.0), 1.0))
