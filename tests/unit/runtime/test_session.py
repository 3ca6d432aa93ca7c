"""The session against a client that has every known fault: the fake stands at the client's boundary."""

# ruff: noqa: ANN401 - the fake takes what aiokafka takes
from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from adaptive_stream.runtime import session as module
from adaptive_stream.runtime.failure import Fatal, Fenced, TransactionFailed
from adaptive_stream.runtime.session import FENCED, HOPELESS, Session, Write
from tests.unit.runtime.records import config

if TYPE_CHECKING:
    from collections.abc import Callable

OFFSETS = {TopicPartition("in", 0): 5}
FOR_EVER = asyncio.Event  # an event that nobody sets


class FakeProducer:
    """What the session uses of the client, with faults planted by the name of the call."""

    made: list[FakeProducer]
    faults: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.calls: list[str] = []
        self.batches: list[tuple[str, int, Any]] = []
        self._sender: SimpleNamespace | None = None
        self.client = self.cluster = self
        self.made.append(self)

    def leader_for_partition(self, place: TopicPartition) -> int | None:
        return self.faults.get("leaders", {}).get(place, 0)

    async def _do(self, what: str) -> None:
        self.calls.append(what)
        fault = self.faults.get(what)
        if fault == "hang":
            await FOR_EVER().wait()
        elif fault is not None:
            raise fault

    async def start(self) -> None:
        await self._do("start")

    async def stop(self) -> None:
        await self._do("stop")

    async def close(self) -> None:
        await self._do("close")

    async def begin_transaction(self) -> None:
        await self._do("begin")

    async def commit_transaction(self) -> None:
        await self._do("commit")

    async def abort_transaction(self) -> None:
        await self._do("abort")

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], group: str) -> None:
        assert (offsets, group) == (OFFSETS, "g")
        await self._do("offsets")

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self.options["max_batch_size"], 0, is_transactional=True)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[None]:
        await self._do("send")
        self.batches.append((topic, partition, batch))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        fault = self.faults.get("future")
        if fault is None:
            future.set_result(None)
        elif fault != "hang":
            future.set_exception(fault)
        return future


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    FakeProducer.made, FakeProducer.faults = [], {}
    monkeypatch.setattr(module, "AIOKafkaProducer", FakeProducer)
    return FakeProducer.made


def write(number: int = 0, *, topic: str = "out", partition: int = 0, value: bytes = b"v") -> Write:
    return Write(
        topic=topic, partition=partition, key=b"k%d" % number, value=value, time_ms=number, headers=[("h", b"x")]
    )


async def opened(**faults: Any) -> Session:
    session = Session(config("kafka.call_timeout_ms=500"), transactional_id="g-0")
    await session.fence()
    FakeProducer.faults = faults
    return session


async def test_a_commit_calls_in_the_order_of_the_protocol(producers: list[FakeProducer]) -> None:
    session = await opened()
    await session.commit([write(0), write(1, topic="state")], OFFSETS, group="g")
    assert producers[0].calls == ["start", "begin", "send", "send", "offsets", "commit"]
    assert producers[0].options["transactional_id"] == "g-0"


async def test_a_request_without_an_answer_is_asked_again_within_its_call(producers: list[FakeProducer]) -> None:
    for call_ms, request_ms in ((30_000, 10_000), (500, 1_000)):
        await Session(config(f"kafka.call_timeout_ms={call_ms}"), transactional_id="g-0").fence()
        assert producers[-1].options["request_timeout_ms"] == request_ms


async def test_a_failed_produce_is_never_committed_although_the_client_would(producers: list[FakeProducer]) -> None:
    session = await opened(future=kafka_errors.NotEnoughReplicasError())
    with pytest.raises(TransactionFailed, match=r"^out: g-0: produce: .*NotEnoughReplicas"):
        await session.commit([write()], OFFSETS, group="g")
    assert "commit" not in producers[0].calls
    assert "offsets" not in producers[0].calls


