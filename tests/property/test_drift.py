"""The laws of the watching, for every order, size and kind of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.config.family import Feature
from adaptive_stream.drift.drift import Alarm, Drift

if TYPE_CHECKING:
    from collections.abc import Sequence

SERIES = 3
EVENTS = 2_600
FEATURES = [
    Feature(name="a"),
    Feature(name="b"),
    Feature(name="few", kind="categorical", levels=["x", "y", "z"]),
    Feature(name="many", kind="categorical", levels=[f"l{number}" for number in range(12)]),
]
KEYS = [("m", "v", f"c{number}") for number in range(SERIES)]
seeds = st.integers(0, 10_000)
pieces = st.lists(st.integers(20, 700), min_size=1, max_size=3)
modes = st.sampled_from(["growing", "frozen", "strict", "keep"])


def config(mode: str) -> DriftConfig:
    return DriftConfig(
        budget_events=2e3,  # so low that alarms come, and references begin anew
        reference_predictions=512,
        reference_labels=100,
        reference="frozen" if mode == "frozen" else "growing",
        combine="strict" if mode == "strict" else "mean",
        after_alarm="keep" if mode == "keep" else "rereference",
        history=2,
    )


def fresh(mode: str = "growing", *, keys: Sequence[tuple[str, str, str]] = KEYS) -> Drift:
    made = Drift(config(mode), features=FEATURES, stated_loss=0.2 if mode == "strict" else None)
    for key in keys:
        made.add(key)
    return made


def drawn(seed: int, size: int = EVENTS) -> dict[str, np.ndarray]:
    """Predictions whose inputs change now and then, and losses that do."""
    dice = np.random.default_rng(seed)
    series = dice.choice(SERIES, size, p=dice.dirichlet([1.0] * SERIES))
    number = np.arange(size)
    features = np.stack(
        [
            dice.normal(0, 1, size) + 3 * (number > size * dice.random()),
            np.round(dice.lognormal(0, 2, size), 1),
            dice.integers(0, 4, size).astype(float),
            np.minimum(dice.integers(0, 12, size), dice.integers(0, 13, size)).astype(float),
        ],
        axis=1,
    )
    features[dice.random(features.shape) < 0.1] = np.nan
    features[dice.random(features.shape) < 0.01] = np.inf
    late = number > size * dice.random()
    return {
        "series": series,
        "features": features,
        "outputs": np.where(dice.random(size) < 0.02, np.nan, dice.random(size)),
        "confidences": np.where(dice.random(size) < 0.5, np.nan, dice.random(size)),
        "losses": (dice.random(size) < np.where(late, 0.5, 0.2)).astype(float) * dice.choice([1.0, 0.7], size),
        "now_ms": number * 1_000,
    }


def feed(made: Drift, events: dict[str, np.ndarray], start: int, stop: int) -> list[Alarm]:
    part = {name: values[start:stop] for name, values in events.items()}
    losses, now_ms = part.pop("losses"), part["now_ms"]
    found = made.observe(**part) + made.losses(part["series"], losses, now_ms=now_ms)
    return [Alarm(alarm.place + start, alarm.series, alarm.verdict) for alarm in found]


def told(alarms: list[Alarm]) -> list[str]:
    return sorted(f"{alarm.place:9} {alarm!r}" for alarm in alarms)


def run(made: Drift, events: dict[str, np.ndarray], cuts: Sequence[int]) -> list[str]:
    found, start, turn, size = [], 0, 0, len(events["series"])
    while start < size:
        stop = min(size, start + cuts[turn % len(cuts)])
        found += feed(made, events, start, stop)
        start, turn = stop, turn + 1
    return told(found)


def content(made: Drift) -> list[bytes]:
    return [made.table.page(number) for number in range(made.table.page_count)]


@settings(max_examples=6, deadline=None)
@given(seed=seeds, mode=modes, cuts=pieces)
def test_any_batching_gives_the_same_bits(seed: int, mode: str, cuts: list[int]) -> None:
    events = drawn(seed)
    whole, parts = fresh(mode), fresh(mode)
    assert run(whole, events, [EVENTS]) == run(parts, events, cuts)
    assert content(whole) == content(parts)


@settings(max_examples=6, deadline=None)
@given(seed=seeds, cuts=pieces)
def test_any_batching_of_a_single_number_gives_the_same_bits(seed: int, cuts: list[int]) -> None:
    dice = np.random.default_rng(seed)  # classes and their confidence: numpy adds up one column in an order of its own
    events = drawn(seed) | {
        "series": np.zeros(EVENTS, dtype=np.int64),
        "features": np.empty((EVENTS, 0)),
        "outputs": dice.integers(0, 3, EVENTS).astype(float),
        "confidences": dice.random(EVENTS),
    }
    whole, parts = (Drift(config("growing"), features=[], classes=3) for _ in range(2))
    for made in (whole, parts):
        made.add(KEYS[0])
    assert run(whole, events, [EVENTS]) == run(parts, events, cuts)
    assert content(whole) == content(parts)


@settings(max_examples=6, deadline=None)
@given(seed=seeds, mode=modes)
def test_each_series_is_as_if_it_were_alone(seed: int, mode: str) -> None:
    events = drawn(seed)
    together = fresh(mode)
    run(together, events, [1_000])
    for number, key in enumerate(KEYS):
        alone = fresh(mode, keys=[key])
        mine = events["series"] == number
        run(
            alone,
            {name: values[mine] for name, values in events.items()} | {"series": np.zeros(mine.sum(), int)},
            [1_000],
        )
        for name, column in together.table.col.items():
            assert column[number].tobytes() == alone.table.col[name][0].tobytes(), name


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(seed=seeds, mode=modes, at=st.integers(1, EVENTS - 1))
def test_a_snapshot_in_the_middle_is_invisible(seed: int, mode: str, at: int) -> None:
    events = drawn(seed)
    whole = fresh(mode)
    expected = run(whole, events, [at])
    first = fresh(mode)
    before = told(feed(first, events, 0, at))
    second = fresh(mode, keys=[])
    for page in content(first):
        second.table.load([page], adapt=second.adapt())
    rest = {name: values[at:] for name, values in events.items()}
    after = [feed(second, rest, start, start + at) for start in range(0, EVENTS - at, at)]
    assert len(before) + sum(map(len, after)) == len(expected)
    assert content(second) == content(whole)


@settings(max_examples=5, deadline=None)
@given(seed=seeds)
def test_what_goes_in_is_not_changed(seed: int) -> None:
    events = drawn(seed)
    copies = {name: values.copy() for name, values in events.items()}
    run(fresh(), events, [EVENTS])
    for name, values in copies.items():
        assert np.array_equal(events[name], values, equal_nan=values.dtype.kind == "f"), name


@settings(max_examples=5, deadline=None)
@given(seed=seeds)
def test_the_state_stays_as_large_as_it_was(seed: int) -> None:
    made = fresh()
    events = drawn(seed)
    run(made, events, [EVENTS])
    size = sum(map(len, content(made)))
    run(made, events, [EVENTS])
    assert sum(map(len, content(made))) == size
