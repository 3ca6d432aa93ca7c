"""When a risen loss is back: an alarm of performance lasts that long, or until somebody accepts what is new.

Owns what "back" means. The detectors cannot say it: after an alarm they gather a new reference, so that they see a loss
that rises further. Called by the drift of a fleet at points of the grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptive_stream.core.finding import Alarmed
    from adaptive_stream.monitor.monitor import Monitor

    Array = NDArray[np.float64]

LEFT = 0.1  # share of the rise that may be left of it
APART = 8.0  # standard errors of the newest labels between the loss before and the risen one
LEAST = 1e-6  # a rise of nothing leaves nothing to tell apart


def is_back(alarms: Sequence[Alarmed], monitor: Monitor, *, now_ms: int) -> NDArray[np.bool_]:
    """Say of which alarms the loss has come back.

    The newest panes that began after the alarm are looked at, as many as have the labels that tell the loss before from
    the risen one; or all panes of the window, once it is younger than the alarm.

    Args:
        alarms: of performance, whose loss before is known.
        monitor: counts the labels of their series.
        now_ms: the grid point.
    """
    ring = monitor.tally.arrived
    series = np.array([alarm.series for alarm in alarms], dtype=np.int64)
    before = np.array([alarm.before for alarm in alarms], dtype=np.float64)
    rise = np.maximum(np.array([alarm.risen for alarm in alarms], dtype=np.float64) - before, LEAST)
    worth = np.array([alarm.worth for alarm in alarms], dtype=np.float64)
    at_ms = np.array([alarm.at_ms for alarm in alarms], dtype=np.int64)
    numbers, slots = ring.recent(now_ms, ring.panes)
    numbers, slots = numbers[::-1], slots[::-1]  # the newest first
    col = monitor.series.col
    held = col["arrived_pane"][series[:, None], slots]
    is_since = (held == numbers) & (numbers * ring.pane_ms >= at_ms[:, None])
    n = np.where(is_since, col["arrived_n"][series[:, None], slots], 0).cumsum(axis=1, dtype=np.float64)
    hits = np.where(is_since, col["arrived_score"][series[:, None], slots], 0).cumsum(axis=1, dtype=np.float64)
    middle = np.clip(before + rise / 2, 0.0, 1.0)
    wanted = APART**2 * middle * (1 - middle) / (rise**2 * worth)
    is_enough = n >= np.maximum(wanted, 1)[:, None]
    is_known = is_enough.any(axis=1)
    place = np.where(is_known, is_enough.argmax(axis=1), -1)
    rows = np.arange(len(series))
    count = n[rows, place]
    loss = 1.0 - hits[rows, place] / np.maximum(count, 1)
    is_old = (count > 0) & (numbers[-1] * ring.pane_ms >= at_ms)
    found: NDArray[np.bool_] = (is_known | is_old) & (loss <= before + LEFT * rise)
    return found
