from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiokafka.partitioner import murmur2

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode
from adaptive_stream.contracts.events import Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime import intake as module
from adaptive_stream.runtime.intake import MOVED_HEADER, Intake, Parsed, home
from tests.unit.runtime.records import LIMITS_MS, START_MS, prediction, record

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

PARTITIONS = 4
HOME = home(b"m0", PARTITIONS)


def parse(*records: ConsumerRecord, skipped: set[tuple[str, int]] | None = None, partition: int = HOME) -> Parsed:
    intake = Intake(Codec(), partition=partition, partitions=PARTITIONS)
    topics = [Topic.PREDICTIONS] * len(records)
    return intake.parse(topics, records, limits_ms=(START_MS - 10, START_MS + 10), skipped=skipped or set())


def codes(parsed: Parsed) -> list[ErrorCode]:
    return [refused.reject.code for refused in parsed.refused]


def test_good_records_become_events_with_their_places_beside_them() -> None:
    parsed = parse(prediction(4), prediction(5, START_MS + 1))
    assert [event.prediction_id for event in parsed.slice.events] == ["p4", "p5"]
    assert (parsed.slice.offsets, parsed.slice.times_ms) == ([4, 5], [START_MS, START_MS + 1])
    assert [one.offset for one in parsed.records] == [4, 5]
    assert not parsed.refused
    assert not parsed.misplaced


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (record(1, value=b"no"), ErrorCode.NOT_JSON),
        (record(1, value=None), ErrorCode.EMPTY),
        (record(1, key=None), ErrorCode.MISSING_KEY),
        (record(1, key=b""), ErrorCode.MISSING_KEY),
        (record(1, key=b"\xff"), ErrorCode.MISSING_KEY),
        (record(1, key=b"k" * 1025), ErrorCode.KEY_MISMATCH),
        (prediction(1, START_MS - 11), ErrorCode.ABSURD_TIME),
        (prediction(1, START_MS + 11), ErrorCode.ABSURD_TIME),
        (record(1, -1), ErrorCode.ABSURD_TIME),
        (
            record(1, value=Codec().encode(parse(prediction(1)).slice.events[0]).replace(b"m0", b"m9")),
            ErrorCode.KEY_MISMATCH,
        ),
    ],
)
def test_a_bad_record_is_refused_with_its_code_and_its_neighbours_pass(bad: ConsumerRecord, code: ErrorCode) -> None:
    parsed = parse(prediction(0), bad, prediction(2))
    assert codes(parsed) == [code]
    assert parsed.refused[0].record is bad
    assert parsed.slice.offsets == [0, 2]


def test_the_limits_of_time_are_believable_themselves() -> None:
    assert parse(prediction(0, START_MS - 10), prediction(1, START_MS + 10)).slice.offsets == [0, 1]


def test_a_record_on_the_wrong_partition_is_set_aside_with_the_right_one() -> None:
    stray = prediction(3)
    parsed = parse(stray, partition=(HOME + 1) % PARTITIONS)
    assert parsed.misplaced == [(Topic.PREDICTIONS, HOME, stray)]
    assert not parsed.slice.events
    assert not parsed.refused


def test_a_record_that_was_moved_once_is_not_moved_again() -> None:
    stray = record(3, headers=[(MOVED_HEADER, b"1")])
    parsed = parse(stray, partition=(HOME + 1) % PARTITIONS)
    assert codes(parsed) == [ErrorCode.WRONG_PARTITION]
    assert not parsed.misplaced


@pytest.mark.parametrize("excess", [0, 1])
def test_a_record_on_the_wrong_partition_that_is_too_large_is_refused_and_not_moved(excess: int) -> None:
    stray = record(3, value=b"x" * (256 + excess))
    intake = Intake(Codec(max_record_bytes=256), partition=(HOME + 1) % PARTITIONS, partitions=PARTITIONS)
    parsed = intake.parse([Topic.PREDICTIONS], [stray], limits_ms=LIMITS_MS, skipped=set())
    assert codes(parsed) == [ErrorCode.TOO_LARGE] * excess
    assert [one for *_, one in parsed.misplaced] == [stray] * (1 - excess)


