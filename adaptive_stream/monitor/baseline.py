"""What every figure is compared with: learned from the first labels and predictions, ordered, or stated.

Owns the baseline columns of the series table. A stated objective is overwritten by an order only; a learned one is
frozen when it is complete. Called by the monitor with whole arrays, in record order.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.contracts.figure import LABELLED, REPORTED, SERVED
from adaptive_stream.monitor import figures
from adaptive_stream.monitor.ring import NEVER
from adaptive_stream.monitor.tally import KNOTS, rank
from adaptive_stream.stats import calibration, quantile
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from adaptive_stream.config.family import Monitor as Settings
    from adaptive_stream.monitor.figures import Figure
    from adaptive_stream.monitor.tally import Tally
    from adaptive_stream.stats.rows import Rows

NAMES = (*LABELLED, *SERVED, *(f"reported_{name}" for name in REPORTED))
"""The figures that have a baseline; their places in the column ``baselines``."""
PLACE = {name: place for place, name in enumerate(NAMES)}


class Source(IntEnum):
    """Where the baseline of the main figure comes from; the number is what the table holds."""

    NONE = 0
    LEARNED = 1
    ORDERED = 2
    STATED = 3


def place_of(metric: str) -> int:
    """Return the place of the baseline that a figure is compared with: expected figures take the measured ones'."""
    return PLACE[metric.removeprefix("estimated_").removeprefix("arrived_")]


