"""From counts to figures: each with its n and an interval that is valid however often one looks.

Owns the formulas. Never keeps state and never changes the table. A figure's value costs a division; its interval is
found only for those who ask, and for many figures at once. Called by the monitor, for alerts and for the status.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.contracts.figure import ARRIVED, DRIFT, REPORTED
from adaptive_stream.monitor.tally import HISTORY, MAX_MATRIX
from adaptive_stream.stats import calibration, interval, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from adaptive_stream.monitor.flow import Flow
    from adaptive_stream.monitor.ring import Ring
    from adaptive_stream.monitor.tally import Tally
    from adaptive_stream.stats.rows import Rows

    Array = NDArray[np.float64]
    Ends = tuple[Array, Array]
    Evidence = Callable[[NDArray[np.int64]], tuple[Mapping[str, Array], Mapping[str, Array]]]

QUANTILES = {"latency_p50_ms": 0.5, "latency_p95_ms": 0.95, "latency_p99_ms": 0.99}
# A figure's interval is shown as one of 95 %, and a window slides: it is a new sample every day. Of streams of 20,000
# labels in windows of 2,900, looked at every ten, 90 % were always covered with 0.05, 97 % with this.
ALPHA = 0.02
RUN = 512  # series whose newest labels are ranked at once: a few megabytes


@dataclass(frozen=True)
class Figure:
    """One figure of many series; the value is NaN where ``n`` is 0.

    Attributes:
        n: labels or predictions behind it.
        value: of each series.
        total: of a mean of values in [0, 1], whose interval is found together with others; None: ``own`` finds it.
        shape: what makes the figure of such a mean; it never falls.
        own: ends of the interval for the series at these places; None without ``total``: the value is exact.
    """

    n: Array
    value: Array
    total: Array | None = None
    shape: Callable[[Array], Array] | None = None
    own: Callable[[NDArray[np.int64]], Ends] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether there is nothing to be uncertain of."""
        return self.total is None and self.own is None

    def ends(self, places: NDArray[np.int64]) -> Ends:
        """Return the ends of the interval for the series at these places."""
        if self.total is not None:
            low, high = interval.bounded_mean(self.n[places], self.total[places], alpha=ALPHA)
            return (low, high) if self.shape is None else (self.shape(low), self.shape(high))
        if self.own is not None:
            return self.own(places)
        return self.value[places], self.value[places]


def intervals(figures: Mapping[str, Figure]) -> dict[str, Ends]:
    """Return the intervals of all series of many figures; the means among them are found in one go."""
    found: dict[str, Ends] = {}
    means = {name: figure for name, figure in figures.items() if figure.total is not None}
    if means:
        low, high = interval.bounded_mean(
            np.concatenate([figure.n for figure in means.values()]),
            np.concatenate([figure.total for figure in means.values()]),
            alpha=ALPHA,
        )
        start = 0
        for name, figure in means.items():
            stop = start + len(figure.n)
            ends = low[start:stop], high[start:stop]
            found[name] = ends if figure.shape is None else (figure.shape(ends[0]), figure.shape(ends[1]))
            start = stop
    for name, figure in figures.items():
        if name not in found:
            low, high = np.full(len(figure.n), np.nan), np.full(len(figure.n), np.nan)
            places = np.flatnonzero(figure.n > 0)
            if len(places):
                low[places], high[places] = figure.ends(places)
            found[name] = low, high
    return found


def mean(n: Array, total: Array, shape: Callable[[Array], Array] | None = None) -> Figure:
    """Return a mean of values in [0, 1], or what a shape makes of it."""
    value = _ratio(total, n)
    return Figure(n, value if shape is None else shape(value), total=np.clip(total, 0, n), shape=shape)


def _ratio(total: Array, n: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 0, total / n, np.nan)


def _f1(share: Array) -> Array:
    """F1 of the share of true positives among all that are, or are called, positive."""
    return 2 * share / (1 + share)


