"""Dead letters as they lie on their topic: what was refused, why, and which of them were sent again.

Owns the reading of a dead letter's headers, the mark that a replay leaves, and the way back of a record. Never writes.
Used by the verbs ``dlq`` and by the replay.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from adaptive_stream.client.partitions import partition_counts
from adaptive_stream.contracts.topics import INPUTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka import ConsumerRecord

FIRST_REASON = "as_error_code"  # the worker appends its reasons to the record's own headers, this one first
REPLAYED_HEADER = "as_replayed"  # of a mark: the letter that was sent again, as partition@offset
REPLAYS_HEADER = "as_replays"  # of a record that was sent again: how often, this time included
MOVED_HEADER = "as_repartitioned"  # of a record that the worker moved once; sent again it may be moved again
OURS = frozenset(
    {
        FIRST_REASON,
        "as_error_message",
        "as_error_path",
        "as_source_topic",
        "as_source_partition",
        "as_source_offset",
        "as_source_timestamp",
        REPLAYED_HEADER,
        REPLAYS_HEADER,
        MOVED_HEADER,
    }
)
"""What is taken off a record before it goes back: everything that this system has ever added to one."""

LOOK_MS = 200  # how long one look for further records waits
STALL_S = 90.0  # the transaction of a worker that died holds readers up for kafka.transaction_timeout_ms, 60 s
_PLACE = re.compile(r"(\d{1,9})@(\d{1,18})")
_COUNT = re.compile(rb"\d{1,9}")

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a record lies on the dead-letter topic."""

    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place that a text such as ``0@17`` names.

        Raises:
            ValueError: it is not of this shape.
        """
        found = _PLACE.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not PARTITION@OFFSET, such as 0@17")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.partition}@{self.offset}"


@dataclass(frozen=True, slots=True)
class Letter:
    """One refused record. Its key, value and headers are those of the record, byte for byte."""

    place: Place
    time_ms: int  # when it was refused
    code: str
    message: str
    path: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def replays(self) -> int:
        """How often the record was sent again before it became this letter."""
        counts = [raw for name, raw in self.headers if name == REPLAYS_HEADER and raw and _COUNT.fullmatch(raw)]
        return int(counts[-1]) if counts else 0

    @property
    def size_bytes(self) -> int:
        """About what its record takes on the wire."""
        return (
            sum(len(name) + len(raw or b"") for name, raw in self.headers)
            + len(self.key or b"")
            + len(self.value or b"")
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """What a replay leaves in the transaction that sends a record again. It lies behind its letter."""

    place: Place
    letter: Place


@dataclass(frozen=True, slots=True)
class Return:
    """A record on its way back."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    time_ms: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant. ``since_ms`` is the first instant, ``until_ms`` the first one after; of the refusal."""

    codes: frozenset[str] = frozenset()
    model: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def takes(self, letter: Letter) -> bool:
        """Say whether a letter is among them."""
        return (
            (not self.codes or letter.code in self.codes)
            and (self.model is None or letter.key == self.model.encode())
            and (self.since_ms is None or letter.time_ms >= self.since_ms)
            and (self.until_ms is None or letter.time_ms < self.until_ms)
        )


def read_record(record: ConsumerRecord) -> Letter | Mark | None:
    """Return what a record of the dead-letter topic is; None when somebody else wrote it.

    A refused record may itself carry headers of any name. So the reasons begin at the *last* ``as_error_code``, and
    only a record without one can be a mark: nobody's bad record passes for a mark and hides a letter.
    """
    place = Place(record.partition, record.offset)
    headers: Headers = tuple(record.headers)
    starts = [number for number, (name, _) in enumerate(headers) if name == FIRST_REASON]
    try:
        if not starts:
            marked = [raw for name, raw in headers if name == REPLAYED_HEADER and raw]
            letter = Place.parse(marked[-1].decode()) if marked else None
            is_behind = letter is not None and letter.partition == place.partition and letter.offset < place.offset
            return Mark(place, letter) if letter is not None and is_behind else None
        reasons = {name: (raw or b"").decode() for name, raw in headers[starts[-1] :]}
        return Letter(
            place=place,
            time_ms=record.timestamp,
            code=reasons[FIRST_REASON],
            message=reasons["as_error_message"],
            path=reasons["as_error_path"],
            source_topic=reasons["as_source_topic"],
            source_partition=int(reasons["as_source_partition"]),
            source_offset=int(reasons["as_source_offset"]),
            source_time_ms=int(reasons["as_source_timestamp"]),
            key=record.key,
            value=record.value,
            headers=headers[: starts[-1]],
        )
    except (KeyError, ValueError):
        return None


