"""What a status shows beside the figures: panes, trends, health, the calibration curve, the confusion matrix.

Owns the score of health and the choice of what a trend looks at. Never changes anything. Made for the series whose
status is due, all at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.events import (
    CalibrationBin,
    Direction,
    Health,
    HealthLevel,
    PaneFigures,
    Trend,
)
from adaptive_stream.contracts.figure import REPORTED
from adaptive_stream.monitor.alert import SLACK
from adaptive_stream.monitor.baseline import PLACE
from adaptive_stream.monitor.tally import HISTORY, LONGEST_MS, MAX_MATRIX
from adaptive_stream.stats import slope
from adaptive_stream.stats.interval import bounded_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from adaptive_stream.config.family import Family
    from adaptive_stream.monitor.figures import Figure
    from adaptive_stream.monitor.monitor import Monitor

    Array = NDArray[np.float64]

DIRECTIONS = {1: Direction.IMPROVING, 0: Direction.STABLE, -1: Direction.DECLINING}
LEAST_MEASURED = 2  # labels or predictions before a part of the health says anything
# of each part: (a whole point up to here, half a point up to there), then the levels of three points
NEAR_BASELINE = 0.02
LATENCY_RATIOS = (1.1, 1.5)
ERROR_RATES = (0.01, 0.05)
LEVELS = ((2.5, HealthLevel.EXCELLENT), (2.0, HealthLevel.GOOD), (1.5, HealthLevel.FAIR))


class View:
    """The windows of some series, laid out pane by pane.

    Args:
        family: its panes and trends.
        monitor: whose table is looked at.
        series: those shown.
        now_ms: the end of the windows.
    """

    def __init__(self, family: Family, monitor: Monitor, series: NDArray[np.int64], *, now_ms: int) -> None:
        self.series = series
        self._family, self._monitor, self.now_ms = family, monitor, now_ms
        ring, table = monitor.tally.served, monitor.series
        self._numbers, slots = ring.recent(now_ms, ring.panes)
        is_live = table.col["served_pane"][series][:, slots] == self._numbers
        self._served = {
            name: np.where(is_live, table.col[f"served_{name}"][series][:, slots], 0).astype(np.float64)
            for name in (*ring.counts, *ring.sums)
        }
        has_arrived = table.col["arrived_pane"][series][:, slots] == self._numbers
        self._arrived = {
            name: np.where(has_arrived, table.col[f"arrived_{name}"][series][:, slots], 0).astype(np.float64)
            for name in ("n", "score")
        }
        self._low, self._high = bounded_mean(self._served["n"], np.clip(self._served["score"], 0, self._served["n"]))
        self._trends = self._find_trends()
        self._wide = monitor.tally.coarse.window(
            table, series, (*monitor.tally.coarse.counts, *monitor.tally.coarse.sums), now_ms=now_ms
        )

    # -- panes -------------------------------------------------------------------------------------------------------

    def panes(self, place: int) -> list[PaneFigures]:
        """Return the panes of one series that hold something, oldest first."""
        served = {name: values[place] for name, values in self._served.items()}
        arrived = {name: values[place] for name, values in self._arrived.items()}
        has_any = (served["predictions"] > 0) | (served["n"] > 0) | (arrived["n"] > 0)
        return [self._pane(place, served, arrived, pane) for pane in np.flatnonzero(has_any).tolist()]

    def _pane(self, place: int, served: Mapping[str, Array], arrived: Mapping[str, Array], pane: int) -> PaneFigures:
        n, ends = int(served["n"][pane]), (float(self._low[place, pane]), float(self._high[place, pane]))
        low, high = sorted(self._figure(end) for end in ends)
        estimated = None
        if "est_fp" in served and served["estimates"][pane]:
            estimated = float(1 - (served["est_fp"][pane] + served["est_fn"][pane]) / served["estimates"][pane])
        return PaneFigures(
            starts_at=format_time(int(self._numbers[pane]) * self._family.monitor.pane_s * 1000),
            labelled=n,
            value=self._figure(served["score"][pane] / n) if n else None,
            low=low if n else None,
            high=high if n else None,
            arrived=int(arrived["n"][pane]),
            arrived_value=self._figure(arrived["score"][pane] / arrived["n"][pane]) if arrived["n"][pane] else None,
            estimated=estimated,
            predictions=int(served["predictions"][pane]),
            failed=int(served["failed"][pane]),
            latency_ms=_mean(served["latency"][pane], served["latencies"][pane]),
            confidence=_mean(served["confidence"][pane], served["confidences"][pane]),
        )

    def _figure(self, score: float) -> float:
        """Return what people read: accuracy as it is, an error in the units of the label."""
        return float(score if self._family.task != "regression" else (1.0 - score) * self._family.tolerance)

    # -- trends ------------------------------------------------------------------------------------------------------

    def trends(self, place: int) -> dict[str, Trend]:
        """Return where the main figure, the latency and what tools report are going."""
        found = {}
        for name, (k, steep, low, high, directions) in self._trends.items():
            known = int(k[place])
            if not known:
                continue
            if math.isnan(steep[place]):
                found[name] = Trend(direction=Direction.STABLE, panes=known)
                continue
            found[name] = Trend(
                direction=DIRECTIONS[int(directions[place])],
                panes=known,
                slope=float(steep[place]),
                low=float(low[place]),
                high=float(high[place]),
            )
        return found

    def _find_trends(self) -> dict[str, tuple[NDArray[np.generic], ...]]:
        settings, main = self._family.monitor, self._monitor.baselines.main
        last = slice(max(0, len(self._numbers) - settings.trend_panes), None)
        n, score = self._served["n"][:, last], self._served["score"][:, last]
        with np.errstate(invalid="ignore", divide="ignore"):
            value = np.where(n > 0, score / n, np.nan)
            # the variance of a mean of n hits, with half a hit and half a miss added: one label is not certain
            share = (score + 0.5) / (n + 1)
            variance = share * (1 - share) / n
            timed, total = self._served["latencies"][:, last], self._served["latency"][:, last]
            latency = np.where(timed > 0, total / timed, np.nan)
            spread = self._served["latency_square"][:, last] / timed - latency**2
            latency_variance = np.where(timed > 1, np.maximum(spread, 0) / (timed - 1), np.nan)
        if self._family.task == "regression":
            value, variance = (1 - value) * self._family.tolerance, variance * self._family.tolerance**2
        lines = [(main, value, variance, self._family.task != "regression")]
        lines.append(("latency_ms", latency, latency_variance, False))
        for place, (name, is_high) in enumerate(REPORTED.items()):
            history = self._history(place)
            known = np.isfinite(history)
            if known.any():  # a tool says no variance: the scatter around the line stands for it
                lines.append((f"reported_{name}", history, np.where(known, 1e-12, np.nan), is_high))
        return self._fit([line for line in lines if np.isfinite(line[1]).any()])

    def _fit(self, lines: list[tuple[str, Array, Array, bool]]) -> dict[str, tuple[NDArray[np.generic], ...]]:
        """Fit all lines at once: a call costs more than a row."""
        if not lines:
            return {}
        longest = max(values.shape[1] for _, values, _, _ in lines)
        pads = [((0, 0), (longest - values.shape[1], 0)) for _, values, _, _ in lines]
        values = [np.pad(line[1], pad, constant_values=np.nan) for line, pad in zip(lines, pads, strict=True)]
        variances = [np.pad(line[2], pad, constant_values=np.nan) for line, pad in zip(lines, pads, strict=True)]
        steep, low, high = (np.split(part, len(lines)) for part in slope.slope(np.vstack(values), np.vstack(variances)))
        found: dict[str, tuple[NDArray[np.generic], ...]] = {}
        for place, (name, known, _, is_better_high) in enumerate(lines):
            directions = slope.direction(
                steep[place], low[place], high[place],
                threshold=self._family.monitor.trend_slope, is_better_high=is_better_high,
            )  # fmt: skip
            found[name] = np.isfinite(known).sum(axis=-1), steep[place], low[place], high[place], directions
        return found

    def _history(self, place: int) -> Array:
        """Return the newest figures of one name, oldest first; NaN where fewer were reported."""
        col = self._monitor.series.col
        count = col["reported_count"][self.series, place]
        order = (count[:, None] + np.arange(HISTORY)) % HISTORY
        newest: Array = np.take_along_axis(col["reported"][self.series, place].astype(np.float64), order, axis=1)
        return np.minimum(newest, LONGEST_MS)  # a line through more than that overflows

    # -- health ------------------------------------------------------------------------------------------------------

    def health(self, found: Mapping[str, Figure], place: int) -> Health:
        """Return the score of docs/guide/monitoring.md: measured figures first, reported ones where there are none."""
        parts: dict[str, float] = {}
        quality = self._quality(found, place)
        if quality is not None:
            parts["quality"] = quality
        latency = self._against(found, place, "latency_p95_ms", "reported_latency_ms")
        if latency is not None:
            parts["latency"] = _points(latency, *LATENCY_RATIOS)
        errors = _known(found["error_rate"], place)
        if errors is None:
            errors = _known(found["reported_error_rate"], place)
        if errors is not None:
            parts["errors"] = _points(errors, *ERROR_RATES)
        if "quality" not in parts:  # errors and latency alone say nothing of a model
            return Health(level=HealthLevel.INSUFFICIENT_DATA, parts=parts)
        points = sum(parts.values()) * 3 / len(parts)
        level = next((level for least, level in LEVELS if points >= least), HealthLevel.POOR)
        return Health(level=level, points=points, parts=parts)

    def _quality(self, found: Mapping[str, Figure], place: int) -> float | None:
        """Points for the main figure: how far it is on the bad side of its baseline, as a share of the scale."""
        main = self._monitor.baselines.main
        for name in (main, "reported_accuracy"):
            value, baseline = _known(found[name], place), self._baseline(place, name)
            if value is not None and baseline is not None:
                away = (
                    baseline - value if name != "mean_absolute_error" else (value - baseline) / self._family.tolerance
                )
                return _points(away, 0.0, NEAR_BASELINE)
        return None

    def _against(self, found: Mapping[str, Figure], place: int, *names: str) -> float | None:
        for name in names:
            value, baseline = _known(found[name], place), self._baseline(place, name)
            if value is not None and baseline:
                return value / baseline
        return None

    def _baseline(self, place: int, name: str) -> float | None:
        value = float(self._monitor.series.col["baselines"][self.series[place], PLACE[name]])
        return None if math.isnan(value) else value

    # -- histograms --------------------------------------------------------------------------------------------------

    def calibration(self, place: int) -> list[CalibrationBin]:
        """Return the bins of the calibration curve that hold labels."""
        if "curve_n" not in self._wide:
            return []
        bins = zip(
            *(self._wide[name][place].tolist() for name in ("curve_n", "curve_outputs", "curve_labels")), strict=True
        )
        return [
            CalibrationBin(n=int(n), predicted=min(1.0, outputs / n), observed=labels / n)
            for n, outputs, labels in bins
            if n
        ]

    def classes(self) -> list[str]:
        """Return the names of the confusion matrix's rows and columns."""
        if self._family.task == "binary":
            return ["0", "1"]
        return list(self._family.classes) if len(self._family.classes) <= MAX_MATRIX else []

    def confusion(self, place: int) -> list[list[int]]:
        """Return the confusion matrix of the window: a row for each true class, a column for each predicted one."""
        if "matrix" in self._wide:
            return [[int(count) for count in row] for row in self._wide["matrix"][place]]
        if self._family.task != "binary":
            return []
        n, tp, fp, fn = (int(self._served[name][place].sum()) for name in ("n", "tp", "fp", "fn"))
        return [[n - tp - fp - fn, fp], [fn, tp]] if n else []


def _known(figure: Figure, place: int) -> float | None:
    value = float(figure.value[place])
    return value if figure.n[place] >= LEAST_MEASURED and math.isfinite(value) else None


def _points(value: float, whole: float, half: float) -> float:
    return 1.0 if value <= whole + SLACK else 0.5 if value <= half + SLACK else 0.0


def _mean(total: float, n: float) -> float | None:
    return float(total / n) if n else None