def labelled(tally: Tally, sums: Mapping[str, Array]) -> dict[str, Figure]:
    """Return what the sums of labelled examples tell.

    Args:
        tally: says what is in the sums.
        sums: totals by name, one value a series.
    """
    n = sums["n"]
    if tally.task == "regression":
        square, square_square = sums["square"], sums["square_square"]

        def root(places: NDArray[np.int64]) -> Ends:
            low, high = interval.asymptotic_mean(n[places], square[places], square_square[places], alpha=ALPHA)
            return np.sqrt(np.maximum(low, 0)), np.sqrt(np.maximum(high, 0))

        return {
            "mean_absolute_error": mean(n, n - sums["score"], lambda share: share * tally.tolerance),
            "root_mean_squared_error": Figure(n, np.sqrt(_ratio(square, n)), own=root),
        }
    found = {"accuracy": mean(n, sums["score"])}
    if tally.task == "binary":
        loss, loss_square = sums["log_loss"], sums["log_loss_square"]

        def losses(places: NDArray[np.int64]) -> Ends:
            low, high = interval.asymptotic_mean(n[places], loss[places], loss_square[places], alpha=ALPHA)
            return np.maximum(low, 0), high

        if "tp" in sums:
            tp, fp, fn = sums["tp"], sums["fp"], sums["fn"]
            found["precision"] = mean(tp + fp, tp)
            found["recall"] = mean(tp + fn, tp)
            found["f1_score"] = mean(tp + fp + fn, tp, _f1)
        found["log_loss"] = Figure(n, _ratio(loss, n), own=losses)
        found["brier"] = mean(n, sums["square"])
    return found


def curve_error(n: Array, outputs: Array, labels: Array) -> Figure:
    """Return the expected calibration error of the bins of each series, shape (series, bins)."""
    count = n.sum(axis=1)
    gap = np.abs(outputs - labels).sum(axis=1)

    def ends(places: NDArray[np.int64]) -> Ends:
        _, low, high = calibration.calibration_error(n[places], outputs[places], labels[places], alpha=ALPHA)
        return low, high

    return Figure(count, _ratio(gap, count), own=ends)


def latencies(bins: Array) -> dict[str, Figure]:
    """Return the quantiles of latency histograms, shape (series, bins)."""
    count = bins.sum(axis=1)
    return {name: _quantile(bins, count, q) for name, q in QUANTILES.items()}


def _quantile(bins: Array, count: Array, q: float) -> Figure:
    value = np.full(len(bins), np.nan)
    known = count > 0
    if known.any():
        value[known] = quantile.quantile(bins[known], q)[0]

    def ends(places: NDArray[np.int64]) -> Ends:
        _, low, high = quantile.quantile(bins[places], q, alpha=ALPHA)
        return low, high

    return Figure(count, value, own=ends)


