"""A reference of rows that somebody else has read, from a file of training data for example.

Owns how such rows are counted, and when they are refused. Never reads a file. Called when a series is given a
reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptive_stream.drift import rank
from adaptive_stream.drift.layout import EDGES
from adaptive_stream.drift.reference import bins, even, project, standard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.drift.layout import Layout
    from adaptive_stream.drift.reference import Bins

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why rows are no reference."""

    reason: str


class Given(NamedTuple):
    """Rows as the table holds them."""

    bins: Bins
    pool: NDArray[np.uint16]
    levels: NDArray[np.uint16]
    sums: NDArray[np.float32]
    pooled: int
    is_absent: NDArray[np.bool_]  # (columns,): not in the rows


def counted(
    layout: Layout, features: Array, outputs: Array | None, confidences: Array | None, *, least: int, most: int
) -> Given | Rejected:
    """Count rows into a reference.

    Args:
        layout: of the fleet.
        features: (n, features), coded as those of predictions.
        outputs: (n,) of the same rows, None where they are not known.
        confidences: the same.
        least: rows that are wanted.
        most: rows that a pool can count; of more, evenly spaced ones are taken.
    """
    if features.ndim != 2 or features.shape[1] != layout.features:
        return Rejected(f"the rows have shape {features.shape}, the family has {layout.features} features")
    if len(features) < least:
        return Rejected(f"a reference needs {least:,} rows, there are {len(features):,}")
    chosen = np.linspace(0, len(features) - 1, min(len(features), most)).astype(np.int64)
    values = np.full((len(chosen), layout.columns), np.nan, dtype=np.float32)
    with np.errstate(over="ignore"):
        values[:, : layout.features] = features[chosen]
        for place, column in ((-2, outputs), (-1, confidences)):
            if column is not None:
                if len(column) != len(features):
                    return Rejected(f"{len(column):,} outputs or confidences for {len(features):,} rows")
                values[:, place] = column[chosen]
    # bins from evenly spaced order statistics of each column; levels from a sample of whole rows
    sample = even(values, EDGES)
    spread = np.linspace(0, len(values) - 1, EDGES).astype(np.int64)
    sample[0][:, layout.categorical] = values[spread][:, layout.categorical]
    found = bins(layout, sample)
    if layout.projections:  # columns that were sorted apart say nothing of a projection
        near = standard(values[:, layout.numeric], found.location, found.scale)
        found.edges[:, :, len(layout.numeric) :] = even(project(layout, near), EDGES)
    coded = rank.code(layout, values[:, None], np.zeros(1, dtype=np.int64), found)
    return Given(
        found,
        coded.hist[:, 0].astype(np.uint16),
        coded.hist_levels[:, 0].astype(np.uint16),
        coded.sums[0],
        len(values),
        np.array([False] * layout.features + [outputs is None, confidences is None]),
    )
