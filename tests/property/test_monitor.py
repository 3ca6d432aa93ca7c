"""The laws of the measurement, for every order, size and time of events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adaptive_stream.config.rule import Rule
from adaptive_stream.contracts.figure import BETTER_HIGH, FLOW
from adaptive_stream.monitor.alert import MOVES, Stage, columns, judge, look
from adaptive_stream.monitor.figures import Figure, intervals
from adaptive_stream.monitor.monitor import Monitor
from adaptive_stream.stats.rows import Rows
from tests.unit.monitor.measured import family, ms

if TYPE_CHECKING:
    from collections.abc import Sequence

SERIES = 3
TASKS = ("binary", "multiclass", "regression")
tasks = st.sampled_from(TASKS)
seeds = st.integers(0, 10_000)
sizes = st.integers(1, 80)
pieces = st.lists(st.integers(1, 30), min_size=1, max_size=4)


def fresh(task: str) -> Monitor:
    made = Monitor(family(task=task, monitor={"panes": 3, "auc_labels": 7}, thresholds={"c1": 0.7}))
    for number in range(SERIES):
        made.add(("m", "v", f"c{number}"), row=0)
    return made


def drawn(seed: int, size: int, *, task: str, span_s: int = 1_200) -> dict[str, np.ndarray]:
    """Predictions and labels of some series over more time than a window holds."""
    dice = np.random.default_rng(seed)
    now = np.sort(dice.integers(0, span_s, size)) * 1_000 + ms(0)
    outputs = {
        "binary": np.round(dice.random(size), 1),
        "multiclass": dice.integers(0, 3, size).astype(float),
        "regression": dice.normal(0, 10.0 ** dice.integers(-3, 9), size),
    }[task]
    labels = {
        "binary": dice.integers(0, 2, size).astype(float),
        "multiclass": dice.integers(0, 3, size).astype(float),
        "regression": outputs + dice.normal(0, 1, size),
    }[task]
    return {
        "series": dice.integers(0, SERIES, size),
        "output": outputs,
        "label": labels,
        "confidence": np.where(dice.random(size) < 0.5, np.nan, dice.random(size)),
        "latency": np.where(dice.random(size) < 0.3, np.nan, dice.lognormal(3, 2, size)),
        "is_failed": dice.random(size) < 0.1,
        "now": now,
        "time": now - dice.integers(0, 300, size) * 1_000,
    }


def feed(made: Monitor, events: dict[str, np.ndarray], start: int, stop: int) -> None:
    part = {name: values[start:stop] for name, values in events.items()}
    output = np.where(part["is_failed"], np.nan, part["output"])
    columns_ = {"output": output, "confidence": part["confidence"], "latency": part["latency"]}
    made.serve(part["series"], columns_, times_ms=part["time"], now_ms=part["now"])
    good = ~part["is_failed"]
    made.label(
        part["series"][good],
        part["output"][good],
        part["label"][good],
        times_ms=part["time"][good],
        now_ms=part["now"][good],
    )
    made.refuse(part["series"][~good], part["now"][~good])


def content(made: Monitor) -> list[bytes]:
    return [made.series.page(number) for number in range(made.series.page_count)]


def run(made: Monitor, events: dict[str, np.ndarray], cuts: Sequence[int]) -> list[tuple[str, list[int]]]:
    """Feed the events between the looks, a minute apart, each part cut as well; return what is told."""
    told = []
    cells = (events["now"] - ms(0)) // 60_000
    turn = 0
    for cell in range(int(cells.max()) + 1):
        start, stop = np.searchsorted(cells, [cell, cell + 1]).tolist()
        while start < stop:
            end = min(stop, start + cuts[turn % len(cuts)])
            feed(made, events, start, end)
            start, turn = end, turn + 1
        for looked in made.look(now_ms=ms(60 * (cell + 1))):
            parts = looked.turns.fired, looked.turns.escalated, looked.turns.resolved, looked.turns.repeated
            told += [(looked.name, looked.series[part].tolist()) for part in parts if part.size]
    return told


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=seeds, size=sizes, task=tasks, cuts=pieces)
def test_any_batching_gives_the_same_bits(seed: int, size: int, task: str, cuts: list[int]) -> None:
    events = drawn(seed, size, task=task)
    whole, parts = fresh(task), fresh(task)
    assert run(whole, events, [size]) == run(parts, events, cuts)
    assert content(whole) == content(parts)
    assert whole.dropped == parts.dropped


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=seeds, size=sizes, task=tasks)
def test_each_series_is_as_if_it_were_alone(seed: int, size: int, task: str) -> None:
    events = drawn(seed, size, task=task)
    together = fresh(task)
    run(together, events, [size])
    for number in range(SERIES):
        alone = fresh(task)
        mine = events["series"] == number
        if mine.any():
            part = {name: values[mine] for name, values in events.items()}
            run(alone, part, [7])
        last = ms(60 * 25)
        found = [made.window(np.array([number]), now_ms=last).some(BETTER_HIGH) for made in (together, alone)]
        for name, figure in found[0].items():
            assert np.array_equal(figure.n, found[1][name].n), name
            assert np.array_equal(figure.value, found[1][name].value, equal_nan=True), name


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=seeds, size=sizes, task=tasks, after_s=st.integers(1_200, 2_500))
def test_every_figure_is_in_its_range_and_in_its_interval(seed: int, size: int, task: str, after_s: int) -> None:
    made = fresh(task)
    run(made, drawn(seed, size, task=task), [size])
    found = made.window(np.arange(SERIES), now_ms=ms(after_s)).some(BETTER_HIGH)
    ends = intervals(found)
    for name, figure in found.items():
        known = np.isfinite(figure.value) & (figure.n > 0)
        assert (figure.n >= 0).all(), name
        assert name in FLOW or not np.isfinite(figure.value[figure.n == 0]).any(), name
        value, low, high = (part[known] for part in (figure.value, *ends[name]))
        assert (value >= 0).all(), name
        slack = 1e-9 * np.maximum(1, np.abs(value))
        assert ((low <= value + slack) & (value <= high + slack)).all(), (name, low, value, high)


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=seeds, size=sizes, task=tasks)
def test_what_a_window_holds_is_what_was_credited_to_its_panes(seed: int, size: int, task: str) -> None:
    events = drawn(seed, size, task=task)
    made = fresh(task)
    run(made, events, [size])
    end = ms(60 * 20)
    found = made.window(np.arange(SERIES), now_ms=end)
    in_time = events["time"] // 60_000 > events["now"] // 60_000 - 3  # not too late when it came
    in_window = in_time & (events["time"] // 60_000 >= end // 60_000 - 3)
    good = ~events["is_failed"]
    main = made.baselines.main
    for number in range(SERIES):
        mine = events["series"] == number
        assert found["error_rate"].n[number] == (mine & in_window).sum()
        assert found[main].n[number] == (mine & in_window & good).sum()
        arrived = events["now"] // 60_000 >= end // 60_000 - 3
        assert found[f"arrived_{main}"].n[number] == (mine & arrived & good).sum()
    assert made.dropped["pane_expired"] == (~in_time & good).sum()
    assert made.series.col["labelled"][:SERIES].sum() == good.sum()


levels = st.sampled_from([math.nan, 0.0, 0.05, 0.1, 0.15, 0.2, 0.21, 0.4, 0.41, 0.9])
rules = st.builds(
    lambda for_s, cool, repeat, high: Rule(
        metric="error_rate", medium=0.2, high=high, clear=0.1, min_count=5, needs_evidence=False,
        for_s=for_s, cool_down_s=cool, repeat_s=repeat,
    ),
    st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.sampled_from([None, 0.4]),
)  # fmt: skip


def plain(high: float | None) -> Rule:
    return Rule(
        metric="error_rate", medium=0.2, high=high, clear=0.1, min_count=5, needs_evidence=False,
        for_s=0, cool_down_s=0, repeat_s=0,
    )  # fmt: skip


@settings(max_examples=150)
@example(plain(None), [(0.21, 5, 1), (0.05, 5, 1)], {1: 6}, set())  # it ends in a silence
@example(plain(0.4), [(0.21, 5, 1), (0.9, 5, 1), (0.9, 5, 3)], {1: 2}, {1})  # it grows worse in one
@example(plain(0.4), [(0.21, 5, 1), (0.9, 5, 1), (0.05, 5, 1)], {1: 6}, set())  # both
@given(
    rule=rules,
    seen=st.lists(st.tuples(levels, st.integers(0, 10), st.integers(1, 3)), max_size=40),
    silences=st.dictionaries(st.integers(0, 39), st.integers(0, 6), max_size=2),
    acknowledged=st.sets(st.integers(0, 39), max_size=3),
)
def test_a_life_is_a_walk_along_its_table_and_is_told_in_order(
    rule: Rule, seen: list[tuple[float, int, int]], silences: dict[int, int], acknowledged: set[int]
) -> None:
    rows = Rows(list(columns(1)))
    rows.extend(1)
    col = {name: values[:, 0] for name, values in rows.col.items()}
    now_ms, since_told_ms = 1_000_000, 0
    is_open, is_known_high = False, False  # what those believe who were told
    for number, (value, n, pause_s) in enumerate(seen):
        now_ms += 1_000 * pause_s
        if number in silences:
            col["silenced_ms"][0] = now_ms + 1_000 * silences[number]
        if number in acknowledged and col["stage"][0] == Stage.FIRING:
            col["acknowledged"][0] = 1
        before, is_acknowledged = Stage(int(col["stage"][0])), bool(col["acknowledged"][0])
        figure = Figure(np.array([float(n)]), np.array([value]))
        judged = judge(rule, figure, np.array([math.nan]))
        turns = look(rows, np.array([0]), 0, judged=judged, rule=rule, now_ms=now_ms)
        after = Stage(int(col["stage"][0]))
        assert after in reachable(before), (before, after)
        counts = [len(part) for part in (turns.fired, turns.escalated, turns.repeated, turns.resolved)]
        assert sum(counts) <= 1, "one notice a look"
        is_silent = col["silenced_ms"][0] > now_ms
        if sum(counts):
            assert not is_silent or turns.resolved.size, "but an end nothing is told in a silence"
        if turns.fired.size:
            assert not is_open
        if turns.escalated.size:
            assert rule.high is not None
            assert col["is_high"][0]
            assert not (is_open and is_known_high), "an escalation is told once"
        if turns.repeated.size and is_open:
            assert not is_acknowledged
            assert rule.repeat_s
            assert now_ms - since_told_ms >= 1_000 * rule.repeat_s
        if turns.resolved.size:
            assert is_open, "no end without a beginning"
            is_open = False
        if turns.fired.size or turns.escalated.size or turns.repeated.size:
            is_open, is_known_high, since_told_ms = True, bool(col["is_high"][0]), now_ms
        if after is not Stage.FIRING:
            assert not is_open, "what was told to have begun is told to be over, in a silence as well"
        elif not is_silent:
            assert (is_open, is_known_high) == (True, bool(col["is_high"][0])), "what a silence kept back is told"


def reachable(stage: Stage) -> set[Stage]:
    """Return where a look may lead: up to a rest, a breach and its confirmation at once."""
    found, waiting = {stage}, [stage]
    while waiting:
        for after in MOVES[waiting.pop()].values():
            # an alert never begins and ends, nor ends and begins, at one look, unless it rested in between
            if after not in found and not (after is Stage.RESOLVED and stage is not Stage.FIRING):
                found.add(after)
                waiting.append(after)
    return found - ({Stage.OK, Stage.PENDING} if stage is Stage.FIRING else set())


@pytest.mark.parametrize("task", TASKS)
def test_the_streams_reach_every_figure(task: str) -> None:
    """The streams are worth their name: every figure of the task is known in some of them."""
    known = set()
    for seed in range(6):
        made = fresh(task)
        run(made, drawn(seed, 400, task=task), [400])
        found = made.window(np.arange(SERIES), now_ms=ms(1_200)).some(BETTER_HIGH)
        known |= {name for name, figure in found.items() if np.isfinite(figure.value).any()}
    wanted = {name for name in found if not name.startswith("reported_")}
    assert known == wanted
