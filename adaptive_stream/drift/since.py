"""Since when: running maxima of some bets, and what came since one of them took the lead.

Owns their columns and the windows of what is recent. Never judges. Called by the detector of the data with the blocks
that it took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.drift.layout import BINS, DATED_LEVEL, DATED_MISSING, DATED_SHIFTS, LEVELS
from adaptive_stream.drift.run import accumulated, changed, last_clear
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adaptive_stream.drift.layout import Layout
    from adaptive_stream.drift.rank import Coded
    from adaptive_stream.drift.run import Cut
    from adaptive_stream.stats.rows import Rows

    Single = NDArray[np.float32]
    Places = NDArray[np.int64]

RECENT = BINS // 2 + 1  # bins of what came since a change, two and two together, and the missing ones
RECENT_EVENTS = 65_000  # that a histogram can count
# nats: less is what chance gives one of some scores at most times, a change passes it within few events
LEAD = np.float32(2.0)
NOTHING = np.zeros((), dtype=np.float32)
OLDEST = 65_535  # blocks that an age goes back


class Since:
    """The scores of one fleet's series.

    Args:
        layout: their streams and bets.
        b: events of a block.
    """

    def __init__(self, layout: Layout, *, b: int) -> None:
        self.layout, self.b = layout, b

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        layout, numeric = self.layout, len(self.layout.numeric)
        yield Column("score", "<f4", (len(layout.dated),))
        yield Column("age", "<u2", (len(layout.dated),))  # blocks since the score was last nothing
        yield Column("recent", "<u2", (RECENT, numeric))
        yield Column("recent_levels", "<u2", (LEVELS + 1, len(layout.categorical)))
        yield Column("recent_sums", "<f4", (2, numeric))
        yield Column("recent_blocks", "<u2", (layout.columns,))

    def advance(
        self,
        table: Rows,
        rows: Places,
        found: Cut,
        stop: Places,
        *,
        log_e: Single,
        coded: Coded,
        is_new: NDArray[np.bool_] | None,
    ) -> None:
        """Take blocks: where the score of a bet was last nothing its change began, if there is one.

        Args:
            table: of the series.
            rows: of the groups that have blocks.
            found: the blocks.
            stop: how many of each group count.
            log_e: of the dated bets, (blocks, dated); used up.
            coded: what the blocks hold.
            is_new: columns whose window begins with each block; None where that is for the scores to say.
        """
        col = table.col
        score = col["score"][rows]
        leader = self._leaders(score)
        for one in found.rounds:
            score = climb(score[: one.stop - one.start], log_e[one])
        col["score"][rows] = log_e[found.at(stop - 1)]
        clear = last_clear(found, log_e <= 0, stop)
        age = np.where(clear >= 0, -1 - clear, col["age"][rows])
        age += stop[:, None].astype(np.int32)
        col["age"][rows] = np.minimum(age, OLDEST, out=age)
        if is_new is None:
            is_new = changed(found, leader, self._leaders(log_e))
        self._remember(table, rows, found, stop, is_new=is_new, coded=coded)

    def _remember(
        self, table: Rows, rows: Places, found: Cut, stop: Places, *, is_new: NDArray[np.bool_], coded: Coded
    ) -> None:
        """Add blocks to what came since a suspected change, or begin anew with the block that brings the suspicion."""
        col, layout = table.col, self.layout
        clear = last_clear(found, is_new, stop)
        count = np.where(clear >= 0, 0, col["recent_blocks"][rows].astype(np.int64))
        since = np.maximum(clear, 0)
        upto = np.minimum(stop[:, None], since + RECENT_EVENTS // self.b - count)  # what a histogram can count
        turn = found.turn[:, None]
        is_taken = (turn >= since[found.owner]) & (turn < upto[found.owner])
        col["recent_blocks"][rows] = count + np.maximum(upto - since, 0)
        is_held, numeric, levels = clear < 0, layout.numeric, layout.categorical
        taken, held = is_taken[:, None, numeric], is_held[:, None, numeric]
        add(table, "recent", rows, found, self._recent_counts(coded) * taken, is_held=held)
        add(table, "recent_sums", rows, found, coded.sums[:, :2] * taken, is_held=held)
        if len(levels):
            hist = coded.hist_levels.transpose(1, 0, 2) * is_taken[:, None, levels]
            add(table, "recent_levels", rows, found, hist, is_held=is_held[:, None, levels])

    def _recent_counts(self, coded: Coded) -> NDArray[np.uint8]:
        """Return histograms of the blocks with half the bins, (blocks, RECENT, numeric columns)."""
        hist = coded.hist[:, :, : len(self.layout.numeric)]
        halved = np.concatenate([hist[0:BINS:2] + hist[1:BINS:2], hist[BINS:]])
        return np.ascontiguousarray(halved.transpose(1, 0, 2))

    def _leaders(self, score: Single) -> NDArray[np.int8]:
        """Return which score of each column is the largest, -1 where none is clear; (n, dated) to (n, columns).

        What came since the leader took the lead is what came since the change, as nearly as one window can hold it: it
        does so as soon as it is above what chance gives the others, and keeps it for as long as the change lasts.
        """
        layout, n = self.layout, len(score)
        numeric, levels = len(layout.numeric), len(layout.categorical)
        shifts, missing = len(DATED_SHIFTS) * numeric, len(DATED_MISSING) * layout.columns
        of_missing = score[:, shifts : shifts + missing].reshape(n, len(DATED_MISSING), layout.columns)
        every = slice(None)  # with no copy, where all columns are of one kind
        found = np.empty((n, layout.columns), dtype=np.int8)
        by_shift = score[:, :shifts].reshape(n, len(DATED_SHIFTS), numeric)
        by_level = score[:, shifts + missing :].reshape(n, len(DATED_LEVEL) * LEVELS, levels)
        for columns, scores in ((layout.numeric, by_shift), (layout.categorical, by_level)):
            if len(columns):
                best, lead = np.full((n, len(columns)), LEAD), np.full((n, len(columns)), -1, dtype=np.int8)
                here = of_missing[:, :, columns if levels else every]
                for part, of in enumerate((scores, here)):
                    # a few whole arrays: argmax over a short axis takes four times as long
                    for place in range(of.shape[1]):
                        one = of[:, place]
                        np.copyto(lead, part * scores.shape[1] + place, where=one > best)
                        np.maximum(best, one, out=best)
                found[:, columns] = lead
        return found


def climb(score: Single, log_e: Single) -> Single:
    """Return the scores after one more block, written over its log evidence: never below nothing."""
    log_e += score
    return np.maximum(log_e, NOTHING, out=log_e)


def add(
    table: Rows,
    name: str,
    rows: Places,
    found: Cut,
    values: NDArray[Any],
    *,
    is_held: NDArray[np.bool_] | None = None,
) -> None:
    """Add what the blocks hold to a column; where it is not held what was there before is forgotten."""
    held = table.col[name][rows]
    if is_held is not None:
        held *= is_held
    accumulated(found, held, values)
    table.col[name][rows] = held
