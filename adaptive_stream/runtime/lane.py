"""What a task has fetched and not yet stepped: one lane an input, cut into batches in the order of time.

Owns the buffers, the rule that keeps the inputs aligned in time, and the order inside a batch. Never decodes: it sees
timestamps, offsets and sizes. Called by the task.

The order is Kafka Streams': merge the inputs by time, never reorder one input. A record's time is the greatest
timestamp of its input's records in the batch so far, so that a producer's bad clock cannot move an order past the
one before it. docs/decisions/stream-time.md has the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.contracts.topics import INPUTS, Topic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import ConsumerRecord
    from numpy.typing import NDArray

BEFORE_TIME = -(2**62)  # sorts before any timestamp a producer can write
# of a fetched record and of one of its headers beside what they carry; measured with tracemalloc
RECORD_BYTES, HEADER_BYTES = 320, 140


class Lane:
    """One input's fetched records, in offset order.

    Attributes:
        first: offset from which nothing was taken yet; None while unknown.
        position: offset up to which the input was fetched, the markers of transactions included; None while unknown.
    """

    def __init__(self) -> None:
        self.records: list[ConsumerRecord] = []
        self._sizes: list[int] = []  # of each record, so that it is counted once
        self.size_bytes = 0
        self.is_at_end = False
        self.first: int | None = None
        self.position: int | None = None

    def extend(self, records: Sequence[ConsumerRecord]) -> None:
        """Append what was fetched."""
        sizes = [_size_bytes(record) for record in records]
        self.records.extend(records)
        self._sizes.extend(sizes)
        self.size_bytes += sum(sizes)

    def take(self, count: int) -> tuple[list[ConsumerRecord], tuple[int, int]]:
        """Remove and return the first ``count`` records, one at least, and the offsets that they stand for.

        The offsets of one batch begin where those of the one before end: what lies between two records (a marker, an
        aborted or a compacted record) belongs to the batch of the record behind it.
        """
        taken, self.records = self.records[:count], self.records[count:]
        self._sizes = self._sizes[count:]
        self.size_bytes = sum(self._sizes)
        first = taken[0].offset if self.first is None else self.first
        self.first = end = taken[-1].offset + 1
        return taken, (first, end)


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one transaction, in processing order.

    ``ranges`` holds for each input the first offset and the next one after the last; inputs without records are absent.
    Those of one batch begin where those of the batch before end. ``is_look`` says whether one without records looks for
    silence.
    """

    cut_ms: int
    topics: list[Topic]
    records: list[ConsumerRecord]
    ranges: dict[Topic, tuple[int, int]]
    is_look: bool = True


def order(inputs: Mapping[Topic, Sequence[ConsumerRecord]], *, cut_ms: int, limits_ms: tuple[int, int]) -> Batch:
    """Merge the records of a batch by (time so far, rank of the topic, offset): a pure function of the batch.

    Args:
        inputs: each input's records, in offset order.
        cut_ms: the wall clock at which the batch was cut; it is journalled.
        limits_ms: earliest and latest believable timestamp. A record outside takes the place after its predecessor.
    """
    return _merged(inputs, {t: _times_so_far(records, limits_ms) for t, records in inputs.items()}, cut_ms=cut_ms)


def _merged(
    inputs: Mapping[Topic, Sequence[ConsumerRecord]], times: Mapping[Topic, NDArray[np.int64]], *, cut_ms: int
) -> Batch:
    flat: list[ConsumerRecord] = []
    topics: list[Topic] = []
    present = [topic for topic in INPUTS if inputs.get(topic)]
    for topic in present:
        flat.extend(inputs[topic])
        topics.extend([topic] * len(inputs[topic]))
    if len(present) > 1:
        # stable: at equal times the inputs stand in the order of their ranks, and each in the order of its offsets
        places = np.argsort(np.concatenate([times[topic] for topic in present]), kind="stable").tolist()
        flat = [flat[place] for place in places]
        topics = [topics[place] for place in places]
    ranges = {topic: (records[0].offset, records[-1].offset + 1) for topic, records in inputs.items() if records}
    return Batch(cut_ms=cut_ms, topics=topics, records=flat, ranges=ranges)


