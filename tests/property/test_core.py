"""The laws of the core, on streams with everything in them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_stream.contracts.events import Adaptation, Alert, Feedback, ModelStatus
from adaptive_stream.testing import Driver
from tests.property.streams import config, events

seeds = st.integers(0, 10_000)


def fed(driver: Driver, stream: list, cuts: tuple[int, ...] = ()) -> list:
    for event, at in stream:
        driver.send(event, at_ms=at)
    return driver.run(cuts=cuts).outputs


@pytest.mark.parametrize("task", ["binary", "regression"])
@settings(max_examples=25)
@given(seed=seeds, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_the_same_records_cut_anyhow_give_equal_outputs_and_state(task: str, seed: int, cuts: list[int]) -> None:
    stream = events(seed, 160, families=2, models=1)
    whole, cut = Driver(config(families=2, task=task)), Driver(config(families=2, task=task))
    assert fed(whole, stream) == fed(cut, stream, tuple(cuts))
    assert whole.fleets.dump() == cut.fleets.dump()


@settings(max_examples=25)
@given(seed=seeds, at=st.integers(1, 150))
def test_a_snapshot_anywhere_gives_the_same_state_and_the_same_future(seed: int, at: int) -> None:
    stream = events(seed, 160, families=2)
    driver = Driver(config(families=2))
    fed(driver, stream[: at // 2])
    driver.freeze()
    fed(driver, stream[at // 2 : at], (7,))
    frozen = driver.freeze()
    thawed = driver.thaw(frozen)
    assert thawed.dump() == driver.fleets.dump()
    later = Driver(driver.config)
    later.fleets, later._ends = thawed, dict(driver._ends)
    assert fed(later, stream[at:]) == fed(driver, stream[at:])
    assert thawed.dump() == driver.fleets.dump()


@settings(max_examples=25)
@given(seed=seeds, count=st.integers(1, 300))
def test_every_feedback_has_exactly_one_outcome(seed: int, count: int) -> None:
    stream = events(seed, count)
    driver = Driver(config())
    for event, at in stream:
        driver.send(event, at_ms=at)
    rejected = {place for place, _ in driver.run().rejected}
    consumed = sum(isinstance(event, Feedback) for place, (event, _) in enumerate(stream) if place not in rejected)
    counters = driver.fleets.counters()["join"]
    assert sum(counters.values()) == consumed
    assert counters["early"] == driver.fleets.gauges()["early"]


@settings(max_examples=15)
@given(seed=seeds)
def test_n_rows_are_n_fleets_of_one_row(seed: int) -> None:
    settings_ = {"join__entity_limit": "0", "join__max_early": "1000", "join__max_feedback_ids": "100000"}
    stream = [(e, at) for e, at in events(seed, 160) if e.model_id != "stranger"]
    together = Driver(config(**settings_))
    of_model: dict[str, list] = {}
    for output in fed(together, stream):
        of_model.setdefault(output.model_id, []).append(output)
    for model in {event.model_id for event, _ in stream}:
        alone = Driver(config(**settings_))
        # the others' records still move the clock: as an order to a model that nobody knows
        part = [(event if event.model_id == model else _tick(event), at) for event, at in stream]
        outputs = [output for output in fed(alone, part) if output.model_id == model]
        assert outputs == of_model.get(model, [])


def _tick(event: object) -> object:
    from adaptive_stream.contracts.events import Metrics

    del event
    return Metrics(model_id="stranger", accuracy=1.0)


@settings(max_examples=15)
@given(seed=seeds)
def test_a_rejected_record_leaves_no_trace_but_time(seed: int) -> None:
    stream = events(seed, 200)
    driver = Driver(config())
    for event, at in stream:
        driver.send(event, at_ms=at)
    rejected = {place for place, _ in driver.run().rejected}
    clean = Driver(config())
    outputs = fed(clean, [(_tick(e) if place in rejected else e, at) for place, (e, at) in enumerate(stream)])
    again = Driver(config())
    assert outputs == fed(again, stream)
    if not any(isinstance(e, type(stream[0][0])) for p, (e, _) in enumerate(stream) if p in rejected):
        assert clean.fleets.counters() == again.fleets.counters()


def test_a_stream_reaches_everything() -> None:
    """The streams above are worth their name: all outcomes, drops and kinds of output occur."""
    outcomes: dict[str, int] = {}
    dropped: dict[str, int] = {}
    kinds = set()
    codes = set()
    for seed in range(12):
        driver = Driver(config())
        for event, at in events(seed, 600, models=1):
            driver.send(event, at_ms=at)
        stepped = driver.run()
        kinds |= {type(output) for output in stepped.outputs}
        codes |= {str(reject.code) for _, reject in stepped.rejected}
        for name, count in driver.fleets.counters()["join"].items():
            outcomes[name] = outcomes.get(name, 0) + count
        for name, count in driver.fleets.counters()["dropped"].items():
            dropped[name] = dropped.get(name, 0) + count
    assert all(outcomes.values()), outcomes
    assert {name for name, count in dropped.items() if not count} <= {"departed_ids_forgotten", "ring_evicted", "pane_expired"}, dropped
    assert kinds == {Adaptation, Alert, ModelStatus}
    assert codes == {"unknown_model", "wrong_dimension", "invalid_output"}