async def test_a_failed_transaction_is_never_aborted_but_its_producer_thrown_away(
    producers: list[FakeProducer],
) -> None:
    session = await opened(offsets=kafka_errors.RequestTimedOutError())
    with pytest.raises(TransactionFailed):
        await session.commit([write()], OFFSETS, group="g")
    FakeProducer.faults = {}
    await session.fence()
    assert "abort" not in producers[0].calls
    assert producers[0].calls[-1] == "stop"
    await session.commit([write()], OFFSETS, group="g")
    assert producers[1].calls == ["start", "begin", "send", "offsets", "commit"]


@pytest.mark.parametrize("call", ["begin", "send", "future", "offsets", "commit"])
async def test_no_call_of_a_transaction_waits_without_a_limit(call: str, producers: list[FakeProducer]) -> None:
    session = await opened(**{call: "hang"})
    started = time.monotonic()
    with pytest.raises(TransactionFailed, match=r"outlived 0.5 s \(kafka.call_timeout_ms\)"):
        await session.commit([write()], OFFSETS, group="g")
    assert time.monotonic() - started < 30
    assert producers


async def test_a_partition_that_no_broker_leads_is_named(producers: list[FakeProducer]) -> None:
    lost = {TopicPartition("state", 3): -1, TopicPartition("out", 0): 1, TopicPartition("alerts", 0): -1}
    session = await opened(future="hang", leaders=lost)
    writes = [write(topic="out"), write(topic="state", partition=3), write(topic="alerts")]
    with pytest.raises(TransactionFailed, match=r"outlived .*; no broker leads state-3, alerts-0: .* lost its disk"):
        await session.commit(writes, OFFSETS, group="g")
    assert producers


async def test_starting_a_producer_has_a_limit(producers: list[FakeProducer]) -> None:
    FakeProducer.faults = {"start": "hang"}
    session = Session(config("kafka.call_timeout_ms=500"), transactional_id="g-0")
    with pytest.raises(TransactionFailed, match="fence outlived"):
        await session.fence()
    assert producers


@pytest.mark.slow
async def test_a_producer_that_cannot_be_stopped_is_left_within_a_bound_and_its_sender_ended(
    producers: list[FakeProducer],
) -> None:
    session = await opened(stop="hang")

    async def wait_for_ever() -> None:
        await FOR_EVER().wait()

    sending = asyncio.create_task(wait_for_ever())
    producers[0]._sender = SimpleNamespace(sender_task=sending)
    async with asyncio.timeout(30):
        await session.discard()
    assert producers[0].calls == ["start", "stop", "close"]
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_a_discard_that_is_cancelled_goes_on_and_the_next_one_waits_for_it(producers: list[FakeProducer]) -> None:
    session = await opened()
    may_stop, is_stopped = asyncio.Event(), asyncio.Event()

    async def stop() -> None:
        producers[0].calls.append("stop")
        await may_stop.wait()
        is_stopped.set()

    producers[0].stop = stop  # type: ignore[method-assign]
    first = asyncio.create_task(session.discard())
    async with asyncio.timeout(30):
        while "stop" not in producers[0].calls:  # noqa: ASYNC110 - the fake notes its calls, it sets no event
            await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(session.discard())
        await asyncio.sleep(0)
        assert not second.done()
        may_stop.set()
        await second
    assert is_stopped.is_set()
    assert producers[0].calls == ["start", "stop"], "it is stopped once"


async def test_a_stop_that_fails_does_not_matter(producers: list[FakeProducer]) -> None:
    session = await opened(stop=kafka_errors.KafkaConnectionError())
    await session.discard()
    await session.discard()
    assert producers[0].calls == ["start", "stop"]


async def test_without_a_producer_nothing_is_written(producers: list[FakeProducer]) -> None:
    session = await opened()
    await session.discard()
    with pytest.raises(TransactionFailed, match="discarded"):
        await session.commit([write()], OFFSETS, group="g")
    assert producers[0].calls == ["start", "stop"]


@pytest.mark.parametrize("error", FENCED, ids=lambda error: error.__name__)
async def test_a_newer_owner_fences(error: Callable[[], Exception], producers: list[FakeProducer]) -> None:
    session = await opened(commit=error())
    with pytest.raises(Fenced):
        await session.commit([write()], OFFSETS, group="g")
    assert producers


