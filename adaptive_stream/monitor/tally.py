"""What is counted of every series: predictions as they are served, labels as they arrive.

Owns the columns of the series table and how events are added to them. Never draws a conclusion: figures, baselines and
alerts are read from here. Called by the monitor with whole arrays, in record order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.contracts.figure import REPORTED
from adaptive_stream.monitor.ring import Ring
from adaptive_stream.stats import calibration, quantile
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from adaptive_stream.config.family import Family
    from adaptive_stream.stats.rows import Rows

COARSE = 4  # panes of what takes many numbers a pane: histograms; the window is as long, its edge is coarser
HISTORY = 10  # newest figures of each name that tools reported
LEAST_LOSS = 1e-6  # a probability of 0 or 1 that proves wrong costs 13.8, not infinity
LARGEST_ERROR = 1e70  # of a regression: a billion of its fourth powers still add up to a finite number
LONGEST_MS = 1e70  # of a latency: its squares, too, add up to a finite number, and so do those of its trend
MAX_MATRIX = 32  # classes of which a confusion matrix is kept
KNOTS = calibration.BINS + 1  # of the calibration map, at equal distances


class Tally:
    """The counting columns of one fleet's series.

    Args:
        family: its kind of task, panes and bounds.

    Attributes:
        label_counts: what is counted of labelled examples.
        label_sums: what is summed of them.
    """

    def __init__(self, family: Family) -> None:
        monitor = family.monitor
        self.task = family.task
        self.tolerance = family.tolerance
        self.classes = len(family.classes)
        self.auc_labels = monitor.auc_labels if family.task == "binary" else 0
        self.label_counts = {
            "binary": ("n", "score", "tp", "fp", "fn"),
            "multiclass": ("n", "score"),  # a hit or none: a count, half as large as a sum
            "regression": ("n",),
        }[self.task]
        self.label_sums = {
            "binary": ("log_loss", "log_loss_square", "square"),
            "multiclass": (),
            "regression": ("score", "absolute", "square", "square_square"),
        }[self.task]
        pane_ms, panes = monitor.pane_s * 1000, monitor.panes
        one: tuple[int, ...] = ()
        labels = dict.fromkeys(self.label_counts, one)
        sums = dict.fromkeys(self.label_sums, one)
        estimates = dict.fromkeys(("est_tp", "est_fp", "est_fn"), one) if self.task == "binary" else {}
        self.served = Ring(  # by the time of the predictions
            "served",
            panes=panes,
            pane_ms=pane_ms,
            counts={**dict.fromkeys(("predictions", "failed", "latencies", "confidences", "estimates"), one), **labels},
            sums={**dict.fromkeys(("latency", "latency_square", "confidence"), one), **estimates, **sums},
        )
        plain = {name: one for name in labels if name not in {"tp", "fp", "fn"}}  # what contracts.figure.ARRIVED needs
        self.arrived = Ring("arrived", panes=panes, pane_ms=pane_ms, counts=plain, sums=sums)
        histograms: dict[str, tuple[int, ...]] = {"latency_bins": (quantile.BINS,)}
        curve: dict[str, tuple[int, ...]] = {}
        if self.task == "binary":
            histograms |= {"curve_n": (calibration.BINS,), "curve_labels": (calibration.BINS,)}
            curve = {"curve_outputs": (calibration.BINS,)}
        if 0 < self.classes <= MAX_MATRIX:
            histograms["matrix"] = (self.classes, self.classes)
        coarse_ms = -(-pane_ms * panes // COARSE)
        self.coarse = Ring("coarse", panes=COARSE, pane_ms=coarse_ms, counts=histograms, sums=curve)

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        for ring in (self.served, self.arrived, self.coarse):
            yield from ring.columns()
        for name in ("predictions", "failed", "labelled", "rating_count"):
            yield Column(name, "<i8")
        for name in ("score_sum", "rating_sum"):
            yield Column(name, "<f8")
        if self.auc_labels:
            yield Column("auc_next", "<i8")
            yield Column("auc_output", "<f4", (self.auc_labels,), np.nan)
            yield Column("auc_label", "|u1", (self.auc_labels,))
        if self.task == "binary":
            yield Column("map", "<f4", (KNOTS,), np.nan)
        yield Column("reported", "<f8", (len(REPORTED), HISTORY), np.nan)
        yield Column("reported_count", "<i8", (len(REPORTED),))

    def serve(
        self,
        table: Rows,
        series: NDArray[np.int64],
        columns: Mapping[str, NDArray[np.float64]],
        threshold: NDArray[np.float64],
        *,
        times_ms: NDArray[np.int64],
        now_ms: NDArray[np.int64],
    ) -> None:
        """Count predictions.

        Args:
            table: of the series.
            series: of each prediction, in record order.
            columns: its ``output`` (NaN: failed), ``confidence`` and ``latency`` (NaN: not given).
            threshold: of each prediction's channel.
            times_ms: of the predictions.
            now_ms: stream time when each came.
        """
        col, output = table.col, columns["output"]
        is_failed = np.isnan(output)
        np.add.at(col["predictions"], series, 1)
        np.add.at(col["failed"], series[is_failed], 1)
        places, slot = self.served.turn(table, series, times_ms, now_ms)
        at = series[places], slot
        ring, failed = self.served, is_failed[places]
        ring.count(table, "predictions", at)
        if failed.any():
            ring.count(table, "failed", (at[0][failed], at[1][failed]))
        confidence, latency = columns["confidence"][places], np.minimum(columns["latency"][places], LONGEST_MS)
        if self.task == "binary":
            p = output[places]
            confidence = np.where(np.isnan(confidence), np.maximum(p, 1 - p), confidence)
            self._estimate(table, at, p, threshold[places])
        is_given = ~np.isnan(confidence)
        if is_given.any():
            known = at[0][is_given], at[1][is_given]
            ring.count(table, "confidences", known)
            ring.add(table, "confidence", known, confidence[is_given])
        is_given = ~np.isnan(latency)
        if is_given.any():
            known, given = (at[0][is_given], at[1][is_given]), latency[is_given]
            ring.count(table, "latencies", known)
            ring.add(table, "latency", known, given)
            ring.add(table, "latency_square", known, given * given)
            timed = places[is_given]
            inner, wide = self.coarse.turn(table, series[timed], times_ms[timed], now_ms[timed])
            bins = quantile.place(given[inner])
            self.coarse.count(table, "latency_bins", (series[timed[inner]], wide, bins))

    def _estimate(
        self,
        table: Rows,
        at: tuple[NDArray[np.int64], NDArray[np.int64]],
        p: NDArray[np.float64],
        threshold: NDArray[np.float64],
    ) -> None:
        """Add what each prediction is expected to be worth, where the calibration map is known."""
        knots = table.col["map"]
        is_known = ~np.isnan(knots[at[0], 0]) & ~np.isnan(p)
        if not is_known.any():
            return
        series, slot, p, threshold = at[0][is_known], at[1][is_known], p[is_known], threshold[is_known]
        place = np.minimum((p * calibration.BINS).astype(np.int64), calibration.BINS - 1)
        share = p * calibration.BINS - place
        trusted = knots[series, place] * (1 - share) + knots[series, place + 1] * share
        self.served.count(table, "estimates", (series, slot))
        parts = calibration.expected(trusted, p, threshold=threshold)
        for name, values in zip(("est_tp", "est_fp", "est_fn"), parts, strict=True):
            self.served.add(table, name, (series, slot), values)

    def examples(
        self, outputs: NDArray[np.float64], labels: NDArray[np.float64], threshold: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return what each labelled example adds to the counts (0 or 1) and to the sums."""
        if self.task == "regression":
            with np.errstate(over="ignore"):
                absolute = np.minimum(np.abs(outputs - labels), LARGEST_ERROR)
            score = 1.0 - np.minimum(absolute / self.tolerance, 1.0)
            square = absolute * absolute
            return {
                "n": np.ones(len(outputs)), "score": score, "absolute": absolute, "square": square,
                "square_square": square * square,
            }  # fmt: skip
        if self.task == "multiclass":
            return {"n": np.ones(len(outputs)), "score": (outputs == labels).astype(np.float64)}
        is_positive, is_true = outputs >= threshold, labels == 1
        claimed = np.clip(np.where(is_true, outputs, 1 - outputs), LEAST_LOSS, 1.0)
        loss = -np.log(claimed)
        return {
            "n": np.ones(len(outputs)),
            "tp": (is_positive & is_true).astype(np.float64),
            "fp": (is_positive & ~is_true).astype(np.float64),
            "fn": (~is_positive & is_true).astype(np.float64),
            "score": (is_positive == is_true).astype(np.float64),
            "log_loss": loss,
            "log_loss_square": loss * loss,
            "square": (outputs - labels) ** 2,
        }

    def label(
        self,
        table: Rows,
        series: NDArray[np.int64],
        examples: Mapping[str, NDArray[np.float64]],
        pairs: tuple[NDArray[np.float64], NDArray[np.float64]],
        *,
        times_ms: NDArray[np.int64],
        now_ms: NDArray[np.int64],
    ) -> int:
        """Count labelled examples. Returns how many came too late for their pane: they count as arrived, and in totals.

        Args:
            table: of the series.
            series: of each example, in record order.
            examples: from ``examples``.
            pairs: outputs and labels.
            times_ms: of the predictions.
            now_ms: stream time when each label came.
        """
        np.add.at(table.col["labelled"], series, 1)
        np.add.at(table.col["score_sum"], series, examples["score"])
        for ring, times in ((self.served, times_ms), (self.arrived, now_ms)):
            places, slot = ring.turn(table, series, times, now_ms)
            at = series[places], slot
            for name in self.label_counts:
                if name not in ring.counts:
                    continue
                chosen = examples[name][places] > 0
                ring.count(table, name, (at[0][chosen], at[1][chosen]))
            for name in self.label_sums:
                ring.add(table, name, at, examples[name][places])
        late = int((times_ms // self.served.pane_ms <= now_ms // self.served.pane_ms - self.served.panes).sum())
        outputs, labels = pairs
        if self.task == "binary":
            self._curve(table, series, outputs, labels, times_ms=times_ms, now_ms=now_ms)
        if self.auc_labels:
            self._newest(table, series, outputs, labels)
        if 0 < self.classes <= MAX_MATRIX:
            places, slot = self.coarse.turn(table, series, times_ms, now_ms)
            true, said = labels[places].astype(np.int64), outputs[places].astype(np.int64)
            self.coarse.count(table, "matrix", (series[places], slot, true, said))
        return late

    def _curve(
        self,
        table: Rows,
        series: NDArray[np.int64],
        outputs: NDArray[np.float64],
        labels: NDArray[np.float64],
        *,
        times_ms: NDArray[np.int64],
        now_ms: NDArray[np.int64],
    ) -> None:
        places, slot = self.coarse.turn(table, series, times_ms, now_ms)
        at = series[places], slot, calibration.place(outputs[places])
        is_true = labels[places] == 1
        self.coarse.count(table, "curve_n", at)
        self.coarse.count(table, "curve_labels", tuple(part[is_true] for part in at))
        self.coarse.add(table, "curve_outputs", at, outputs[places])

    def _newest(
        self, table: Rows, series: NDArray[np.int64], outputs: NDArray[np.float64], labels: NDArray[np.float64]
    ) -> None:
        col = table.col
        place = (col["auc_next"][series] + rank(series)) % self.auc_labels
        col["auc_output"][series, place] = outputs  # where one is named twice the later one stays
        col["auc_label"][series, place] = labels == 1
        np.add.at(col["auc_next"], series, 1)


def rank(series: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many earlier events of the run belong to the same series, for each."""
    order = np.argsort(series, kind="stable")
    ordered = series[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ranks = np.arange(len(series)) - np.repeat(starts, np.diff(np.r_[starts, len(series)]))
    found = np.empty(len(series), dtype=np.int64)
    found[order] = ranks
    return found
