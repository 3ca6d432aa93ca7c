"""What "before" looked like: bins, scales and levels from a sample, and a whole reference from a file's rows.

Owns the making of bins. Never reads a file, and never counts what comes after. Called when a series has its sample, and
by whoever has read a file.

The bins' edges are 31 values of the sample: ranks are read from counts, never from the bins' widths, so that unequal
bins cost resolution (0.6 % of a rank's variance) and nothing else. A value that occurs twice gets a bin of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptive_stream.drift.layout import OTHER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.drift.layout import Layout

    Single = NDArray[np.float32]

# Scales from the location at which a value counts in moments and projections: one outlier must not undo them. At 100
# the test of variances alarms 2.5 times as often as it may on a lognormal of shape 2
FARTHEST = np.float32(8.0)
NORMAL = np.float32(0.7413)  # sd of a normal over its interquartile range


class Bins(NamedTuple):
    """How values of some series are coded; the first axis is the series."""

    edges: Single  # (n, EDGES, streams), ascending, infinite where there are fewer
    location: Single  # (n, numeric columns)
    scale: Single  # (n, numeric columns), positive
    levels: Single  # (n, OTHER, categorical columns), -1 where there are fewer


def bins(layout: Layout, sample: Single) -> Bins:
    """Return the bins of some series.

    Args:
        layout: of the fleet.
        sample: EDGES events of each, (n, EDGES, columns), NaN where a value is missing.
    """
    values = sample[:, :, layout.numeric]
    ordered = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(ordered)).sum(axis=1)
    location, low, high = (_quantile(ordered, count, share) for share in (0.5, 0.25, 0.75))
    with np.errstate(invalid="ignore", over="ignore"):
        spread = (high - low) * NORMAL
        wide = _quantile(ordered, count, 1.0) - _quantile(ordered, count, 0.0)
    scale = np.where(spread > 0, spread, np.where(wide > 0, wide / 4, 1.0))
    scale = np.where(np.isfinite(scale), scale, 1.0).astype(np.float32)
    location = np.where(np.isfinite(location), location, 0.0).astype(np.float32)
    projected = project(layout, standard(values, location[:, None], scale[:, None]))
    edges = separate(np.concatenate([ordered, np.sort(projected, axis=1)], axis=2))
    return Bins(edges, location, scale, _levels(layout, sample))


def _quantile(ordered: Single, count: NDArray[np.int64], share: float) -> Single:
    place = np.maximum(np.rint((count - 1) * share).astype(np.int64), 0)
    found: Single = np.take_along_axis(ordered, place[:, None, :], axis=1)[:, 0]
    return found


def standard(values: Single, location: Single, scale: Single) -> Single:
    """Return values in scales from the location, cut at FARTHEST; 0 where missing."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = (values - location) / scale
    found = np.clip(found, -FARTHEST, FARTHEST)
    return np.where(np.isnan(found), np.float32(0), found)


def project(layout: Layout, standardised: Single, out: Single | None = None) -> Single:
    """Return the projections of standardised numeric columns, (..., numeric) to (..., projections).

    The sum runs over the first axis of whole vectors: its rounding depends on no other event.
    """
    projected, features = layout.signs.shape
    shape = standardised.shape[:-1]
    found = np.empty((*shape, projected), dtype=np.float32) if out is None else out
    if not projected:
        return found
    by_feature = np.ascontiguousarray(np.moveaxis(standardised[..., :features], -1, 0)).reshape(features, -1)
    for place, signs in enumerate(layout.signs.tolist()):
        total = np.zeros(by_feature.shape[1], dtype=np.float32)
        for sign, values in zip(signs, by_feature, strict=True):
            (np.add if sign > 0 else np.subtract)(total, values, out=total)
        found[..., place] = (total * np.float32(abs(signs[0]))).reshape(shape)
    return found


def separate(ordered: Single) -> Single:
    """Return edges from ordered values: a repeated one becomes two edges around itself, what is missing infinite."""
    edges = np.where(np.isnan(ordered), np.float32(np.inf), ordered)
    is_again = edges[:, 1:] == edges[:, :-1]
    edges[:, 1:][is_again] = np.nextafter(edges[:, 1:][is_again], np.float32(np.inf))
    return np.sort(edges, axis=1)


def _levels(layout: Layout, sample: Single) -> Single:
    """Return the levels with a bin of their own: all where they are few, else those that the sample has most of."""
    found = np.full((len(sample), OTHER, len(layout.categorical)), -1, dtype=np.float32)
    for place, column in enumerate(layout.categorical.tolist()):
        known = len(layout.levels[column])
        if known <= OTHER:
            found[:, :known, place] = np.arange(known)
            continue
        for row, values in enumerate(sample[:, :, column]):
            levels, counts = np.unique(values[~np.isnan(values)], return_counts=True)
            top = levels[np.argsort(-counts, kind="stable")[:OTHER]]
            found[row, : len(top), place] = top
    return found


def even(values: Single, size: int) -> Single:
    """Return evenly spaced order statistics of each column, (n, columns) to (1, size, columns)."""
    ordered = np.sort(values, axis=0)
    count = (~np.isnan(ordered)).sum(axis=0)
    share = (np.arange(size) + 0.5) / size
    places = np.floor(share[:, None] * count).astype(np.int64)
    return np.take_along_axis(ordered, places, axis=0)[None]
