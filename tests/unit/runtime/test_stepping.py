from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.slice import Slice, Stepped
from adaptive_stream.runtime.intake import Intake
from adaptive_stream.runtime.lane import Batch
from adaptive_stream.runtime.stepping import Abandoned, Advanced, Poison, Stepper
from tests.unit.runtime.records import START_MS, config, prediction

if TYPE_CHECKING:
    from adaptive_stream.core.fleets import Fleets

COUNT = 10
HELD = 6  # events that the recorder measures at once


class Recorder:
    """In place of the fleets: notes what each step gets, and fails on planted offsets."""

    def __init__(
        self, *, poison: int | None = None, rejected: int | None = None, unmeasurable: int | None = None
    ) -> None:
        self.slices: list[list[int]] = []
        self._poison, self._rejected, self._unmeasurable = poison, rejected, unmeasurable
        self._held: list[int] = []

    def idle(self, _: int) -> list[str]:
        self.measure()
        return ["silence"]

    def measure(self) -> None:
        held, self._held = self._held, []
        if self._unmeasurable in held:
            raise FloatingPointError

    def step(self, slice_: Slice) -> Stepped:
        self.slices.append(slice_.offsets)
        self._held += slice_.offsets
        if len(self._held) >= HELD:
            self.measure()
        if self._poison in slice_.offsets:
            raise ZeroDivisionError
        rejected = [
            (place, Reject(ErrorCode.INVALID_OUTPUT, "x"))
            for place, offset in enumerate(slice_.offsets)
            if offset == self._rejected
        ]
        return Stepped(outputs=[f"after-{offset}" for offset in slice_.offsets], rejected=rejected)  # type: ignore[misc]


def advance(
    fleets: Recorder,
    *,
    search: tuple[int, int] | None = None,
    skipped: set[tuple[str, int]] | None = None,
    is_valid: bool = True,
    slice_records: int = 4,
    is_measured: bool = False,
    count: int = COUNT,
    is_look: bool = True,
) -> Advanced:
    settings = config(f"batch.slice_records={slice_records}")
    stepper = Stepper(settings, Intake(Codec(), partition=0, partitions=1), earliest_ms=0)
    records = [prediction(offset) for offset in range(count)]
    ranges = {Topic.PREDICTIONS: (0, count)} if count else {}
    batch = Batch(START_MS, [Topic.PREDICTIONS] * count, records, ranges, is_look=is_look)
    stand_in: Fleets = fleets  # type: ignore[assignment]
    return asyncio.run(
        stepper.advance(
            stand_in,
            batch,
            skipped=skipped or set(),
            search=search,
            is_measured=is_measured,
            is_valid=lambda: is_valid,
        )
    )


def test_a_batch_is_stepped_in_slices_in_order() -> None:
    fleets = Recorder()
    advanced = advance(fleets)
    assert fleets.slices == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert advanced.outputs == [f"after-{offset}" for offset in range(COUNT)]


def test_a_failing_step_names_the_places_of_its_slice_but_no_culprit() -> None:
    with pytest.raises(Poison) as poison:
        advance(Recorder(poison=6))
    assert (poison.value.first, poison.value.stop, poison.value.culprit) == (4, 8, None)
    assert isinstance(poison.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("culprit", range(COUNT))
@pytest.mark.parametrize("slice_records", [1, 3, 4, 100])
def test_a_search_finds_the_very_record_after_one_more_try(culprit: int, slice_records: int) -> None:
    with pytest.raises(Poison) as first:
        advance(Recorder(poison=culprit), slice_records=slice_records)
    search = (first.value.first, first.value.stop)
    with pytest.raises(Poison) as second:
        advance(Recorder(poison=culprit), search=search, slice_records=slice_records)
    topic, found = second.value.culprit or (None, None)
    assert (topic, found.offset if found else None) == (Topic.PREDICTIONS, culprit)


@pytest.mark.parametrize("culprit", range(COUNT - COUNT % HELD))
@pytest.mark.parametrize("slice_records", [1, 3, 4, 100])
def test_a_record_that_fails_when_a_later_slice_is_stepped_is_found_all_the_same(
    culprit: int, slice_records: int
) -> None:
    search = None
    for _ in range(3):  # the slice that failed, the one at fault, the record
        with pytest.raises(Poison) as poison:
            advance(Recorder(unmeasurable=culprit), search=search, slice_records=slice_records)
        if poison.value.culprit is not None:
            break
        search = poison.value.first, poison.value.stop
    topic, found = poison.value.culprit or (None, None)
    assert (topic, found.offset if found else None) == (Topic.PREDICTIONS, culprit)


def test_a_search_steps_only_the_suspected_places_one_by_one() -> None:
    fleets = Recorder()
    advance(fleets, search=(5, 7))
    assert fleets.slices == [[0, 1, 2, 3], [4], [5], [6], [7, 8, 9]]


def test_skipped_records_are_refused_and_never_stepped() -> None:
    fleets = Recorder(poison=6)
    advanced = advance(fleets, skipped={("predictions", 6)})
    assert all(6 not in offsets for offsets in fleets.slices)
    assert [(r.record.offset, r.reject.code) for r in advanced.refused] == [(6, ErrorCode.POISON)]


def test_what_the_core_rejects_comes_back_with_its_record() -> None:
    advanced = advance(Recorder(rejected=5))
    assert [(r.topic, r.record.offset) for r in advanced.refused] == [(Topic.PREDICTIONS, 5)]


def test_a_memory_that_does_not_count_any_more_is_not_stepped_further() -> None:
    fleets = Recorder()
    with pytest.raises(Abandoned):
        advance(fleets, is_valid=False)
    assert len(fleets.slices) == 1


def test_the_wall_clock_of_the_cut_bounds_what_is_believable() -> None:
    stepper = Stepper(config("time.max_future_skew_s=60"), Intake(Codec(), partition=0, partitions=1), earliest_ms=5)
    assert stepper.limits_ms(1_000_000) == (5, 1_060_000)


def test_before_a_snapshot_what_is_held_is_measured_where_poison_can_be_told() -> None:
    advance(Recorder(unmeasurable=COUNT - 1))
    with pytest.raises(Poison) as poison:
        advance(Recorder(unmeasurable=COUNT - 1), is_measured=True)
    assert (poison.value.first, poison.value.stop, poison.value.culprit) == (8, COUNT, None)


def test_a_batch_that_only_carries_a_checkpoint_does_not_look_for_silence() -> None:
    assert advance(Recorder(), count=0).outputs == ["silence"]
    assert advance(Recorder(), count=0, is_look=False).outputs == []


@pytest.mark.parametrize("is_measured", [False, True])
def test_a_look_for_silence_that_fails_is_poison_of_a_batch_without_records(*, is_measured: bool) -> None:
    fleets = Recorder(unmeasurable=1)
    fleets.step(Slice(topics=[], offsets=[1], times_ms=[], events=[]))
    with pytest.raises(Poison) as poison:
        advance(fleets, count=0, is_measured=is_measured)
    assert (poison.value.batch.records, poison.value.culprit) == ([], None)
    assert isinstance(poison.value.__cause__, FloatingPointError)
