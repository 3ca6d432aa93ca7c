"""From raw records to typed events: the edge where bytes are parsed, once.

Owns what is refused before the core sees it: bad bytes, wrong keys, absurd times, records on the wrong partition.
Never touches state. Called by the task for each slice, live and in a restore, with equal results.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka.partitioner import murmur2

from adaptive_stream.contracts.codec import MAX_IGNORED_DEPTH, Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.field import MAX_ID_CHARS
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.slice import Slice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord

    from adaptive_stream.contracts.events import InputEvent

MOVED_HEADER = "as_repartitioned"  # marks a record that was re-published once, so that there is no second round
MAX_KEY_BYTES = 4 * MAX_ID_CHARS  # in UTF-8
MAX_KNOWN_KEYS = 200_000  # a cache: about 20 MB; emptied when full, then filled again
# for what was accepted before: limits lowered since do not undo that
UNBOUNDED = Codec(max_record_bytes=sys.maxsize, max_depth=MAX_IGNORED_DEPTH)


@dataclass(slots=True)
class Refused:
    """One record for the dead letters, with the reason."""

    topic: Topic
    record: ConsumerRecord
    reject: Reject


@dataclass(slots=True)
class Parsed:
    """A slice of a batch after parsing. ``records`` stand beside the slice's events, for those the core rejects."""

    slice: Slice
    records: list[ConsumerRecord]
    refused: list[Refused] = field(default_factory=list)
    misplaced: list[tuple[Topic, int, ConsumerRecord]] = field(default_factory=list)


