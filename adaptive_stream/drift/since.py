"""Since when: running maxima of some bets, and what came since one of them took the lead.

Owns their columns and the windows of what is recent. Never judges. Called by the detector of the data with the blocks
that it took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.drift import chance
from adaptive_stream.drift.layout import BINS, DATED_LEVEL, DATED_MISSING, DATED_SHIFTS, LEVELS
from adaptive_stream.drift.run import accumulated, changed, crossed, last_clear, pieces
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adaptive_stream.drift.layout import Layout
    from adaptive_stream.drift.rank import Coded
    from adaptive_stream.drift.run import Cut
    from adaptive_stream.stats.rows import Rows

    Single = NDArray[np.float32]
    Steps = NDArray[np.int16]
    Leaders = NDArray[np.int8]
    Places = NDArray[np.int64]

NOBODY = -1  # leads
RECENT = BINS // 2 + 1  # bins of what came since a change, two and two together, and the missing ones
RECENT_EVENTS = 65_000  # that a histogram can count
# nats: less is what chance gives one of some scores at most times, a change passes it within few events
LEAD = 2.0
OLDEST = 65_535  # blocks that an age goes back
# A score is held in 64ths of a nat, in half of single precision's bytes, up to 256 nats
STEPS = np.float32(64)
MOST = np.asarray(16_383, dtype=np.int16)
# A leader that is so far up keeps the lead: at the top several scores are alike, and it would go from one to the other
SURE = int(MOST) // 2
NOTHING = np.zeros((), dtype=np.int16)


class Since:
    """The scores of one fleet's series.

    Args:
        layout: their streams and bets.
        b: events of a block.
    """

    def __init__(self, layout: Layout, *, b: int) -> None:
        self.layout, self.b = layout, b
        self.places = _places_of_leaders(layout)  # where among the dated bets what leads a column stands

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        layout, numeric = self.layout, len(self.layout.numeric)
        yield Column("score", "<i2", (len(layout.dated),))
        yield Column("age", "<u2", (len(layout.dated),))  # blocks since the score was last nothing
        yield Column("leader", "<i1", (layout.columns,), NOBODY)  # score of each column that leads
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
        numbers: Places,
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
            numbers: of each block's first event.
            coded: what the blocks hold.
            is_new: columns whose window begins with each block; None where that is for the scores to say.
        """
        col = table.col
        steps, score = whole_steps(log_e, numbers // self.b), col["score"].take(rows, axis=0)
        for width, each in found.stretches(steps):
            score = score[:width]
            for one in each:
                score = np.add(score, one, out=one)
                score.clip(NOTHING, MOST, out=score)
        col["score"][rows] = found.last(steps, stop)
        clear, age = last_clear(found, steps <= 0, stop), col["age"].take(rows, axis=0).astype(np.int32)
        age &= clear >> 31  # 0 where any round is clear: a masked copy takes ten times as long
        age += stop[:, None].astype(np.int32) - (clear + 1)
        col["age"][rows] = np.minimum(age, OLDEST, out=age).astype(np.uint16)
        before, leaders = col["leader"].take(rows, axis=0), self.leaders(steps)
        if steps.max(initial=0) >= SURE:
            self._keep_the_lead(found, before, leaders, steps)
        if is_new is None:
            is_new = changed(found, before, leaders)
        col["leader"][rows] = found.last(leaders, stop)
        self._remember(table, rows, found, stop, is_new=is_new, coded=coded)

    def _remember(
        self, table: Rows, rows: Places, found: Cut, stop: Places, *, is_new: NDArray[np.bool_], coded: Coded
    ) -> None:
        """Add blocks to what came since a suspected change, or begin anew with the block that brings the suspicion."""
        col, layout = table.col, self.layout
        clear = last_clear(found, is_new, stop)
        count = np.where(clear >= 0, 0, col["recent_blocks"].take(rows, axis=0).astype(np.int32))
        since, short = np.maximum(clear, 0), stop[:, None].astype(np.int32)
        upto = np.minimum(short, since + RECENT_EVENTS // self.b - count)  # what a histogram can count
        count += np.maximum(upto - since, 0)
        col["recent_blocks"][rows] = count.astype(np.uint16)
        is_held, numeric, levels = clear < 0, layout.numeric, layout.categorical
        is_taken = None
        if (since > 0).any() or (upto < found.full[: len(rows), None]).any():
            turn = found.turn[:, None].astype(np.int32)
            is_taken = (turn >= since.take(found.owner, axis=0)) & (turn < upto.take(found.owner, axis=0))
        sums, hist = coded.sums[:, :2], coded.hist_levels.transpose(1, 0, 2)
        if is_taken is not None:
            sums, hist = sums * is_taken[:, None, numeric], hist * is_taken[:, None, levels]
        add(table, "recent", rows, found, self._recent_counts(coded, is_taken), is_held=is_held[:, None, numeric])
        add(table, "recent_sums", rows, found, sums, is_held=is_held[:, None, numeric])
        if len(levels):
            add(table, "recent_levels", rows, found, hist, is_held=is_held[:, None, levels])

    def _recent_counts(self, coded: Coded, is_taken: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        """Return histograms of the blocks with half the bins, (blocks, RECENT, numeric columns)."""
        numeric = self.layout.numeric
        hist = np.ascontiguousarray(pieces(coded.hist[:, :, : len(numeric)])).view(coded.hist.dtype)
        halved = np.empty((RECENT, hist.shape[1]), dtype=hist.dtype)
        np.add(hist[0:BINS:2], hist[1:BINS:2], out=halved[:-1])
        halved[-1] = hist[BINS]
        if is_taken is not None:
            halved *= is_taken[:, numeric].reshape(-1)
        return crossed(halved.reshape(RECENT, -1, len(numeric)))

    def _keep_the_lead(self, found: Cut, before: Leaders, leaders: Leaders, score: Steps) -> None:
        """Give the lead back to who had it in the block before and is far up still; leaders are changed."""
        places = self.places
        for (width, each), (_, scores) in zip(found.stretches(leaders), found.stretches(score), strict=True):
            before = before[:width]
            for lead, now in zip(each, scores, strict=True):
                held = np.take_along_axis(now, places[np.maximum(before, 0), np.arange(places.shape[1])], axis=1)
                np.copyto(lead, before, where=(before != NOBODY) & (held >= SURE))
                before = lead

    def leaders(self, score: Steps) -> Leaders:
        """Return which score of each column is the largest, NOBODY where none is clear; (n, dated) to (n, columns).

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
                each = np.empty((scores.shape[1] + len(DATED_MISSING), n, len(columns)), dtype=np.int16)
                each[: scores.shape[1]] = scores.transpose(1, 0, 2)
                each[scores.shape[1] :] = of_missing[:, :, columns if levels else every].transpose(1, 0, 2)
                found[:, columns] = leading(each, LEAD * STEPS)
        return found


def _places_of_leaders(layout: Layout) -> Places:
    """Return where among the dated bets what may lead each column stands, (leaders, columns)."""
    columns, at_missing = layout.columns, len(DATED_SHIFTS) * len(layout.numeric)
    of_missing = at_missing + np.arange(len(DATED_MISSING) * columns).reshape(-1, columns)
    at_levels = at_missing + of_missing.size
    found = np.zeros((len(DATED_LEVEL) * LEVELS + len(DATED_MISSING), columns), dtype=np.int64)
    kinds = (layout.numeric, len(DATED_SHIFTS), 0), (layout.categorical, len(DATED_LEVEL) * LEVELS, at_levels)
    for mine, own, first in kinds:
        found[:own, mine] = first + np.arange(own * len(mine)).reshape(own, len(mine))
        found[own : own + len(DATED_MISSING), mine] = of_missing[:, mine]
    return found


def whole_steps(log_e: Single, blocks: Places) -> Steps:
    """Return log evidence in whole steps; it is used up.

    By the block's number it is rounded up or down so that what is rounded off adds up to nothing: tempered evidence may
    be a small part of a step in every block.

    Args:
        log_e: of blocks, (blocks, bets).
        blocks: the number of each.
    """
    log_e *= STEPS
    log_e += chance.even(blocks)[:, None]
    np.floor(log_e, out=log_e)
    np.minimum(np.maximum(log_e, -MOST, out=log_e), MOST, out=log_e)  # no sum of two leaves 16 bits
    return log_e.astype(np.int16)


def leading(scores: NDArray[Any], least: float | np.floating) -> NDArray[np.int8]:
    """Return the place of the largest of some scores, the first of equal ones; NOBODY where none is above the least.

    (scores, ...) to (...).
    """
    best = np.full(scores.shape[1:], least, dtype=scores.dtype)
    lead = np.zeros(best.shape, dtype=np.int8)  # a place and 1
    for place, one in enumerate(scores, start=1):  # whole arrays: argmax over a short axis takes four times as long
        np.maximum(lead, (one > best).view(np.int8) * np.int8(place), out=lead)
        np.maximum(best, one, out=best)
    return lead - np.int8(1)


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
    held = table.col[name].take(rows, axis=0)
    if is_held is not None:
        held *= is_held.astype(held.dtype)
    accumulated(found, held, values)
    table.col[name][rows] = held
