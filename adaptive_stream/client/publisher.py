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
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aiokafka.partitioner import murmur2

from adaptive_stream.client.encoder import MAX_DEPTH, MAX_RECORD_BYTES, Encoder
from adaptive_stream.client.line import Line, look
from adaptive_stream.client.partitions import partition_counts
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import Reject
from adaptive_stream.contracts.events import Control, Correction, Metrics, Prediction, Preference, Rating
from adaptive_stream.contracts.topics import INPUTS, Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
        max_record_bytes: most bytes of an event; as ``batch.max_record_bytes`` of the worker.
        max_depth: deepest nesting of an event; as ``batch.max_depth`` of the worker.
        timeout_s: most seconds that a call waits for Kafka; ``send_many`` so long for each request. Beyond it a call
            raises ``KafkaTimeoutError``. What it gave up may still arrive: a retry needs the same id.
        options: further ones of aiokafka's producer, as security.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        prefix: str = "adaptive.",
        max_record_bytes: int = MAX_RECORD_BYTES,
        max_depth: int = MAX_DEPTH,
        timeout_s: float = TIMEOUT_S,
        **options: Any,
    ) -> None:
        self._prefix = prefix
        self._encoder = Encoder(max_record_bytes=max_record_bytes, max_depth=max_depth)
        self._codec = Codec()
        self._options = {
            "bootstrap_servers": bootstrap,
            "enable_idempotence": True,
            "linger_ms": LINGER_MS,
            **options,
        }
        self._line = Line(self._options, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            LookupError: an input topic is missing, among those that this identity may see.
            KafkaError: the cluster cannot be reached within the limit; nothing is left open.
            RuntimeError: it was entered before.
        """
        async with AsyncExitStack() as undo:
            await self._line.open()
            undo.push_async_callback(self._line.close)
            async with self._line.limit():  # a producer would make a topic that is missing, of the wrong shape
                await partition_counts(self._options, [self._prefix + topic for topic in INPUTS], is_partial=True)
            undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._line.close()

    async def predicted(
        self, *, model_id: str, prediction_id: str, output: float | str | list[float], **more: Any
    ) -> None:
        """Publish a prediction and wait until Kafka has it.

        Numpy's scalars and arrays are taken as they are.

        Args:
            model_id: which model.
            prediction_id: the app's own; a repetition with the same one is harmless.
            output: a probability, a class, a figure, or the probabilities of all classes.
            more: features, variant_id, ... NaN among features means missing; elsewhere it is refused, and the
                infinities everywhere.

        Raises:
            Reject, KafkaTimeoutError, KafkaError: as ``send``.
        """
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
        value = self._encoder.encode(topic, event)
        headers = self._codec.headers(
            event,
            source="/adaptive-stream-client",
            event_id=str(uuid.uuid4()),
            time_ms=time.time_ns() // 1_000_000 if time_ms is None else time_ms,
        )
        async with self._line.limit(), self._line.producer() as producer:
            record = {"key": event.model_id.encode(), "value": value, "headers": headers, "timestamp_ms": time_ms}
            await (await producer.send(self._prefix + topic, **record))

    async def send_many(
        self, topic: Topic, events: Iterable[tuple[InputEvent, int]], *, is_checked: bool = False
    ) -> int:
        """Publish (event, time_ms) pairs, in order, and wait until Kafka has all. Returns how many.

        Args:
            topic: which carries all of them.
            events: with their times in milliseconds since the epoch.
            is_checked: they are known to be valid, as those that the codec has read; costs a third.

        Raises:
            Reject: the worker would refuse one of them, and a note says which; none was sent.
            KafkaTimeoutError, KafkaError: as ``send``; some of them may have arrived, and others still may.
        """
        self._encoder.check_topic(topic)
        name = self._prefix + topic
        encode = self._encoder.encode_checked if is_checked else partial(self._encoder.encode, topic)
        async with self._line.producer() as producer:
            async with self._line.limit():
                partitions = len(await producer.partitions_for(name))
            count, batches = _pack(events, encode, producer.create_batch, partitions)
            futures = []
            for partition, batch in batches:
                async with self._line.limit():
                    future = await producer.send_batch(batch, name, partition=partition)
                future.add_done_callback(look)
                futures.append(future)
            for future in futures:
                async with self._line.limit():
                    await future
        return count


def _pack(
    events: Iterable[tuple[InputEvent, int]],
    encode: Callable[[InputEvent], bytes],
    create_batch: Callable[[], BatchBuilder],
    partitions: int,
) -> tuple[int, list[tuple[int, BatchBuilder]]]:
    """Return how many events there are, and them in batches, each with its partition; in order within each."""
    packed: dict[int, list[BatchBuilder]] = {}
    count = 0
    for event, time_ms in events:
        try:
            value = encode(event)
        except Reject as reject:
            reject.add_note(f"event {count} of send_many, counted from 0; none was sent")
            raise
        key = event.model_id.encode()
        record = {"key": key, "value": value, "timestamp": time_ms}
        mine = packed.setdefault((murmur2(key) & 0x7FFFFFFF) % partitions, [])
        if not mine or mine[-1].append(**record) is None:
            mine.append(create_batch())
            mine[-1].append(**record)
        count += 1
    return count, [(partition, batch) for partition, mine in packed.items() for batch in mine]
