"""How far probabilities can be trusted, and what they say about labels that have not come.

Owns the calibration error with its interval, the calibration map (isotonic or Platt's) and the expected confusion
matrix of an event. Never keeps state and never sees a label twice: it is given sums by bin of the probability. Called
by the monitor, for every look and for every prediction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from adaptive_stream.stats.interval import ALPHA, RHO, bounded_mean

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

BINS = 20
CENTRES = (np.arange(BINS) + 0.5) / BINS
PRIOR = 1.0  # labels of each bin that stand at its centre before any came; they keep the map inside (0, 1)
STEPS = 25  # of Newton's method for two parameters; eight are usual
RIDGE = 1.0  # what a pull of Platt's map to the identity weighs, in units of squared slope


def place(p: ArrayLike) -> NDArray[np.int64]:
    """Return the bin of each probability, 0 to BINS - 1; what is outside [0, 1] counts in the first or last bin."""
    values = np.clip(np.asarray(p, dtype=np.float64), 0.0, 1.0)
    return np.minimum((values * BINS).astype(np.int64), BINS - 1)


def calibration_error(
    n: ArrayLike, predicted_sum: ArrayLike, label_sum: ArrayLike, *, alpha: float = ALPHA
) -> tuple[Array, Array, Array]:
    """Return the expected calibration error with ends that are valid at every look.

    The value is biased upwards, as noise never cancels between bins: 0.06 is usual for a perfect model after 500
    labels. The ends are not: ``low`` stays 0 for a calibrated model, but for a chance of at most ``alpha`` in its life.

    Two bounds are taken together, each at half of ``alpha``. Bin by bin, the interval of the label rate (strong where
    few bins are broken). And over all bins at once, for every way to sign them: the mean over signs of the mixture
    martingales of the signed sum of label minus probability is a martingale, so the sum of the bins' absolute errors
    pays log 2 for each bin that is in use, a third of the width of the bins' own intervals added up.

    Args:
        n: labels by bin of the predicted probability, (..., BINS).
        predicted_sum: sums of the probabilities, the same shape.
        label_sum: sums of the labels, 0 or 1, the same shape.
        alpha: chance of ever missing the mean absolute gap between probability and label rate, weighted by n.

    Returns:
        Value (NaN without labels), low, high, each (...).

    Source:
        Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015 (the
        error); Howard et al. 2021, eq. 14 (the mixture); Kearns, Saul, "Large deviation methods for approximate
        probabilistic inference", UAI 1998 (the variance of a bin's labels, at its smoothed rate).
    """
    count, predicted, labels = (np.asarray(one, dtype=np.float64) for one in (n, predicted_sum, label_sum))
    total = count.sum(axis=-1)
    some = np.maximum(total, 1.0)
    value = np.abs(labels - predicted).sum(axis=-1) / some
    half = alpha / 2

    low_rate, high_rate = bounded_mean(count, labels, alpha=half / count.shape[-1])
    mean = predicted / np.maximum(count, 1.0)
    beyond = np.maximum(np.maximum(low_rate - mean, mean - high_rate), 0.0)
    furthest = np.maximum(mean - low_rate, high_rate - mean)
    bins_low, bins_high = ((each * count).sum(axis=-1) / some for each in (beyond, furthest))

    variance = (count * _kearns_saul((labels + 0.5) / (count + 1.0))).sum(axis=-1)
    signs = math.log(2) * (count > 0).sum(axis=-1)
    reach = np.log((variance + RHO) / (RHO * half**2)) + 2 * signs
    radius = np.sqrt((variance + RHO) * reach) / some

    is_some = total > 0
    low = np.maximum(np.maximum(bins_low, value - radius), 0.0)
    high = np.minimum(np.minimum(bins_high, value + radius), 1.0)
    return np.where(is_some, value, np.nan), np.where(is_some, low, 0.0), np.where(is_some, high, 1.0)


def _kearns_saul(p: Array) -> Array:
    """Return the variance of the normal that bounds a Bernoulli value of mean p, 1/4 at one half."""
    away = np.abs(p - 0.5)
    safe = np.maximum(away, 1e-4)
    variance: Array = np.where(away > 1e-4, safe / np.log((0.5 + safe) / (0.5 - safe)), 0.25)
    return variance


def isotonic(n: ArrayLike, predicted_sum: ArrayLike, label_sum: ArrayLike) -> tuple[Array, Array]:
    """Return the calibration map of each row: the ascending step through its bins that fits the labels best.

    Args:
        n: labels by bin of the predicted probability, (..., BINS).
        predicted_sum: sums of the probabilities, the same shape.
        label_sum: sums of the labels, 0 or 1, the same shape.

    Returns:
        x: the mean probability of each bin (its centre where it is empty), ascending, (..., BINS).
        y: the calibrated probability there, ascending, inside (0, 1), (..., BINS). Between known bins it is
            interpolated; beyond them it is the identity, held ascending; the identity where nothing is known at all.

    Source:
        Zadrozny, Elkan, "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002;
        pooled adjacent violators as the greatest over starts of the least over stops of the means between (Robertson,
        Wright, Dykstra, "Order restricted statistical inference", 1988, th. 1.4.4).
    """
    count, predicted, labels = (np.asarray(one, dtype=np.float64) for one in (n, predicted_sum, label_sum))
    bins = count.shape[-1]
    is_known = count > 0
    x = _positions(count, predicted)
    weight = np.where(is_known, count + PRIOR, 0.0)
    rates = np.where(is_known, labels + PRIOR * CENTRES, 0.0)

    nothing = np.zeros((*count.shape[:-1], 1))
    weights = np.concatenate([nothing, np.cumsum(weight, axis=-1)], axis=-1)
    sums = np.concatenate([nothing, np.cumsum(rates, axis=-1)], axis=-1)
    mass = weights[..., None, 1:] - weights[..., :-1, None]  # (..., start, stop)
    between = sums[..., None, 1:] - sums[..., :-1, None]
    is_span = np.triu(np.ones((bins, bins), dtype=bool)) & (mass > 0)
    means = np.divide(between, mass, out=np.full_like(mass, np.inf), where=is_span)
    least = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]  # over the stops at or after each bin
    y = np.where(np.triu(np.ones((bins, bins), dtype=bool)), least, -np.inf).max(axis=-2)
    return x, _bridge(x, y, is_known)


def _positions(count: Array, predicted: Array) -> Array:
    """Return the mean probability of each bin, its centre where it is empty."""
    return np.where(count > 0, predicted / np.maximum(count, 1.0), CENTRES)


def _bridge(x: Array, y: Array, is_known: NDArray[np.bool_]) -> Array:
    """Return y with its unknown places on the line between their known neighbours, or on the identity beyond them."""
    places = np.arange(x.shape[-1])
    before = np.maximum.accumulate(np.where(is_known, places, -1), axis=-1)
    after = np.minimum.accumulate(np.where(is_known, places, len(places))[..., ::-1], axis=-1)[..., ::-1]
    has_before, has_after = before >= 0, after < len(places)
    before, after = np.maximum(before, 0), np.minimum(after, len(places) - 1)
    known = np.where(is_known, y, 0.0)
    x0, x1 = np.take_along_axis(x, before, -1), np.take_along_axis(x, after, -1)
    y0, y1 = np.take_along_axis(known, before, -1), np.take_along_axis(known, after, -1)
    span = np.where(x1 > x0, x1 - x0, 1.0)
    line = y0 + (y1 - y0) * np.clip((x - x0) / span, 0.0, 1.0)
    beyond = np.where(has_before, np.maximum(x, y0), np.where(has_after, np.minimum(x, y1), x))
    return np.where(is_known, y, np.where(has_before & has_after, line, beyond))


def platt(n: ArrayLike, predicted_sum: ArrayLike, label_sum: ArrayLike) -> tuple[Array, Array]:
    """Return the calibration map of each row as a logistic line through the log odds of its bins.

    Two parameters a row: it needs fewer labels than ``isotonic`` and cannot follow a bend. Arguments and results are
    those of ``isotonic``.

    Source:
        Platt, "Probabilistic outputs for support vector machines", 1999; fitted by Newton's method, with a pull to the
        identity that weighs as much as one label.
    """
    count, predicted, labels = (np.asarray(one, dtype=np.float64) for one in (n, predicted_sum, label_sum))
    x = _positions(count, predicted)
    z = logit(np.clip(x, 1e-6, 1 - 1e-6))
    a, b = np.zeros(x.shape[:-1]), np.ones(x.shape[:-1])
    for _ in range(STEPS):
        p = expit(a[..., None] + b[..., None] * z)
        miss, w = labels - count * p, count * p * (1 - p)
        g0 = miss.sum(axis=-1) - RIDGE * a
        g1 = (miss * z).sum(axis=-1) - RIDGE * (b - 1)
        h00, h01, h11 = w.sum(axis=-1) + RIDGE, (w * z).sum(axis=-1), (w * z * z).sum(axis=-1) + RIDGE
        det = h00 * h11 - h01 * h01
        # bounded steps: Newton's own may run away where the labels are all of one kind
        a = np.clip(a + np.clip((h11 * g0 - h01 * g1) / det, -1.0, 1.0), -20.0, 20.0)
        b = np.clip(b + np.clip((h00 * g1 - h01 * g0) / det, -1.0, 1.0), 0.0, 20.0)
    return x, np.clip(expit(a[..., None] + b[..., None] * z), 1e-9, 1 - 1e-9)


def calibrate(p: ArrayLike, x: Array, y: Array, *, rows: NDArray[np.int64] | None = None) -> Array:
    """Return calibrated probabilities of events: the maps between their bins, as straight lines.

    Args:
        p: raw probabilities, (events,).
        x: places of the maps, (rows, BINS), from ``isotonic`` or ``platt``.
        y: values there, the same shape.
        rows: the map of each event, (events,); event i has map i without it.

    Returns:
        (events,), ascending in p for each map; constant beyond a map's first and last place.
    """
    values = np.asarray(p, dtype=np.float64)
    bins = x.shape[-1]
    first = (np.arange(len(values)) if rows is None else rows) * bins
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    bin_ = place(values)
    # each place lies in its own bin, so the line that covers p begins at p's bin or at the one before
    left = np.clip(bin_ - (values < flat_x[first + bin_]), 0, bins - 2) + first
    x0, y0 = flat_x[left], flat_y[left]
    width = flat_x[left + 1] - x0
    share = np.clip((values - x0) / np.maximum(width, 1e-12), 0.0, 1.0)
    calibrated: Array = y0 + share * (flat_y[left + 1] - y0)
    return calibrated


def expected(calibrated: ArrayLike, p: ArrayLike, *, threshold: ArrayLike) -> tuple[Array, Array, Array]:
    """Return what each event is expected to add to the confusion matrix, before its label is known.

    Expected accuracy is the mean of 1 - fp - fn; expected F1 is 2 tp / (2 tp + fp + fn) of the sums. Both see a change
    of the inputs, and are blind to a change of what the inputs mean.

    Args:
        calibrated: probabilities of label 1 that can be trusted, (events,).
        p: the raw probabilities, (events,); an event is predicted positive where they reach the threshold.
        threshold: of the decision, broadcast against (events,).

    Returns:
        True positives, false positives, false negatives, each (events,), in [0, 1].

    Source:
        NannyML, "Confidence-based performance estimation" (CBPE); Bialek, Kuberski, Perrakis, Bifet, "Estimating model
        performance under covariate shift without labels", 2024.
    """
    trusted = np.asarray(calibrated, dtype=np.float64)
    is_positive = np.asarray(p, dtype=np.float64) >= np.asarray(threshold, dtype=np.float64)
    return (
        np.where(is_positive, trusted, 0.0),
        np.where(is_positive, 1.0 - trusted, 0.0),
        np.where(is_positive, 0.0, trusted),
    )