class Window:
    """The figures of some series over the windows that end at one time, each found when it is asked for.

    Args:
        tally: what was counted.
        flow: how records come.
        table: of the series.
        series: those looked at.
        now_ms: the end of the windows, in stream time.
        idle_ms: wall time since the last record of the task; 0 while records come.
        drift: gives the evidence for drift of these series, where it is watched.
    """

    def __init__(
        self,
        tally: Tally,
        flow: Flow,
        table: Rows,
        series: NDArray[np.int64],
        *,
        now_ms: int,
        idle_ms: int = 0,
        drift: Evidence | None = None,
    ) -> None:
        self.series = series
        self._tally, self._flow, self._table = tally, flow, table
        self._now_ms, self._idle_ms, self._drift = now_ms, idle_ms, drift
        self._sums: dict[tuple[str, str], Array] = {}
        self._live: dict[str, NDArray[np.bool_]] = {}
        self._timed: dict[str, Figure] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._makers

    def __getitem__(self, name: str) -> Figure:
        return self._makers[name]()[name]

    def some(self, names: Iterable[str]) -> dict[str, Figure]:
        """Return those of these figures that this kind of task has."""
        return {name: self[name] for name in names if name in self}

    @cached_property
    def _makers(self) -> dict[str, Callable[[], Mapping[str, Figure]]]:
        """Which group of figures holds each name; a group is computed at once, and kept."""
        task = self._tally.task
        makers: dict[str, Callable[[], Mapping[str, Figure]]] = {}
        if task == "regression":
            names: tuple[str, ...] = ("mean_absolute_error", "root_mean_squared_error")
        elif task == "binary":
            names = ("accuracy", "precision", "recall", "f1_score", "log_loss", "brier")
            estimated = ("accuracy", "precision", "recall", "f1_score")
            makers |= dict.fromkeys((f"estimated_{name}" for name in estimated), lambda: self._estimated)
            makers["calibration_error"] = lambda: self._curve
            if self._tally.auc_labels:
                makers["auc"] = lambda: self._auc
        else:
            names = ("accuracy",)
            if self._tally.classes <= MAX_MATRIX:
                makers["f1_macro"] = lambda: self._macro
        makers |= dict.fromkeys(names, lambda: self._labelled)
        makers |= dict.fromkeys((f"arrived_{name}" for name in ARRIVED if name in names), lambda: self._arrived)
        makers |= dict.fromkeys(("error_rate", "confidence", "labelled_share"), lambda: self._served)
        makers |= {name: partial(self._latency, name) for name in QUANTILES}  # each is a search: one by one
        makers |= dict.fromkeys((f"reported_{name}" for name in REPORTED), lambda: self._reported)
        if self._drift is not None:
            makers |= dict.fromkeys(DRIFT, lambda: self._drifting)
        flow = ("feedback_age_s", "predictions_age_s", "volume_fold", "refused_rate")
        return makers | dict.fromkeys(flow, lambda: self._flowing)

    def _sum(self, ring: Ring, name: str) -> Array:
        key = ring.name, name
        if key not in self._sums:
            if ring.name not in self._live:
                self._live[ring.name] = ring.live(self._table, self.series, now_ms=self._now_ms)
            self._sums[key] = ring.total(self._table, self.series, name, is_live=self._live[ring.name])
        return self._sums[key]

    @cached_property
    def _labelled(self) -> dict[str, Figure]:
        names = (*self._tally.label_counts, *self._tally.label_sums)
        return labelled(self._tally, {name: self._sum(self._tally.served, name) for name in names})

    @cached_property
    def _arrived(self) -> dict[str, Figure]:
        ring = self._tally.arrived
        found = labelled(self._tally, {name: self._sum(ring, name) for name in (*ring.counts, *ring.sums)})
        return {f"arrived_{name}": figure for name, figure in found.items()}

    @cached_property
    def _served(self) -> dict[str, Figure]:
        ring = self._tally.served
        served = self._sum(ring, "predictions")
        return {
            "error_rate": mean(served, self._sum(ring, "failed")),
            "confidence": mean(self._sum(ring, "confidences"), self._sum(ring, "confidence")),
            "labelled_share": mean(served, np.minimum(self._sum(ring, "n"), served)),
        }

    @cached_property
    def _estimated(self) -> dict[str, Figure]:
        """Expected figures; the interval is that of the inputs seen, and knows nothing of a changed concept."""
        names = ("estimates", "est_tp", "est_fp", "est_fn")
        n, tp, fp, fn = (self._sum(self._tally.served, name) for name in names)
        return {
            "estimated_accuracy": mean(n, n - fp - fn),
            "estimated_precision": mean(tp + fp, tp),
            "estimated_recall": mean(tp + fn, tp),
            "estimated_f1_score": mean(tp + fp + fn, tp, _f1),
        }

    @cached_property
    def _curve(self) -> dict[str, Figure]:
        ring = self._tally.coarse
        return {
            "calibration_error": curve_error(*(self._sum(ring, f"curve_{name}") for name in ("n", "outputs", "labels")))
        }

    def _latency(self, name: str) -> dict[str, Figure]:
        if name not in self._timed:
            bins = self._sum(self._tally.coarse, "latency_bins")
            self._timed[name] = _quantile(bins, bins.sum(axis=1), QUANTILES[name])
        return self._timed

    @cached_property
    def _macro(self) -> dict[str, Figure]:
        """Macro F1: the mean over the classes that occur, of which each counts the same; ends from those of each."""
        matrix = self._sum(self._tally.coarse, "matrix")
        tp = np.diagonal(matrix, axis1=1, axis2=2)
        wrong = matrix.sum(axis=1) + matrix.sum(axis=2) - 2 * tp
        occurs = (tp + wrong) > 0
        count = np.maximum(occurs.sum(axis=1), 1)
        n = matrix.sum(axis=(1, 2))

        def over_classes(share: Array, places: NDArray[np.int64]) -> Array:
            of_class = np.where(occurs[places], _f1(share), 0.0)
            average: Array = of_class.sum(axis=1) / count[places]
            return average

        def ends(places: NDArray[np.int64]) -> Ends:
            alpha = ALPHA / matrix.shape[1]
            low, high = interval.bounded_mean((tp + wrong)[places], tp[places], alpha=alpha)
            return over_classes(low, places), over_classes(high, places)

        everywhere = np.arange(len(n))
        value = over_classes(np.nan_to_num(_ratio(tp, tp + wrong)), everywhere)
        return {"f1_macro": Figure(n, np.where(n > 0, value, np.nan), own=ends)}

    @cached_property
    def _auc(self) -> dict[str, Figure]:
        """The area under the ROC curve over the newest labelled examples of each series; ties count half."""
        runs = [self.series[first : first + RUN] for first in range(0, len(self.series), RUN)]
        parts = [_auc(self._tally, self._table, run) for run in runs]
        n, value, low, high = (np.concatenate([part[place] for part in parts] or [np.zeros(0)]) for place in range(4))
        return {"auc": Figure(n, value, own=lambda places: (low[places], high[places]))}

    @cached_property
    def _reported(self) -> dict[str, Figure]:
        """What tools said last; they give no interval."""
        found, col = {}, self._table.col
        for place, name in enumerate(REPORTED):
            count = col["reported_count"][self.series, place]
            newest = col["reported"][self.series, place, (count - 1) % HISTORY].astype(np.float64)
            found[f"reported_{name}"] = Figure(count.astype(np.float64), newest)
        return found

    @cached_property
    def _drifting(self) -> Mapping[str, Figure]:
        assert self._drift is not None, "asked for where it is watched"
        n, evidence = self._drift(self.series)
        return {name: Figure(n[name], evidence[name]) for name in DRIFT}

    @cached_property
    def _flowing(self) -> dict[str, Figure]:
        predictions = self._sum(self._tally.served, "predictions")
        return self._flow.figures(
            self._table, self.series, now_ms=self._now_ms, idle_ms=self._idle_ms, predictions=predictions
        )


def _auc(tally: Tally, table: Rows, series: NDArray[np.int64]) -> tuple[Array, Array, Array, Array]:
    outputs, labels = table.col["auc_output"][series], table.col["auc_label"][series]
    order = np.argsort(outputs, axis=1)  # NaN, a place not yet taken, comes last
    outputs, labels = np.take_along_axis(outputs, order, axis=1), np.take_along_axis(labels, order, axis=1)
    is_new = np.concatenate([np.zeros((len(series), 1), bool), outputs[:, 1:] > outputs[:, :-1]], axis=1)
    bins = np.cumsum(is_new, axis=1)
    known = ~np.isnan(outputs)
    counts = np.zeros((2, len(series), tally.auc_labels))
    rows = np.broadcast_to(np.arange(len(series))[:, None], bins.shape)
    np.add.at(counts, (labels[known].astype(np.int64), rows[known], bins[known]), 1.0)
    return known.sum(axis=1).astype(np.float64), *interval.auc_binned(counts[1], counts[0], alpha=ALPHA)
