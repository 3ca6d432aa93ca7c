"""For apps and tools: follow alerts, adaptations, commands and statuses.

Owns a read-committed consumer: what it yields was committed by the worker, once. Without a group it never commits an
offset; with one it commits behind what the app has handled, never before. Used by apps, by ``tail`` and ``status``, and
by the demo.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import AsyncExitStack, ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from adaptive_stream.client.partitions import partition_counts
from adaptive_stream.contracts.codec import CARRIES, Codec
from adaptive_stream.contracts.errors import Reject
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from aiokafka import ConsumerRecord

    from adaptive_stream.contracts.events import OutputEvent

MAX_OUTPUT_BYTES = 16_000_000  # a status lists many series; the broker's own limit is the real one
POLL_MS = 1000
COMMIT_S = 1.0  # between two commits of a loop: so much of it comes again after a crash
LEAVE_S = 5.0  # most that a commit takes when a partition or the context is left


class Subscriber:
    """Follow topics; an async context manager.

    With a group every event is delivered at least once: its offset is committed when the loop's body comes back for the
    next one, at most once a second, and at the end. What a body was handling when it raised, broke off or was killed
    comes again to the next subscriber of the group, and with it what was handled in the last second: the header
    ``ce_id`` tells a repetition.

    Args:
        bootstrap: host:port of the cluster.
        topics: roles.
        prefix: of the topics' names.
        group: a consumer group that remembers the place, and begins with the oldest record when it has none; None reads
            all partitions by itself.
        is_from_start: without a group: begin with the oldest record, else with what comes next.
        on_reject: called with a record that is no event this client can read, and why; the loop goes on with the next.
        options: further ones of aiokafka's consumer, as security.

    Raises:
        ValueError: no topic is named, or one that does not exist.
    """

    def __init__(
        self,
        bootstrap: str,
        *topics: Topic,
        prefix: str = "adaptive.",
        group: str | None = None,
        is_from_start: bool = True,
        on_reject: Callable[[ConsumerRecord, Reject], None] | None = None,
        **options: Any,
    ) -> None:
        if not topics:
            raise ValueError(f"name at least one topic of {', '.join(Topic)}")
        self.skipped = 0  # records that were no events
        self._topics = {prefix + topic: Topic(topic) for topic in topics}
        self._group = group
        self._is_from_start = is_from_start
        self._on_reject = on_reject
        self._codec = Codec(max_record_bytes=MAX_OUTPUT_BYTES)
        self._options = {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "enable_auto_commit": False,  # it would commit what was fetched, handled or not
            "isolation_level": "read_committed",
            "auto_offset_reset": "earliest" if is_from_start or group else "latest",
            "fetch_max_wait_ms": 100,
            **options,
        }
        self._consumer: AIOKafkaConsumer | None = None
        self._ahead: deque[ConsumerRecord] = deque()  # fetched, not yet yielded
        self._handled: dict[TopicPartition, int] = {}  # the offsets to commit, of loops
        self._polled: dict[TopicPartition, int] = {}  # and of polls, when the app says so
        self._committed_at = 0.0

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            LookupError: a topic is missing.
            KafkaError: the cluster cannot be reached, or this identity may not see a topic.
            RuntimeError: it was entered before.
        """
        if self._consumer is not None:
            raise RuntimeError("a subscriber is entered once; make another one for another context")
        counts = await partition_counts(self._options, self._topics)
        consumer = AIOKafkaConsumer(**self._options)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(consumer.stop)
            if self._group:
                consumer.subscribe(list(self._topics), listener=_Listener(self._let_go))
            await consumer.start()
            if not self._group:
                await self._assign(consumer, counts)
            self._consumer = consumer
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is None:
            return
        if self._group:
            await self._commit_last(self._handled)
        consumer, self._consumer = self._consumer, None
        self._forget({*self._handled, *self._polled, *(_place(record) for record in self._ahead)})
        await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer, counts: dict[str, int]) -> None:
        tps = [TopicPartition(name, partition) for name, count in counts.items() for partition in range(count)]
        consumer.assign(tps)
        if self._is_from_start:
            await consumer.seek_to_beginning(*tps)
        else:
            await consumer.seek_to_end(*tps)

    async def __aiter__(self) -> AsyncIterator[OutputEvent]:
        """Yield events for ever, as ``events`` without their records."""
        async for _, event in self.events():
            yield event

    async def events(self) -> AsyncIterator[tuple[ConsumerRecord, OutputEvent]]:
        """Yield each event for ever, with its record: topic, partition, offset, timestamp in ms, key, headers.

        A loop that is left may be begun again: it goes on with the next event, and with that the one before counts as
        handled. A record that is no event this client can read is counted in ``skipped``; a tombstone, which compaction
        leaves, is passed over.

        Raises:
            ValueError: a topic carries no events; use ``poll``.
            KafkaError: the cluster refuses what it is asked.
        """
        for topic in self._topics.values():
            _check_carries(topic)
        while True:
            while self._ahead:
                record = self._ahead.popleft()
                event = self._read(record)
                if event is not None:
                    yield record, event
                self._handled[_place(record)] = record.offset + 1
                await self._commit_at_times()
            self._ahead.extend(await self._fetch(POLL_MS))
            await self._commit_at_times()

    def decode(self, topic: Topic, record: ConsumerRecord) -> OutputEvent:
        """Return the event of a polled record.

        Raises:
            Reject: it is none that this client can read.
            ValueError: the topic carries no events.
        """
        _check_carries(topic)
        return self._codec.decode_output(topic, record.value, record.headers)

    async def poll(self, *, timeout_ms: int) -> list[tuple[Topic, ConsumerRecord]]:
        """Return what has come, waiting a while at most; first what a loop that was left had fetched.

        With a group ``commit`` says that all of it was handled.
        """
        records = list(self._ahead)
        self._ahead.clear()
        if not records:
            records = await self._fetch(timeout_ms)
        for record in records:
            self._polled[_place(record)] = record.offset + 1
        return [(self._topics[record.topic], record) for record in records]

    async def commit(self) -> None:
        """Commit the place behind all that was polled, and behind all events whose loop's body came back.

        Partitions that moved to another member meanwhile are left out: it gets their events again.

        Raises:
            RuntimeError: there is no group.
            KafkaError: the cluster refuses, as for a missing permission.
        """
        if not self._group:
            raise RuntimeError("without a group there is no place to commit")
        for tp, offset in self._polled.items():
            self._handled[tp] = max(offset, self._handled.get(tp, 0))
        self._polled.clear()
        await self._commit()

    async def is_at_end(self) -> bool:
        """Say whether everything that was committed when asked has been polled."""
        consumer = self._running()
        if self._ahead:
            return False
        tps: Sequence[TopicPartition] = list(consumer.assignment())
        ends = await consumer.end_offsets(tps)
        return all([await consumer.position(tp) >= end for tp, end in ends.items()])

    # -- the place -----------------------------------------------------------------------------------------------------

    async def _fetch(self, timeout_ms: int) -> list[ConsumerRecord]:
        fetched = await self._running().getmany(timeout_ms=timeout_ms)
        return [record for records in fetched.values() for record in records]

    def _read(self, record: ConsumerRecord) -> OutputEvent | None:
        if record.value is None:
            return None
        try:
            return self.decode(self._topics[record.topic], record)
        except Reject as reject:
            self.skipped += 1
            if self._on_reject is not None:
                self._on_reject(record, reject)
            return None

    async def _commit_at_times(self) -> None:
        if self._group and time.monotonic() - self._committed_at >= COMMIT_S:
            await self._commit()

    async def _commit(self) -> None:
        consumer = self._running()
        ours = {tp: offset for tp, offset in self._handled.items() if tp in consumer.assignment()}
        self._handled.clear()
        self._committed_at = time.monotonic()
        with ExitStack() as undo:
            undo.callback(self._take_back, ours)
            if ours:
                with suppress(
                    CommitFailedError, IllegalStateError
                ):  # they move; their next owner gets the events again
                    await consumer.commit(ours)
            undo.pop_all()

    def _take_back(self, places: dict[TopicPartition, int]) -> None:
        """Leave what was not committed to the next commit."""
        self._handled = {**places, **self._handled}

    async def _commit_last(self, places: Iterable[TopicPartition]) -> None:
        """Commit before leaving, if that succeeds in time; what it misses comes again."""
        if any(tp in self._handled for tp in places):
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._commit()

    async def _let_go(self, revoked: Iterable[TopicPartition]) -> None:
        """Drop what was fetched of partitions that move: their next owner fetches it."""
        await self._commit_last(revoked)
        self._forget(revoked)

    def _forget(self, tps: Iterable[TopicPartition]) -> None:
        gone = set(tps)
        kept = [record for record in self._ahead if _place(record) not in gone]
        self._ahead.clear()
        self._ahead.extend(kept)
        for tp in gone:
            self._handled.pop(tp, None)
            self._polled.pop(tp, None)

    def _running(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError(
                "use the subscriber as an async context manager: async with Subscriber(...) as subscriber"
            )
        return self._consumer


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Tell the subscriber which partitions it loses."""

    def __init__(self, let_go: Callable[[Iterable[TopicPartition]], Any]) -> None:
        self._let_go = let_go

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._let_go(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        pass


def _place(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _check_carries(topic: Topic) -> None:
    if topic not in CARRIES:
        raise ValueError(f"the topic {topic} carries no events; read its records with poll")