@pytest.mark.parametrize("error", HOPELESS, ids=lambda error: error.__name__)
async def test_what_waiting_does_not_mend_ends_the_worker(
    error: Callable[[], Exception], producers: list[FakeProducer]
) -> None:
    session = await opened(send=error())
    with pytest.raises(Fatal):
        await session.commit([write()], OFFSETS, group="g")
    assert producers


async def test_a_clock_ahead_of_the_brokers_ends_the_worker_and_is_named(producers: list[FakeProducer]) -> None:
    session = await opened(future=kafka_errors.InvalidTimestampError())
    with pytest.raises(
        Fatal, match=r"out: .*this machine's clock is ahead.*message\.timestamp\.after\.max\.ms"
    ) as refused:
        await session.commit([write()], OFFSETS, group="g")
    assert refused.value.exit_code == 78
    assert "commit" not in producers[0].calls


@pytest.mark.parametrize("error", [kafka_errors.KafkaConnectionError, kafka_errors.NotLeaderForPartitionError, OSError])
async def test_what_passes_is_tried_again(error: Callable[[], Exception], producers: list[FakeProducer]) -> None:
    session = await opened(begin=error())
    with pytest.raises(TransactionFailed):
        await session.commit([write()], OFFSETS, group="g")
    assert producers


async def test_records_are_packed_by_partition_in_their_order(producers: list[FakeProducer]) -> None:
    session = await opened()
    writes = [write(number, partition=number % 2) for number in range(10)]
    await session.commit(writes, OFFSETS, group="g")
    assert [(topic, partition) for topic, partition, _ in producers[0].batches] == [("out", 0), ("out", 1)]
    for _, partition, batch in producers[0].batches:
        found = read(batch)
        assert [(key, at) for key, _, at, _ in found] == [(b"k%d" % n, n) for n in range(partition, 10, 2)]
        assert all(headers == [("h", b"x")] for *_, headers in found)


async def test_a_full_batch_is_followed_by_another_and_nothing_is_lost(producers: list[FakeProducer]) -> None:
    session = await opened()
    sizes = [400_000, 400_000, 400_000, 3_000_000, 10]
    await session.commit([write(n, value=b"x" * size) for n, size in enumerate(sizes)], OFFSETS, group="g")
    assert len(producers[0].batches) > 2
    found = [one for _, _, batch in producers[0].batches for one in read(batch)]
    assert [(key, len(value)) for key, value, _, _ in found] == [(b"k%d" % n, size) for n, size in enumerate(sizes)]


async def test_a_record_larger_than_a_batch_goes_compressed_because_it_may_have_come_so(
    producers: list[FakeProducer],
) -> None:
    session = await opened()
    sizes = [10, 6_000_000, 10]
    await session.commit([write(n, value=b"x" * size) for n, size in enumerate(sizes)], OFFSETS, group="g")
    batches = [batch for _, _, batch in producers[0].batches]
    found = [one for batch in batches for one in read(batch)]
    assert [(key, len(value)) for key, value, _, _ in found] == [(b"k%d" % n, size) for n, size in enumerate(sizes)]
    assert max(len(bytes(batch._build())) for batch in batches) < module.MAX_BATCH_BYTES
    assert [head(batch).is_transactional for batch in batches] == [True] * len(batches)
    assert [head(batch).compression_type for batch in batches] == [0, DefaultRecordBatch.CODEC_GZIP, 0]


async def test_a_header_without_a_value_is_kept(producers: list[FakeProducer]) -> None:
    session = await opened()
    bare = Write(topic="out", partition=0, key=None, value=None, time_ms=1, headers=[("h", None)])  # type: ignore[list-item]
    await session.commit([bare], OFFSETS, group="g")
    assert read(producers[0].batches[0][2]) == [(None, None, 1, [("h", None)])]


def head(builder: BatchBuilder) -> DefaultRecordBatch:
    """Return a batch with what stands before its records."""
    return MemoryRecords(bytes(builder._build())).next_batch()


def read(builder: BatchBuilder) -> list[tuple[bytes | None, bytes | None, int, list[tuple[str, bytes | None]]]]:
    """Return the records of a batch as a broker would get them."""
    log = MemoryRecords(bytes(builder._build()))
    found = []
    while (batch := log.next_batch()) is not None:
        found += [(one.key, one.value, one.timestamp, list(one.headers)) for one in batch]
    return found