class Intake:
    """Parse the records of one task.

    Args:
        codec: from bytes to events.
        partition: the task's partition number.
        partitions: how many partitions each input has.
    """

    def __init__(self, codec: Codec, *, partition: int, partitions: int) -> None:
        self._decode = codec.decode
        self._decode_many = codec.decode_many
        self._decode_again = codec.decode_again
        self._is_too_large = codec.is_too_large
        self._partition = partition
        self._partitions = partitions
        self._models: dict[bytes, str] = {}

    def parse(
        self,
        topics: Sequence[Topic],
        records: Sequence[ConsumerRecord],
        *,
        limits_ms: tuple[int, int],
        skipped: set[tuple[str, int]],
        cut_ms: int = -1,
    ) -> Parsed:
        """Parse a run of ordered records.

        Args:
            topics: of each record.
            records: in processing order.
            limits_ms: earliest and latest believable record timestamp.
            skipped: (topic, offset) of the records on which the step failed before.
            cut_ms: the wall clock at which their batch was cut.
        """
        if not skipped:
            events = self._events(topics, records, limits_ms)
            if events is not None:
                slice_ = Slice(
                    topics=list(topics),
                    offsets=[record.offset for record in records],
                    times_ms=[record.timestamp for record in records],
                    events=events,
                    cut_ms=cut_ms,
                )
                return Parsed(slice=slice_, records=list(records))
        return self._parse_each(topics, records, limits_ms, skipped, cut_ms)

    def parse_again(self, records: Sequence[ConsumerRecord]) -> Slice:
        """Parse predictions that were taken in before, under any limits; what this build cannot read is left out."""
        topics = [Topic.PREDICTIONS] * len(records)
        try:
            if any(record.headers for record in records):
                raise Reject(ErrorCode.INVALID_EVENT, "one of many records comes in an envelope")
            events = self._decode_again(Topic.PREDICTIONS, [record.value for record in records])
        except Reject:
            return self._parse_each_again(records)
        return Slice(
            topics=topics,
            offsets=[record.offset for record in records],
            times_ms=[record.timestamp for record in records],
            events=events,
        )

    def _parse_each_again(self, records: Sequence[ConsumerRecord]) -> Slice:
        slice_ = Slice(topics=[], offsets=[], times_ms=[], events=[])
        for record in records:
            try:
                event = UNBOUNDED.decode(Topic.PREDICTIONS, record.value, record.headers)
            except Reject:
                continue
            slice_.topics.append(Topic.PREDICTIONS)
            slice_.offsets.append(record.offset)
            slice_.times_ms.append(record.timestamp)
            slice_.events.append(event)
        return slice_

    def _events(
        self, topics: Sequence[Topic], records: Sequence[ConsumerRecord], limits_ms: tuple[int, int]
    ) -> list[InputEvent] | None:
        """Return the events of a run in which all is well and no key is seen for the first time; else None."""
        models = [*map(self._models.get, [record.key for record in records])]
        times = [record.timestamp for record in records]
        if None in models or not times or min(times) < limits_ms[0] or max(times) > limits_ms[1]:
            return None
        values, headers = [record.value for record in records], [record.headers for record in records]
        try:
            events = self._decode_many(topics, values, headers)
        except Reject:
            return None
        return events if [event.model_id for event in events] == models else None

    def _parse_each(
        self,
        topics: Sequence[Topic],
        records: Sequence[ConsumerRecord],
        limits_ms: tuple[int, int],
        skipped: set[tuple[str, int]],
        cut_ms: int,
    ) -> Parsed:
        slice_ = Slice(topics=[], offsets=[], times_ms=[], events=[], cut_ms=cut_ms)
        parsed = Parsed(slice=slice_, records=[])
        decode, models = self._decode, self._models
        earliest, latest = limits_ms
        for topic, record in zip(topics, records, strict=True):
            model_id = None
            try:
                if skipped and (str(topic), record.offset) in skipped:
                    raise Reject(ErrorCode.POISON, "the step failed on this record; see the worker's log for the trace")
                model_id = models.get(record.key) if record.key is not None else None
                if model_id is None:
                    model_id = self._place(record)
                    if model_id is None and not self._is_too_large(record.value):  # too large to take a header more
                        parsed.misplaced.append((topic, self.home(record.key), record))
                        continue
                time_ms = record.timestamp
                if not earliest <= time_ms <= latest:
                    raise Reject(
                        ErrorCode.ABSURD_TIME,
                        "the record's timestamp is before time.earliest or more than time.max_future_skew_s ahead",
                    )
                event = decode(topic, record.value, record.headers)
                if event.model_id != model_id:
                    raise Reject(
                        ErrorCode.KEY_MISMATCH,
                        "the record's key and the body's model_id differ; the key must be the model_id",
                        path="$.model_id",
                    )
            except Reject as reject:
                parsed.refused.append(Refused(topic, record, reject))
                if model_id is not None:
                    slice_.refused.append((len(slice_.events), model_id))
                continue
            slice_.topics.append(topic)
            slice_.offsets.append(record.offset)
            slice_.times_ms.append(time_ms)
            slice_.events.append(event)
            parsed.records.append(record)
        return parsed

    def home(self, key: bytes) -> int:
        """Return the partition that Kafka's default partitioner gives a key."""
        return home(key, self._partitions)

    def _place(self, record: ConsumerRecord) -> str | None:
        """Return the model id of a key seen for the first time; None when it belongs to another partition."""
        if not record.key:
            raise Reject(ErrorCode.MISSING_KEY, "the record has no key; the key must be the model_id")
        if len(record.key) > MAX_KEY_BYTES:
            raise Reject(ErrorCode.KEY_MISMATCH, "the record's key is longer than a model_id can be")
        try:
            model_id: str = record.key.decode()
        except UnicodeDecodeError as error:
            raise Reject(ErrorCode.MISSING_KEY, "the record's key is not UTF-8; it must be the model_id") from error
        if self.home(record.key) != self._partition:
            if any(name == MOVED_HEADER for name, _ in record.headers):
                raise Reject(
                    ErrorCode.WRONG_PARTITION,
                    "the record is on the wrong partition after it was moved once; partition by murmur2 of the key",
                )
            return None
        if len(self._models) >= MAX_KNOWN_KEYS:
            self._models.clear()
        self._models[record.key] = model_id
        return model_id


def home(key: bytes, partitions: int) -> int:
    """Return the partition of a key under Kafka's default (murmur2) partitioner."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)
