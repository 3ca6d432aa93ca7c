"""For apps: publish predictions and feedback, keyed as the worker expects.

Owns an idempotent producer, the key and the partitioner. Never waits for the worker. Used by apps, by ``adaptive-stream
send`` and by the demo's app.

    async with Publisher("localhost:9092") as publisher:
        await publisher.predicted(model_id="late-flights", prediction_id="p-1", output=0.83, features=[0.1, 3.0])
        ...
        await publisher.corrected(model_id="late-flights", prediction_id="p-1", label=1)
"""

from __future__ import annotations

import time
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Control, Correction, Metrics, Prediction, Preference, Rating
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from adaptive_stream.contracts.events import InputEvent

LINGER_MS = 5  # one request for what comes together


class Publisher:
    """Publish events; an async context manager.

    Args:
        bootstrap: host:port of the cluster.
        prefix: of the topics' names.
        options: further ones of aiokafka's producer, as security.
    """

    def __init__(self, bootstrap: str, *, prefix: str = "adaptive.", **options: Any) -> None:
        self._prefix = prefix
        self._codec = Codec()
        self._options = {
            "bootstrap_servers": bootstrap,
            "enable_idempotence": True,
            "linger_ms": LINGER_MS,
            **options,
        }
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(**self._options)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(producer.stop)
            await producer.start()
            self._producer = producer
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def predicted(
        self, *, model_id: str, prediction_id: str, output: float | str | list[float], **more: Any
    ) -> None:
        """Publish a prediction and wait until Kafka has it. ``more``: features, variant_id, ..."""
        event = Prediction(model_id=model_id, prediction_id=prediction_id, output=output, **more)
        await self.send(Topic.PREDICTIONS, event)

    async def corrected(self, *, model_id: str, prediction_id: str, label: float | str, **more: Any) -> None:
        """Publish the truth of a prediction. A ``feedback_id`` of your own makes a repetition harmless."""
        more.setdefault("feedback_id", str(uuid.uuid4()))
        await self.send(Topic.FEEDBACK, Correction(model_id=model_id, prediction_id=prediction_id, label=label, **more))

    async def rated(self, *, model_id: str, prediction_id: str, score: float, **more: Any) -> None:
        """Publish a rating, on a scale from 1 to 5 unless ``scale`` says otherwise."""
        more.setdefault("feedback_id", str(uuid.uuid4()))
        await self.send(Topic.FEEDBACK, Rating(model_id=model_id, prediction_id=prediction_id, score=score, **more))

    async def preferred(self, *, model_id: str, chosen: str, rejected: str, **more: Any) -> None:
        """Publish which of two predictions somebody chose."""
        more.setdefault("feedback_id", str(uuid.uuid4()))
        await self.send(Topic.FEEDBACK, Preference(model_id=model_id, chosen=chosen, rejected=rejected, **more))

    async def measured(self, *, model_id: str, **more: Any) -> None:
        """Publish figures that a tool measured."""
        await self.send(Topic.METRICS, Metrics(model_id=model_id, **more))

    async def ordered(self, *, model_id: str, action: str, **more: Any) -> None:
        """Publish an operator's order."""
        more.setdefault("command_id", str(uuid.uuid4()))
        await self.send(Topic.CONTROL, Control(model_id=model_id, action=action, **more))  # type: ignore[arg-type]

    async def send(self, topic: Topic, event: InputEvent, *, time_ms: int | None = None) -> None:
        """Publish one event and wait until Kafka has it.

        Raises:
            Reject: the event would be refused by the worker; nothing was sent.
        """
        await (await self._send(topic, event, time_ms))

    async def send_many(self, topic: Topic, events: Iterable[tuple[InputEvent, int]]) -> int:
        """Publish (event, time_ms) pairs, in order, and wait until Kafka has all. Returns how many."""
        producer = self._started()
        partitions = len(await producer.partitions_for(self._prefix + topic.value))
        batches: dict[int, list[Any]] = {}
        count = 0
        for event, time_ms in events:
            key = event.model_id.encode()
            partition = (murmur2(key) & 0x7FFFFFFF) % partitions
            record = {"key": key, "value": self._codec.encode(event), "timestamp": time_ms}
            mine = batches.setdefault(partition, [])
            if not mine or mine[-1].append(**record) is None:
                mine.append(producer.create_batch())
                mine[-1].append(**record)
            count += 1
        futures = [
            await producer.send_batch(batch, self._prefix + topic.value, partition=partition)
            for partition, mine in batches.items()
            for batch in mine
        ]
        for future in futures:
            await future
        return count

    async def _send(self, topic: Topic, event: InputEvent, time_ms: int | None) -> asyncio.Future[Any]:
        value = self._codec.encode(event)
        self._codec.decode(topic, value)
        future: asyncio.Future[Any] = await self._started().send(
            self._prefix + topic.value,
            key=event.model_id.encode(),
            value=value,
            headers=self._codec.headers(
                event,
                source="/adaptive-stream-client",
                event_id=str(uuid.uuid4()),
                time_ms=time.time_ns() // 1_000_000 if time_ms is None else time_ms,
            ),
            timestamp_ms=time_ms,
        )
        return future

    def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            raise RuntimeError("use the publisher as an async context manager: async with Publisher(...) as publisher")
        return self._producer
