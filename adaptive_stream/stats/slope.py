"""The trend of a metric over its last panes.

Owns the robust slope with its interval, and what counts as a direction. Never knows what the metric is, only whether it
is better high. Called by the monitor for the trend in a model's status. Why this fit: docs/decisions/trend.md.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

from adaptive_stream.stats.interval import ALPHA

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

LEAST = 3  # known panes; a line through two has no error to judge it by
HUBER = 1.345  # standard errors beyond which a pane counts less: 95 % as efficient as least squares on clean panes
ROUNDS = 20  # of reweighting; what is left to move is below a hundredth of the interval


class Direction(IntEnum):
    """Where a metric is going, for better or worse."""

    DECLINING = -1
    STABLE = 0
    IMPROVING = 1


def slope(values: ArrayLike, variances: ArrayLike, *, alpha: float = ALPHA) -> tuple[Array, Array, Array]:
    """Return the slope of each row with its interval: weighted least squares with Huber's weights.

    A pane far off the line of the others pulls no harder than one that is 1.345 standard errors off it. Where the panes
    scatter more than their variances say, the standard error is theirs and the interval wider by as much. It is an
    interval for one look.

    Args:
        values: of the panes, oldest first, (..., k); NaN where a pane is missing, which leaves the others' places.
        variances: of the values, not negative, (..., k): for a mean, its sample variance over its count. NaN leaves the
            pane out; 0 counts as the least positive variance of the row.
        alpha: chance that the interval misses the slope.

    Returns:
        Slope, low, high, each (...), in units of the values a pane: NaN, -inf, inf with fewer than three known panes.

    Source:
        Huber, "Robust statistics", 1981, ch. 7 (weights, and the scale of eq. 7.6.8); Student's t with k - 2 degrees.
    """
    y, spread = np.broadcast_arrays(np.asarray(values, dtype=np.float64), np.asarray(variances, dtype=np.float64))
    is_known = np.isfinite(y) & np.isfinite(spread)
    known = is_known.sum(axis=-1)
    has_enough = known >= LEAST
    weight = _weights(spread, is_known)
    y = np.where(is_known, y, 0.0)
    x = np.arange(y.shape[-1], dtype=np.float64)

    degrees = np.maximum(known - 2.0, 1.0)
    root = np.sqrt(weight)
    steepness, reach, miss = _fit(x, y, weight)
    for _ in range(ROUNDS):
        off = np.abs(miss) * root
        scale = _scale(off, is_known)
        steepness, reach, miss = _fit(x, y, weight * HUBER / np.maximum(off / scale[..., None], HUBER))

    off = np.abs(miss) * root
    scale = _scale(off, is_known)
    off /= scale[..., None]
    near = ((off <= HUBER) & is_known).sum(axis=-1) / np.maximum(known, 1)
    scatter = scale**2 * (np.minimum(off, HUBER) ** 2).sum(axis=-1) / degrees / np.maximum(near, 0.5) ** 2
    error = np.sqrt(np.maximum(scatter, 1.0) / np.where(has_enough, reach, 1.0))
    radius = stdtrit(degrees, 1 - alpha / 2) * error
    return (
        np.where(has_enough, steepness, np.nan),
        np.where(has_enough, steepness - radius, -np.inf),
        np.where(has_enough, steepness + radius, np.inf),
    )


def _weights(variances: Array, is_known: NDArray[np.bool_]) -> Array:
    """Return one over the variances; a variance of nothing, or as good as that, must not outweigh all other panes."""
    known = np.where(is_known, variances, 0.0)
    least = np.where(known > 0, known, np.inf).min(axis=-1, keepdims=True)
    least = np.where(np.isfinite(least), least, 1.0)
    floor = np.maximum(np.maximum(least, 1e-9 * known.max(axis=-1, keepdims=True)), 1e-60)
    return np.where(is_known, 1.0 / np.maximum(known, floor), 0.0)


def _scale(off: Array, is_known: NDArray[np.bool_]) -> Array:
    """Return the standard error of a pane in units of its own: at least 1, more where half of the panes are far off."""
    known = is_known.sum(axis=-1)
    ordered = np.sort(np.where(is_known, off, np.inf), axis=-1)
    middle = np.take_along_axis(ordered, (np.maximum(known - 1, 0) // 2)[..., None], axis=-1)[..., 0]
    middle = np.where(known >= LEAST, middle, 0.0)
    # 1.4826: a normal's standard deviation over its median deviation; the root: a line through k panes is too close
    scale: Array = np.maximum(1.4826 * middle * np.sqrt(known / np.maximum(known - 2.0, 1.0)), 1.0)
    return scale


def _fit(x: Array, y: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return the slope of the weighted line, the weighted sum of squares of x about its mean, and the residuals."""
    total = weight.sum(axis=-1, keepdims=True)
    total = np.where(total > 0, total, 1.0)
    away = x - (weight * x).sum(axis=-1, keepdims=True) / total
    height = y - (weight * y).sum(axis=-1, keepdims=True) / total
    reach = (weight * away**2).sum(axis=-1)
    steepness = (weight * away * height).sum(axis=-1) / np.where(reach > 0, reach, 1.0)
    return steepness, np.where(reach > 0, reach, 1.0), height - steepness[..., None] * away


def direction(
    slope: ArrayLike, low: ArrayLike, high: ArrayLike, *, threshold: float, is_better_high: bool
) -> NDArray[np.int8]:
    """Return the ``Direction`` of each slope, as its number.

    Args:
        slope: in units a pane; NaN where unknown.
        low: lower end of its interval.
        high: upper end.
        threshold: least slope that matters, not negative.
        is_better_high: whether a rise is an improvement (accuracy) or a decline (latency).

    Returns:
        STABLE where the slope is unknown or below the threshold, or its interval holds 0; the shape of ``slope``.
    """
    steep = np.asarray(slope, dtype=np.float64)
    is_evident = (np.abs(steep) >= threshold) & ((np.asarray(low) > 0) | (np.asarray(high) < 0))
    sign = np.sign(np.where(is_evident, steep, 0.0)).astype(np.int8)
    return sign if is_better_high else -sign
