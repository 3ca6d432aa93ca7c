"""Panes of event time for every series: counts and sums that a window adds up.

Owns the turn of a pane: when a newer one takes its place, what it held is gone. Never knows what is counted. The
columns live in the table of the series, so that snapshot and restore are written once. Called by the monitor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from adaptive_stream.stats.rows import Rows

NEVER = -1
COUNT, SUM = "<u4", "<f8"  # a pane never sees four billion records


@dataclass(frozen=True)
class Ring:
    """A ring of panes.

    Args:
        name: in front of its columns' names.
        panes: how many are held.
        pane_ms: event time of one.
        counts: names of what is counted, each with the shape of one pane's value.
        sums: the same of what is summed.
    """

    name: str
    panes: int
    pane_ms: int
    counts: Mapping[str, tuple[int, ...]]
    sums: Mapping[str, tuple[int, ...]]

    def columns(self) -> Iterator[Column]:
        """Yield the columns that the table must have."""
        yield Column(f"{self.name}_pane", "<i8", (self.panes,), NEVER)
        for names, dtype in ((self.counts, COUNT), (self.sums, SUM)):
            for name, shape in names.items():
                yield Column(f"{self.name}_{name}", dtype, (self.panes, *shape))

    def turn(
        self, table: Rows, series: NDArray[np.int64], times_ms: NDArray[np.int64], now_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Make room for events and say where they go.

        Args:
            table: with the columns.
            series: of each event, in record order.
            times_ms: event times, to which they are credited.
            now_ms: stream time when each came.

        Returns:
            Places of the events that are not too late, and the slot of each of these.
        """
        col = table.col
        pane = times_ms // self.pane_ms
        kept = np.flatnonzero(pane > now_ms // self.pane_ms - self.panes)
        series, pane = series[kept], pane[kept]
        slot = pane % self.panes
        held = col[f"{self.name}_pane"]
        before = held[series, slot]
        np.maximum.at(held, (series, slot), pane)
        is_turned = held[series, slot] > before
        if is_turned.any():
            turned = series[is_turned], slot[is_turned]
            for name in (*self.counts, *self.sums):
                col[f"{self.name}_{name}"][turned] = 0
        is_held = held[series, slot] == pane  # a newer one of the same run may have taken the place
        return kept[is_held], slot[is_held]

    def count(self, table: Rows, name: str, at: tuple[NDArray[np.int64], ...]) -> None:
        """Count events at (series, slot) and further places inside a pane's value."""
        np.add.at(table.col[f"{self.name}_{name}"], at, np.uint32(1))

    def add(self, table: Rows, name: str, at: tuple[NDArray[np.int64], ...], values: NDArray[np.float64]) -> None:
        """Add values, in record order: any slicing gives the same bits."""
        np.add.at(table.col[f"{self.name}_{name}"], at, values)

    def window(
        self, table: Rows, series: NDArray[np.int64], names: Sequence[str], *, now_ms: int
    ) -> dict[str, NDArray[np.float64]]:
        """Return the totals over the panes that end at or before ``now_ms`` and are not too old, one row a series."""
        is_live = self.live(table, series, now_ms=now_ms)
        return {name: self.total(table, series, name, is_live=is_live) for name in names}

    def total(
        self, table: Rows, series: NDArray[np.int64], name: str, *, is_live: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return the total over the panes that are live, one row a series."""
        values = table.col[f"{self.name}_{name}"][series]
        mask = is_live.reshape(*is_live.shape, *([1] * (values.ndim - 2)))
        total: NDArray[np.float64] = np.where(mask, values, 0).sum(axis=1, dtype=np.float64)
        return total

    def live(self, table: Rows, series: NDArray[np.int64], *, now_ms: int) -> NDArray[np.bool_]:
        """Say which slots hold a pane of the window that ends at ``now_ms``; shape (series, panes)."""
        oldest = (now_ms - 1) // self.pane_ms - self.panes
        is_live: NDArray[np.bool_] = table.col[f"{self.name}_pane"][series] > oldest
        return is_live

    def recent(self, now_ms: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers and the slots of the newest panes of the window, oldest first."""
        newest = (now_ms - 1) // self.pane_ms
        numbers = np.arange(newest - min(count, self.panes) + 1, newest + 1)
        return numbers, numbers % self.panes
