"""The transactional session of one task: everything that is written to Kafka goes through here, all or nothing.

Owns one transactional producer at a time and every known trap of its client (docs/decisions/aiokafka.md): futures are
checked before the commit, no call waits without a limit, a producer that failed once is thrown away. Never decides what
to write. Called by the task alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch

from adaptive_stream.client.line import end, look
from adaptive_stream.runtime.connection import connection, without_leader
from adaptive_stream.runtime.failure import HOPELESS, Fatal, Fenced, TransactionFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from adaptive_stream.config import Config

MAX_BATCH_BYTES = 1_000_000  # below the broker's default message.max.bytes, 1,048,588, batch header included
TRIES = 3  # requests that fit into the limit of a call
MAX_REQUEST_BYTES = 4_000_000  # a dead letter carries a whole input record plus its headers

FENCED = (
    kafka_errors.ProducerFenced,
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.TransactionCoordinatorFenced,
    kafka_errors.InvalidProducerIdMapping,
)


@dataclass(frozen=True, slots=True)
class Write:
    """One record to produce. ``time_ms`` is the wall clock of the batch's cut: retention goes by it."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    time_ms: int
    headers: Sequence[tuple[str, bytes]] = field(default=())


class Session:
    """One task's transactional producer, from fencing to fencing.

    Args:
        config: the worker's configuration.
        transactional_id: the same for every owner the task ever has; that is what fences.
    """

    def __init__(self, config: Config, *, transactional_id: str) -> None:
        self._config = config
        self._transactional_id = transactional_id
        self._limit_s = config.kafka.call_timeout_ms / 1000
        self._producer: AIOKafkaProducer | None = None
        self._leaving: asyncio.Task[None] | None = None  # the end of the producer before

    async def fence(self) -> None:
        """Start a new producer: the former owner can no longer commit, and its open transaction is aborted.

        Raises:
            TransactionFailed: Kafka could not be reached within the limit; call again.
            Fatal: Kafka refuses for a reason that waiting does not mend.
        """
        await self.discard()
        # a request that the broker never answers is sent again, on a new connection, while its call still has time
        options = {**connection(self._config), "request_timeout_ms": max(1_000, int(self._limit_s * 1000 / TRIES))}
        self._producer = AIOKafkaProducer(
            **options,
            transactional_id=self._transactional_id,
            transaction_timeout_ms=self._config.kafka.transaction_timeout_ms,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_REQUEST_BYTES,
            linger_ms=0,
        )
        await self._call("fence", self._producer.start())

    async def commit(self, writes: Sequence[Write], offsets: Mapping[TopicPartition, int], *, group: str) -> None:
        """Write everything and the offsets in one transaction.

        Raises:
            Fenced: another owner has taken over; nothing of this took effect.
            TransactionFailed: the outcome is unknown; fence again and ask the log.
            Fatal: the transaction can never succeed as it is.
        """
        producer = self._producer
        if producer is None:
            raise TransactionFailed(f"{self._transactional_id}: no producer; it was discarded after a failure")
        await self._call("begin", producer.begin_transaction())
        await self._produce(producer, self._pack(producer, writes))
        if offsets:  # a replay of dead letters consumes nothing
            await self._call("offsets", producer.send_offsets_to_transaction(dict(offsets), group))
        await self._call("commit", producer.commit_transaction())

    async def _produce(self, producer: AIOKafkaProducer, packed: Mapping[tuple[str, int], Sequence[Any]]) -> None:
        futures: list[asyncio.Future[Any]] = []
        topics: list[str] = []  # of each future: the client's errors do not name it
        try:
            for (topic, partition), batches in packed.items():
                for batch in batches:
                    topics.append(topic)
                    future = await self._call("produce", producer.send_batch(batch, topic, partition=partition))
                    future.add_done_callback(look)
                    futures.append(future)
            if futures:
                # commit_transaction() commits even if a produce inside has failed: look at every future first
                await self._call("produce", asyncio.gather(*futures))
        except kafka_errors.IllegalOperation as error:
            # "not in transaction": an earlier batch has failed meanwhile, and its future says how: fenced, for example
            await self._call("produce", asyncio.gather(*futures))
            raise TransactionFailed(f"{self._transactional_id}: produce: {error!r}") from error
        except (Fatal, TransactionFailed) as failure:
            failed = {topic for topic, future in zip(topics, futures, strict=False) if _has_failed(future)}
            if isinstance(failure, Fatal):
                named = ", ".join(sorted(failed or {topics[-1]}))
                raise Fatal(f"{named}: {failure}", exit_code=failure.exit_code) from failure
            why = without_leader(producer.client, [TopicPartition(*place) for place in packed])
            said = f"{failure}; {why}" if why else str(failure)
            raise TransactionFailed(": ".join([*([", ".join(sorted(failed))] if failed else []), said])) from failure

    async def discard(self) -> None:
        """Throw the producer away, within a bound, whatever state it is in. What it had open times out or is fenced.

        A caller that is cancelled leaves; the producer's end goes on, and the next caller waits for it.
        """
        producer, self._producer = self._producer, None
        if producer is not None:
            self._leaving = asyncio.create_task(end(producer))
        if self._leaving is not None:
            await asyncio.shield(self._leaving)
            self._leaving = None

    def _pack(self, producer: AIOKafkaProducer, writes: Sequence[Write]) -> dict[tuple[str, int], list[Any]]:
        # send() costs five times send_batch() per record
        packed: dict[tuple[str, int], list[Any]] = {}
        for write in writes:
            batches = packed.setdefault((write.topic, write.partition), [])
            record = {
                "timestamp": write.time_ms,
                "key": write.key,
                "value": write.value,
                "headers": list(write.headers),
            }
            if not batches or batches[-1].append(**record) is None:
                batches.append(producer.create_batch())
                batches[-1].append(**record)
                if batches[-1].size() > MAX_BATCH_BYTES:  # one record: it came compressed, and goes so
                    batches[-1] = BatchBuilder(MAX_BATCH_BYTES, DefaultRecordBatch.CODEC_GZIP, is_transactional=True)
                    batches[-1].append(**record)
        return packed

    async def _call(self, what: str, awaitable: Awaitable[Any]) -> Any:  # noqa: ANN401 - each call has its own result
        place = f"{self._transactional_id}: {what}"
        try:
            return await asyncio.wait_for(awaitable, self._limit_s)
        except TimeoutError as error:
            raise TransactionFailed(f"{place} outlived {self._limit_s:g} s (kafka.call_timeout_ms)") from error
        except FENCED as error:
            raise Fenced(f"{place}: {error!r}") from error
        except kafka_errors.InvalidTimestampError as error:
            raise Fatal(
                f"{place}: {error!r}; this machine's clock is ahead of the broker's by more than the topic's"
                " message.timestamp.after.max.ms: set the clock. If the topic is an input, a record that belongs on"
                " another partition is older than its message.timestamp.before.max.ms: lengthen it"
            ) from error
        except HOPELESS as error:
            raise Fatal(f"{place}: {error!r}; waiting does not mend it, the broker must allow it first") from error
        except (kafka_errors.KafkaError, OSError) as error:
            raise TransactionFailed(f"{place}: {error!r}") from error


def _has_failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is not None
