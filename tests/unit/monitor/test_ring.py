"""Panes turn, windows forget, and what comes too late is left out, however records are batched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.monitor.ring import Ring
from adaptive_stream.stats.rows import Rows
from tests.unit.monitor.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Sequence

PANE_MS = 1_000
RING = Ring("r", panes=4, pane_ms=PANE_MS, counts={"n": (), "bins": (3,)}, sums={"x": ()})


def table(series: int = 2) -> Rows:
    made = Rows(list(RING.columns()))
    made.extend(series)
    return made


def put(
    rows: Rows, panes: Sequence[int], *, nows: Sequence[int] | None = None, series: Sequence[int] | None = None
) -> list[int]:
    """Count one event in each of these panes. Returns the places that were not too late."""
    owners = np.zeros(len(panes), int) if series is None else np.array(series)
    times = np.array(panes) * PANE_MS + 7
    now = np.array(panes if nows is None else nows) * PANE_MS + 8
    places, slot = RING.turn(rows, owners, times, now)
    at = owners[places], slot
    RING.count(rows, "n", at)
    RING.count(rows, "bins", (*at, times[places] // PANE_MS % 3))
    RING.add(rows, "x", at, 0.1 * (times[places] // PANE_MS))
    return places.tolist()


def total(rows: Rows, *, pane: int, series: int = 0, name: str = "n") -> list[float] | float:
    """Return the total over the window that ends with a pane."""
    found = RING.window(rows, np.array([series]), (name,), now_ms=(pane + 1) * PANE_MS)[name][0]
    return found.tolist()


def test_a_window_forgets_pane_by_pane() -> None:
    rows = table()
    put(rows, [10, 10, 10, 11, 11, 12])
    assert [total(rows, pane=pane) for pane in range(12, 18)] == [6, 6, 3, 1, 0, 0]


def test_a_newer_pane_takes_the_place_of_an_older_one_with_nothing_left_of_it() -> None:
    rows = table()
    put(rows, [10, 10])
    put(rows, [14])
    assert total(rows, pane=14) == 1
    assert total(rows, pane=14, name="x") == pytest.approx(1.4)
    assert total(rows, pane=14, name="bins") == [0, 0, 1]


def test_one_run_may_span_panes_that_share_a_place() -> None:
    rows = table()
    assert put(rows, [10, 11, 14, 18, 18]) == [1, 3, 4], "where newer ones are, the older ones would be gone"
    assert total(rows, pane=18) == 2


def test_an_event_of_a_pane_that_left_the_window_is_left_out() -> None:
    rows = table()
    assert put(rows, [10, 6, 7, 9], nows=[10, 10, 10, 10]) == [0, 2, 3]
    assert total(rows, pane=10) == 3


def test_series_do_not_turn_each_others_panes() -> None:
    rows = table()
    put(rows, [10, 10, 14], series=[0, 1, 1])
    assert (total(rows, pane=10), total(rows, pane=14, series=1)) == (1, 1)
    assert total(rows, pane=14) == 0


def test_a_window_that_ends_on_an_edge_holds_the_pane_before_it_last() -> None:
    rows = table()
    put(rows, [10])
    edge = 14 * PANE_MS
    assert RING.window(rows, np.array([0]), ("n",), now_ms=edge)["n"].tolist() == [1]
    assert RING.window(rows, np.array([0]), ("n",), now_ms=edge + 1)["n"].tolist() == [0]
    numbers, slots = RING.recent(edge, 10)
    assert numbers.tolist() == [10, 11, 12, 13]
    assert slots.tolist() == [2, 3, 0, 1]


@pytest.mark.parametrize("cut", [1, 2, 7, 100])
def test_any_batching_gives_the_same_bits(cut: int) -> None:
    dice = np.random.default_rng(3)
    nows = np.sort(dice.integers(10, 40, 200))
    panes = nows - dice.integers(0, 6, 200)
    series = dice.integers(0, 2, 200)
    whole, parts = table(), table()
    put(whole, panes.tolist(), nows=nows.tolist(), series=series.tolist())
    for start in range(0, 200, cut):
        part = slice(start, start + cut)
        put(parts, panes[part].tolist(), nows=nows[part].tolist(), series=series[part].tolist())
    for name, values in whole.col.items():
        assert values[:2].tobytes() == parts.col[name][:2].tobytes(), name


def test_a_label_too_late_for_its_pane_is_counted_and_is_in_the_totals_alone() -> None:
    made = Measured()
    made.label([0.9, 0.9], [1, 0], at_s=0, came_s=8 * 60)
    assert made.monitor.dropped["pane_expired"] == 2
    assert made.held("labelled") == 2
    assert made.figure("accuracy", now_s=8 * 60 + 1)[0] == 0
    assert made.figure("arrived_accuracy", now_s=8 * 60 + 1) == (2, 0.5)


def test_coarse_panes_cover_the_same_window_with_a_coarser_edge() -> None:
    made = Measured()
    ring = made.monitor.tally.coarse
    assert ring.panes * ring.pane_ms == 8 * 60_000
    made.serve([0.5], latency=10.0)
    assert made.figure("latency_p50_ms", now_s=8 * 60)[0] == 1
    assert made.figure("latency_p50_ms", now_s=10 * 60 + 1)[0] == 0
