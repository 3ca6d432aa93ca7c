"""How the records of a series flow: when the last ones came, how many a window brings, how many were refused.

Owns the columns of that. Ages are by stream time; while a task has nothing to step they grow with the journalled cut
times, so that a restore finds the same silence. Called by the monitor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.monitor import figures
from adaptive_stream.monitor.figures import Figure
from adaptive_stream.monitor.ring import NEVER, Ring
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adaptive_stream.monitor.tally import Tally
    from adaptive_stream.stats.rows import Rows

MEMORY = 7  # windows that the usual volume remembers: a week of days
LEAST_WINDOWS = 3  # whole windows before a volume can be unusual


class Flow:
    """The flow columns of one fleet's series.

    Args:
        tally: for its panes.
    """

    def __init__(self, tally: Tally) -> None:
        ring = tally.served
        self._served = ring
        self._window_ms = ring.panes * ring.pane_ms
        self.refused = Ring("refusals", panes=4, pane_ms=-(-self._window_ms // 4), counts={"refused": ()}, sums={})

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        yield from self.refused.columns()
        for name in ("first_ms", "last_prediction_ms", "last_label_ms", "volume_window"):
            yield Column(name, "<i8", (), NEVER)
        yield Column("volume_count", "<i8")
        yield Column("volume_windows", "<i4")
        yield Column("volume_mean", "<f8", (), np.nan)
        yield Column("volume_fold", "<f8", (), np.nan)

    def predicted(self, table: Rows, series: NDArray[np.int64], now_ms: NDArray[np.int64]) -> None:
        """Note predictions. Stream time never goes back, so that a window is over when a later one begins."""
        col = table.col
        fresh = col["first_ms"][series] == NEVER
        if fresh.any():
            col["first_ms"][series[fresh][::-1]] = now_ms[fresh][::-1]  # of several of one series the first one stays
        np.maximum.at(col["last_prediction_ms"], series, now_ms)
        window = now_ms // self._window_ms
        for number in np.unique(window).tolist():
            mine = series[window == number]
            self._begin(table, np.unique(mine[col["volume_window"][mine] < number]), number)
            np.add.at(col["volume_count"], mine, 1)

    def _begin(self, table: Rows, series: NDArray[np.int64], number: int) -> None:
        """Close the window that each of these series was in."""
        col = table.col
        count, mean = col["volume_count"][series].astype(np.float64), col["volume_mean"][series]
        before = col["volume_windows"][series]
        # the first window of a series begins somewhere inside: it says nothing of the usual volume
        is_whole = (col["volume_window"][series] != NEVER) & (before > 0)
        is_known = is_whole & (before > LEAST_WINDOWS)
        with np.errstate(divide="ignore", invalid="ignore"):
            fold = np.maximum(count, 1) / np.maximum(mean, 1)
            col["volume_fold"][series] = np.where(is_known, np.maximum(fold, 1 / fold), np.nan)
        weight = 1 / np.clip(before, 1, MEMORY)
        moved = np.where(np.isnan(mean), count, mean + weight * (count - mean))
        col["volume_mean"][series] = np.where(is_whole, moved, mean)
        col["volume_windows"][series] = before + (col["volume_window"][series] != NEVER)
        col["volume_window"][series] = number
        col["volume_count"][series] = 0

    def labelled(self, table: Rows, series: NDArray[np.int64], now_ms: NDArray[np.int64]) -> None:
        """Note labels, and other feedback."""
        np.maximum.at(table.col["last_label_ms"], series, now_ms)

    def figures(
        self, table: Rows, series: NDArray[np.int64], *, now_ms: int, idle_ms: int, predictions: NDArray[np.float64]
    ) -> dict[str, Figure]:
        """Return the figures of flow.

        Args:
            table: of the series.
            series: those asked for.
            now_ms: stream time.
            idle_ms: wall time since the last record of the task, by the journalled cut times; 0 while records come.
            predictions: in the window, of each series.
        """
        col = table.col
        last, label = col["last_prediction_ms"][series], col["last_label_ms"][series]
        is_waiting = (last > label) & (last != NEVER)
        since = np.where(label == NEVER, col["first_ms"][series], label)
        age = np.where(is_waiting, (now_ms + idle_ms - since) / 1000, np.where(last == NEVER, np.nan, 0.0))
        silence = np.where(last == NEVER, np.nan, (now_ms + idle_ms - last) / 1000)
        refused = self.refused.window(table, series, ("refused",), now_ms=now_ms)["refused"]
        fold, mean = col["volume_fold"][series], np.nan_to_num(col["volume_mean"][series])
        return {
            "feedback_age_s": _point(predictions, age),
            "predictions_age_s": _point(col["predictions"][series].astype(np.float64), silence),
            "volume_fold": _point(mean, fold),
            "refused_rate": figures.mean(predictions + refused, refused),
        }


def _point(n: NDArray[np.float64], value: NDArray[np.float64]) -> Figure:
    """Return a figure that is known exactly."""
    return Figure(n, value)
