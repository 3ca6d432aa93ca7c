"""For apps: publish predictions and feedback, keyed as the worker expects.

Owns the key and the partitioner. Never waits for the worker, and for the broker no longer than it was told. Used by
apps, by ``adaptive-stream send`` and by the demo's app.

    async with Publisher("localhost:9092") as publisher:
        await publisher.predicted(model_id="late-flights", prediction_id="p-1", output=0.83, features=[0.1, 3.0])
        ...
        await publisher.corrected(model_id="late-flights", prediction_id="p-1", label=1)
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Self

from aiokafka.partitioner import murmur2

from adaptive_stream.client.line import Line, look
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Control, Correction, Metrics, Prediction, Preference, Rating
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka.producer.message_accumulator import BatchBuilder

    from adaptive_stream.contracts.events import InputEvent

LINGER_MS = 5  # one request for what comes together
TIMEOUT_S = 30.0  # thrice the 9 s after which a cluster takes a broker for dead and other leaders are chosen


class Publisher:
    """Publish events; an async context manager.

    Whatever a call raises of aiokafka's ``KafkaError``, the publisher stays usable. What one call is refused for good
    also fails the calls that are under way for the same partition; the next ones succeed.

    Args:
        bootstrap: host:port of the cluster.
        prefix: of the topics' names.
        timeout_s: most seconds that a call waits for Kafka; ``send_many`` so long for each request. Beyond it a call
            raises ``KafkaTimeoutError``. What it gave up may still arrive: a retry needs the same id.
        options: further ones of aiokafka's producer, as security.
    """

    def __init__(
        self, bootstrap: str, *, prefix: str = "adaptive.", timeout_s: float = TIMEOUT_S, **options: Any
    ) -> None:
        self._prefix = prefix
        self._codec = Codec()
        self._options = {
            "bootstrap_servers": bootstrap,
            "enable_idempotence": True,
            "linger_ms": LINGER_MS,
            **options,
        }
        self._line = Line(self._options, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        await self._line.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._line.close()

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
            KafkaTimeoutError: Kafka did not answer in time; the event may still arrive.
            KafkaError: Kafka refuses it.
        """
        value = self._codec.encode(event)
        self._codec.decode(topic, value)
        headers = self._codec.headers(
            event,
            source="/adaptive-stream-client",
            event_id=str(uuid.uuid4()),
            time_ms=time.time_ns() // 1_000_000 if time_ms is None else time_ms,
        )
        async with self._line.limit(), self._line.producer() as producer:
            record = {"key": event.model_id.encode(), "value": value, "headers": headers, "timestamp_ms": time_ms}
            await (await producer.send(self._prefix + topic.value, **record))

    async def send_many(self, topic: Topic, events: Iterable[tuple[InputEvent, int]]) -> int:
        """Publish (event, time_ms) pairs, in order, and wait until Kafka has all. Returns how many.

        Raises:
            KafkaTimeoutError, KafkaError: as ``send``; some of them may have arrived, and others still may.
        """
        name = self._prefix + topic.value
        async with self._line.producer() as producer:
            async with self._line.limit():
                partitions = len(await producer.partitions_for(name))
            batches: dict[int, list[BatchBuilder]] = {}
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
            futures = []
            for partition, mine in batches.items():
                for batch in mine:
                    async with self._line.limit():
                        future = await producer.send_batch(batch, name, partition=partition)
                    future.add_done_callback(look)
                    futures.append(future)
            for future in futures:
                async with self._line.limit():
                    await future
        return count