class Baselines:
    """The baselines of one fleet's series.

    Args:
        settings: how many labels and predictions make one, and what is stated.
        tally: what is counted of them.
    """

    def __init__(self, settings: Settings, tally: Tally) -> None:
        self._settings = settings
        self._tally = tally
        self.main = "mean_absolute_error" if tally.task == "regression" else "accuracy"
        self._sums = (*tally.label_counts, *tally.label_sums)
        self._is_binary = tally.task == "binary"
        self._stated = dict(settings.baselines)
        if settings.baseline is not None:
            self._stated[self.main] = settings.baseline

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        yield Column("baselines", "<f8", (len(NAMES),), np.nan)
        yield Column("is_ordered", "|u1", (len(NAMES),))  # which of them an order has set
        yield Column("baseline_at", "<i8", (), NEVER)
        yield Column("baseline_version", "<i4")
        yield Column("baseline_source", "|u1")
        yield Column("baseline_count", "<i8")
        for name in self._sums:
            yield Column(f"base_{name}", "<f8")
        if self._is_binary:
            for name in ("base_curve_n", "base_curve_labels", "base_curve_outputs"):
                yield Column(name, "<f4", (calibration.BINS,))
        yield Column("base_predictions", "<i8")
        for name in ("base_failed", "base_confidence", "base_confidences"):
            yield Column(name, "<f8")
        yield Column("base_latency_bins", "<u4", (quantile.BINS,))

    def state(self, table: Rows, series: int) -> None:
        """Give a fresh series what the configuration states."""
        for name, value in self._stated.items():
            table.col["baselines"][series, place_of(name)] = value
        if self.main in self._stated:
            table.col["baseline_source"][series] = Source.STATED
            table.col["baseline_version"][series] = 1

    def restate(self, table: Rows) -> NDArray[np.int64]:
        """Give series of an earlier configuration what the present one states; what an order has set stays.

        Returns:
            Those for which something changed: the version of their baseline goes on.
        """
        col, count = table.col, table.count
        is_changed = np.zeros(count, dtype=bool)
        for name, value in self._stated.items():
            at = place_of(name)
            is_due = col["baselines"][:count, at] != value  # where there is none as well
            if name == self.main:  # what was learned is stated now, although it may say the same
                source = col["baseline_source"][:count]
                is_due = (is_due | (source != Source.STATED)) & (source != Source.ORDERED)
                col["baseline_source"][:count][is_due] = Source.STATED
                col["baseline_at"][:count][is_due] = NEVER
            else:
                is_due &= col["is_ordered"][:count, at] == 0
            col["baselines"][:count, at][is_due] = value
            is_changed |= is_due
        changed = np.flatnonzero(is_changed)
        col["baseline_version"][changed] += 1
        return changed

    def begin(self, table: Rows, series: NDArray[np.int64]) -> None:
        """Learn everything anew from the next labels and predictions; what is stated stays, versions go on."""
        col = table.col
        before = col["baseline_version"][series]
        for column in self.columns():
            col[column.name][series] = column.fill
        if self._is_binary:
            col["map"][series] = np.nan
        for one in series.tolist():
            self.state(table, one)
        col["baseline_version"][series] = before

    def learn_labels(
        self,
        table: Rows,
        series: NDArray[np.int64],
        examples: Mapping[str, NDArray[np.float64]],
        pairs: tuple[NDArray[np.float64], NDArray[np.float64]],
        *,
        now_ms: NDArray[np.int64],
    ) -> None:
        """Take the first labelled examples of each series; the last of them freezes its baseline."""
        col, wanted = table.col, self._settings.baseline_labels
        if (col["baseline_count"][series] >= wanted).all():
            return
        place = col["baseline_count"][series] + rank(series) + 1
        taken, last = np.flatnonzero(place <= wanted), np.flatnonzero(place == wanted)
        mine = series[taken]
        np.add.at(col["baseline_count"], mine, 1)
        for name in self._sums:
            np.add.at(col[f"base_{name}"], mine, examples[name][taken])
        if self._is_binary:
            outputs, labels = pairs[0][taken], pairs[1][taken]
            at = mine, calibration.place(outputs)
            np.add.at(col["base_curve_n"], at, np.float32(1))
            np.add.at(col["base_curve_labels"], at, labels.astype(np.float32))
            np.add.at(col["base_curve_outputs"], at, outputs.astype(np.float32))
        if len(last):
            self._freeze(table, series[last], now_ms=now_ms[last])

    def _freeze(self, table: Rows, done: NDArray[np.int64], *, now_ms: NDArray[np.int64]) -> None:
        col = table.col
        found = figures.labelled(self._tally, {name: col[f"base_{name}"][done] for name in self._sums})
        if self._is_binary:
            bins = [col[f"base_curve_{name}"][done].astype(np.float64) for name in ("n", "outputs", "labels")]
            found["calibration_error"] = figures.curve_error(*bins)
        is_new = np.isnan(col["baselines"][done, PLACE[self.main]])
        self._fill(table, done, found)
        fresh = done[is_new]
        col["baseline_at"][fresh] = now_ms[is_new]
        col["baseline_version"][fresh] += 1
        col["baseline_source"][fresh] = Source.LEARNED

    def trust(self, table: Rows) -> None:
        """Make the calibration maps of the series whose baseline is complete.

        At a look, never when the last label comes: predictions of one run are counted before its labels, so that a map
        in the midst of it would depend on where runs end.
        """
        if not self._is_binary:
            return
        col, count = table.col, table.count
        is_due = np.isnan(col["map"][:count, 0]) & (col["baseline_count"][:count] >= self._settings.baseline_labels)
        series = np.flatnonzero(is_due)
        if not len(series):
            return
        bins = [col[f"base_curve_{name}"][series].astype(np.float64) for name in ("n", "outputs", "labels")]
        x, y = calibration.isotonic(*bins)
        rows = np.repeat(np.arange(len(series)), KNOTS)
        knots = np.tile(np.linspace(0, 1, KNOTS), len(series))
        col["map"][series] = calibration.calibrate(knots, x, y, rows=rows).reshape(len(series), KNOTS)
        table.touch(series)

    def learn_served(self, table: Rows, series: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> None:
        """Take the first predictions of each series for latency, confidence and error rate."""
        col, wanted = table.col, self._settings.baseline_predictions
        if (col["base_predictions"][series] >= wanted).all():
            return
        place = col["base_predictions"][series] + rank(series) + 1
        taken, last = np.flatnonzero(place <= wanted), np.flatnonzero(place == wanted)
        mine, output = series[taken], columns["output"][taken]
        confidence, latency = columns["confidence"][taken], columns["latency"][taken]
        np.add.at(col["base_predictions"], mine, 1)
        np.add.at(col["base_failed"], mine[np.isnan(output)], 1.0)
        if self._is_binary:
            confidence = np.where(np.isnan(confidence), np.maximum(output, 1 - output), confidence)
        sure, timed = ~np.isnan(confidence), ~np.isnan(latency)
        np.add.at(col["base_confidence"], mine[sure], confidence[sure])
        np.add.at(col["base_confidences"], mine[sure], 1.0)
        np.add.at(col["base_latency_bins"], (mine[timed], quantile.place(latency[timed])), np.uint32(1))
        if len(last):
            done = series[last]
            found = {
                "error_rate": figures.mean(col["base_predictions"][done].astype(np.float64), col["base_failed"][done]),
                "confidence": figures.mean(col["base_confidences"][done], col["base_confidence"][done]),
            }
            found |= figures.latencies(col["base_latency_bins"][done].astype(np.float64))
            self._fill(table, done, found)

    def _fill(self, table: Rows, series: NDArray[np.int64], found: Mapping[str, Figure]) -> None:
        """Set what is not set yet."""
        held = table.col["baselines"]
        for name, figure in found.items():
            if name in PLACE:
                before = held[series, PLACE[name]]
                held[series, PLACE[name]] = np.where(np.isnan(before), figure.value, before)

    def order(
        self, table: Rows, series: NDArray[np.int64], values: Mapping[str, NDArray[np.float64]], *, now_ms: int
    ) -> None:
        """Set baselines by an operator's order; NaN leaves one as it is."""
        col = table.col
        for name, value in values.items():
            if name in PLACE:
                held = col["baselines"][series, PLACE[name]]
                col["baselines"][series, PLACE[name]] = np.where(np.isnan(value), held, value)
                col["is_ordered"][series, PLACE[name]] |= ~np.isnan(value)
        col["baseline_at"][series] = now_ms
        col["baseline_version"][series] += 1
        if self.main in values:
            is_main = ~np.isnan(values[self.main])
            col["baseline_source"][series[is_main]] = Source.ORDERED
