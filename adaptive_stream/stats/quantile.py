"""Quantiles of latencies from a histogram with logarithmic bins.

Owns the bins, the quantile inside a histogram and its interval. Never keeps state: counts are the caller's, and add up
over panes. Called by the monitor for latency p50, p95 and p99.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln, ndtri

from adaptive_stream.stats.interval import ALPHA, LOG_GAMMA, STRENGTH

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

# 48 counts of 4 bytes for a pane of 192 bytes. One bin is a factor of 1.38, from a call inside a process to one that
# every client has given up; what is outside counts in the first or last bin. After interpolation the error of p50, p95
# and p99 is below 0.1 % for lognormal, 0.6 % for exponential and gamma latencies; where all are the same up to 22 %,
# and 31 % where the quantile falls between two modes.
BINS = 48
LEAST_MS, MOST_MS = 0.05, 300_000.0
EDGES_MS = np.geomspace(LEAST_MS, MOST_MS, BINS + 1)
_PER_BIN = math.log(MOST_MS / LEAST_MS) / BINS
HALVINGS = 24  # of the possible counts: down to 6e-8 of the values, on the wider side
LONE = 10.0  # a bin that holds so many times its neighbours' values stands alone


def place(values_ms: ArrayLike) -> NDArray[np.int64]:
    """Return the bin of each latency.

    Args:
        values_ms: milliseconds, any shape; what is below the first edge (0 and less included) counts in bin 0, what is
            above the last in the last bin.

    Returns:
        Bin numbers, 0 to BINS - 1, the same shape.
    """
    values = np.clip(np.asarray(values_ms, dtype=np.float64), LEAST_MS, MOST_MS)
    bins = (np.log(values / LEAST_MS) / _PER_BIN).astype(np.int64)
    return np.minimum(bins, BINS - 1)


def quantile(counts: ArrayLike, q: ArrayLike, *, alpha: float = ALPHA) -> tuple[Array, Array, Array]:
    """Return quantiles of histograms with lower and upper ends that are valid at every look.

    At the true quantile the number of values below it is a sum of Bernoulli values of mean ``q``, whatever the
    distribution; the ends are where the histogram holds the least and the greatest number that the beta-binomial
    mixture leaves possible. They are exact but for the interpolation inside a bin; where a bin stands alone, nothing is
    known about the values' place in it and an end goes out to its edge.

    Args:
        counts: values by bin, (..., BINS).
        q: between 0 and 1, broadcast against (...).
        alpha: chance of ever missing the quantile.

    Returns:
        Value, low, high in milliseconds, each (...): NaN, LEAST_MS and MOST_MS where the histogram is empty.

    Source:
        Howard, Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
        identification", Bernoulli 28, 2022, sec. 3 (interval for one fixed quantile); the mixture is that of
        ``interval.bounded_mean``.
    """
    values = np.asarray(counts, dtype=np.float64)
    total = values.sum(axis=-1)
    share = np.broadcast_to(np.asarray(q, dtype=np.float64), total.shape)
    few, many = _possible_ranks(total, share, alpha=alpha)
    (at, low, high), (_, left, _), (_, _, right) = _latencies(np.stack([share * total, few, many]), values)
    is_some = total > 0
    return (
        np.where(is_some, at, np.nan),
        np.where(is_some & (few > 0), np.minimum(np.fmin(low, left), at), LEAST_MS),
        np.where(is_some & (many < total), np.maximum(np.fmax(high, right), at), MOST_MS),
    )


def _possible_ranks(n: Array, q: Array, *, alpha: float) -> tuple[Array, Array]:
    """Return the least and greatest number of values below the quantile, of n, that its mixture leaves possible.

    The log mixture is convex in the number, and below its limit at q n; each end is found by halving.
    """
    limit = math.log(1 / alpha)
    a, b = STRENGTH * q + 0.5, STRENGTH * (1 - q) + 0.5
    with np.errstate(divide="ignore"):
        log_q, log_rest = np.log(q), np.log1p(-q)
    constant = LOG_GAMMA - gammaln(a) - gammaln(b) - gammaln(n + (STRENGTH + 1)) - limit

    def is_possible(s: Array) -> NDArray[np.bool_]:
        logs = gammaln(a + s) + gammaln(b + (n - s)) + constant
        possible: NDArray[np.bool_] = logs - s * log_q - (n - s) * log_rest <= 0
        return possible

    end = np.stack([np.zeros_like(n), n])
    out, inside = end.copy(), np.broadcast_to(q * n, end.shape)
    is_whole = is_possible(end)
    for _ in range(HALVINGS):
        middle = (out + inside) / 2
        possible = is_possible(middle)
        out, inside = np.where(possible, out, middle), np.where(possible, middle, inside)
    few, many = np.where(is_whole, end, out)
    return few, many


def _latencies(ranks: Array, counts: Array) -> tuple[Array, Array, Array]:
    """Return the latency of each rank, and the edges of its bin where that stands alone (elsewhere NaN).

    Inside a bin the normal quantile of the share below is a straight line over the log of the latency: what a lognormal
    does everywhere, and every smooth distribution nearly, over a third of its value.
    """
    cumulative = np.cumsum(counts, axis=-1)
    bins = np.minimum((cumulative < ranks[..., None]).sum(axis=-1), BINS - 1)

    def of_bin(table: Array, column: NDArray[np.int64]) -> Array:
        whole = np.broadcast_to(table, (*ranks.shape, BINS))
        return np.take_along_axis(whole, column[..., None], axis=-1)[..., 0]

    total, mass, above = cumulative[..., -1], of_bin(counts, bins), of_bin(cumulative, bins)
    half = 0.5 / np.maximum(total, 1.0)

    def score(rank: Array) -> Array:
        normal: Array = ndtri(np.clip(rank / np.maximum(total, 1.0), half, 1.0 - half))
        return normal

    left = score(above - mass)
    span = score(above) - left
    share = np.divide(score(ranks) - left, span, out=np.full_like(ranks, 0.5), where=span > 0)
    # the last edge by this way is not to the last digit the one that ends go out to
    found = np.minimum(LEAST_MS * np.exp((bins + np.clip(share, 0.0, 1.0)) * _PER_BIN), MOST_MS)
    before = np.where(bins > 0, of_bin(counts, np.maximum(bins - 1, 0)), 0.0)
    after = np.where(bins < BINS - 1, of_bin(counts, np.minimum(bins + 1, BINS - 1)), 0.0)
    is_lone = LONE * (before + after) < mass
    return found, np.where(is_lone, EDGES_MS[bins], np.nan), np.where(is_lone, EDGES_MS[bins + 1], np.nan)
