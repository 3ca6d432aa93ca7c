from __future__ import annotations

import itertools

import pytest

from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.runtime.lane import HEADER_BYTES, RECORD_BYTES, Batch, Lanes, order
from tests.unit.runtime.records import record

LIMITS_MS = (10, 10_000)
P, F, C, M = Topic.PREDICTIONS, Topic.FEEDBACK, Topic.CONTROL, Topic.METRICS


def lanes_of(*, at_end: tuple[Topic, ...] = INPUTS, most: int = 1000, **times: list[int]) -> Lanes:
    lanes = Lanes(max_batch_records=most, max_buffer_bytes=1000)
    for topic in INPUTS:
        lanes.lanes[topic].extend([record(n, at) for n, at in enumerate(times.get(topic.value, []))])
        lanes.lanes[topic].is_at_end = topic in at_end
    return lanes


def taken(lanes: Lanes, *, is_patient: bool = True) -> dict[Topic, int]:
    counts = lanes.takeable(limits_ms=LIMITS_MS, is_patient=is_patient)
    return {topic: count for topic, count in counts.items() if count}


def cut(lanes: Lanes, counts: dict[Topic, int]) -> Batch:
    lanes.takeable(limits_ms=LIMITS_MS, is_patient=False)
    return lanes.cut(counts, cut_ms=1)


# -- the order inside a batch ------------------------------------------------------------------------------------


def ordered(**times: list[int]) -> list[tuple[Topic, int]]:
    inputs = {topic: [record(n, at) for n, at in enumerate(times.get(topic.value, []))] for topic in INPUTS}
    batch = order(inputs, cut_ms=1, limits_ms=LIMITS_MS)
    return [(topic, one.offset) for topic, one in zip(batch.topics, batch.records, strict=True)]


def test_records_are_merged_by_time() -> None:
    assert ordered(predictions=[100, 300], feedback=[200, 400]) == [(P, 0), (F, 0), (P, 1), (F, 1)]


def test_at_equal_times_control_comes_before_predictions_before_feedback_before_metrics() -> None:
    assert ordered(predictions=[100], feedback=[100], metrics=[100], control=[100]) == [(C, 0), (P, 0), (F, 0), (M, 0)]


def test_one_input_is_never_reordered_and_a_clock_that_steps_back_counts_as_standing_still() -> None:
    assert ordered(control=[300, 100], predictions=[200, 301]) == [(P, 0), (C, 0), (C, 1), (P, 1)]


@pytest.mark.parametrize("absurd", [9, 10_001, -1])
def test_an_absurd_time_takes_the_place_after_its_predecessor(absurd: int) -> None:
    assert ordered(predictions=[100, absurd, 300], feedback=[200]) == [(P, 0), (P, 1), (F, 0), (P, 2)]


def test_an_absurd_first_record_comes_first() -> None:
    assert ordered(predictions=[10_001, 300], feedback=[200]) == [(P, 0), (F, 0), (P, 1)]


def test_ranges_reach_from_the_first_offset_to_the_one_after_the_last_and_empty_inputs_are_absent() -> None:
    batch = order({P: [record(7), record(9)], F: []}, cut_ms=5, limits_ms=LIMITS_MS)
    assert (batch.ranges, batch.cut_ms) == ({P: (7, 10)}, 5)


# -- alignment in time -------------------------------------------------------------------------------------------


def test_inputs_that_are_known_to_their_ends_are_taken_whole() -> None:
    assert taken(lanes_of(predictions=[100, 200], feedback=[900])) == {P: 2, F: 1}


def test_an_input_that_is_empty_and_behind_holds_the_others_while_there_is_patience() -> None:
    lanes = lanes_of(predictions=[100], at_end=(P, C, M))
    assert taken(lanes) == {}
    assert taken(lanes, is_patient=False) == {P: 1}


def test_nothing_is_taken_beyond_the_time_to_which_an_input_is_known() -> None:
    assert taken(lanes_of(predictions=[100, 200], feedback=[150, 250], at_end=(F, C, M))) == {P: 2, F: 1}


def test_the_input_that_is_known_the_least_far_decides() -> None:
    lanes = lanes_of(predictions=[100, 500], feedback=[90, 300], metrics=[250, 350], at_end=(C,))
    assert taken(lanes) == {P: 1, F: 2, M: 1}


def test_at_the_last_known_time_only_what_sorts_before_the_unknown_is_taken() -> None:
    # a prediction of time 200 may still come, and it must be stepped before the feedback of time 200
    assert taken(lanes_of(predictions=[200], feedback=[200], at_end=(F, C, M))) == {P: 1}
    # a feedback of time 200 may still come, and it sorts behind the prediction
    assert taken(lanes_of(predictions=[200], feedback=[200], at_end=(P, C, M))) == {P: 1, F: 1}
    assert taken(lanes_of(predictions=[200], feedback=[200], at_end=(C, M))) == {P: 1}


def test_something_is_taken_whenever_every_input_is_known_a_little() -> None:
    for ends in itertools.product([False, True], repeat=len(INPUTS)):
        at_end = tuple(topic for topic, is_at_end in zip(INPUTS, ends, strict=True) if is_at_end)
        lanes = lanes_of(control=[200], predictions=[200], feedback=[200], metrics=[200], at_end=at_end)
        assert sum(taken(lanes).values()) > 0


