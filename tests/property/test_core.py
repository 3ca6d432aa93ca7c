"""The laws of the core, on streams with everything in them."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adaptive_stream.contracts.events import Adaptation, Alert, Feedback, Metrics, ModelStatus, Prediction
from adaptive_stream.core import held
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.core.slice import Slice
from adaptive_stream.testing import Driver
from adaptive_stream.testing.driver import thaw, topic_of
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
    marks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adaptive_stream.contracts.events import OutputEvent
    from adaptive_stream.core.slice import Stepped

SEEDS = 6
seeds = st.integers(0, SEEDS - 1)  # few, so that a stream and what it leads to are made once for all laws
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


def slices(stream: Stream, cuts: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield where a stream is cut, cyclically."""
    start, turn = 0, 0
    while start < len(stream):
        stop = min(len(stream), start + cuts[turn % len(cuts)])
        yield start, stop
        start, turn = stop, turn + 1


class Log:
    """Streams with what happens beside their events: refused records, idle looks, offsets, cut times."""

    def __init__(self, stream: Stream, refused: tuple[tuple[int, str], ...], looks: dict[int, int]) -> None:
        self.stream, self.refused, self.looks = stream, refused, looks
        self.topics = [topic_of(event) for event, _ in stream]
        self.offsets = [self.topics[:place].count(topic) for place, topic in enumerate(self.topics)]
        self.waiting = [
            (offset, at, event)
            for (event, at), offset in zip(stream, self.offsets, strict=True)
            if isinstance(event, Prediction)
        ]

    def slice(self, start: int, stop: int, *, is_refused_first: bool) -> Slice:
        """Return a part of it; what is refused at a cut may be the last of one slice or the first of the next."""
        is_mine = start == 0 or (is_refused_first and start not in self.looks)  # a look comes after what was refused
        is_next = is_refused_first and stop not in self.looks and stop < len(self.stream)
        refused = [
            (place - start, model)
            for place, model in self.refused
            if start < place < stop or (place == start and is_mine) or (place == stop and not is_next)
        ]
        last = max((place for place in self.looks if place <= start), default=0)
        return Slice(
            topics=self.topics[start:stop],
            offsets=self.offsets[start:stop],
            times_ms=[at for _, at in self.stream[start:stop]],
            events=[event for event, _ in self.stream[start:stop]],
            refused=refused,
            cut_ms=self.stream[last][1],
        )

    def step(
        self, fleets: Fleets, cuts: tuple[int, ...], *, since: int = 0, until: int | None = None, is_first: bool = False
    ) -> list[OutputEvent]:
        """Step a part of it in slices; an idle look is a cut, wherever else there are some."""
        until = len(self.stream) if until is None else until
        places = {0, len(self.stream), until, *self.looks} | {start for start, _ in slices(self.stream, cuts)}
        inside = [since, *sorted(place for place in places if since < place <= until)]
        outputs: list[OutputEvent] = []
        for start, stop in itertools.pairwise(inside):
            if start in self.looks:
                outputs += fleets.idle(self.looks[start])
            outputs += fleets.step(self.slice(start, stop, is_refused_first=is_first)).outputs
        return outputs


@functools.cache
def log(seed: int, *, families: int = 1, models: int = 3) -> Log:
    return Log(events(seed, families=families, models=models), *marks(seed, families=families, models=models))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "regression"])
@settings(max_examples=3)
@given(
    seed=seeds,
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    is_first=st.booleans(),
    most=st.integers(1, 60),
)
@example(seed=5, cuts=[7], is_first=False, most=1)  # parts of a round of statuses fall between two passes
def test_refused_records_and_idle_looks_are_the_same_in_any_slices_and_passes(
    task: str,
    seed: int,
    cuts: list[int],
    is_first: bool,  # noqa: FBT001 - drawn
    most: int,
) -> None:
    whole_fleets, cut_fleets = Fleets(config(families=2, task=task)), Fleets(config(families=2, task=task))
    told = log(seed, families=2)
    with patch.object(held, "MOST", most):
        in_parts = told.step(cut_fleets, tuple(cuts), is_first=is_first)
    assert in_parts == told.step(whole_fleets, (len(told.stream),))
    assert cut_fleets.dump() == whole_fleets.dump()
    assert memory(cut_fleets) == memory(whole_fleets)


