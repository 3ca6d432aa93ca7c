"""What a record of the dead-letter topic is, and the way back of the record inside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_stream.client.letters import Headers, Letter, Mark, Place, Selection, read_record, way_back
from adaptive_stream.config import load
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.intake import MOVED_HEADER, Refused, home
from adaptive_stream.runtime.writing import Writer
from tests.unit.runtime.records import record

if TYPE_CHECKING:
    from aiokafka import ConsumerRecord

CUT_MS = 1_700_000_100_000
COUNTS = {"adaptive.predictions": 6, "adaptive.feedback": 6}
WRITER = Writer(load([], {}, ['families.f.match=["*"]']), Codec(), partition=2, partitions=dict.fromkeys(Topic, 6))
names = st.text(max_size=8) | st.sampled_from(["as_error_code", "as_error_path", "as_replayed", "as_replays", "x"])
values = st.none() | st.binary(max_size=8) | st.sampled_from([b"0@0", b"2@1", b"1"])


def letter_of(refused: ConsumerRecord, *, code: ErrorCode = ErrorCode.NOT_JSON, offset: int = 7) -> ConsumerRecord:
    """Return the record that the worker writes for a refused one."""
    write = WRITER.dead_letter(
        Refused(Topic.PREDICTIONS, refused, Reject(code, "a message", path="$.x")), cut_ms=CUT_MS
    )
    return record(
        offset,
        write.time_ms,
        value=write.value,
        key=write.key,
        topic=write.topic,
        partition=write.partition,
        headers=write.headers,
    )


def opened(refused: ConsumerRecord) -> Letter:
    letter = read_record(letter_of(refused))
    assert isinstance(letter, Letter)
    return letter


@given(
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=40),
    st.lists(st.tuples(names, values), max_size=6),
    st.integers(0, 2**40),
)
def test_what_the_worker_writes_is_read_back_whole_whatever_the_record_was(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]], time_ms: int
) -> None:
    refused = record(41, time_ms, key=key, value=value, headers=headers, partition=2)
    letter = opened(refused)
    assert (letter.key, letter.value, letter.headers) == (key, value, tuple(headers))
    assert (letter.code, letter.message, letter.path) == ("not_json", "a message", "$.x")
    assert (letter.source_topic, letter.source_partition, letter.source_offset) == ("adaptive.predictions", 2, 41)
    assert (letter.source_time_ms, letter.time_ms, letter.place) == (time_ms, CUT_MS, Place(2, 7))
    back = way_back(letter, COUNTS)
    assert back is not None
    assert (back.topic, back.key, back.value, back.time_ms) == (letter.source_topic, key, value, time_ms)
    assert back.partition == (home(key, 6) if key else 2)
    assert [header for header in back.headers if header[0] == "x"] == [h for h in headers if h[0] == "x"]


def marked(text: bytes | None, *, offset: int = 9, partition: int = 2) -> Letter | Mark | None:
    return read_record(record(offset, value=None, partition=partition, headers=[("as_replayed", text)]))


def test_a_mark_names_a_letter_before_it_in_its_partition_or_it_is_none() -> None:
    assert marked(b"2@7") == Mark(Place(2, 9), Place(2, 7))
    for text in (None, b"", b"2@9", b"2@10", b"1@7", b"x", b"2@", b"\xff", b"2@-1", b"2@7 "):
        assert marked(text) is None, text


def test_a_letter_whose_record_carries_the_header_of_a_mark_is_no_mark() -> None:
    assert opened(record(1, headers=[("as_replayed", b"2@1")])).headers == (("as_replayed", b"2@1"),)


@pytest.mark.parametrize("without", ["as_error_message", "as_source_topic", "as_source_offset"])
def test_a_record_without_all_reasons_is_somebody_elses(without: str) -> None:
    whole = letter_of(record(1))
    headers = tuple(header for header in whole.headers if header[0] != without)
    assert read_record(replace(whole, headers=headers)) is None
    assert read_record(replace(whole, headers=())) is None
    broken = tuple((name, b"x" if name == "as_source_offset" else raw) for name, raw in whole.headers)
    assert read_record(replace(whole, headers=broken)) is None


@pytest.mark.parametrize(
    ("headers", "before"),
    [
        ((), 0),
        ((("as_replays", b"1"),), 1),
        ((("as_replays", b"1"), ("as_replays", b"12")), 12),
        ((("as_replays", b"many"),), 0),
        ((("as_replays", None),), 0),
        ((("as_replays", b"9" * 40),), 0),
    ],
)
def test_replays_are_counted_in_one_header(headers: Headers, before: int) -> None:
    letter = opened(record(1, headers=headers))
    assert letter.replays == before
    back = way_back(letter, COUNTS)
    assert back is not None
    assert back.headers == (("as_replays", str(before + 1).encode()),)


def test_what_the_system_added_is_taken_off_and_all_else_kept_in_its_order() -> None:
    headers = [
        ("b", b"1"),
        (MOVED_HEADER, b"1"),
        ("a", None),
        ("as_tenant", b"t"),
        ("as_error_code", b"old"),
        ("b", b"2"),
    ]
    back = way_back(opened(record(1, headers=headers)), COUNTS)
    assert back is not None
    assert back.headers[:-1] == (("b", b"1"), ("a", None), ("as_tenant", b"t"), ("b", b"2"))


def test_a_record_without_a_key_goes_back_to_its_partition_or_to_one_that_exists() -> None:
    letter = opened(record(1, key=None, partition=5))
    for count, partition in ((6, 5), (2, 1)):
        back = way_back(letter, {"adaptive.predictions": count})
        assert back is not None
        assert back.partition == partition
    assert way_back(letter, {"adaptive.feedback": 6}) is None


def test_a_selection_takes_what_fits_all_its_filters() -> None:
    letter = opened(record(1, key=b"m0"))
    for taken, selection in (
        (True, Selection()),
        (True, Selection(codes=frozenset({"not_json", "empty"}), model="m0", since_ms=CUT_MS, until_ms=CUT_MS + 1)),
        (False, Selection(codes=frozenset({"empty"}))),
        (False, Selection(model="m")),
        (False, Selection(since_ms=CUT_MS + 1)),
        (False, Selection(until_ms=CUT_MS)),
    ):
        assert selection.takes(letter) is taken, selection
    assert not Selection(model="m0").takes(opened(record(1, key=None)))


def test_a_place_is_written_as_it_is_read() -> None:
    assert Place.parse("0@17") == Place(0, 17)
    assert str(Place(3, 0)) == "3@0"
    with pytest.raises(ValueError, match="PARTITION@OFFSET"):
        Place.parse("3/0")