def test_batches_cut_anyhow_give_the_order_of_one_batch() -> None:
    times = {"predictions": [100, 100, 200, 300], "feedback": [100, 200, 200, 400], "control": [200, 300]}
    whole = ordered(**times)
    for most in range(1, 10):
        lanes = lanes_of(most=most, **times)
        cut: list[tuple[Topic, int]] = []
        while lanes.count:
            batch = lanes.cut(lanes.takeable(limits_ms=LIMITS_MS, is_patient=True), cut_ms=1)
            assert 0 < len(batch.records) <= most
            cut += [(topic, one.offset) for topic, one in zip(batch.topics, batch.records, strict=True)]
        assert cut == whole


@pytest.mark.parametrize("portion", [1, 2, 3])
def test_records_fetched_bit_by_bit_give_the_order_of_one_batch(portion: int) -> None:
    times = {P: [100, 100, 200, 200, 300], F: [100, 200, 200, 300], C: [200, 300]}
    whole = ordered(**{topic.value: at for topic, at in times.items()})
    lanes = lanes_of(at_end=())
    lanes.lanes[M].is_at_end = True
    records = {topic: [record(n, t) for n, t in enumerate(at)] for topic, at in times.items()}
    stepped: list[tuple[Topic, int]] = []
    while len(stepped) < len(whole):
        for topic, waiting in records.items():  # the control lane first, at its end long before the others
            lanes.lanes[topic].extend(waiting[:portion])
            del waiting[:portion]
            lanes.lanes[topic].is_at_end = not waiting
        batch = lanes.cut(lanes.takeable(limits_ms=LIMITS_MS, is_patient=True), cut_ms=1)
        stepped += [(topic, one.offset) for topic, one in zip(batch.topics, batch.records, strict=True)]
    assert stepped == whole


# -- bounds ------------------------------------------------------------------------------------------------------


def test_bytes_are_counted_in_and_out() -> None:
    lanes = lanes_of()
    lanes.lanes[P].extend([record(0, value=b"x" * 100), record(1, value=None)])
    own = RECORD_BYTES + len(b"m0")
    assert lanes.size_bytes == 100 + 2 * own
    lanes.lanes[P].take(1)
    assert (lanes.size_bytes, lanes.count) == (own, 1)
    lanes.clear()
    assert (lanes.size_bytes, lanes.count) == (0, 0)


def test_a_full_buffer_asks_for_no_more_until_it_is_stepped() -> None:
    lanes = lanes_of()
    assert lanes.has_room(P)
    lanes.lanes[P].extend([record(0, value=b"x" * 1000)])
    assert not lanes.has_room(P)
    cut(lanes, {P: 1})
    assert lanes.has_room(P)


def test_a_full_buffer_never_starves_the_input_that_it_waits_for() -> None:
    lanes = lanes_of()
    lanes.lanes[P].extend([record(0, value=b"x" * 5000)])
    assert lanes.has_room(F)
    lanes.lanes[F].extend([record(0)])
    assert not lanes.has_room(F)


def test_after_clearing_nothing_counts_as_at_its_end() -> None:
    lanes = lanes_of(predictions=[100])
    lanes.clear()
    lanes.lanes[P].extend([record(0, 100)])
    assert taken(lanes) == {}


def test_headers_and_keys_count_in_the_buffer() -> None:
    lanes = lanes_of()
    lanes.lanes[P].extend([record(0, value=None, key=None, headers=[("h", b"x" * 1000), ("empty", None)])])
    assert lanes.size_bytes == RECORD_BYTES + 2 * HEADER_BYTES + len("h") + 1000 + len("empty")
    assert not lanes.has_room(P)


# -- what lies between the records -------------------------------------------------------------------------------


def test_the_offsets_of_one_batch_begin_where_those_of_the_one_before_end() -> None:
    lanes = lanes_of()
    lanes.begin({P: 5})
    # markers of transactions at 5, 8 and 12
    lanes.lanes[P].extend([record(offset, 100) for offset in (6, 7, 9, 10, 11, 13)])
    spans = [cut(lanes, {P: count}).ranges[P] for count in (2, 3, 1)]
    assert spans == [(5, 8), (8, 12), (12, 14)]


def test_a_marker_behind_the_last_record_is_passed_only_when_nothing_before_it_is_left() -> None:
    lanes = lanes_of()
    lanes.begin({P: 5, F: 0})
    lanes.lanes[P].extend([record(5, 100), record(6, 100)])
    lanes.lanes[P].position = 8
    cut(lanes, {P: 1})
    assert lanes.passed() == {}
    cut(lanes, {P: 1})
    assert lanes.passed() == {P: 8}


def test_an_input_without_records_stands_for_no_offsets_whatever_was_passed() -> None:
    lanes = lanes_of()
    lanes.begin({P: 5, F: 0})
    lanes.lanes[P].position = 9
    lanes.lanes[F].extend([record(0, 100)])
    assert cut(lanes, {F: 1}).ranges == {F: (0, 1)}
