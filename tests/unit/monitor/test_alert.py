"""The life of an alert: the table walked, and every rule that moves along it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from adaptive_stream.config.rule import Rule
from adaptive_stream.monitor.alert import MOVES, Judged, Move, Stage, Turns, columns, judge, look, threshold
from adaptive_stream.monitor.figures import Figure, mean
from adaptive_stream.stats.rows import Rows

FRESH = Rule(metric="error_rate", medium=0.2, high=0.4, clear=0.1, needs_evidence=False, min_count=1, repeat_s=0)


class Watched:
    """Series whose alert is looked at once a second."""

    def __init__(self, size: int = 1, **rule: Any) -> None:  # noqa: ANN401
        self.rule = Rule.model_validate({**FRESH.model_dump(), **rule})
        self.now_ms = 1_000_000
        self.rows = Rows(list(columns(1)))
        self.rows.extend(size)

    def see(self, *values: float, n: float = 100, baseline: float = math.nan) -> Turns:
        self.now_ms += 1_000
        return self.turn(judge(self.rule, figure(*values, n=n), np.full(len(values), baseline)))

    def turn(self, judged: Judged) -> Turns:
        series = np.arange(len(judged.is_breach))
        return look(self.rows, series, 0, judged=judged, rule=self.rule, now_ms=self.now_ms)

    def held(self, name: str) -> list[int]:
        found: list[int] = self.rows.col[name][: self.rows.count, 0].tolist()
        return found

    @property
    def stage(self) -> Stage:
        return Stage(self.held("stage")[0])


def figure(*values: float, n: float = 100) -> Figure:
    return Figure(np.full(len(values), n), np.array(values))


def told(turns: Turns) -> str:
    """Return what is told of one series."""
    said = [name for name in ("fired", "escalated", "resolved", "repeated") if len(getattr(turns, name))]
    assert len(said) <= 1, "one notice a look"
    return said[0] if said else ""


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
    """Any figure in any order: what a look does to the stage is a walk along the table."""
    dice = np.random.default_rng(5)
    size = 60
    watched = Watched(size, for_s=2, cool_down_s=2)
    seen = set()
    for _ in range(200):
        before = watched.held("stage")
        watched.see(*dice.choice([0.0, 0.15, 0.3, 0.5, math.nan], size, p=[0.3, 0.1, 0.4, 0.1, 0.1]).tolist())
        seen |= set(zip(before, watched.held("stage"), strict=True))
    direct = {(int(start), int(end)) for start, moves in MOVES.items() for end in moves.values()}
    # a rest and a breach may fall on one look
    assert seen - {(s, s) for s in range(4)} == direct | {(int(Stage.RESOLVED), int(Stage.PENDING))}


# -- the life ----------------------------------------------------------------------------------------------------------


def test_a_breach_fires_at_once_when_it_need_not_last() -> None:
    watched = Watched()
    assert told(watched.see(0.3)) == "fired"
    assert watched.stage is Stage.FIRING
    assert watched.held("starts_ms") == [watched.now_ms]
    assert told(watched.see(0.3)) == "", "an alert that goes on is not told again"


def test_a_breach_that_must_last_is_pending_until_it_has() -> None:
    watched = Watched(for_s=3)
    for _ in range(3):
        assert told(watched.see(0.3)) == ""
        assert watched.stage is Stage.PENDING
    assert told(watched.see(0.3)) == "fired"
    assert watched.held("starts_ms") == [watched.now_ms], "it starts when it fires"


def test_a_breach_that_does_not_last_is_forgotten() -> None:
    watched = Watched(for_s=2)
    for _ in range(5):
        assert told(watched.see(0.3)) == told(watched.see(0.3)) == ""
        assert told(watched.see(0.15)) == "", "below the level, whether or not well inside"
        assert watched.stage is Stage.OK


def test_it_ends_well_inside_the_level_and_never_for_want_of_data() -> None:
    watched = Watched()
    watched.see(0.3)
    for value in (0.19, 0.11, 0.1, math.nan):
        assert told(watched.see(value)) == ""
        assert watched.stage is Stage.FIRING
    assert told(watched.see(0.09)) == "resolved"
    assert watched.stage is Stage.RESOLVED


def test_a_severe_breach_is_high_from_the_start_and_stays_it() -> None:
    watched = Watched()
    assert told(watched.see(0.5)) == "fired"
    assert watched.held("is_high") == [1]
    assert told(watched.see(0.3)) == told(watched.see(0.5)) == ""


def test_what_grows_worse_is_told_once_more_within_the_same_life() -> None:
    watched = Watched()
    watched.see(0.3)
    started = watched.held("starts_ms")
    assert told(watched.see(0.5)) == "escalated"
    assert told(watched.see(0.3)) == told(watched.see(0.5)) == ""
    assert (watched.held("is_high"), watched.held("starts_ms")) == ([1], started)


def test_the_next_life_begins_as_medium_with_its_own_start() -> None:
    watched = Watched()
    watched.see(0.5)
    first = watched.now_ms
    watched.see(0.0)
    assert told(watched.see(0.3)) == "fired"
    assert watched.held("is_high") == [0]
    assert watched.held("starts_ms")[0] > first


def test_after_an_end_there_is_quiet_for_the_cool_down() -> None:
    watched = Watched(cool_down_s=3)
    watched.see(0.3)
    watched.see(0.0)
    for _ in range(2):
        assert told(watched.see(0.5)) == ""
        assert watched.stage is Stage.RESOLVED
    assert told(watched.see(0.5)) == "fired"


def test_what_goes_on_is_told_again_after_a_time() -> None:
    watched = Watched(repeat_s=3)
    said = [told(watched.see(0.3)) for _ in range(8)]
    assert said == ["fired", "", "", "repeated", "", "", "repeated", ""]
    assert told(watched.see(0.5)) == "escalated"
    assert [told(watched.see(0.5)) for _ in range(3)] == ["", "", "repeated"], "an escalation is a notice as well"


def test_what_is_acknowledged_is_not_told_again_until_it_ends() -> None:
    watched = Watched(repeat_s=2)
    watched.see(0.3)
    watched.rows.col["acknowledged"][0, 0] = 1
    assert [told(watched.see(0.3)) for _ in range(5)] == [""] * 5
    assert told(watched.see(0.0)) == "resolved"
    assert [told(watched.see(0.3)) for _ in range(3)] == ["fired", "", "repeated"], "the next life is not acknowledged"


def test_while_silenced_nothing_is_told_and_afterwards_what_still_goes_on() -> None:
    watched = Watched()
    watched.rows.col["silenced_ms"][0, 0] = watched.now_ms + 4_000
    assert [told(watched.see(value)) for value in (0.3, 0.5, 0.5)] == [""] * 3
    assert watched.stage is Stage.FIRING
    assert [told(watched.see(0.5)) for _ in range(2)] == ["repeated", ""]
    assert told(watched.see(0.0)) == "resolved"


def test_the_end_of_what_was_never_told_is_not_told() -> None:
    watched = Watched()
    watched.rows.col["silenced_ms"][0, 0] = watched.now_ms + 2_500
    assert [told(watched.see(value)) for value in (0.3, 0.3)] == [""] * 2
    assert told(watched.see(0.0)) == ""
    assert watched.stage is Stage.RESOLVED


def test_the_end_of_what_was_told_is_told_in_a_silence_as_well() -> None:
    watched = Watched()
    assert told(watched.see(0.3)) == "fired"
    watched.rows.col["silenced_ms"][0, 0] = watched.now_ms + 60_000
    assert [told(watched.see(value)) for value in (0.3, 0.0, 0.3, 0.0)] == ["", "resolved", "", ""]


@pytest.mark.parametrize("after", [0.5, 0.3])
def test_what_grows_worse_in_a_silence_is_told_once_after_it_even_if_acknowledged(after: float) -> None:
    watched = Watched(repeat_s=60)
    assert told(watched.see(0.3)) == "fired"
    watched.rows.col["silenced_ms"][0, 0] = watched.now_ms + 3_000
    watched.rows.col["acknowledged"][0, 0] = 1
    assert [told(watched.see(value)) for value in (0.5, after)] == [""] * 2
    assert [told(watched.see(after)) for _ in range(3)] == ["escalated", "", ""]
    assert told(watched.see(0.0)) == "resolved"


def test_what_was_told_and_grows_worse_and_ends_in_one_silence_is_told_as_over() -> None:
    watched = Watched()
    watched.see(0.3)
    watched.rows.col["silenced_ms"][0, 0] = watched.now_ms + 2_500
    assert [told(watched.see(value)) for value in (0.5, 0.0)] == ["", "resolved"]
    assert [told(watched.see(value)) for value in (0.3, 0.3)] == ["fired", ""], "what was owed is not, in the next life"


def test_each_series_has_its_own_life() -> None:
    watched = Watched(4)
    assert watched.see(0.0, 0.3, 0.5, math.nan).fired.tolist() == [1, 2]
    turns = watched.see(0.3, 0.5, 0.0, math.nan)
    assert (turns.fired.tolist(), turns.escalated.tolist(), turns.resolved.tolist()) == ([0], [1], [2])
    assert watched.held("stage") == [Stage.FIRING, Stage.FIRING, Stage.RESOLVED, Stage.OK]


# -- the judgement -----------------------------------------------------------------------------------------------------

# rule, baseline, then values: not yet bad, medium, high, not yet over, over
COMPARED = {
    "absolute above": ({}, math.nan, (0.2, 0.21, 0.41, 0.1, 0.09), 0.2),
    "absolute below": ({"when": "below", "medium": 0.8, "high": 0.6, "clear": 0.9}, math.nan,
                       (0.8, 0.79, 0.59, 0.9, 0.91), 0.8),
    "delta above": ({"compare": "delta", "medium": 0.1, "high": 0.2, "clear": None}, 0.3,
                    (0.4, 0.41, 0.51, 0.35, 0.34), 0.4),
    "delta below": ({"metric": "accuracy", "compare": "delta", "medium": 0.05, "high": 0.1, "clear": None}, 0.9,
                    (0.85, 0.849, 0.799, 0.875, 0.88), 0.85),
    "ratio above": ({"metric": "latency_p95_ms", "compare": "ratio", "medium": 2, "high": 4, "clear": None}, 10.0,
                    (20.0, 20.1, 40.1, 15.0, 14.9), 20.0),
    "ratio below": ({"metric": "accuracy", "compare": "ratio", "medium": 0.8, "high": 0.5, "clear": None}, 0.5,
                    (0.4, 0.39, 0.24, 0.45, 0.46), 0.4),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARED)
def test_every_comparison_knows_its_levels_to_the_last_digit(name: str) -> None:
    rule, baseline, (fine, medium, high, lasting, over), level = COMPARED[name]
    watched = Watched(**rule)
    said = [told(watched.see(value, baseline=baseline)) for value in (fine, medium, high, lasting, over)]
    assert said == ["", "fired", "escalated", "", "resolved"]
    assert threshold(watched.rule, baseline) == pytest.approx(level)


def test_where_the_end_is_the_beginning_what_is_just_not_beyond_it_is_over() -> None:
    watched = Watched(metric="accuracy", compare="delta", medium=0.05, high=None, clear=None, recovery=1.0)
    assert [told(watched.see(value, baseline=0.9)) for value in (0.85, 0.84, 0.85)] == ["", "fired", "resolved"]


@pytest.mark.parametrize(("value", "baseline", "n"), [(math.nan, 0.9, 100), (0.1, math.nan, 100), (0.1, 0.9, 49)])
def test_what_is_not_known_fires_nothing(value: float, baseline: float, n: float) -> None:
    watched = Watched(metric="accuracy", compare="delta", medium=0.05, high=None, clear=None, min_count=50)
    assert told(watched.see(value, n=n, baseline=baseline)) == ""
    assert watched.stage is Stage.OK


@pytest.mark.parametrize(("n", "is_breach"), [(20, False), (2_000, True)])
def test_evidence_is_an_interval_that_excludes_the_level_of_the_end(n: int, is_breach: bool) -> None:  # noqa: FBT001
    rule = Rule(metric="accuracy", compare="delta", medium=0.05, min_count=1)
    found = mean(np.array([n]), np.array([0.8 * n]))
    (_, (high,)) = found.ends(np.array([0]))
    assert (0.9 - high > 0.025) == is_breach
    assert judge(rule, found, np.array([0.9])).is_breach.tolist() == [is_breach]
    sure = rule.model_copy(update={"needs_evidence": False})
    assert judge(sure, found, np.array([0.9])).is_breach.tolist() == [True]
