"""The reader of a restore against a client that passes markers: the fake stands at the client's boundary."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.failure import RestoreFailed
from adaptive_stream.runtime.restore import Reader
from tests.unit.runtime.records import config, record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord, TopicPartition


class Fetches:
    """In place of the consumer: each look brings some records and moves the position."""

    def __init__(self, *looks: tuple[Sequence[int], int]) -> None:
        self._looks = list(looks)
        self._position = 0
        self.longest_ms = 0

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def getmany(self, tp: TopicPartition, *, timeout_ms: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        await asyncio.sleep(0)
        self.longest_ms = max(self.longest_ms, timeout_ms)
        if not self._looks:
            return {}
        offsets, self._position = self._looks.pop(0)
        return {tp: [record(offset) for offset in offsets]} if offsets else {}


def read(fetches: Fetches, *ends: int) -> list[list[int]]:
    """Read up to each end in turn and return the offsets of each part."""

    async def parts() -> list[list[int]]:
        reader = Reader(config("kafka.call_timeout_ms=500"), 0, [Topic.STATE])
        reader._consumer = fetches
        return [[one.offset async for run in aiter(reader.until(Topic.STATE, end)) for one in run] for end in ends]

    return asyncio.run(parts())


def test_everything_up_to_the_end_is_read() -> None:
    assert read(Fetches(([0, 1], 2), ([2, 3], 4)), 4) == [[0, 1, 2, 3]]


def test_what_was_fetched_beyond_an_end_is_kept_for_the_next_part() -> None:
    assert read(Fetches(([0, 1, 2, 3], 4), ([4], 5)), 2, 3, 5) == [[0, 1], [2], [3, 4]]


def test_a_marker_at_the_end_is_passed_without_a_record() -> None:
    assert read(Fetches(([0, 1], 2), ([], 3)), 3) == [[0, 1]]


def test_a_range_of_nothing_but_aborted_records_is_passed() -> None:
    assert read(Fetches(([], 40), ([], 80), ([80], 81)), 81) == [[80]]


def test_a_look_is_short_because_markers_move_the_position_without_ending_it() -> None:
    fetches = Fetches(([0], 1), ([], 2))
    read(fetches, 2)
    assert fetches.longest_ms <= 1000


def test_an_empty_range_needs_no_look() -> None:
    assert read(Fetches(), 0) == [[]]


def test_a_log_that_stalls_before_its_end_fails_the_restore_within_the_limit() -> None:
    with pytest.raises(RestoreFailed, match=r"nothing came for 0.5 s before offset 9"):
        read(Fetches(([0, 1], 2)), 9)
