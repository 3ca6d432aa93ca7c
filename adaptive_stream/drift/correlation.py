"""What neighbours have in common: correlated events are worth less than as many independent ones.

Owns the estimate at lag 1 from what a reference counted, and when it is believed. Never keeps state. Called by the
detector of the data; evidence is raised to (1 - rho) / (1 + rho): so many independent events are worth as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.drift.layout import BINS, LEVELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.drift.layout import Layout
    from adaptive_stream.drift.rank import Coded, Ranks

    Array = NDArray[np.float64]
    Single = NDArray[np.float32]

MOST = 0.98  # beyond it hardly an event is news
CLEAR = 3.5  # standard errors at which a correlation is believed
LEAST = 100  # pairs that could differ: among fewer one chance neighbourhood of rare values looks like a correlation


def lags(layout: Layout, coded: Coded, ranks: Ranks) -> Single:
    """Return what neighbours inside each block have in common, (blocks, lags)."""
    numeric = len(layout.numeric)
    is_same = (coded.levels[1:] == coded.levels[:-1]).sum(axis=0)
    is_missing = np.empty((*coded.codes.shape[:2], layout.columns), dtype=np.bool_)
    is_missing[:, :, layout.numeric] = coded.codes[:, :, :numeric] == BINS
    is_missing[:, :, layout.categorical] = coded.levels == LEVELS
    is_alike = (is_missing[1:] == is_missing[:-1]).sum(axis=0)
    return np.concatenate([ranks.lag, is_same, is_alike], axis=1, dtype=np.float32)


def believed(layout: Layout, lag: Array, pool: Array, levels: Array, *, pairs: int) -> Array:
    """Return correlations at lag 1 of some series, 0 where they may be chance, (n, lags).

    Args:
        layout: of the fleet.
        lag: means of ``lags`` over the pairs.
        pool: shares of the bins, (n, BINS + 1, streams).
        levels: shares of the levels, (n, LEVELS + 1, categorical).
        pairs: of neighbours.
    """
    streams, categorical = layout.streams, len(layout.categorical)
    seen = pool[:, :BINS].sum(axis=1)
    missing = np.empty((len(lag), layout.columns))
    missing[:, layout.numeric] = 1 - seen[:, : len(layout.numeric)]
    missing[:, layout.categorical] = levels[:, LEVELS]
    same, unlike = (levels**2).sum(axis=1), 2 * missing * (1 - missing)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.concatenate(
            [
                3 * lag[:, :streams] / seen**2,  # a pair counts if both are there; a rank's variance is 1/3
                (lag[:, streams : streams + categorical] - same) / (1 - same),
                1 - (1 - lag[:, streams + categorical :]) / unlike,
            ],
            axis=1,
        )
    worth = pairs * np.concatenate([seen**2, np.ones((len(lag), categorical + layout.columns))], axis=1)
    informed = pairs * np.concatenate([seen**2, 1 - same, unlike], axis=1)
    is_clear = (informed >= LEAST) & (rho > CLEAR / np.sqrt(np.maximum(worth, 1.0)))
    found = np.where(is_clear, np.minimum(rho, MOST), 0.0)
    # a sum with what is independent hides at lag 1 how long one of its features stays: it is worth as little
    features = int((layout.numeric < layout.features).sum())
    if layout.projections:
        own, theirs = found[:, len(layout.numeric) : streams], found[:, :features]
        np.maximum(own, theirs.max(axis=1, keepdims=True), out=own)
    return found
