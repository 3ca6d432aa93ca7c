"""How good each series is, as its labels arrive: test, then train.

Owns the score of every series (one variant of one model on one channel) in panes of event time, its baseline and its
alert columns. Never sees a record: it is given arrays. Called by the fleet.

Internally every task has a *score* in [0, 1], higher is better: 1 for a hit in classification; for regression one minus
the absolute error over ``tolerance``, errors above it counting as it. Outside, regression shows the mean of that
clipped absolute error instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.monitor.alert import Lives, Turns, look
from adaptive_stream.stats.interval import confidence_sequence
from adaptive_stream.stats.rows import Column, Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.config.tree import Family

NEVER = -1


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of some series: counts, means (NaN where empty) and their 95 % intervals."""

    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Prequential:
    """The scores of all series of one fleet.

    Args:
        family: its thresholds, panes and baseline.

    Attributes:
        series: the table; its keys are (model, variant, channel).
        expired: labels too late for their pane; they count in the totals only.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._pane_ms = family.monitor.pane_s * 1000
        panes = family.monitor.panes
        self.expired = 0
        self.series = Rows(
            [
                Column("row", "<i4"),
                Column("predictions", "<i8"),
                Column("failed", "<i8"),
                Column("labelled", "<i8"),
                Column("score_sum", "<f8"),
                Column("rating_count", "<i8"),
                Column("rating_sum", "<f8"),
                Column("pane", "<i8", (panes,), NEVER),
                Column("pane_count", "<i8", (panes,)),
                Column("pane_sum", "<f8", (panes,)),
                Column("baseline_count", "<i8"),
                Column("baseline_sum", "<f8"),
                Column("baseline", "<f8", (), np.nan),
                Column("baseline_at", "<i8", (), NEVER),
                Column("baseline_version", "<i4"),
                Column("stage", "|u1"),
                Column("is_high", "|u1"),
                Column("since_ms", "<i8", (), NEVER),
                Column("starts_ms", "<i8", (), NEVER),
                Column("is_news", "|u1"),  # labels came since the last look
            ]
        )

    def add(self, key: tuple[str, str, str], *, row: int) -> int:
        """Begin a series; a stated objective is its baseline from the start."""
        series = self.series.add(key)
        self.series.col["row"][series] = row
        stated = self._family.monitor.baseline
        if stated is not None:
            self.series.col["baseline"][series] = self.score_of_figure(stated)
            self.series.col["baseline_version"][series] = 1
        return series

    def score(
        self,
        series: NDArray[np.int64],
        scores: NDArray[np.float64],
        times_ms: NDArray[np.int64],
        now_ms: NDArray[np.int64],
    ) -> None:
        """Credit labelled examples to the time of their predictions.

        Args:
            series: of each example, in record order.
            scores: in [0, 1].
            times_ms: of the predictions.
            now_ms: stream time when each label came.
        """
        col = self.series.col
        np.add.at(col["labelled"], series, 1)
        np.add.at(col["score_sum"], series, scores)  # in record order, so that any slicing gives equal bits
        col["is_news"][series] = 1
        self.series.touch(series)
        self._collect_baseline(series, scores, now_ms)
        pane = times_ms // self._pane_ms
        panes = self._family.monitor.panes
        is_live = pane > now_ms // self._pane_ms - panes
        self.expired += int(len(pane) - is_live.sum())
        series, scores, pane = series[is_live], scores[is_live], pane[is_live]
        slot = pane % panes
        before = col["pane"][series, slot]
        np.maximum.at(col["pane"], (series, slot), pane)
        is_turned = col["pane"][series, slot] > before
        col["pane_count"][series[is_turned], slot[is_turned]] = 0
        col["pane_sum"][series[is_turned], slot[is_turned]] = 0
        is_current = col["pane"][series, slot] == pane
        np.add.at(col["pane_count"], (series[is_current], slot[is_current]), 1)
        np.add.at(col["pane_sum"], (series[is_current], slot[is_current]), scores[is_current])

    def rate(self, series: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
        """Add ratings, each as its share of the scale."""
        np.add.at(self.series.col["rating_count"], series, 1)
        np.add.at(self.series.col["rating_sum"], series, shares)
        self.series.touch(series)

    def set_baseline(self, series: NDArray[np.int64], value: NDArray[np.float64], *, now_ms: int) -> None:
        """Set the baselines by order, as scores."""
        col = self.series.col
        col["baseline"][series] = value
        col["baseline_at"][series] = now_ms
        col["baseline_version"][series] += 1
        col["is_news"][series] = 1
        self.series.touch(series)

    def windows(self, series: NDArray[np.int64], *, now_ms: int) -> Windows:
        """Return the windows that end at ``now_ms``."""
        col = self.series.col
        oldest = (now_ms - 1) // self._pane_ms - self._family.monitor.panes
        is_live = col["pane"][series] > oldest
        n = np.where(is_live, col["pane_count"][series], 0).sum(axis=1)
        total = np.where(is_live, col["pane_sum"][series], 0.0).sum(axis=1)
        with np.errstate(invalid="ignore"):
            mean = np.where(n > 0, total / np.maximum(n, 1), np.nan)
        low, high = confidence_sequence(n, mean)
        return Windows(n=n, mean=mean, low=low, high=high)

    def look(self, *, now_ms: int) -> tuple[NDArray[np.int64], Windows, Turns]:
        """Advance the alerts of every series with news or a life under way.

        Returns:
            The series looked at, their windows, and what changed (as places among them).
        """
        col, count = self.series.col, self.series.count
        looked = np.flatnonzero(col["is_news"][:count] | (col["stage"][:count] > 0))
        windows = self.windows(looked, now_ms=now_ms)
        baseline, rule = col["baseline"][looked], self._family.alerts
        with np.errstate(invalid="ignore"):
            drop = baseline - windows.mean
            # evidence: labels enough, and an interval that leaves no room for a recovered model
            is_evident = (windows.n >= rule.min_labels) & (windows.high < baseline - rule.recovery * rule.drop)
        lives = Lives(*(col[name][looked] for name in ("stage", "is_high", "since_ms", "starts_ms")))
        turns = look(lives, drop=drop, is_evident=is_evident, rule=rule, now_ms=now_ms)
        col["stage"][looked], col["is_high"][looked] = lives.stage, lives.is_high
        col["since_ms"][looked], col["starts_ms"][looked] = lives.since_ms, lives.starts_ms
        col["is_news"][looked] = 0
        self.series.touch(looked)
        return looked, windows, turns

    def figure(self, score: float) -> float:
        """Return what people read: accuracy as it is, an error in the units of the label."""
        return score if self._family.task != "regression" else (1.0 - score) * self._family.tolerance

    def score_of_figure(self, figure: float) -> float:
        """Return the score of a figure; the inverse of ``figure``."""
        return figure if self._family.task != "regression" else 1.0 - min(figure / self._family.tolerance, 1.0)

    def _collect_baseline(
        self, series: NDArray[np.int64], scores: NDArray[np.float64], now_ms: NDArray[np.int64]
    ) -> None:
        """The first labelled examples of a series make its baseline, then it is frozen."""
        col, wanted = self.series.col, self._family.monitor.baseline_labels
        is_open = np.isnan(col["baseline"][series])
        if not is_open.any():
            return
        series, scores, now_ms = series[is_open], scores[is_open], now_ms[is_open]
        order = np.argsort(series, kind="stable")
        series, scores, now_ms = series[order], scores[order], now_ms[order]
        first = np.r_[True, series[1:] != series[:-1]]
        starts = np.flatnonzero(first)
        rank = np.arange(len(series)) - np.repeat(starts, np.diff(np.r_[starts, len(series)]))
        place = col["baseline_count"][series] + rank + 1
        is_taken = place <= wanted
        is_last = place == wanted
        np.add.at(col["baseline_count"], series[is_taken], 1)
        np.add.at(col["baseline_sum"], series[is_taken], scores[is_taken])
        done = series[is_last]
        col["baseline"][done] = col["baseline_sum"][done] / wanted
        col["baseline_at"][done] = now_ms[is_last]
        col["baseline_version"][done] += 1