def test_a_moved_record_on_the_right_partition_counts_as_any_other() -> None:
    moved = record(3, value=prediction(3).value, headers=[(MOVED_HEADER, b"1")])
    assert parse(moved).slice.offsets == [3]


def test_known_poison_is_refused_before_it_is_parsed() -> None:
    parsed = parse(record(7, value=b"no"), prediction(8), skipped={("predictions", 7), ("feedback", 8)})
    assert codes(parsed) == [ErrorCode.POISON]
    assert parsed.slice.offsets == [8]


def test_the_cache_of_keys_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN_KEYS", 3)
    intake = Intake(Codec(), partition=0, partitions=1)
    records = [prediction(n, model=f"m{n % 7}") for n in range(40)]
    parsed = intake.parse([Topic.PREDICTIONS] * 40, records, limits_ms=LIMITS_MS, skipped=set())
    assert parsed.slice.offsets == list(range(40))
    assert len(intake._models) <= 3


def test_what_was_taken_in_before_is_parsed_again_to_the_same_events() -> None:
    codec = Codec()
    packed = codec.encode_msgpack(codec.decode(Topic.PREDICTIONS, prediction(4).value))
    enveloped = record(4, value=packed, headers=[("content-type", b"application/msgpack")])
    intake = Intake(codec, partition=HOME, partitions=PARTITIONS)
    for records in ([prediction(n) for n in range(3)], [prediction(3), enveloped], []):
        first = intake.parse([Topic.PREDICTIONS] * len(records), records, limits_ms=LIMITS_MS, skipped=set()).slice
        assert intake.parse_again(records) == first


def test_what_this_build_refuses_is_left_out_when_it_is_parsed_again() -> None:
    intake = Intake(Codec(), partition=HOME, partitions=PARTITIONS)
    for bad in (record(1, value=b'{"prediction_id": 7}'), record(1, value=None)):
        assert intake.parse_again([prediction(0), bad, prediction(2)]).offsets == [0, 2]


def test_what_was_taken_in_under_wider_limits_is_parsed_again_to_the_same_events() -> None:
    codec = Codec()
    small, large = (Prediction(prediction_id=f"p{n}", model_id="m0", output=0.9, variant_id="v" * n) for n in (1, 200))
    deep = codec.encode(small)[:-1] + b',"ignored":' + b"[" * 10 + b"]" * 10 + b"}"
    headers = codec.headers(small, source="/app", event_id="1", time_ms=START_MS)
    records = [
        record(0, value=codec.encode(small)),
        record(1, value=codec.encode(large)),
        record(2, value=codec.encode(large), headers=headers),
        record(3, value=deep, headers=headers),
        record(4, value=codec.encode(small), headers=headers),
    ]
    topics = [Topic.PREDICTIONS] * len(records)
    accepted = Intake(codec, partition=HOME, partitions=PARTITIONS)
    first = accepted.parse(topics, records, limits_ms=LIMITS_MS, skipped=set()).slice
    assert first.offsets == [0, 1, 2, 3, 4]
    stricter = Intake(Codec(max_record_bytes=256, max_depth=4), partition=HOME, partitions=PARTITIONS)
    now = stricter.parse(topics, records, limits_ms=LIMITS_MS, skipped=set())
    assert codes(now) == [ErrorCode.TOO_LARGE, ErrorCode.TOO_LARGE, ErrorCode.TOO_DEEP]
    assert stricter.parse_again(records) == first


@pytest.mark.parametrize(
    ("key", "positive"),
    [(b"21", 1173551340), (b"foobar", 1357151166), (b"a-little-bit-long-string", 1161502112), (b"", 275646681)],
)
def test_the_partition_is_kafkas_own_murmur2(key: bytes, positive: int) -> None:
    # the values of org.apache.kafka.common.utils.UtilsTest, without their sign bit
    assert murmur2(key) & 0x7FFFFFFF == positive
    assert home(key, 10) == positive % 10
