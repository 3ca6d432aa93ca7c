"""A publisher whose broker refuses, is silent or is gone: the fake producer has the client's known faults."""

# ruff: noqa: ANN401 - the fake takes what aiokafka takes
from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    OutOfOrderSequenceNumber,
    TopicAuthorizationFailedError,
)
from aiokafka.producer.message_accumulator import BatchBuilder

from adaptive_stream.client import Publisher, line, publisher
from adaptive_stream.contracts.events import Prediction
from adaptive_stream.contracts.topics import Topic

EVENT = Prediction(prediction_id="p", model_id="m", output=0.5)
FOR_EVER = asyncio.Event  # an event that nobody sets


class FakeProducer:
    """An idempotent producer: one record that is refused for good, and all later ones are out of order."""

    made: list[FakeProducer]
    answers: list[Exception | None]  # to the next records; then all are taken
    hangs: set[str]

    def __init__(self, **_: Any) -> None:
        self.is_running = False
        self.is_broken = False
        self.client = self
        self._sender = SimpleNamespace(sender_task=None)
        self.made.append(self)

    async def start(self) -> None:
        assert not any(other.is_running for other in self.made), "the producer before ends first"
        await self._maybe_hang("start")
        self.is_running = True

    async def stop(self) -> None:
        await self._maybe_hang("stop")
        self.is_running = False

    async def close(self) -> None:
        self.is_running = False

    async def _maybe_hang(self, what: str) -> None:
        if what in self.hangs:
            await FOR_EVER().wait()

    async def partitions_for(self, _: str) -> set[int]:
        await self._maybe_hang("partitions_for")
        return {0}

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(16_384, 0)

    async def send(self, _: str, **__: Any) -> asyncio.Future[None]:
        await asyncio.sleep(0)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if "future" in self.hangs:
            return future
        answer = self.answers.pop(0) if self.answers else None
        if self.is_broken:
            answer = OutOfOrderSequenceNumber()
        if answer is None:
            future.set_result(None)
        else:
            self.is_broken = not getattr(answer, "retriable", False)
            future.set_exception(answer)
        return future

    async def send_batch(self, _: Any, __: str, *, partition: int) -> asyncio.Future[None]:
        assert partition == 0
        return await self.send("")


async def all_there(_: Any, names: list[str], *, is_partial: bool) -> dict[str, int]:
    assert is_partial
    return dict.fromkeys(names, 1)


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    FakeProducer.made, FakeProducer.answers, FakeProducer.hangs = [], [], set()
    monkeypatch.setattr(line, "AIOKafkaProducer", FakeProducer)
    monkeypatch.setattr(publisher, "partition_counts", all_there)
    monkeypatch.setattr(line, "END_S", 0.05)
    return FakeProducer.made


async def predict(publisher: Publisher) -> None:
    await publisher.send(Topic.PREDICTIONS, EVENT)


async def predict_many(publisher: Publisher) -> None:
    await publisher.send_many(Topic.PREDICTIONS, [(EVENT, 1)])


@pytest.mark.parametrize("call", [predict, predict_many])
@pytest.mark.parametrize(
    "refusal", [InvalidTimestampError(), MessageSizeTooLargeError(), TopicAuthorizationFailedError("adaptive.control")]
)
async def test_what_is_refused_for_good_fails_alone_and_the_next_call_succeeds(
    call: Any, refusal: Exception, producers: list[FakeProducer]
) -> None:
    FakeProducer.answers = [refusal]
    async with Publisher("host:1") as publisher:
        with pytest.raises(type(refusal)):
            await call(publisher)
        await call(publisher)
        await call(publisher)
    assert [producer.is_running for producer in producers] == [False, False]


async def test_calls_that_fail_together_replace_the_producer_once(producers: list[FakeProducer]) -> None:
    FakeProducer.answers = [InvalidTimestampError()]
    async with Publisher("host:1") as publisher:
        failed = await asyncio.gather(*(predict(publisher) for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in failed] == [InvalidTimestampError] + 4 * [OutOfOrderSequenceNumber]
        await asyncio.gather(*(predict(publisher) for _ in range(5)))
    assert len(producers) == 2


async def test_what_waiting_mends_retires_nobody(producers: list[FakeProducer]) -> None:
    FakeProducer.answers = [NotEnoughReplicasError()]
    async with Publisher("host:1") as publisher:
        with pytest.raises(NotEnoughReplicasError):
            await predict(publisher)
        await predict(publisher)
    assert len(producers) == 1


@pytest.mark.parametrize(
    ("call", "where"), [(predict, "future"), (predict_many, "future"), (predict_many, "partitions_for")]
)
async def test_no_call_waits_without_a_limit(call: Any, where: str, producers: list[FakeProducer]) -> None:
    async with Publisher("host:1", timeout_s=0.05) as publisher:
        FakeProducer.hangs = {where}
        with pytest.raises(KafkaTimeoutError, match=r"0\.05 s \(timeout_s\).*may still arrive.*the same id"):
            await call(publisher)
        FakeProducer.hangs = set()
        await call(publisher)
    assert len(producers) == 1


@pytest.mark.parametrize("call", [predict, predict_many])
async def test_no_call_waits_without_a_limit_for_the_start_of_another_producer(
    call: Any, producers: list[FakeProducer]
) -> None:
    FakeProducer.answers = [MessageSizeTooLargeError()]
    async with Publisher("host:1", timeout_s=0.05) as publisher:
        with pytest.raises(MessageSizeTooLargeError):
            await call(publisher)
        FakeProducer.hangs = {"start"}
        async with asyncio.timeout(30):
            with pytest.raises(KafkaTimeoutError):
                await call(publisher)
        FakeProducer.hangs = set()
        await call(publisher)
    assert len(producers) == 3


async def test_the_start_has_a_limit_and_leaves_nothing_open(producers: list[FakeProducer]) -> None:
    FakeProducer.hangs = {"start"}
    publisher = Publisher("host:1", timeout_s=0.05)
    with pytest.raises(KafkaTimeoutError):
        await publisher.__aenter__()
    FakeProducer.hangs = set()
    async with publisher:
        await predict(publisher)
    assert [producer.is_running for producer in producers] == [False, False]


async def test_the_end_has_a_limit_though_a_stop_hangs(producers: list[FakeProducer]) -> None:
    started = time.monotonic()
    async with Publisher("host:1"):
        FakeProducer.hangs = {"stop"}
    assert time.monotonic() - started < 5
    assert not producers[0].is_running


async def test_a_publisher_that_has_ended_says_how_it_is_used(producers: list[FakeProducer]) -> None:
    async with Publisher("host:1") as publisher:
        pass
    for call in (predict, predict_many):
        with pytest.raises(RuntimeError, match="async with Publisher"):
            await call(publisher)
    assert len(producers) == 1


async def test_a_publisher_is_not_entered_twice(producers: list[FakeProducer]) -> None:
    async with Publisher("host:1") as publisher:
        with pytest.raises(RuntimeError, match="entered"):
            await publisher.__aenter__()
        await predict(publisher)
    assert [producer.is_running for producer in producers] == [False]