def way_back(letter: Letter, partitions: Mapping[str, int]) -> Return | None:
    """Return the record as it was, addressed to the partition of its key; None when its topic is not an input here.

    Args:
        letter: of the record.
        partitions: of each input topic, by name.
    """
    count = partitions.get(letter.source_topic)
    if count is None:
        return None
    home = (murmur2(letter.key) & 0x7FFFFFFF) if letter.key else letter.source_partition
    return Return(
        topic=letter.source_topic,
        partition=home % count,
        key=letter.key,
        value=letter.value,
        time_ms=letter.source_time_ms,
        headers=(
            *(header for header in letter.headers if header[0] not in OURS),
            (REPLAYS_HEADER, str(letter.replays + 1).encode()),
        ),
    )


class LetterBox:
    """Read the dead-letter topic; an async context manager. What it yields was committed.

    Args:
        name: of the topic on the cluster.
        options: of aiokafka's consumer, to reach the cluster.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self._name = name
        self._options = {**options, "enable_auto_commit": False, "auto_offset_reset": "earliest"}
        self._consumer: AIOKafkaConsumer | None = None
        self._tps: list[TopicPartition] = []

    async def __aenter__(self) -> Self:
        counts = await partition_counts(self._options, [self._name])
        self._tps = [TopicPartition(self._name, partition) for partition in range(counts[self._name])]
        consumer = AIOKafkaConsumer(**self._options, isolation_level="read_committed", fetch_max_wait_ms=LOOK_MS)
        consumer.assign(self._tps)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(consumer.stop)
            await consumer.start()
            await asyncio.sleep(0)  # a consumer that is stopped before its coroutines had a turn raises CancelledError
            self._consumer = consumer
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def stable_ends(self) -> dict[int, int]:
        """Return the end of what is committed in each partition: what a look at the topic needs."""
        return {tp.partition: end for tp, end in (await self._reading().end_offsets(self._tps)).items()}

    async def true_ends(self) -> dict[int, int]:
        """Return the end of each partition, open transactions included: whoever reads up to it has missed no mark."""
        consumer = AIOKafkaConsumer(**self._options, isolation_level="read_uncommitted")
        consumer.assign(self._tps)
        try:
            await consumer.start()
            return {tp.partition: end for tp, end in (await consumer.end_offsets(self._tps)).items()}
        finally:
            await consumer.stop()

    async def read(self, ends: Mapping[int, int]) -> AsyncIterator[ConsumerRecord]:
        """Yield the committed records of every partition from its beginning to its end, in order within each.

        Raises:
            TimeoutError: for long nothing came although the end was not reached: an open transaction holds it up.
        """
        consumer = self._reading()
        await consumer.seek_to_beginning(*self._tps)
        left = [tp for tp in self._tps if await consumer.position(tp) < ends[tp.partition]]
        positions, moved_at = dict.fromkeys(left, -1), time.monotonic()
        while left:
            fetched = await consumer.getmany(*left, timeout_ms=LOOK_MS)
            for tp, records in fetched.items():
                for record in records:
                    if record.offset < ends[tp.partition]:
                        yield record
            # markers of transactions take offsets too: the position tells that they were passed
            now = {tp: await consumer.position(tp) for tp in left}
            if now != positions:
                positions, moved_at = now, time.monotonic()
            elif time.monotonic() - moved_at > STALL_S:
                raise TimeoutError(
                    f"nothing came from {self._name} for {STALL_S:g} s: a transaction of a worker is open; try again"
                )
            left = [tp for tp in left if now[tp] < ends[tp.partition]]
            positions = {tp: positions[tp] for tp in left}

    async def at(self, place: Place) -> ConsumerRecord | None:
        """Return the record at a place; None when there is none."""
        consumer, tp = self._reading(), TopicPartition(self._name, place.partition)
        if tp not in self._tps:
            return None
        first = (await consumer.beginning_offsets([tp]))[tp]
        end = (await self.stable_ends())[place.partition]
        if not first <= place.offset < end:
            return None
        consumer.seek(tp, place.offset)
        async with asyncio.timeout(STALL_S):
            while True:
                fetched: Sequence[ConsumerRecord] = (await consumer.getmany(tp, timeout_ms=LOOK_MS)).get(tp, [])
                if fetched:
                    return fetched[0] if fetched[0].offset == place.offset else None
                if await consumer.position(tp) > place.offset:
                    return None

    def _reading(self) -> AIOKafkaConsumer:
        assert self._consumer is not None, "a letter box is used inside its context"
        return self._consumer


async def input_partitions(prefix: str, options: Mapping[str, Any]) -> dict[str, int]:
    """Return how many partitions each input topic has, by name.

    Raises:
        LookupError: one is missing.
    """
    return await partition_counts(options, [prefix + topic.value for topic in INPUTS])
