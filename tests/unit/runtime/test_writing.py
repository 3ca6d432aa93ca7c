from __future__ import annotations

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Adaptation, AdaptationKind, Trigger
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.intake import MOVED_HEADER, Refused, home
from adaptive_stream.runtime.writing import Writer
from tests.unit.runtime.records import START_MS, config, record

ADAPTATION = Adaptation(
    adaptation_id="a",
    kind=AdaptationKind.FROZEN,
    model_id="m7",
    trigger=Trigger.CONTROL,
    evidence={},
    at=format_time(START_MS),
)


def writer(partition: int = 2, *, dead_letters: int = 6) -> Writer:
    partitions = {**dict.fromkeys(Topic, 6), Topic.DEAD_LETTERS: dead_letters}
    return Writer(config(), Codec(), partition=partition, partitions=partitions)


def test_an_output_is_keyed_and_placed_by_its_model_and_can_be_decoded() -> None:
    made = writer().output(ADAPTATION, batch=3, index=1, cut_ms=9)
    assert (made.topic, made.key, made.partition, made.time_ms) == ("adaptive.adaptations", b"m7", home(b"m7", 6), 9)
    assert Codec().decode_output(Topic.ADAPTATIONS, made.value, made.headers) == ADAPTATION
    assert dict(made.headers)["ce_time"].decode() == format_time(START_MS)


def test_an_event_id_is_the_same_each_time_and_differs_by_task_batch_and_index() -> None:
    def event_id(partition: int, batch: int, index: int) -> bytes:
        return dict(writer(partition).output(ADAPTATION, batch=batch, index=index, cut_ms=9).headers)["ce_id"]

    assert event_id(2, 3, 1) == event_id(2, 3, 1)
    assert len({event_id(2, 3, 1), event_id(2, 3, 2), event_id(2, 4, 1), event_id(1, 3, 1)}) == 4


def test_a_dead_letter_is_the_record_byte_for_byte_and_the_reasons_after_its_own_headers() -> None:
    bad = record(8, 77, value=b"\xff\x00", key=b"\xfe", headers=[("a", b"\x00"), ("a", None)], partition=2)
    reject = Reject(ErrorCode.NOT_JSON, "why", path="$.x")
    made = writer().dead_letter(Refused(Topic.PREDICTIONS, bad, reject), cut_ms=9)
    assert (made.topic, made.partition, made.key, made.value) == ("adaptive.dead-letters", 2, b"\xfe", b"\xff\x00")
    assert list(made.headers) == [
        ("a", b"\x00"),
        ("a", None),
        ("as_error_code", b"not_json"),
        ("as_error_message", b"why"),
        ("as_error_path", b"$.x"),
        ("as_source_topic", b"adaptive.predictions"),
        ("as_source_partition", b"2"),
        ("as_source_offset", b"8"),
        ("as_source_timestamp", b"77"),
    ]


def test_the_dead_letters_may_have_fewer_partitions_than_the_inputs() -> None:
    refused = Refused(Topic.PREDICTIONS, record(8), Reject(ErrorCode.EMPTY, "x"))
    assert writer(5, dead_letters=2).dead_letter(refused, cut_ms=9).partition == 1


def test_a_moved_record_keeps_its_bytes_and_its_time_and_is_marked() -> None:
    stray = record(8, 77, value=b"v", headers=[("h", b"x")])
    (made,) = writer().moved([(Topic.FEEDBACK, 4, stray)])
    assert (made.topic, made.partition, made.key, made.value, made.time_ms) == ("adaptive.feedback", 4, b"m0", b"v", 77)
    assert list(made.headers) == [("h", b"x"), (MOVED_HEADER, b"1")]


def test_state_goes_to_the_tasks_own_partition() -> None:
    made = writer().state(b"k", b"v", cut_ms=9)
    assert (made.topic, made.partition, made.key, made.value) == ("adaptive.state", 2, b"k", b"v")
