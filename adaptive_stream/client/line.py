"""A line to Kafka: one idempotent producer at a time, thrown away when it can go on no more.

Owns the producer's life from start to end, and the limit of every wait for the broker. Never looks into a record. Used
by the publisher; the end of a producer also by the worker's transactional session.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

END_S = 2.0  # a healthy stop takes milliseconds; a sick one for ever


class Line:
    """Keep a producer that can be used.

    A producer numbers the records of each partition when it takes them from its queue. One that the broker refuses for
    good leaves a gap, and every later record of the partition is refused too: only a producer with a new id helps.

    Args:
        options: of aiokafka's producer.
        timeout_s: most seconds that a wait for the broker takes.
    """

    def __init__(self, options: Mapping[str, Any], *, timeout_s: float) -> None:
        self._options = options
        self._timeout_s = timeout_s
        self._is_open = False
        self._producer: AIOKafkaProducer | None = None
        self._leaving: asyncio.Task[None] | None = None  # the end of the producer before
        self._lock = asyncio.Lock()  # one starts a producer, the others wait for it

    async def open(self) -> None:
        """Start the first producer.

        Raises:
            RuntimeError: the line is open already.
            KafkaError: the cluster cannot be reached; nothing is left open.
        """
        if self._is_open:
            raise RuntimeError("a publisher is entered once; make another one for another context")
        async with AsyncExitStack() as undo:
            self._is_open = True
            undo.callback(setattr, self, "_is_open", False)
            async with self.limit():
                await self._current()
            undo.pop_all()

    async def close(self) -> None:
        """Send what waits, within a limit, and end. What was not sent then is given up."""
        self._is_open = False
        async with self._lock:
            if self._producer is not None:
                self._retire(self._producer)
            await self._left()

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """Lend the producer. One that fails for good inside is retired, and the next call gets a new one.

        Raises:
            RuntimeError: the line is not open.
            KafkaTimeoutError: a new one could not be started within the limit.
        """
        async with self.limit():
            producer = await self._current()
        try:
            yield producer
        except KafkaError as error:
            # a full queue is told by KafkaTimeoutError: the broker is slow, the producer is well
            if not error.retriable and not isinstance(error, KafkaTimeoutError):
                self._retire(producer)
            raise

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Bound what is awaited inside.

        Raises:
            KafkaTimeoutError: it took longer than the limit. What was under way may still arrive.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except TimeoutError as error:
            raise KafkaTimeoutError(
                f"Kafka has not answered within {self._timeout_s:g} s (timeout_s); what was given up may still arrive:"
                " send it again with the same id"
            ) from error

    async def _current(self) -> AIOKafkaProducer:
        async with self._lock:
            if not self._is_open:
                raise RuntimeError(
                    "use the publisher as an async context manager: async with Publisher(...) as publisher"
                )
            await self._left()  # first: what the one before still sends must not come after what this one sends
            if self._producer is None:
                async with AsyncExitStack() as undo:
                    producer = AIOKafkaProducer(**self._options)
                    undo.push_async_callback(end, producer)
                    await producer.start()
                    self._producer = producer
                    undo.pop_all()
            return self._producer

    def _retire(self, producer: AIOKafkaProducer) -> None:
        """Throw a producer away; of many calls that fail with the same one only the first does."""
        if self._producer is producer:
            self._producer = None
            self._leaving = asyncio.create_task(end(producer))

    async def _left(self) -> None:
        """Wait for the end of the producer before; a caller that is cancelled leaves, the end goes on."""
        if self._leaving is not None:
            await asyncio.shield(self._leaving)
            self._leaving = None


async def end(producer: AIOKafkaProducer) -> None:
    """Stop a producer within a bound, whatever state it is in. What it could not send by then is lost."""
    stopping = asyncio.ensure_future(producer.stop())
    done, _ = await asyncio.wait([stopping], timeout=END_S)
    if not done:
        stopping.cancel()
        # stop() hangs on batches that can never be sent; its sender would reconnect in a tight loop meanwhile
        sender = producer._sender  # noqa: SLF001 - the client offers no other way to end it
        if sender is not None and sender.sender_task is not None:
            sender.sender_task.cancel()
        with suppress(Exception):
            await asyncio.wait_for(producer.client.close(), timeout=END_S)
    with suppress(Exception, asyncio.CancelledError):
        await stopping


def look(future: asyncio.Future[Any]) -> None:
    """Take note of a failure, so that the loop does not complain of one that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
