"""A producer fenced between two of its batches: the client says "not in transaction", the session says fenced."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import errors as kafka_errors
from aiokafka.producer.message_accumulator import BatchBuilder

from adaptive_stream.runtime.failure import Fenced, TaskFailure, TransactionFailed
from adaptive_stream.runtime.session import Session, Write
from tests.unit.runtime.records import config

WRITES = [Write(topic="t", partition=partition, key=None, value=b"v", time_ms=1) for partition in range(2)]


class Overtaken:
    """A client whose first batch fails on the wire, and which then knows that no transaction is open any more."""

    def __init__(self, failure: Exception | None) -> None:
        self._failure = failure
        self._sent = 0

    async def begin_transaction(self) -> None: ...

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(10_000, 0, is_transactional=True)

    async def send_batch(self, *_: object, **__: object) -> asyncio.Future[None]:
        self._sent += 1
        if self._sent > 1:
            raise kafka_errors.IllegalOperation("Can't send messages while not in transaction")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._failure is None:
            future.set_result(None)
        else:
            future.set_exception(self._failure)
        return future


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(kafka_errors.ProducerFenced(), Fenced), (None, TransactionFailed)],
    ids=["fenced", "unknown"],
)
async def test_the_first_failure_is_told_and_not_what_the_client_makes_of_it(
    failure: Exception | None, expected: type[TaskFailure]
) -> None:
    session = Session(config(), transactional_id="g-0")
    session._producer = Overtaken(failure)
    with pytest.raises(expected):
        await session.commit(WRITES, {}, group="g")
