"""Evidence that inputs and outputs changed, for all series of a fleet at once.

Owns the columns of the data's streams and what an event does to them: it is sampled for the bins, then counted into the
reference, then judged. Never draws a conclusion beyond "the evidence has reached the budget". Called by the drift of a
fleet with whole arrays, in record order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adaptive_stream.drift import chance, rank
from adaptive_stream.drift.layout import (
    BINS,
    DATED_LEVEL,
    DATED_MISSING,
    DATED_SHIFTS,
    EDGES,
    LEVEL,
    LEVELS,
    MISSING,
    OTHER,
    SHIFTS,
)
from adaptive_stream.drift.rank import Pool
from adaptive_stream.drift.reference import Bins, bins
from adaptive_stream.drift.run import ahead, changed, cut, fill, first_over, last_clear, widest
from adaptive_stream.stats.eprocess import advance
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adaptive_stream.config.drift import DriftConfig
    from adaptive_stream.drift.given import Given
    from adaptive_stream.drift.layout import Layout
    from adaptive_stream.drift.rank import Coded, Ranks
    from adaptive_stream.drift.run import Cut, Run
    from adaptive_stream.stats.rows import Rows

    Array = NDArray[np.float64]
    Single = NDArray[np.float32]
    Places = NDArray[np.int64]
    Counts = NDArray[np.uint16]

NEVER = -1
RECENT = BINS // 2 + 1  # bins of what came since a change, two and two together, and the missing ones
# A pool that is so large stands still: its error, 0.0023 of a rank, is far below 0.075, where the smallest bet begins
POOL = 65_000
RECENT_EVENTS = 65_000  # events of a recent histogram
HEADROOM = 1e4  # what the evidence may be above the alarm line
LARGEST_SCORE = np.float32(1e6)
OLDEST = 65_535  # blocks that an age goes back
MOST_LAG = 0.98  # of neighbours: beyond it hardly an event is news
CLEAR = 3.5  # standard errors at which a correlation of neighbours is believed


class Judged(NamedTuple):
    """Log evidence of blocks, and what their events correlate by."""

    log_e: Single  # (blocks, bets)
    start: Single  # (blocks, bets), or (blocks, 1): events that may be the first after a change
    lag: Single  # (blocks, lags)


class Data:
    """The streams of one fleet's series.

    Args:
        config: of the family's drift.
        layout: its streams and bets.
    """

    def __init__(self, config: DriftConfig, layout: Layout) -> None:
        self.config, self.layout, self.b = config, layout, config.block
        self.sampled = config.sampled
        self.wanted = -(-(config.reference_predictions - self.sampled) // self.b) * self.b
        self.is_frozen = config.reference == "frozen" or config.mode == "classic"
        self.line = config.budget_events
        self._cap = float(HEADROOM * self.line / layout.weights.min())
        self.lags = layout.streams + len(layout.categorical) + layout.columns

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        layout, levels = self.layout, len(self.layout.categorical)
        numeric = len(layout.numeric)
        for name in ("events", "begun", "pooled"):
            yield Column(name, "<i8")
        yield Column("pending", "<f4", (self.b, layout.columns))
        # while bins are made it holds the sample
        yield Column("edges", "<f4", (EDGES, max(layout.streams, layout.columns)), np.nan)
        yield Column("location", "<f4", (numeric,))
        yield Column("scale", "<f4", (numeric,), 1)
        yield Column("levels", "<f4", (OTHER, levels), -1)
        yield Column("pool", "<u2", (BINS + 1, layout.streams))
        yield Column("pool_levels", "<u2", (LEVELS + 1, levels))
        yield Column("sums", "<f4", (4, numeric))
        yield Column("lag", "<f4", (self.lags,))
        yield Column("evidence", "<f4", (layout.bets,))
        yield Column("score", "<f4", (len(layout.dated),))
        yield Column("age", "<u2", (len(layout.dated),))
        yield Column("recent", "<u2", (RECENT, numeric))
        yield Column("recent_levels", "<u2", (LEVELS + 1, levels))
        yield Column("recent_sums", "<f4", (2, numeric))
        yield Column("recent_blocks", "<u2", (layout.columns,))
        for name in ("data_alarm_at", "data_alarm_ms", "reference_at"):
            yield Column(name, "<i8", (), NEVER)
        yield Column("reference_version", "<i4")

    def begin(self, table: Rows, series: int) -> None:
        """Forget the reference of a series and all evidence; its events go on being numbered."""
        col = table.col
        for column in self.columns():
            if column.name not in {"events", "reference_version"}:
                col[column.name][series] = column.fill
        col["begun"][series] = col["events"][series]

    def is_watching(self, table: Rows, series: Places) -> NDArray[np.bool_]:
        """Say which series have a reference."""
        found: NDArray[np.bool_] = table.col["pooled"][series] >= self.wanted
        return found

    def learns(self, pooled: int) -> bool:
        """Say whether a pool of so many events takes in more."""
        return pooled < self.wanted or (not self.is_frozen and pooled + self.b <= POOL)

    def waiting(self, table: Rows, series: int) -> int:
        """Return how many events of a series are not judged yet: their block is not full."""
        rows = np.array([series])
        short = int(self._short(table, rows)[0])
        return 0 if short > 0 else -short % self.b

    def correlation(self, table: Rows, series: int, stream: int, *, is_missing: bool) -> float:
        """Return the correlation of neighbours that a stream's evidence is tempered for."""
        layout = self.layout
        if is_missing:
            place = layout.streams + len(layout.categorical) + stream
        elif stream in layout.categorical:
            place = layout.streams + int(np.flatnonzero(layout.categorical == stream)[0])
        else:
            place = int(np.flatnonzero(layout.stream_names == stream)[0])
        return float(table.col["lag"][series, place])

    def step(self, table: Rows, run: Run, values: Single, now_ms: Places) -> list[tuple[int, int]]:
        """Take events of a run, of each series until something ends: its sample, its reference, its peace.

        Args:
            table: of the series.
            run: what is left of it.
            values: of its events, (n, columns), NaN where missing.
            now_ms: when each came.

        Returns:
            Series that alarmed, each with the place of the event that did it; the events after it are left in the run.
        """
        live = np.flatnonzero(run.at < run.end)
        rows, counts = run.series[live], (run.end - run.at)[live]
        short = self._short(table, rows)
        is_short = short > 0
        if is_short.any():
            some = np.flatnonzero(is_short)
            taken = np.minimum(counts[some], short[some])
            self._sample(table, rows[some], taken, values[run.take(live[some], taken)])
        rest = np.flatnonzero(~is_short)
        if not len(rest):
            return []
        return self._judge(table, run, live[rest], values, now_ms)

    def _short(self, table: Rows, rows: Places) -> Places:
        seen: Places = table.col["events"][rows] - table.col["begun"][rows]
        return self.sampled - seen

    def _sample(self, table: Rows, rows: Places, counts: Places, values: Single) -> None:
        col = table.col
        owner = np.repeat(rows, counts)
        number = np.arange(len(owner)) - np.repeat(ahead(counts), counts)
        seen = np.repeat(self.sampled - self._short(table, rows), counts) + number
        # chance of every event since the first, or a second reference would be sampled as the one before
        slot = chance.places(col["seed"][owner] + col["begun"][owner].astype(np.uint64), seen, EDGES)
        kept = np.flatnonzero(slot < EDGES)
        last = np.unique((owner[kept] * EDGES + slot[kept])[::-1], return_index=True)[1]
        kept = kept[len(kept) - 1 - last]  # of those that go to one place the latest stays
        col["edges"][owner[kept], slot[kept], : self.layout.columns] = values[kept]
        col["events"][rows] += counts
        done = rows[self._short(table, rows) == 0]
        if len(done):
            self.set_bins(table, done, bins(self.layout, col["edges"][done][:, :, : self.layout.columns]))

    def adopt(self, table: Rows, series: int, given: Given, *, now_ms: int) -> None:
        """Take a reference that was counted elsewhere, for a series that has just begun."""
        col, layout, rows = table.col, self.layout, np.array([series])
        self.set_bins(table, rows, given.bins)
        col["begun"][series] = col["events"][series] - self.sampled  # no event is left to make bins of
        col["pooled"][series], col["pool"][series], col["pool_levels"][series] = given.pooled, given.pool, given.levels
        col["sums"][series] = given.sums
        absent = np.r_[given.is_absent[layout.numeric], np.zeros(layout.projections, dtype=np.bool_)]
        col["lag"][series] = np.r_[absent, given.is_absent[layout.categorical], given.is_absent]  # 1: worth nothing
        col["reference_at"][series] = now_ms
        col["reference_version"][series] += 1

    def set_bins(self, table: Rows, rows: Places, found: Bins) -> None:
        """Give series their bins."""
        col = table.col
        col["edges"][rows] = 0
        col["edges"][rows, :, : self.layout.streams] = found.edges
        col["location"][rows], col["scale"][rows], col["levels"][rows] = found.location, found.scale, found.levels

    def _judge(self, table: Rows, run: Run, groups: Places, values: Single, now_ms: Places) -> list[tuple[int, int]]:
        col, b = table.col, self.b
        rows = run.series[groups]
        filled = -self._short(table, rows) % b
        counts = (run.end - run.at)[groups]
        due = self.wanted - col["pooled"][rows]
        counts = np.where(due > 0, np.minimum(counts, due - filled), counts)
        order = widest(filled, counts, b)
        groups, rows, filled, counts, due = (one[order] for one in (groups, rows, filled, counts, due))
        found = cut(filled, counts, b)
        places = run.take(groups, counts)
        blocks = fill(found, filled, values[places], col["pending"], rows)
        begun = col["events"][rows] - filled
        col["events"][rows] += counts
        if not len(found.owner):
            return []
        closed = int(found.starts[1])
        stop, alarmed = self._advance(table, rows[:closed], begun[:closed], found, blocks)
        back = (filled + counts)[alarmed] - stop[alarmed] * b
        run.at[groups[alarmed]] -= back
        mine = rows[alarmed]
        col["events"][mine] -= back
        col["pending"][mine] = 0
        ends = found.ends(places, b)[found.at(stop - 1)]
        is_done = (due[:closed] > 0) & (col["pooled"][rows[:closed]] >= self.wanted)
        if is_done.any():
            self._complete(table, rows[:closed][is_done], now_ms[ends[is_done]])
        col["data_alarm_at"][mine] = col["events"][mine]
        col["data_alarm_ms"][mine] = now_ms[ends[alarmed]]
        return list(zip(ends[alarmed].tolist(), mine.tolist(), strict=True))

    def _advance(self, table: Rows, rows: Places, begun: Places, found: Cut, values: Single) -> tuple[Places, Places]:
        """Take full blocks. Returns how many of each group were taken, and which groups alarmed at the last of them."""
        col, owner, turn = table.col, found.owner, found.turn
        held = Bins(*(col[name][rows] for name in ("edges", "location", "scale", "levels")))
        held = held._replace(edges=held.edges[:, :, : self.layout.streams])
        coded = rank.code(self.layout, values, owner, held)
        is_counting = col["pooled"][rows] < self.wanted
        room = np.maximum(POOL - col["pooled"][rows], 0) if not self.is_frozen else np.zeros_like(rows)
        growing = np.where(is_counting, found.full[: len(rows)], np.minimum(room // self.b, found.full[: len(rows)]))
        pool, after = self._pools(table, rows, found, growing, coded)
        events = begun[owner] + turn * self.b + np.arange(self.b)[:, None]
        ranks = rank.rank(coded, pool, col["seed"][rows][owner], events)
        judged = self._bets(table, rows, owner, is_counting, coded, pool, ranks)
        stop, alarmed = self._rounds(table, rows, found, is_counting, coded, judged)
        grown = np.minimum(growing, stop)
        col["pooled"][rows] += grown * self.b
        for group in alarmed.tolist():  # what came after the alarm is taken out again
            over = found.starts[grown[group] : growing[group]] + group
            after[0][:, group] -= coded.hist[:, over].sum(axis=1, dtype=np.uint16)
            after[1][:, group] -= coded.hist_levels[:, over].sum(axis=1, dtype=np.uint16)
        col["pool"][rows] = after[0].transpose(1, 0, 2)
        col["pool_levels"][rows] = after[1].transpose(1, 0, 2)
        is_grown = turn < grown[owner]
        self._add(table, "sums", rows, found, coded.sums * is_grown[:, None, None])
        if is_counting.any():
            self._add(table, "lag", rows, found, judged.lag * is_counting[owner, None])
        return stop, alarmed

    def _pools(self, table: Rows, rows: Places, found: Cut, growing: Places, coded: Coded) -> tuple[Pool, list[Counts]]:
        """Return the pool before each block, and the pool of each series after its last."""
        parts, after = [], []
        is_growing = found.turn < growing[found.owner]
        for name, hist in (("pool", coded.hist), ("pool_levels", coded.hist_levels)):
            counts = np.ascontiguousarray(table.col[name][rows].transpose(1, 0, 2))
            before = np.empty(hist.shape, dtype=np.uint16)
            grown = hist if is_growing.all() else hist * is_growing[:, None].view(np.uint8)
            for one in found.rounds:
                now = counts[:, : one.stop - one.start]
                before[:, one] = now
                now += grown[:, one]
            parts.append(before)
            after.append(counts)
        pooled = table.col["pooled"][rows][found.owner] + np.minimum(found.turn, growing[found.owner]) * self.b
        return Pool(parts[0], parts[1], pooled), after

    def _bets(
        self,
        table: Rows,
        rows: Places,
        group: Places,
        is_counting: NDArray[np.bool_],
        coded: Coded,
        pool: Pool,
        ranks: Ranks,
    ) -> Judged:
        layout, blocks = self.layout, len(group)
        log_e = np.empty((blocks, layout.bets), dtype=np.float32)
        lag = np.zeros((blocks, self.lags), dtype=np.float32)
        if is_counting.any():
            lag[:] = self._lags(coded, ranks)
            if is_counting.all():
                log_e[:] = 0
                return Judged(log_e, np.zeros((blocks, 1), dtype=np.float32), lag)
        rho = np.where(is_counting[:, None], np.float32(0), table.col["lag"][rows])
        temper = np.minimum((1 - rho) / (1 + rho), np.float32(1 / self.config.design_effect))[group]
        levels, streams = len(layout.categorical), layout.streams
        rank.shift_bets(
            log_e[:, : layout.at_missing],
            ranks,
            temper[:, :streams],
            b=self.b,
            tolerance=self.config.tolerance,
            is_frozen=self.is_frozen,
        )
        missing, by_level = rank.column_bets(layout, coded, pool, is_frozen=self.is_frozen)
        missing *= temper[:, None, streams + levels :]
        by_level *= temper[:, None, None, streams : streams + levels]
        log_e[:, layout.at_missing : layout.at_levels] = missing.reshape(blocks, -1)
        log_e[:, layout.at_levels :] = by_level.reshape(blocks, layout.bets - layout.at_levels)
        if (temper <= 0).any():
            of_bet = np.concatenate(
                [
                    np.tile(temper[:, :streams], SHIFTS),
                    np.tile(temper[:, streams + levels :], len(MISSING)),
                    np.tile(temper[:, streams : streams + levels], len(LEVEL) * LEVELS),
                ],
                axis=1,
            )
            log_e[of_bet <= 0] = rank.MUTED
        log_e[is_counting[group]] = 0
        return Judged(log_e, self._starts(is_counting[group], coded), lag)

    def _starts(self, is_counting: NDArray[np.bool_], coded: Coded) -> Single:
        """Return the start weights of blocks: a stream of which nothing is there has no event that may be the first."""
        layout = self.layout
        start = np.where(is_counting, 0, self.b).astype(np.float32)[:, None]
        is_empty, no_level = coded.hist[BINS] == self.b, coded.hist_levels[LEVELS] == self.b
        if not (is_empty.any() or no_level.any()):
            return start
        found = np.repeat(start, layout.bets, axis=1)
        found[:, : layout.at_missing].reshape(len(found), SHIFTS, -1)[:] *= ~is_empty[:, None]
        if len(layout.categorical):
            found[:, layout.at_levels :].reshape(len(found), len(LEVEL) * LEVELS, -1)[:] *= ~no_level[:, None]
        return found

    def _lags(self, coded: Coded, ranks: Ranks) -> Single:
        """Return what neighbours inside each block have in common, (blocks, lags)."""
        layout, numeric = self.layout, len(self.layout.numeric)
        is_same = (coded.levels[1:] == coded.levels[:-1]).sum(axis=0)
        is_missing = np.empty((*coded.codes.shape[:2], layout.columns), dtype=np.bool_)
        is_missing[:, :, layout.numeric] = coded.codes[:, :, :numeric] == BINS
        is_missing[:, :, layout.categorical] = coded.levels == LEVELS
        is_alike = (is_missing[1:] == is_missing[:-1]).sum(axis=0)
        return np.concatenate([ranks.lag, is_same, is_alike], axis=1, dtype=np.float32)

    def _rounds(
        self, table: Rows, rows: Places, found: Cut, is_counting: NDArray[np.bool_], coded: Coded, judged: Judged
    ) -> tuple[Places, Places]:
        """Add the evidence of the blocks, round by round; of a series that alarms, what comes after does not count."""
        col = table.col
        evidence, score = col["evidence"][rows], col["score"][rows]
        leader = self._leaders(score)
        dated = judged.log_e[:, self.layout.dated]
        e = np.exp(judged.log_e, out=judged.log_e)
        for one in found.rounds:
            going = one.stop - one.start
            advance(evidence[:going], e[one], start=judged.start[one], cap=self._cap)
            e[one] = evidence[:going]
            now = score[:going]
            now += dated[one]
            np.clip(now, 0, LARGEST_SCORE, out=now)
            dated[one] = now
        is_over = (self.total(e) >= self.line) & (col["data_alarm_at"][rows] < 0)[found.owner]
        stop, alarmed = first_over(found, is_over)
        last = found.at(stop - 1)
        col["evidence"][rows], col["score"][rows] = e[last], dated[last]
        clear = last_clear(found, dated <= 0, stop)
        before = np.where(clear >= 0, -1 - clear, col["age"][rows])
        col["age"][rows] = np.minimum(before + stop[:, None], OLDEST)
        is_new = changed(found, leader, self._leaders(dated))
        self._remember(table, rows, found, stop, is_new, coded)
        return stop, alarmed

    def total(self, evidence: Single) -> Single:
        """Return what is compared with the alarm line, (n, bets) to (n,)."""
        weighed = evidence * self.layout.weights
        if self.config.combine == "strict":
            return self.layout.by_stream(weighed).max(axis=1).astype(np.float32)
        total: Single = np.sum(weighed, axis=1)
        return total

    def _remember(
        self, table: Rows, rows: Places, found: Cut, stop: Places, is_new: NDArray[np.bool_], coded: Coded
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
        for name in ("recent", "recent_sums"):
            col[name][rows] *= held
        self._add(table, "recent", rows, found, self._recent_counts(coded) * taken)
        self._add(table, "recent_sums", rows, found, coded.sums[:, :2] * taken)
        if len(levels):
            col["recent_levels"][rows] *= is_held[:, None, levels]
            hist = coded.hist_levels.transpose(1, 0, 2) * is_taken[:, None, levels]
            self._add(table, "recent_levels", rows, found, hist)

    def _add(self, table: Rows, name: str, rows: Places, found: Cut, values: NDArray[Any]) -> None:
        """Add what the blocks hold to a column, block by block: sums have the same bits however they were batched."""
        held = table.col[name][rows]
        for one in found.rounds:
            held[: one.stop - one.start] += values[one]
        table.col[name][rows] = held

    def _recent_counts(self, coded: Coded) -> NDArray[np.uint8]:
        """Return histograms of the blocks with half the bins, (blocks, RECENT, numeric columns)."""
        hist = coded.hist[:, :, : len(self.layout.numeric)]
        halved = np.concatenate([hist[0:BINS:2] + hist[1:BINS:2], hist[BINS:]])
        return np.ascontiguousarray(halved.transpose(1, 0, 2))

    def _leaders(self, score: Single) -> NDArray[np.int64]:
        """Return which score of each column is the largest, -1 where none is above nothing; (n, dated) to (n, columns).

        What came since the leader took the lead is what came since the change, as nearly as one window can hold it: it
        does so as soon as it is above what chance gives the others, and keeps it for as long as the change lasts.
        """
        layout, n = self.layout, len(score)
        numeric, levels = len(layout.numeric), len(layout.categorical)
        shifts, missing = len(DATED_SHIFTS) * layout.streams, len(DATED_MISSING) * layout.columns
        of_missing = score[:, shifts : shifts + missing].reshape(n, len(DATED_MISSING), layout.columns)
        found = np.empty((n, layout.columns), dtype=np.int64)
        by_shift = score[:, :shifts].reshape(n, -1, layout.streams)[:, :, :numeric]
        by_level = score[:, shifts + missing :].reshape(n, len(DATED_LEVEL) * LEVELS, levels)
        for columns, scores in ((layout.numeric, by_shift), (layout.categorical, by_level)):
            if len(columns):
                whole = np.concatenate([scores, of_missing[:, :, columns]], axis=1)
                found[:, columns] = np.where(np.max(whole, axis=1) > 0, np.argmax(whole, axis=1), -1)
        return found

    def _complete(self, table: Rows, done: Places, now_ms: Places) -> None:
        """Close the references that have all their events: from here on they are what is compared with."""
        col = table.col
        col["reference_at"][done] = now_ms
        col["reference_version"][done] += 1
        layout, streams, levels = self.layout, self.layout.streams, len(self.layout.categorical)
        pairs = self.wanted // self.b * (self.b - 1)
        lag = col["lag"][done].astype(np.float64) / pairs
        seen = col["pool"][done][:, :BINS].sum(axis=1) / self.wanted
        in_levels = col["pool_levels"][done].astype(np.float64) / self.wanted
        missing = np.empty((len(done), layout.columns))
        missing[:, layout.numeric] = 1 - seen[:, : len(layout.numeric)]
        missing[:, layout.categorical] = in_levels[:, LEVELS]
        same, unlike = (in_levels**2).sum(axis=1), 2 * missing * (1 - missing)
        with np.errstate(invalid="ignore", divide="ignore"):
            rho = np.concatenate(
                [
                    3 * lag[:, :streams] / seen**2,  # a pair counts if both are there; a rank's variance is 1/3
                    (lag[:, streams : streams + levels] - same) / (1 - same),
                    1 - (1 - lag[:, streams + levels :]) / unlike,
                ],
                axis=1,
            )
        is_clear = rho > CLEAR / np.sqrt(pairs)
        col["lag"][done] = np.where(is_clear, np.minimum(rho, MOST_LAG), 0)
