"""The laws of the core, on streams with everything in them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_stream.contracts.events import Adaptation, Alert, Feedback, Metrics, ModelStatus, Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.testing import Driver
from tests.property.streams import (
    EARLY,
    ENTITIES,
    LENGTH,
    MODELS,
    REMEMBERED,
    RING,
    SERIES,
    Stream,
    config,
    events,
)

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import OutputEvent
    from adaptive_stream.core.fleets import Fleets
    from adaptive_stream.core.slice import Stepped

seeds = st.integers(0, 19)  # few, so that a stream and what it leads to are made once for all laws
TICK = Metrics(model_id="nobody", accuracy=1.0)  # no family has it: it moves the clock and nothing else


def fed(driver: Driver, stream: Stream, cuts: tuple[int, ...] = ()) -> Stepped:
    for event, at in stream:
        driver.send(event, at_ms=at)
    return driver.run(cuts=cuts)


def refusals(stepped: Stepped) -> list[tuple[int, str]]:
    return [(place, str(reject.code)) for place, reject in stepped.rejected]


@functools.cache
def whole(seed: int, *, families: int = 1, task: str = "binary", models: int = 3) -> tuple[Driver, Stepped]:
    """Return what a stream leads to when it is stepped as one slice. For reading only."""
    driver = Driver(config(families=families, task=task))
    return driver, fed(driver, events(seed, families=families, models=models))


def memory(fleets: Fleets) -> list[object]:
    """Return what is held beside the tables: look-ups, the sets of what was seen, what came early."""
    return [
        part
        for fleet in fleets.fleets
        for part in (
            fleet.models.index,
            fleet.monitor.series.index,
            fleet._series,
            fleet._variants,
            fleet.join.index,
            fleet.join.early,
            fleet.join.early_by_key,
            fleet.join.entities,
            fleet.join.seen._set,
            fleet.join.departed._set,
        )
    ]


@pytest.mark.parametrize("task", ["binary", "regression"])
@settings(max_examples=12)
@given(seed=seeds, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_the_same_records_cut_anyhow_give_equal_outputs_and_state(task: str, seed: int, cuts: list[int]) -> None:
    driver, stepped = whole(seed, families=2, task=task, models=1)
    cut = Driver(driver.config)
    again = fed(cut, events(seed, families=2, models=1), tuple(cuts))
    assert again.outputs == stepped.outputs
    assert refusals(again) == refusals(stepped)
    assert cut.fleets.dump() == driver.fleets.dump()
    assert memory(cut.fleets) == memory(driver.fleets)


@settings(max_examples=12)
@given(seed=seeds, at=st.integers(1, LENGTH), every=st.integers(3, 60))
def test_a_snapshot_anywhere_gives_the_same_state_and_the_same_future(seed: int, at: int, every: int) -> None:
    stream = events(seed, families=2)
    driver = Driver(config(families=2))
    outputs = []
    frozen = driver.freeze()
    for start in range(0, min(at, len(stream)), every):
        outputs += fed(driver, stream[start : min(start + every, at)]).outputs
        frozen = driver.freeze()  # each holds only what changed since the one before
    thawed = driver.thaw(frozen)
    assert thawed.dump() == driver.fleets.dump()
    assert memory(thawed) == memory(driver.fleets)
    driver.fleets = thawed
    outputs += fed(driver, stream[at:]).outputs
    uncut, stepped = whole(seed, families=2)
    assert outputs == stepped.outputs
    assert thawed.dump() == uncut.fleets.dump()
    assert memory(thawed) == memory(uncut.fleets)


@settings(max_examples=12)
@given(seed=seeds, count=st.integers(1, LENGTH))
def test_every_feedback_has_exactly_one_outcome(seed: int, count: int) -> None:
    stream = events(seed)[:count]
    driver = Driver(config())
    rejected = {place for place, _ in fed(driver, stream).rejected}
    consumed = sum(isinstance(event, Feedback) for place, (event, _) in enumerate(stream) if place not in rejected)
    counters, gauges = driver.fleets.counters()["join"], driver.fleets.gauges()
    assert sum(counters.values()) == consumed
    assert min(counters.values()) >= 0
    assert counters["early"] == gauges["early"]
    told = [driver.fleets.status(key[0]) for key in driver.fleets.fleets[0].models.keys]
    for outcome, total in counters.items():
        assert sum(status.feedback[outcome] for status in told if status) == total


@settings(max_examples=12)
@given(seed=seeds, count=st.integers(1, LENGTH))
def test_who_waits_is_who_is_in_the_ring_without_an_answer(seed: int, count: int) -> None:
    driver = Driver(config())
    fed(driver, events(seed)[:count])
    [fleet] = driver.fleets.fleets
    join = fleet.join
    assert len(join.index) == join.tail - join.head == sum(key is not None for key in join.keys)
    unanswered = dict.fromkeys(range(fleet.models.count), 0)
    for (row, prediction_id), sequence in join.index.items():
        slot = sequence % len(join.keys)
        assert join.keys[slot] == (row, prediction_id)
        assert join.col["row"][slot] == row
        assert fleet.monitor.series.col["row"][join.col["series"][slot]] == row
        unanswered[row] += join.col["flags"][slot] == 0
    assert fleet.models.col["waiting"][: fleet.models.count].tolist() == list(unanswered.values())


@settings(max_examples=8)
@given(seed=seeds)
def test_n_rows_are_n_fleets_of_one_row(seed: int) -> None:
    stream = tuple((event, at) for event, at in events(seed) if event.model_id != "stranger")
    together = Driver(config(is_loose=True))
    outputs = fed(together, stream).outputs
    for model in {event.model_id for event, _ in stream}:
        alone = Driver(config(is_loose=True))
        part = tuple((event if event.model_id == model else TICK, at) for event, at in stream)
        assert fed(alone, part).outputs == [output for output in outputs if output.model_id == model]
        assert alone.fleets.status(model) == together.fleets.status(model)
        assert alone.fleets.gauges()["models"] == 1


@settings(max_examples=12)
@given(seed=seeds)
def test_a_rejected_record_leaves_no_trace_but_time(seed: int) -> None:
    stream = events(seed, models=6)
    driver, stepped = whole(seed, models=6)
    rejected = {place for place, _ in stepped.rejected}
    clean = Driver(driver.config)
    for place, (event, at) in enumerate(stream):
        clean.send(TICK if place in rejected else event, at_ms=at)
        if place in rejected and isinstance(event, Prediction):
            clean._ends[Topic.PREDICTIONS] += 1  # its offset is used up
    assert clean.run().outputs == stepped.outputs
    assert clean.fleets.dump() == driver.fleets.dump()
    assert memory(clean.fleets) == memory(driver.fleets)


@settings(max_examples=10)
@given(seed=seeds)
def test_what_is_held_stays_within_the_bounds(seed: int) -> None:
    driver = Driver(config())
    stream = events(seed, models=6) + events(seed + 2, models=6)
    for start in range(0, len(stream), 20):
        fed(driver, stream[start : start + 20])
        gauges = driver.fleets.gauges()
        assert gauges["held"] <= RING
        assert gauges["early"] <= EARLY
        assert gauges["entities"] <= ENTITIES
        assert gauges["models"] <= MODELS
        assert gauges["series"] <= MODELS * SERIES
        [fleet] = driver.fleets.fleets
        assert max(len(fleet.join.seen._set), len(fleet.join.departed._set)) <= REMEMBERED
        assert len(fleet.join.keys) == 256


def test_the_streams_reach_everything() -> None:
    """The streams are worth their name: every outcome, drop, kind of output and refusal occurs in them."""
    outcomes: dict[str, int] = {}
    dropped: dict[str, int] = {}
    kinds: set[type[OutputEvent]] = set()
    codes: set[str] = set()
    statuses: set[str] = set()
    for seed in range(20):
        driver, stepped = whole(seed)
        kinds |= {type(output) for output in stepped.outputs}
        statuses |= {str(output.status) for output in stepped.outputs if isinstance(output, Alert)}
        codes |= {str(reject.code) for _, reject in stepped.rejected}
        for sums, counts in zip((outcomes, dropped), driver.fleets.counters().values(), strict=True):
            for name, count in counts.items():
                sums[name] = sums.get(name, 0) + count
    assert all(outcomes.values()), outcomes
    assert dropped.pop("waiting_lost") == 0, "nothing is lost without a restore from a log that was cut"
    assert all(dropped.values()), dropped
    assert kinds == {Adaptation, Alert, ModelStatus}
    assert statuses == {"firing", "resolved"}
    outputs = [output for seed in range(20) for output in whole(seed, families=2, models=1)[1].outputs]
    assert any(isinstance(output, Alert) for output in outputs)
    assert codes == {"unknown_model", "wrong_dimension", "invalid_output"}
    driver = Driver(config())
    codes = {str(reject.code) for _, reject in fed(driver, events(0, models=6)).rejected}
    assert "too_many_models" in codes
