"""The four tests on windows that do not overlap: ``mode: classic``.

Owns when a window counts as changed. Never keeps state: the window is what is recent. Called by the detector of the
data when a window is full.

One check of a window of w events is made at the level w / budget, by Holm over all tests and numeric columns, so that
false alarms come once in ``budget_events`` at most, as far as the tests' limit distributions hold. Levels and missing
values are no business of these tests; the sequential mode watches them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.drift.layout import DATED_SHIFTS
from adaptive_stream.drift.verdict import Samples
from adaptive_stream.stats import two_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.drift.data import Data
    from adaptive_stream.stats.rows import Rows

LEAST = 1e-30  # p-value: single precision holds what is made of it


def judge(data: Data, table: Rows, series: int) -> None:
    """Write the evidence of a full window: what it is beyond the line is what the p-value is below the level."""
    layout = data.layout
    evidence = np.zeros(layout.bets, dtype=np.float32)
    if len(layout.numeric):
        _, whitney, _, ratio = tested = Samples(data, table, series).tests()
        adjusted = two_sample.holm(np.stack([one.p_value for one in tested]))
        is_spread = adjusted[-1] < adjusted[:-1].min(axis=0)
        up, down, wider, narrower = DATED_SHIFTS
        bet = np.where(
            is_spread,
            np.where(ratio.statistic > 0, wider, narrower),
            np.where(whitney.statistic > 0, up, down),
        )
        window = data.window * data.b
        place = bet * layout.streams + np.arange(len(layout.numeric))
        evidence[place] = window / np.maximum(adjusted.min(axis=0), LEAST)
    table.col["evidence"][series] = evidence


def begin(table: Rows, rows: NDArray[np.int64]) -> None:
    """Begin a window."""
    for name in ("recent", "recent_levels", "recent_sums", "recent_blocks"):
        table.col[name][rows] = 0