@pytest.mark.slow
@settings(max_examples=3)
@given(seed=seeds, at=st.integers(1, LENGTH // 3 - 1))
def test_a_snapshot_between_refused_records_and_idle_looks_gives_the_same_future(seed: int, at: int) -> None:
    told, settled = log(seed, families=2), config(families=2)
    fleets, uncut = Fleets(settled), Fleets(settled)
    outputs = told.step(fleets, (25,), until=at)
    frozen = fleets.freeze()
    back = thaw(settled, frozen.head, frozen.pages, told.waiting)
    assert back.dump() == fleets.dump()
    outputs += told.step(back, (25,), since=at)
    assert outputs == told.step(uncut, (len(told.stream),))
    assert back.dump() == uncut.dump()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "regression"])
@settings(max_examples=3)
@given(seed=seeds, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6), most=st.integers(1, 60))
def test_the_same_records_cut_and_measured_anyhow_give_equal_outputs_and_state(
    task: str, seed: int, cuts: list[int], most: int
) -> None:
    driver, stepped = whole(seed, families=2, task=task, models=1)
    cut = Driver(driver.config)
    with patch.object(held, "MOST", most):
        again = fed(cut, events(seed, families=2, models=1), tuple(cuts))
    assert again.outputs == stepped.outputs
    assert refusals(again) == refusals(stepped)
    assert cut.fleets.dump() == driver.fleets.dump()
    assert memory(cut.fleets) == memory(driver.fleets)


@pytest.mark.slow
@settings(max_examples=3)
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


@settings(max_examples=3)
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


@settings(max_examples=3)
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


@pytest.mark.slow
@settings(max_examples=3)
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


@pytest.mark.slow
@settings(max_examples=3)
@given(seed=seeds)
def test_a_rejected_record_leaves_no_trace_but_time_and_its_count(seed: int) -> None:
    """It is as one that was refused before it came to the core."""
    stream = events(seed, models=6)
    driver, stepped = whole(seed, models=6)
    rejected = {place: stream[place][0].model_id for place, _ in stepped.rejected}
    told = Log(stream, (), {})
    fleets = Fleets(driver.config)
    clean = Slice(
        topics=told.topics,
        offsets=told.offsets,
        times_ms=[at for _, at in stream],
        events=[TICK if place in rejected else event for place, (event, _) in enumerate(stream)],
        refused=[(place + 1, model_id) for place, model_id in rejected.items()],
    )
    assert fleets.step(clean).outputs == stepped.outputs
    assert fleets.dump() == driver.fleets.dump()
    assert memory(fleets) == memory(driver.fleets)


@pytest.mark.slow
@settings(max_examples=3)
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


@pytest.mark.slow
def test_the_streams_reach_everything() -> None:
    """The streams are worth their name: every outcome, drop, kind of output and refusal occurs in them."""
    outcomes: dict[str, int] = {}
    dropped: dict[str, int] = {}
    kinds: set[type[OutputEvent]] = set()
    names: set[str] = set()
    codes: set[str] = set()
    statuses: set[str] = set()
    for seed in range(SEEDS):
        driver, stepped = whole(seed)
        kinds |= {type(output) for output in stepped.outputs}
        names |= {output.labels["alertname"] for output in stepped.outputs if isinstance(output, Alert)}
        statuses |= {str(output.status) for output in stepped.outputs if isinstance(output, Alert)}
        codes |= {str(reject.code) for _, reject in stepped.rejected}
        for sums, counts in zip((outcomes, dropped), driver.fleets.counters().values(), strict=True):
            for name, count in counts.items():
                sums[name] = sums.get(name, 0) + count
    assert all(outcomes.values()), outcomes
    assert dropped.pop("waiting_lost") == 0, "nothing is lost without a restore from a log that was cut"
    for name in ("columns_reset", "drift_reset", "waiting_misfit"):
        assert dropped.pop(name) == 0, "nothing begins anew while the configuration stays"
    for name in ("drift_width", "drift_loss_not_finite"):
        assert dropped.pop(name) == 0, "what a detector cannot use is refused before"
    assert all(dropped.values()), dropped
    assert kinds == {Adaptation, Alert, ModelStatus}
    assert statuses == {"firing", "resolved"}
    assert {"DataDrift", "PerformanceDrift"} <= names
    outputs = [output for seed in range(SEEDS) for output in whole(seed, families=2, models=1)[1].outputs]
    assert any(isinstance(output, Alert) for output in outputs)
    assert codes == {"unknown_model", "wrong_dimension", "invalid_output"}
    driver = Driver(config())
    codes = {str(reject.code) for _, reject in fed(driver, events(0, models=6)).rejected}
    assert "too_many_models" in codes