class Lanes:
    """All inputs of one task.

    Args:
        max_batch_records: most records of one batch.
        max_buffer_bytes: above it the task asks for no more.
    """

    def __init__(self, *, max_batch_records: int, max_buffer_bytes: int) -> None:
        self.lanes = {topic: Lane() for topic in INPUTS}
        self._max_batch_records = max_batch_records
        self._max_buffer_bytes = max_buffer_bytes
        self._times: dict[Topic, NDArray[np.int64]] = {}  # of what may be taken, until it is

    @property
    def count(self) -> int:
        """Records held."""
        return sum(len(lane.records) for lane in self.lanes.values())

    @property
    def size_bytes(self) -> int:
        """Bytes held."""
        return sum(lane.size_bytes for lane in self.lanes.values())

    def has_room(self, topic: Topic) -> bool:
        """Say whether this input may be fetched.

        An input that is empty may always be: otherwise a full lane could starve the one that it waits for.
        """
        return self.size_bytes < self._max_buffer_bytes or not self.lanes[topic].records

    def clear(self) -> None:
        """Forget everything fetched; what is at its end is not known any more."""
        for topic in self.lanes:
            self.lanes[topic] = Lane()

    def begin(self, positions: Mapping[Topic, int]) -> None:
        """Note the offsets from which the empty lanes will be filled."""
        for topic, offset in positions.items():
            self.lanes[topic].first = self.lanes[topic].position = offset

    def passed(self) -> dict[Topic, int]:
        """Return how far the inputs hold nothing more behind what was taken, where that is further: markers."""
        return {
            topic: lane.position
            for topic, lane in self.lanes.items()
            if not lane.records and lane.position is not None and lane.first is not None and lane.position > lane.first
        }

    def takeable(self, *, limits_ms: tuple[int, int], is_patient: bool) -> dict[Topic, int]:
        """Count, for each input, the records that the next batch may take.

        Args:
            limits_ms: earliest and latest believable timestamp.
            is_patient: whether an input that is empty but not at its end holds the others.

        Returns:
            The length of the prefix of each input; all 0 while the alignment in time asks for patience.
        """
        horizon, rank = np.inf, len(INPUTS)  # what is not known yet sorts after this time, and at it after this rank
        times = self._times = {}
        for topic, lane in self.lanes.items():
            if lane.records:
                times[topic] = _times_so_far(lane.records[: self._max_batch_records], limits_ms)
                if not lane.is_at_end:
                    horizon, rank = min((horizon, rank), (float(times[topic][-1]), INPUTS.index(topic)))
            elif not lane.is_at_end and is_patient:
                return dict.fromkeys(self.lanes, 0)
        counts = {
            topic: int(np.searchsorted(array, horizon, side="right" if INPUTS.index(topic) <= rank else "left"))
            for topic, array in times.items()
        }
        if sum(counts.values()) > self._max_batch_records:
            counts = self._first(counts, times)
        return counts

    def cut(self, counts: Mapping[Topic, int], *, cut_ms: int) -> Batch:
        """Take the prefixes that ``takeable`` has counted just now out of the lanes, and order them."""
        taken = {topic: self.lanes[topic].take(count) for topic, count in counts.items() if count}
        times = {topic: self._times[topic][: counts[topic]] for topic in taken}
        batch = _merged({topic: records for topic, (records, _) in taken.items()}, times, cut_ms=cut_ms)
        return replace(batch, ranges={topic: span for topic, (_, span) in taken.items()})

    def _first(self, counts: Mapping[Topic, int], times: Mapping[Topic, np.ndarray]) -> dict[Topic, int]:
        merged = np.concatenate([times[topic][:count] for topic, count in counts.items()])
        owners = np.concatenate([np.full(count, place) for place, count in enumerate(counts.values())])
        ranks = np.array([INPUTS.index(topic) for topic in counts])[owners]
        chosen = owners[np.lexsort((ranks, merged))[: self._max_batch_records]]
        totals = np.bincount(chosen, minlength=len(counts))
        return {topic: int(total) for topic, total in zip(counts, totals, strict=True)}


def _size_bytes(record: ConsumerRecord) -> int:
    size = RECORD_BYTES + len(record.value or b"") + len(record.key or b"")
    if record.headers:
        size += sum([HEADER_BYTES + len(name) + len(value or b"") for name, value in record.headers])
    return size


def _times_so_far(records: Sequence[ConsumerRecord], limits_ms: tuple[int, int]) -> np.ndarray:
    times = np.fromiter([record.timestamp for record in records], dtype=np.int64, count=len(records))
    absurd = (times < limits_ms[0]) | (times > limits_ms[1])
    if absurd.any():
        times[absurd] = BEFORE_TIME
    return np.maximum.accumulate(times)
