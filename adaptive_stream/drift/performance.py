"""Evidence that a model's mean loss changed, for all series of a fleet at once.

Owns the columns of the losses and what a label does to them. Never draws a conclusion beyond "the evidence has reached
the budget". Called by the drift of a fleet with whole arrays, in the order of the labels.

Against a stated loss the bets are fair for any losses in [0, 1] of at most that mean. Without one the loss is compared
with that of all labels so far, whose own error each bet pays for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.drift.run import changed, cut, fill, first_over, last_clear, summed, widest
from adaptive_stream.drift.since import LEAD, NOBODY, leading
from adaptive_stream.stats.eprocess import advance, log_share_evidence, share_bet
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adaptive_stream.config.drift import DriftConfig
    from adaptive_stream.drift.run import Cut, Run
    from adaptive_stream.stats.rows import Rows

    Array = NDArray[np.float64]
    Single = NDArray[np.float32]
    Places = NDArray[np.int64]

NEVER = -1
BLOCK = 16  # labels that are judged at once
# Shifts of the mean loss in standard deviations of a 0/1 loss, and what each weighs. That it got better is news, but
# nobody waits for it.
SHIFTS = np.array([0.07, 0.16, 0.33, 0.7, -0.1, -0.3])  # upwards first
WEIGHTS = np.array([0.2, 0.25, 0.35, 0.1, 0.05, 0.05], dtype=np.float32)
TOTAL = 3  # place of the losses of all labels among the sums
DATED = (0, 1, 4)  # the smallest each way, and of a rise the next
HEADROOM = 1e4  # what the evidence may be above the alarm line
CLEAR = 3.5  # standard errors at which a correlation of neighbours is believed, or an error of a frozen pool
MOST_LAG = 0.98
NOTHING = np.zeros((), dtype=np.float32)
MUTED = -50.0  # log evidence of a bet that is not made
EDGE = 1e-6  # a mean loss of 0 or 1 leaves nothing to bet


class Performance:
    """The losses of one fleet's series.

    Args:
        config: of the family's drift.
        stated: the mean loss that is promised, None where it is learned.
    """

    def __init__(self, config: DriftConfig, *, stated: float | None) -> None:
        self.config, self.stated = config, stated
        self.wanted = -(-config.reference_labels // BLOCK) * BLOCK
        self.is_frozen = config.reference == "frozen"
        self.line = config.budget_events
        self._cap = np.asarray(HEADROOM * self.line / WEIGHTS.min(), dtype=np.float32)

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        for name in ("labels", "labels_begun", "losses"):
            yield Column(name, "<i8")
        # of the pool: the losses, their squares and neighbours' products; of all labels: the losses
        yield Column("loss_sums", "<f8", (4,))
        yield Column("loss_total_before", "<f8")  # of the labels before a suspected change
        yield Column("loss_calm", "<i8")  # label after which no change was suspected
        yield Column("loss_pending", "<f4", (BLOCK - 1,))
        yield Column("loss_lag", "<f4")
        yield Column("loss_evidence", "<f4", (len(SHIFTS),))
        yield Column("loss_score", "<f4", (len(DATED),))
        yield Column("loss_leader", "<i1", (1,), NOBODY)  # score that leads
        yield Column("loss_clear", "<i8", (len(DATED),))  # label after which each score was last nothing
        for name in ("performance_alarm_at", "losses_at"):
            yield Column(name, "<i8", (), NEVER)
        yield Column("losses_version", "<i4")

    def begin(self, table: Rows, series: int) -> None:
        """Forget the losses of a series and all evidence; its labels go on being numbered."""
        col = table.col
        for column in self.columns():
            if column.name not in {"labels", "losses_version"}:
                col[column.name][series] = column.fill
        for name in ("labels_begun", "loss_clear", "loss_calm"):
            col[name][series] = col["labels"][series]

    def is_watching(self, table: Rows, series: Places) -> NDArray[np.bool_]:
        """Say which series' losses are judged."""
        if self.stated is not None:
            return np.ones(len(series), dtype=np.bool_)
        found: NDArray[np.bool_] = table.col["losses"][series] >= self.wanted
        return found

    def total(self, evidence: Single) -> Single:
        """Return what is compared with the alarm line, (n, bets) to (n,)."""
        total: Single = (evidence * WEIGHTS).sum(axis=1)
        return total

    def is_worse(self, evidence: Single) -> bool:
        """Say whether the strongest bet of one series is that the loss rose."""
        return bool(SHIFTS[int(np.argmax(evidence * WEIGHTS))] > 0)

    def worth(self, lag: Single | np.float32) -> Single:
        """Return how many independent labels one is worth, by the correlation of neighbours."""
        found: Single = np.minimum((1 - lag) / (1 + lag), 1 / self.config.design_effect)
        return found

    def waiting(self, table: Rows, series: int) -> int:
        """Return how many labels of a series are not judged yet: their block is not full."""
        col = table.col
        return int(col["labels"][series] - col["labels_begun"][series]) % BLOCK

    def losses(self, table: Rows, series: int) -> tuple[float | None, float | None]:
        """Return the mean loss before a suspected change (or what was promised) and since; None where there is none."""
        col = table.col
        begun, calm, end = (int(col[name][series]) for name in ("labels_begun", "loss_calm", "labels"))
        end -= self.waiting(table, series)
        total, old = float(col["loss_sums"][series, TOTAL]), float(col["loss_total_before"][series])
        before = self.stated if self.stated is not None else (old / (calm - begun) if calm > begun else None)
        return before, (total - old) / (end - calm) if end > calm else None

    def step(self, table: Rows, run: Run, losses: Single, now_ms: Places) -> list[tuple[int, int]]:
        """Take labels of a run, of each series until its reference is complete or it alarms.

        Args:
            table: of the series.
            run: what is left of it.
            losses: of its labels, in [0, 1].
            now_ms: when each came.

        Returns:
            Series that alarmed, each with the place of the label that did it; the labels after it are left in the run.
        """
        col = table.col
        live = np.flatnonzero(run.at < run.end)
        rows, counts = run.series[live], (run.end - run.at)[live]
        filled = (col["labels"][rows] - col["labels_begun"][rows]) % BLOCK
        due = self.wanted - col["losses"][rows]
        counts = np.where(due > 0, np.minimum(counts, due - filled), counts)
        order = widest(filled, counts, BLOCK)
        live, rows, filled, counts = (one[order] for one in (live, rows, filled, counts))
        found = cut(filled, counts, BLOCK)
        begin, waiting = run.skip(live, counts), col["loss_pending"]
        values, ends = fill(found, losses, run.order, begin, waiting=waiting, rows=rows)
        begun = col["labels"][rows] - filled
        col["labels"][rows] += counts
        if not len(found.owner):
            return []
        closed = found.closed
        stop, alarmed = self._advance(table, rows[:closed], begun[:closed], found, values)
        back = (filled + counts)[alarmed] - stop[alarmed] * BLOCK
        run.at[live[alarmed]] -= back
        col["labels"][rows[alarmed]] -= back
        col["loss_pending"][rows[alarmed]] = 0
        ends = found.last(ends, stop)
        is_done = (due[order[:closed]] > 0) & (col["losses"][rows[:closed]] >= self.wanted)
        if is_done.any():
            self._complete(table, rows[:closed][is_done], now_ms[ends[is_done]])
        mine = rows[alarmed]
        col["performance_alarm_at"][mine] = col["labels"][mine]
        return list(zip(ends[alarmed].tolist(), mine.tolist(), strict=True))

    def _advance(self, table: Rows, rows: Places, begun: Places, found: Cut, values: Single) -> tuple[Places, Places]:
        """Take full blocks. Returns how many of each group were taken, and which groups alarmed at the last of them."""
        col, owner = table.col, found.owner
        exact = values.astype(np.float64)
        sums = summed(exact)
        parts = np.empty((len(sums), TOTAL + 1))
        parts[:, 0], parts[:, 1], parts[:, 2] = sums, summed(exact * exact), summed(exact[1:] * exact[:-1])
        parts[:, TOTAL] = sums
        is_counting = col["losses"][rows] < self.wanted
        if self.is_frozen:
            parts[:, :TOTAL] *= is_counting[owner, None]
        held = col["loss_sums"].take(rows, axis=0)
        now = held.copy()
        for width, each in found.stretches(parts):  # views: changed to what the sums are after each
            each[0] += now[:width]
            if len(each) > 1:
                np.add.accumulate(each, out=each)
            now[:width] = each[-1]
        after, before = parts, found.earlier(held[:, 0], parts[:, 0])
        turn = found.turn if not self.is_frozen else np.where(is_counting[owner], found.turn, 0)
        pooled = (col["losses"][rows][owner] + turn * BLOCK).astype(np.float64)
        log_e = self._bets(sums, before, pooled, col["loss_lag"][rows][owner])
        is_idle = is_counting & (self.stated is None)
        if is_idle.any():
            log_e[is_idle[owner]] = 0
        stop, alarmed = self._rounds(
            table, rows, begun, found, log_e=log_e, is_idle=is_idle, totals=after[:, TOTAL], sums=sums
        )
        col["loss_sums"][rows] = found.last(after, stop)
        col["losses"][rows] += np.where(is_counting | (not self.is_frozen), stop, 0) * BLOCK
        return stop, alarmed

    def _bets(self, sums: Array, before: Array, pooled: Array, lag: Single) -> Single:
        """Return log evidence, (blocks, SHIFTS)."""
        is_up = (SHIFTS > 0)[:, None]
        if self.stated is None:
            share, n = (before + np.where(is_up, 2.0, 0.0)) / (pooled + 2), pooled + 2
            if self.is_frozen:
                share += np.where(is_up, CLEAR, -CLEAR) * np.sqrt(share * (1 - share) / n)
        else:
            share, n = np.full((len(SHIFTS), len(sums)), self.stated), np.full_like(sums, np.inf)
        tolerance = np.where(is_up, self.config.loss_tolerance, -self.config.loss_tolerance)
        share = np.minimum(np.maximum(share + tolerance, EDGE), 1 - EDGE)
        evidence = log_share_evidence(sums, np.float64(BLOCK), share, share_bet(share, SHIFTS[:, None]), n)
        if self.stated is not None:
            evidence[~is_up[:, 0]] = MUTED  # better than promised is no news
        found: Single = (evidence * self.worth(lag)).T.astype(np.float32, order="C")
        return found

    def _rounds(
        self,
        table: Rows,
        rows: Places,
        begun: Places,
        found: Cut,
        *,
        log_e: Single,
        is_idle: NDArray[np.bool_],
        totals: Array,
        sums: Array,
    ) -> tuple[Places, Places]:
        """Add the evidence of the blocks, round by round; of a series that alarms, what comes after does not count."""
        col, dated = table.col, log_e.take(DATED, axis=1)
        evidence, score = (col[name].take(rows, axis=0) for name in ("loss_evidence", "loss_score"))
        start = np.asarray(BLOCK, dtype=np.float32)
        if is_idle.any():
            start = np.repeat(np.where(is_idle, 0, start)[:, None], len(SHIFTS), axis=1)
        with np.errstate(over="ignore"):  # beyond single precision evidence is as much as the cap
            e = np.exp(log_e)
            for width, each in found.stretches(e):
                evidence, mine = evidence[:width], start[:width] if start.ndim else start
                for one in each:
                    evidence = advance(evidence, one, start=mine, cap=self._cap)
        for width, each in found.stretches(dated):
            score = score[:width]
            for one in each:
                score = np.add(score, one, out=one)
                np.maximum(score, NOTHING, out=score)
        is_over = self.total(e) >= self.line
        is_over &= (col["performance_alarm_at"][rows] < 0)[found.owner]
        stop, alarmed = first_over(found, is_over)
        col["loss_evidence"][rows], col["loss_score"][rows] = found.last(e, stop), found.last(dated, stop)
        clear = last_clear(found, dated <= 0, stop)
        held = col["loss_clear"].take(rows, axis=0)
        col["loss_clear"][rows] = np.where(clear >= 0, begun[:, None] + (clear + 1) * BLOCK, held)
        # the window since a change is that since its score took the lead, as for the data
        leaders = leading(dated.T, LEAD)[:, None]
        calm = last_clear(found, changed(found, col["loss_leader"].take(rows, axis=0), leaders), stop)[:, 0]
        col["loss_leader"][rows] = found.last(leaders, stop)
        is_calm = np.flatnonzero(calm >= 0)
        block = found.starts[calm[is_calm]] + is_calm
        col["loss_total_before"][rows[is_calm]] = totals[block] - sums[block]
        col["loss_calm"][rows[is_calm]] = begun[is_calm] + calm[is_calm] * BLOCK
        return stop, alarmed

    def _complete(self, table: Rows, rows: Places, now_ms: Places) -> None:
        """Close the references that have all their labels."""
        col = table.col
        n = col["losses"][rows].astype(np.float64)
        losses, squares, products, _ = col["loss_sums"][rows].T
        mean = losses / n
        variance = squares / n - mean**2
        pairs = n / BLOCK * (BLOCK - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            rho = (products / pairs - mean**2) / variance
        col["loss_lag"][rows] = np.where(rho > CLEAR / np.sqrt(pairs), np.minimum(rho, MOST_LAG), 0)
        col["losses_at"][rows] = now_ms
        col["losses_version"][rows] += 1
