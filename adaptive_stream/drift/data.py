"""Evidence that inputs and outputs changed, for all series of a fleet at once.

Owns the columns of the data's streams and what an event does to them: it is sampled for the bins, then counted into the
reference, then judged. Never draws a conclusion beyond "the evidence has reached the budget". Called by the drift of a
fleet with whole arrays, in record order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptive_stream.drift import chance, classic, rank
from adaptive_stream.drift.correlation import believed, lags
from adaptive_stream.drift.layout import (
    BINS,
    EDGES,
    LEVEL,
    LEVELS,
    MISSING,
    OTHER,
    SHIFTS,
)
from adaptive_stream.drift.rank import Pool
from adaptive_stream.drift.reference import Bins, bins
from adaptive_stream.drift.run import ahead, crossed, cut, fill, first_over, widest
from adaptive_stream.drift.since import Since, add
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
# A pool that is so large stands still: its error, 0.0023 of a rank, is far below 0.075, where the smallest bet begins
POOL = 65_000
AT_ONCE = 1_024  # blocks, of twenty features some 10 MB; the 8,192 events that a worker holds are 683: one pass
HEADROOM = 1e4  # what the evidence may be above the alarm line


class Judged(NamedTuple):
    """Log evidence of blocks, and what their events correlate by."""

    log_e: Single  # (blocks, bets)
    start: Single  # events that may be the first after a change: (blocks, bets), or of no dimension where all are alike
    lag: Single  # (blocks, lags)


class Data:
    """The streams of one fleet's series.

    Args:
        config: of the family's drift.
        layout: its streams and bets.
    """

    def __init__(self, config: DriftConfig, layout: Layout) -> None:
        self.config, self.layout, self.b = config, layout, config.block
        self.since = Since(layout, b=config.block)
        self.sampled = config.sampled
        self.wanted = -(-(config.reference_predictions - self.sampled) // self.b) * self.b
        self.is_frozen = config.reference == "frozen" or config.mode == "classic"
        self.line = config.budget_events
        self.is_classic = config.mode == "classic"
        self.window = -(-config.classic_window // self.b)  # blocks
        self._cap = np.asarray(HEADROOM * self.line / layout.weights.min(), dtype=np.float32)
        self.lags = layout.streams + len(layout.categorical) + layout.columns

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        layout, levels = self.layout, len(self.layout.categorical)
        numeric = len(layout.numeric)
        for name in ("events", "begun", "pooled"):
            yield Column(name, "<i8")
        yield Column("pending", "<f4", (self.b - 1, layout.columns))
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
        yield from self.since.columns()
        for name in ("data_alarm_at", "reference_at"):
            yield Column(name, "<i8", (), NEVER)
        yield Column("reference_version", "<i4")

    def begin(self, table: Rows, series: int) -> None:
        """Forget the reference of a series and all evidence; its events go on being numbered."""
        col = table.col
        for column in self.columns():
            if column.name not in {"events", "reference_version"}:
                col[column.name][series] = column.fill
        col["begun"][series] = col["events"][series]

    @property
    def taken(self) -> int:
        """Events that a reference takes, those that make the bins included."""
        return self.sampled + self.wanted

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
        col["begun"][series] = col["events"][series] - self.taken  # no event is left to make bins of
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
        if self.is_classic:
            classic.begin(table, rows[col["recent_blocks"][rows, 0] >= self.window])
            room = (self.window - col["recent_blocks"][rows, 0].astype(np.int64)) * self.b - filled
            counts = np.where(due > 0, counts, np.minimum(counts, room))
        order = widest(filled, counts, b)
        full = (filled + counts)[order] // b
        order = order[(np.cumsum(full) - full < AT_ONCE) | (full == 0)]  # the others stay in the run
        groups, rows, filled, counts, due = (one[order] for one in (groups, rows, filled, counts, due))
        found = cut(filled, counts, b)
        blocks, ends = fill(found, values, run.order, run.skip(groups, counts), waiting=col["pending"], rows=rows)
        begun = col["events"][rows] - filled
        col["events"][rows] += counts
        if not len(found.owner):
            return []
        closed = found.closed
        stop, alarmed = self._advance(table, rows[:closed], begun[:closed], found, blocks)
        back = (filled + counts)[alarmed] - stop[alarmed] * b
        run.at[groups[alarmed]] -= back
        mine = rows[alarmed]
        col["events"][mine] -= back
        col["pending"][mine] = 0
        ends = found.last(ends, stop)
        is_done = (due[:closed] > 0) & (col["pooled"][rows[:closed]] >= self.wanted)
        if is_done.any():
            self._complete(table, rows[:closed][is_done], now_ms[ends[is_done]])
        col["data_alarm_at"][mine] = col["events"][mine]
        return list(zip(ends[alarmed].tolist(), mine.tolist(), strict=True))

    def _advance(self, table: Rows, rows: Places, begun: Places, found: Cut, values: Single) -> tuple[Places, Places]:
        """Take full blocks. Returns how many of each group were taken, and which groups alarmed at the last of them."""
        col, owner, turn = table.col, found.owner, found.turn
        held = Bins(*(col[name].take(rows, axis=0) for name in ("edges", "location", "scale", "levels")))
        coded = rank.code(self.layout, values, owner, held)
        pooled = col["pooled"][rows]
        is_counting = pooled < self.wanted
        room = np.maximum(POOL - pooled, 0) if not self.is_frozen else np.zeros_like(rows)
        growing = np.where(is_counting, found.full[: len(rows)], np.minimum(room // self.b, found.full[: len(rows)]))
        pool, after = self._pools(table, rows, found, growing, coded)
        events = begun[owner] + turn * self.b + np.arange(self.b)[:, None]
        ranks = rank.rank(coded, pool, col["seed"][rows][owner], events)
        is_idle = is_counting | self.is_classic
        judged = self._bets(table, rows, owner, is_counting=is_idle, coded=coded, pool=pool, ranks=ranks)
        numbers = events[0]
        stop, alarmed = self._rounds(table, rows, found, numbers, is_counting=is_counting, coded=coded, judged=judged)
        grown = np.minimum(growing, stop)
        col["pooled"][rows] = pooled + grown * self.b
        col["pool"][rows], col["pool_levels"][rows] = (found.last(one, stop) for one in after)
        is_grown = turn < grown[owner]
        sums = coded.sums if is_grown.all() else coded.sums * is_grown[:, None, None]
        add(table, "sums", rows, found, sums)
        if is_counting.any():
            add(table, "lag", rows, found, judged.lag * is_counting[owner, None])
        return stop, alarmed

    def _pools(self, table: Rows, rows: Places, found: Cut, growing: Places, coded: Coded) -> tuple[Pool, list[Counts]]:
        """Return the pool before each block, and its bins and levels after each."""
        before, after = [], []
        is_growing = found.turn < growing[found.owner]
        for name, hist in (("pool", coded.hist), ("pool_levels", coded.hist_levels)):
            total = crossed(hist).astype(np.uint16)
            if not is_growing.all():
                total *= is_growing[:, None, None].astype(np.uint16)
            held, now = np.empty_like(total), table.col[name].take(rows, axis=0)
            for (width, mine), (_, totals) in zip(found.stretches(held), found.stretches(total), strict=True):
                mine[0] = now[:width]
                for one, grown, following in zip(mine, totals, mine[1:], strict=False):
                    np.add(one, grown, out=following)
                np.add(totals, mine, out=totals)
                now = totals[-1]
            before.append(crossed(held))
            after.append(total)
        pooled = table.col["pooled"][rows][found.owner] + np.minimum(found.turn, growing[found.owner]) * self.b
        return Pool(before[0], before[1], pooled), after

    def _bets(
        self,
        table: Rows,
        rows: Places,
        group: Places,
        *,
        is_counting: NDArray[np.bool_],
        coded: Coded,
        pool: Pool,
        ranks: Ranks,
    ) -> Judged:
        layout, blocks = self.layout, len(group)
        log_e = np.empty((blocks, layout.bets), dtype=np.float32)
        lag = np.zeros((blocks, self.lags), dtype=np.float32)
        if is_counting.any():
            lag[:] = lags(layout, coded, ranks)
            if is_counting.all():
                log_e[:] = 0
                return Judged(log_e, np.zeros((), dtype=np.float32), lag)
        rho = np.where(is_counting[:, None], np.float32(0), table.col["lag"].take(rows, axis=0))
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
        is_empty, no_level = coded.hist[BINS] == self.b, coded.hist_levels[LEVELS] == self.b
        if not (is_counting.any() or is_empty.any() or no_level.any()):
            return np.asarray(self.b, dtype=np.float32)
        found = np.repeat(np.where(is_counting, 0, self.b).astype(np.float32)[:, None], layout.bets, axis=1)
        found[:, : layout.at_missing].reshape(len(found), SHIFTS, -1)[:] *= ~is_empty[:, None]
        if len(layout.categorical):
            found[:, layout.at_levels :].reshape(len(found), len(LEVEL) * LEVELS, -1)[:] *= ~no_level[:, None]
        return found

    def _rounds(
        self,
        table: Rows,
        rows: Places,
        found: Cut,
        numbers: Places,
        *,
        is_counting: NDArray[np.bool_],
        coded: Coded,
        judged: Judged,
    ) -> tuple[Places, Places]:
        """Add the evidence of the blocks, round by round; of a series that alarms, what comes after does not count."""
        col = table.col
        score = judged.log_e.take(self.layout.dated, axis=1)  # row by row in memory, as an index would not leave it
        evidence = col["evidence"].take(rows, axis=0)
        with np.errstate(over="ignore"):  # beyond single precision evidence is as much as the cap
            e, start, at = np.exp(judged.log_e, out=judged.log_e), judged.start, 0
            for width, each in found.stretches(e):
                evidence = evidence[:width]
                for one in each:
                    mine = start[at : at + width] if start.ndim else start
                    evidence = advance(evidence, one, start=mine, cap=self._cap)
                    at += width
        is_over = (self.total(e) >= self.line) & (col["data_alarm_at"][rows] < 0)[found.owner]
        stop, alarmed = first_over(found, is_over)
        col["evidence"][rows] = found.last(e, stop)
        is_new = np.repeat(is_counting[found.owner][:, None], self.layout.columns, axis=1) if self.is_classic else None
        self.since.advance(table, rows, found, stop, log_e=score, numbers=numbers, coded=coded, is_new=is_new)
        if self.is_classic:
            alarmed = self._windows(table, rows, is_counting)
        return stop, alarmed

    def _windows(self, table: Rows, rows: Places, is_counting: NDArray[np.bool_]) -> Places:
        """Test the windows that are full, and return the groups that alarm; a pass never goes beyond a window."""
        col = table.col
        is_full = (col["recent_blocks"][rows, 0] >= self.window) & ~is_counting
        for series in rows[is_full].tolist():
            classic.judge(self, table, series)
        is_over = is_full & (col["data_alarm_at"][rows] < 0)
        return np.flatnonzero(is_over & (self.total(col["evidence"][rows]) >= self.line))

    def weighed(self, evidence: Single) -> Single:
        """Return the parts that add up to a stream's share, (n, bets)."""
        return evidence if self.is_classic else evidence * self.layout.weights

    def total(self, evidence: Single) -> Single:
        """Return what is compared with the alarm line, (n, bets) to (n,)."""
        if self.is_classic:  # Holm has paid for the number already
            largest: Single = np.max(evidence, axis=1)
            return largest
        weighed = self.weighed(evidence)
        if self.config.combine == "strict":
            most: Single = np.max(self.layout.by_stream(weighed), axis=1).astype(np.float32)
            return most
        total: Single = np.sum(weighed, axis=1)
        return total

    def _complete(self, table: Rows, done: Places, now_ms: Places) -> None:
        """Close the references that have all their events: from here on they are what is compared with."""
        col = table.col
        col["reference_at"][done] = now_ms
        col["reference_version"][done] += 1
        if self.is_classic:
            classic.begin(table, done)
        pairs = self.wanted // self.b * (self.b - 1)
        lag, pool, levels = (col[name][done].astype(np.float64) for name in ("lag", "pool", "pool_levels"))
        col["lag"][done] = believed(self.layout, lag / pairs, pool / self.wanted, levels / self.wanted, pairs=pairs)
