"""The life of an alert, as a table, over all series at once; and the rules that move it.

Owns when an alert begins, escalates, is told again and ends. Never measures: figures and baselines are handed in.
Called at the grid points of stream time.

    OK ──breach──► PENDING ──last──► FIRING ──recover──► RESOLVED ──rest──► OK
     ▲                │
     └────clear───────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptive_stream.monitor.ring import NEVER
from adaptive_stream.stats.rows import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from adaptive_stream.config.rule import Rule
    from adaptive_stream.monitor.figures import Figure
    from adaptive_stream.stats.rows import Rows

    Array = NDArray[np.float64]


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
LIVES = {"stage": ("|u1", 0), "is_high": ("|u1", 0), "since_ms": ("<i8", NEVER), "starts_ms": ("<i8", NEVER)}
OWED = -2  # in place of the time at which it was told: its beginning was, that it grew worse under a silence was not
SLACK = 1e-9  # 0.9 - 0.85 is not more than 0.05, whatever binary fractions say
NONE = np.zeros(0, dtype=np.int64)
NOTICES = {"told_ms": ("<i8", NEVER), "acknowledged": ("|u1", 0), "silenced_ms": ("<i8", NEVER)}


def columns(rules: int) -> Iterator[Column]:
    """Yield the columns that the series table must have, with one place for each rule."""
    for name, (dtype, fill) in (LIVES | NOTICES).items():
        yield Column(name, dtype, (rules,), fill)


class Judged(NamedTuple):
    """What a rule says of each series at one look; arrays of one length."""

    is_breach: NDArray[np.bool_]
    is_high: NDArray[np.bool_]
    is_recovered: NDArray[np.bool_]


def judge(rule: Rule, figure: Figure, baseline: Array, *, is_settled: NDArray[np.bool_] | None = None) -> Judged:
    """Hold figures against a rule. Nothing is said where the figure or its baseline is unknown.

    Args:
        rule: the levels.
        figure: of each series.
        baseline: of each series; NaN where there is none. Not looked at by an absolute rule.
        is_settled: series whose alert fires and cannot escalate: no more evidence is sought for them.
    """
    sign = -1.0 if rule.is_below else 1.0  # from here on more is worse
    scale = 1.0 if rule.compare == "delta" else sign  # a delta's level is a distance already

    def badness(values: Array, against: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            if rule.compare == "absolute":
                return sign * values
            return sign * (values / against if rule.compare == "ratio" else values - against)

    worse, clear = badness(figure.value, baseline), scale * rule.clear_level
    with np.errstate(invalid="ignore"):
        is_breach = (figure.n >= rule.min_count) & (worse > scale * rule.first_level + SLACK)
        if rule.needs_evidence and is_breach.any():  # an interval costs more than a value: only where it matters
            places = np.flatnonzero(is_breach if is_settled is None else is_breach & ~is_settled)
            low, high = figure.ends(places)
            is_breach[places] = badness(high if rule.is_below else low, baseline[places]) > clear
        is_high = is_breach & (worse > scale * rule.high + SLACK) if rule.high is not None else np.zeros_like(is_breach)
        # where the level of the end is that of the beginning, what is just not beyond it is over
        is_recovered = worse <= clear + SLACK if rule.clear_level == rule.first_level else worse < clear - SLACK
    return Judged(is_breach, is_high, is_recovered)


def settled(table: Rows, series: NDArray[np.int64], place: int, rule: Rule) -> NDArray[np.bool_]:
    """Say whose alert of a rule fires and cannot escalate: only its end is still to be found."""
    is_firing = table.col["stage"][series, place] == Stage.FIRING
    found: NDArray[np.bool_] = is_firing & ((table.col["is_high"][series, place] > 0) | (rule.high is None))
    return found


def threshold(rule: Rule, baseline: float) -> float:
    """Return the level at which the alert begins, in units of the figure."""
    if rule.compare == "ratio":
        return baseline * rule.first_level
    if rule.compare == "delta":
        return baseline - rule.first_level if rule.is_below else baseline + rule.first_level
    return rule.first_level


@dataclass(frozen=True, slots=True)
class Turns:
    """What is to be told after one look: places among the series looked at."""

    fired: NDArray[np.int64]
    escalated: NDArray[np.int64]
    resolved: NDArray[np.int64]
    repeated: NDArray[np.int64]


def look(table: Rows, series: NDArray[np.int64], place: int, *, judged: Judged, rule: Rule, now_ms: int) -> Turns:
    """Advance the lives of one rule by one look.

    Args:
        table: of the series, with the columns of the lives.
        series: those looked at, each once.
        place: of the rule in the columns.
        judged: what the rule says of each.
        rule: how long it must last, and when it is told again.
        now_ms: the grid point.
    """
    if not judged.is_breach.any() and not table.col["stage"][series, place].any():
        return Turns(NONE, NONE, NONE, NONE)
    col = {name: table.col[name][series, place] for name in (*LIVES, *NOTICES)}
    _move(col, Stage.RESOLVED, Move.REST, col["since_ms"] + rule.cool_down_s * 1000 <= now_ms, now_ms)
    _move(col, Stage.PENDING, Move.CLEAR, ~judged.is_breach, now_ms)
    _move(col, Stage.OK, Move.BREACH, judged.is_breach, now_ms)
    fired = _move(col, Stage.PENDING, Move.LAST, col["since_ms"] + rule.for_s * 1000 <= now_ms, now_ms)
    col["starts_ms"][fired] = now_ms
    col["is_high"][fired] = judged.is_high[fired]
    col["acknowledged"][fired] = 0
    col["told_ms"][fired] = NEVER
    escalated = np.setdiff1d(
        np.flatnonzero((col["stage"] == Stage.FIRING) & judged.is_high & (col["is_high"] == 0)), fired
    )
    col["is_high"][escalated] = 1
    resolved = _move(col, Stage.FIRING, Move.RECOVER, judged.is_recovered, now_ms)

    is_silent = col["silenced_ms"] > now_ms
    is_told = col["told_ms"] != NEVER
    is_firing = col["stage"] == Stage.FIRING
    col["told_ms"][escalated[is_silent[escalated] & is_told[escalated]]] = OWED
    grown = np.union1d(escalated, np.flatnonzero(is_firing & (col["told_ms"] == OWED)))
    is_old = (rule.repeat_s > 0) & (now_ms - col["told_ms"] >= rule.repeat_s * 1000) & (col["acknowledged"] == 0)
    again = np.flatnonzero(is_firing & ~is_silent & (~is_told | is_old))
    turns = Turns(
        fired=np.intersect1d(fired, again),
        escalated=grown[~is_silent[grown]],
        resolved=resolved[is_told[resolved]],  # in a silence as well: who was told of the beginning waits for the end
        repeated=np.setdiff1d(again, np.r_[fired, grown]),
    )
    col["told_ms"][again] = now_ms
    col["told_ms"][turns.escalated] = now_ms
    for name, values in col.items():
        table.col[name][series, place] = values
    return turns


def _move(
    col: dict[str, NDArray[np.int64]], stage: Stage, move: Move, when: NDArray[np.bool_], now_ms: int
) -> NDArray[np.int64]:
    places = np.flatnonzero((col["stage"] == stage) & when)
    col["stage"][places] = MOVES[stage][move]
    col["since_ms"][places] = now_ms
    return places
