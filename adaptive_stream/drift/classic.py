"""Tests on windows that do not overlap: ``mode: classic``.

Owns when a window counts as changed. Never keeps state: the window is what is recent. Called by the detector of the
data when a window is full.

Numeric columns get the four tests; the share of each level, and of what is missing, Fisher's. One check of a window of
w events is made at the level w / budget, by Holm over all of them, so that false alarms come once in ``budget_events``
at most, as far as the four tests' limit distributions hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.drift.layout import LEVELS
from adaptive_stream.drift.verdict import MOVED, Samples
from adaptive_stream.stats import two_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.drift.data import Data
    from adaptive_stream.stats.rows import Rows

LEAST = 1e-30  # p-value: single precision holds what is made of it
# The bets of the layout whose evidence stands for each finding: the middle one each way
UP, DOWN, WIDER, NARROWER = 1, 4, 6, 8
MORE, FEWER, OFTEN, SELDOM = 0, 1, 1, 4


def judge(data: Data, table: Rows, series: int) -> None:
    """Write the evidence of a full window: what it is beyond the line is what the p-value is below the level."""
    layout, samples = data.layout, Samples(data, table, series)
    _, whitney, _, ratio = tested = samples.tests()
    missing, levels = samples.missing(), samples.shares()
    shares, rises = (np.concatenate([missing[part], levels[part].ravel()]) for part in (1, 0))
    is_test = ~np.isnan(rises)  # of none or of all in both samples together there is no test
    p_values = np.stack([one.p_value for one in tested])
    is_absent = table.col["lag"][series, -layout.columns :] >= 1  # not in the reference's file: there is no before
    p_values[:, is_absent[layout.numeric]] = 1
    is_test &= ~np.r_[is_absent, np.tile(is_absent[layout.categorical], LEVELS)]
    adjusted = two_sample.holm(np.concatenate([p_values.ravel(), shares[is_test]]))
    by_test = adjusted[: p_values.size].reshape(p_values.shape)
    is_spread = (by_test[-1] < by_test[:-1].min(axis=0)) & ~(np.abs(whitney.statistic) >= MOVED)
    bet = np.where(
        is_spread,
        np.where(ratio.statistic > 0, WIDER, NARROWER),
        np.where(whitney.statistic > 0, UP, DOWN),
    )
    of_missing, of_level = rises[: layout.columns] > 0, rises[layout.columns :] > 0
    places = np.concatenate(
        [
            layout.at_missing + np.where(of_missing, MORE, FEWER) * layout.columns + np.arange(len(of_missing)),
            layout.at_levels + np.where(of_level, OFTEN, SELDOM) * len(of_level) + np.arange(len(of_level)),
        ]
    )
    evidence, window = np.zeros(layout.bets, dtype=np.float32), data.window * data.b
    numeric = bet * layout.streams + np.arange(len(layout.numeric))
    evidence[numeric] = window / np.maximum(by_test.min(axis=0), LEAST)
    evidence[places[is_test]] = window / np.maximum(adjusted[p_values.size :], LEAST)
    table.col["evidence"][series] = evidence


def begin(table: Rows, rows: NDArray[np.int64]) -> None:
    """Begin a window."""
    for name in ("recent", "recent_levels", "recent_sums", "recent_blocks"):
        table.col[name][rows] = 0
