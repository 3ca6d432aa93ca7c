"""When a risen loss is back: an alarm of performance lasts that long, or until somebody accepts what is new.

Owns what "back" means, and the evidence for it. The detectors cannot say it: after an alarm they gather a new
reference, so that they see a loss that rises further. Called by the drift of a fleet at its looks.

The evidence bets against "a third of the rise is left": a pane of n labels is worth exp(t hits - n log(1 - q + q e^t)),
q being the share of hits at that loss, and is fair for any losses in [0, 1] of that mean or a larger one. Panes are
multiplied up, and anew from 1 where that is more (CUSUM; Page 1954). So an alarm ends by mistake at most once in
``ENOUGH`` panes while a third is left, and hardly ever while all of it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptive_stream.core.finding import Alarmed
    from adaptive_stream.monitor.monitor import Monitor

LEFT, MOST_LEFT = 1 / 3, 0.05  # of a rise: the share, and how much of the loss, that may be left when it is back
ENOUGH = 1_000.0
AT_ONCE = 1_024  # alarms; each looks at the panes of a window
LEAST = 1e-4  # of a rise, and of a loss before


def back(alarms: Sequence[Alarmed], monitor: Monitor, *, now_ms: int) -> list[Alarmed]:
    """Count the labels since the last look, and return the alarms whose loss has come back.

    Args:
        alarms: of performance, whose loss before is known.
        monitor: holds the panes of their labels.
        now_ms: the look's stream time.
    """
    found = []
    for start in range(0, len(alarms), AT_ONCE):
        some = alarms[start : start + AT_ONCE]
        score = _counted(some, monitor, now_ms=now_ms)
        found += [some[place] for place in np.flatnonzero(score >= math.log(ENOUGH)).tolist()]
    return found


def _counted(alarms: Sequence[Alarmed], monitor: Monitor, *, now_ms: int) -> NDArray[np.float64]:
    """Take the panes that are complete into the alarms' scores, and return these with the pane that is not, too."""
    ring, col = monitor.tally.arrived, monitor.series.col
    series = np.array([alarm.series for alarm in alarms], dtype=np.int64)
    counted_ms = np.array([alarm.counted_ms for alarm in alarms], dtype=np.int64)
    before = np.maximum(np.array([alarm.before for alarm in alarms], dtype=np.float64), LEAST)
    rise = np.maximum(np.array([alarm.risen for alarm in alarms], dtype=np.float64) - before, LEAST)
    worth = np.array([alarm.worth for alarm in alarms], dtype=np.float64)
    hits_then = 1.0 - np.minimum(before, 1.0 - 2 * LEAST)
    hits_risen = np.maximum(hits_then - np.minimum(LEFT * rise, MOST_LEFT), LEAST)
    tilt = np.log(hits_then * (1 - hits_risen) / (hits_risen * (1 - hits_then)))
    price = np.log1p(hits_risen * np.expm1(tilt))
    score = np.array([alarm.score for alarm in alarms], dtype=np.float64)
    complete = score
    complete_ms = now_ms // ring.pane_ms * ring.pane_ms
    for number, slot in zip(*(one.tolist() for one in ring.recent(now_ms, ring.panes)), strict=True):
        is_new = (col["arrived_pane"][series, slot] == number) & (number * ring.pane_ms >= counted_ms)
        n, hits = (np.where(is_new, col[f"arrived_{name}"][series, slot], 0) for name in ("n", "score"))
        score = np.maximum(score, 0) + worth * (tilt * hits - price * n)
        if (number + 1) * ring.pane_ms <= complete_ms:
            complete = score
    for alarm, value in zip(alarms, complete.tolist(), strict=True):
        alarm.score, alarm.counted_ms = value, max(alarm.counted_ms, complete_ms)
    return score
