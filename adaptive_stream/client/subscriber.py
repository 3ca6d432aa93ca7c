"""For apps and tools: follow alerts, adaptations, commands and statuses.

Owns a read-committed consumer: what it yields was committed by the worker, once. Never commits offsets unless a group
is named. Used by apps, by ``tail`` and ``status``, and by the demo.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from adaptive_stream.client.partitions import partition_counts
from adaptive_stream.contracts.codec import Codec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import ConsumerRecord

    from adaptive_stream.contracts.events import OutputEvent
    from adaptive_stream.contracts.topics import Topic

MAX_OUTPUT_BYTES = 16_000_000  # a status lists many series; the broker's own limit is the real one


class Subscriber:
    """Follow topics; an async context manager.

    Args:
        bootstrap: host:port of the cluster.
        topics: roles.
        prefix: of the topics' names.
        group: a consumer group that remembers the place; None reads all partitions by itself.
        is_from_start: without a group: begin with the oldest record, else with what comes next.
        options: further ones of aiokafka's consumer, as security.
    """

    def __init__(
        self,
        bootstrap: str,
        *topics: Topic,
        prefix: str = "adaptive.",
        group: str | None = None,
        is_from_start: bool = True,
        **options: Any,
    ) -> None:
        self._topics = {prefix + topic.value: topic for topic in topics}
        self._group = group
        self._is_from_start = is_from_start
        self._codec = Codec(max_record_bytes=MAX_OUTPUT_BYTES)
        self._options = {
            "bootstrap_servers": bootstrap,
            "group_id": group,
            "isolation_level": "read_committed",
            "auto_offset_reset": "earliest" if is_from_start else "latest",
            "fetch_max_wait_ms": 100,
            **options,
        }
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        consumer = AIOKafkaConsumer(*(self._topics if self._group else ()), **self._options)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(consumer.stop)
            await consumer.start()
            if not self._group:
                await self._assign(consumer)
            self._consumer = consumer
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        counts = await partition_counts(self._options, self._topics)
        tps = [TopicPartition(name, partition) for name, count in counts.items() for partition in range(count)]
        consumer.assign(tps)
        if self._is_from_start:
            await consumer.seek_to_beginning(*tps)
        else:
            await consumer.seek_to_end(*tps)

    async def __aiter__(self) -> AsyncIterator[OutputEvent]:
        """Yield events for ever."""
        while True:
            for topic, record in await self.poll(timeout_ms=1000):
                yield self._codec.decode_output(topic, record.value, record.headers)

    def decode(self, topic: Topic, record: ConsumerRecord) -> OutputEvent:
        """Return the event of a polled record."""
        return self._codec.decode_output(topic, record.value, record.headers)

    async def poll(self, *, timeout_ms: int) -> list[tuple[Topic, ConsumerRecord]]:
        """Return what has come, waiting a while at most."""
        assert self._consumer is not None, "use the subscriber as an async context manager"
        fetched = await self._consumer.getmany(timeout_ms=timeout_ms)
        return [(self._topics[tp.topic], record) for tp, records in fetched.items() for record in records]

    async def is_at_end(self) -> bool:
        """Say whether everything that was committed when asked has been polled."""
        assert self._consumer is not None, "use the subscriber as an async context manager"
        tps: Sequence[TopicPartition] = list(self._consumer.assignment())
        ends = await self._consumer.end_offsets(tps)
        return all([await self._consumer.position(tp) >= end for tp, end in ends.items()])
