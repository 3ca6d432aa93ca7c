"""The life of an alert, as a table, over all series at once.

Owns when an alert begins, escalates and ends. Never measures; the monitor hands it drops and evidence. Called at the
grid points of stream time.

    OK ──breach──► PENDING ──last──► FIRING ──recover──► RESOLVED ──rest──► OK
     ▲                │
     └────clear───────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.config.tree import Alerts


class Stage(IntEnum):
    """Where an alert is in its life; the number is what the series table holds."""

    OK = 0
    PENDING = 1
    FIRING = 2
    RESOLVED = 3


class Move(IntEnum):
    """What changes the stage."""

    BREACH = 0
    LAST = 1
    CLEAR = 2
    RECOVER = 3
    REST = 4


MOVES: dict[Stage, dict[Move, Stage]] = {
    Stage.OK: {Move.BREACH: Stage.PENDING},
    Stage.PENDING: {Move.LAST: Stage.FIRING, Move.CLEAR: Stage.OK},
    Stage.FIRING: {Move.RECOVER: Stage.RESOLVED},
    Stage.RESOLVED: {Move.REST: Stage.OK},
}


@dataclass(frozen=True, slots=True)
class Turns:
    """What changed at one look: places among the series looked at."""

    fired: NDArray[np.int64]
    escalated: NDArray[np.int64]
    resolved: NDArray[np.int64]


@dataclass(slots=True)
class Lives:
    """The alert columns of the series looked at; arrays of one length, changed in place."""

    stage: NDArray[np.uint8]
    is_high: NDArray[np.uint8]
    since_ms: NDArray[np.int64]  # when the stage began
    starts_ms: NDArray[np.int64]  # when the alert began to fire


def look(lives: Lives, *, drop: NDArray[np.float64], is_evident: NDArray[np.bool_], rule: Alerts, now_ms: int) -> Turns:
    """Advance every life by one look.

    Args:
        lives: advanced in place.
        drop: how far below the baseline, NaN where it cannot be said.
        is_evident: whether there are labels enough and the interval excludes chance.
        rule: the thresholds.
        now_ms: the grid point.
    """
    with np.errstate(invalid="ignore"):
        is_breach = is_evident & (drop > rule.drop)
        is_high = is_evident & (drop > rule.drop_high)
        is_recovered = drop < rule.recovery * rule.drop
    _move(lives, Stage.RESOLVED, Move.REST, lives.since_ms + rule.cool_down_s * 1000 <= now_ms, now_ms)
    _move(lives, Stage.PENDING, Move.CLEAR, ~is_breach, now_ms)
    _move(lives, Stage.OK, Move.BREACH, is_breach, now_ms)
    fired = _move(lives, Stage.PENDING, Move.LAST, lives.since_ms + rule.for_s * 1000 <= now_ms, now_ms)
    lives.starts_ms[fired] = now_ms
    lives.is_high[fired] = is_high[fired]
    escalated = np.setdiff1d(np.flatnonzero((lives.stage == Stage.FIRING) & is_high & (lives.is_high == 0)), fired)
    lives.is_high[escalated] = 1
    resolved = _move(lives, Stage.FIRING, Move.RECOVER, is_recovered, now_ms)
    return Turns(fired=fired, escalated=escalated, resolved=resolved)


def _move(lives: Lives, stage: Stage, move: Move, when: NDArray[np.bool_], now_ms: int) -> NDArray[np.int64]:
    places = np.flatnonzero((lives.stage == stage) & when)
    lives.stage[places] = MOVES[stage][move]
    lives.since_ms[places] = now_ms
    return places
