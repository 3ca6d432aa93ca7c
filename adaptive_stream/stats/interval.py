"""Intervals that stay valid however often one looks.

Owns confidence sequences for means of values in [0, 1]. Never keeps state. Called by the monitor for every figure that
it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

ALPHA = 0.05
# The mixture is tightest where the intrinsic time n/4 is about RHO * (2 log(1/alpha) + log(1 + 2 log(1/alpha))): with
# 16, near n = 500, where a first decision is usually made.
RHO = 16.0


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
