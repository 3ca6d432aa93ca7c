"""The life of an alert: the table walked, and every rule that moves along it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive_stream.config.tree import Alerts
from adaptive_stream.monitor.alert import MOVES, Lives, Move, Stage, Turns, look

FRESH = Alerts(drop=0.1, drop_high=0.2, recovery=0.5)


class Series:
    """One series whose alert is looked at once a second."""

    def __init__(self, rule: Alerts, *, size: int = 1) -> None:
        self.rule = rule
        self.now_ms = 1_000_000
        self.lives = Lives(
            stage=np.zeros(size, np.uint8),
            is_high=np.zeros(size, np.uint8),
            since_ms=np.full(size, -1, np.int64),
            starts_ms=np.full(size, -1, np.int64),
        )

    def see(self, *drops: float, is_evident: bool = True) -> Turns:
        self.now_ms += 1_000
        return look(
            self.lives,
            drop=np.array(drops),
            is_evident=np.full(len(drops), is_evident),
            rule=self.rule,
            now_ms=self.now_ms,
        )

    @property
    def stage(self) -> Stage:
        return Stage(int(self.lives.stage[0]))


def told(turns: Turns) -> tuple[list[int], list[int], list[int]]:
    return turns.fired.tolist(), turns.escalated.tolist(), turns.resolved.tolist()


NOTHING = ([], [], [])


# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_stage_has_a_way_in_from_ok_and_a_way_out() -> None:
    assert set(MOVES) == set(Stage)
    reached, waiting = {Stage.OK}, [Stage.OK]
    while waiting:
        for stage in MOVES[waiting.pop()].values():
            if stage not in reached:
                reached.add(stage)
                waiting.append(stage)
    assert reached == set(Stage)
    assert all(MOVES[stage] for stage in Stage), "no stage of this life is terminal"
    assert {move for moves in MOVES.values() for move in moves} == set(Move)


def test_no_life_changes_but_along_the_table() -> None:
    """Any drop in any order: what a look does to the stage is a walk along the table."""
    dice = np.random.default_rng(5)
    size = 60
    series = Series(Alerts(drop=0.1, drop_high=0.2, for_s=2, cool_down_s=2), size=size)
    seen = set()
    for _ in range(200):
        before = series.lives.stage.copy()
        series.now_ms += 1_000
        look(
            series.lives,
            drop=dice.choice([-0.1, 0.02, 0.07, 0.15, 0.3, math.nan], size),
            is_evident=dice.random(size) < 0.8,
            rule=series.rule,
            now_ms=series.now_ms,
        )
        seen |= set(zip(before.tolist(), series.lives.stage.tolist(), strict=True))
    direct = {(int(start), int(end)) for start, moves in MOVES.items() for end in moves.values()}
    # a rest and a breach may fall on one look
    assert seen - {(s, s) for s in range(4)} == direct | {(int(Stage.RESOLVED), int(Stage.PENDING))}


# -- the rules ---------------------------------------------------------------------------------------------------------


def test_an_evident_drop_fires_at_once_when_it_need_not_last() -> None:
    series = Series(FRESH)
    assert told(series.see(0.15)) == ([0], [], [])
    assert series.stage is Stage.FIRING
    assert series.lives.starts_ms[0] == series.now_ms
    assert series.lives.is_high[0] == 0
    assert told(series.see(0.15)) == NOTHING, "an alert that goes on is not told again"


@pytest.mark.parametrize(("drop", "is_evident"), [(0.1, True), (0.3, False), (-0.5, True), (math.nan, False)])
def test_what_is_no_evident_drop_fires_nothing(drop: float, is_evident: bool) -> None:  # noqa: FBT001
    series = Series(FRESH)
    assert told(series.see(drop, is_evident=is_evident)) == NOTHING
    assert series.stage is Stage.OK


def test_a_drop_that_must_last_is_pending_until_it_has() -> None:
    series = Series(Alerts(drop=0.1, drop_high=0.2, for_s=3))
    for _ in range(3):
        assert told(series.see(0.15)) == NOTHING
        assert series.stage is Stage.PENDING
    assert told(series.see(0.15)) == ([0], [], [])
    assert series.lives.starts_ms[0] == series.now_ms, "it starts when it fires"


def test_a_drop_that_does_not_last_is_forgotten() -> None:
    series = Series(Alerts(drop=0.1, drop_high=0.2, for_s=2))
    for _ in range(5):
        assert told(series.see(0.15)) == told(series.see(0.15)) == NOTHING
        assert series.stage is Stage.PENDING
        assert told(series.see(0.09)) == NOTHING
        assert series.stage is Stage.OK
    series.see(0.15)
    series.see(0.15, is_evident=False)
    assert series.stage is Stage.OK


def test_a_deep_drop_is_high_from_the_start() -> None:
    series = Series(FRESH)
    assert told(series.see(0.25)) == ([0], [], [])
    assert series.lives.is_high[0] == 1
    assert told(series.see(0.3)) == NOTHING


def test_a_drop_that_deepens_is_told_once_more_and_stays_high() -> None:
    series = Series(FRESH)
    series.see(0.15)
    started = series.now_ms
    assert told(series.see(0.25, is_evident=False)) == NOTHING
    assert told(series.see(0.25)) == ([], [0], [])
    assert told(series.see(0.15)) == told(series.see(0.25)) == NOTHING
    assert series.lives.is_high[0] == 1
    assert series.lives.starts_ms[0] == started


def test_it_is_resolved_only_well_inside_the_threshold() -> None:
    series = Series(FRESH)
    series.see(0.15)
    for drop in (0.099, 0.06, 0.05, math.nan):
        assert told(series.see(drop, is_evident=False)) == NOTHING
        assert series.stage is Stage.FIRING
    assert told(series.see(0.049, is_evident=False)) == ([], [], [0])
    assert series.stage is Stage.RESOLVED


def test_the_next_alert_begins_as_medium_with_its_own_start() -> None:
    series = Series(FRESH)
    series.see(0.25)
    first = series.now_ms
    series.see(0.0)
    assert told(series.see(0.15)) == ([0], [], [])
    assert series.lives.is_high[0] == 0
    assert series.lives.starts_ms[0] > first


def test_after_a_resolution_there_is_quiet_for_the_cool_down() -> None:
    series = Series(Alerts(drop=0.1, drop_high=0.2, cool_down_s=3))
    series.see(0.15)
    series.see(0.0)
    for _ in range(2):
        assert told(series.see(0.3)) == NOTHING
        assert series.stage is Stage.RESOLVED
    assert told(series.see(0.3)) == ([0], [], [])


def test_each_series_has_its_own_life() -> None:
    series = Series(FRESH, size=4)
    assert told(series.see(0.0, 0.15, 0.25, math.nan)) == ([1, 2], [], [])
    assert told(series.see(0.15, 0.25, 0.0, math.nan)) == ([0], [1], [2])
    assert [Stage(int(stage)) for stage in series.lives.stage] == [
        Stage.FIRING,
        Stage.FIRING,
        Stage.RESOLVED,
        Stage.OK,
    ]
