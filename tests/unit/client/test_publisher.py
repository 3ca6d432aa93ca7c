# ruff: noqa: ANN401 - the fake takes what aiokafka takes
from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from adaptive_stream.client import Publisher, line, publisher
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Correction, InputEvent, Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.intake import home

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PARTITIONS = 7
AT_MS = 1_700_000_000_000
WAYS: dict[Topic, Callable[[Publisher], Awaitable[None]]] = {
    Topic.PREDICTIONS: lambda p: p.predicted(
        model_id="m/1", prediction_id="p", output=0.8, features=[1.0], variant_id="v"
    ),
    Topic.FEEDBACK: lambda p: p.corrected(model_id="m/1", prediction_id="p", label=1),
    Topic.METRICS: lambda p: p.measured(model_id="m/1", accuracy=0.9),
    Topic.CONTROL: lambda p: p.ordered(model_id="m/1", action="freeze", reason="test"),
}
FEEDBACKS: list[Callable[[Publisher], Awaitable[None]]] = [
    lambda p: p.corrected(model_id="m", prediction_id="p", label="yes"),
    lambda p: p.rated(model_id="m", prediction_id="p", score=4, scale=(0, 10)),
    lambda p: p.preferred(model_id="m", chosen="p", rejected="q"),
]


class FakeProducer:
    """What the publisher uses of the client; it keeps what would go to Kafka."""

    made: list[FakeProducer]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.batches: list[tuple[str, int, Any]] = []
        self.is_running = False
        self.made.append(self)

    async def start(self) -> None:
        self.is_running = True
        if self.options["bootstrap_servers"] == "nowhere:1":
            raise ConnectionError

    async def stop(self) -> None:
        self.is_running = False

    async def send(self, topic: str, **record: Any) -> asyncio.Future[None]:
        self.sent.append((topic, record))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def partitions_for(self, _: str) -> set[int]:
        return set(range(PARTITIONS))

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(16_384, 0)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[None]:
        self.batches.append((topic, partition, batch))
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


async def all_there(_: Any, names: list[str], *, is_partial: bool) -> dict[str, int]:
    assert is_partial
    return dict.fromkeys(names, 1)


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[FakeProducer]:
    FakeProducer.made = []
    monkeypatch.setattr(line, "AIOKafkaProducer", FakeProducer)
    monkeypatch.setattr(publisher, "partition_counts", all_there)
    return FakeProducer.made


@pytest.mark.parametrize("topic", WAYS)
async def test_a_record_is_keyed_by_its_model_and_carries_its_envelope(
    topic: Topic, producers: list[FakeProducer]
) -> None:
    async with Publisher("host:1", prefix="x.") as opened:
        await WAYS[topic](opened)
    ((name, record),) = producers[0].sent
    assert (name, record["key"]) == (f"x.{topic.value}", b"m/1")
    headers = dict(record["headers"])
    assert set(headers) == {"content-type", "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time"}
    event = Codec().decode(topic, record["value"], record["headers"])
    assert event.model_id == "m/1"


@pytest.mark.parametrize("way", FEEDBACKS)
async def test_every_kind_of_feedback_gets_an_id_of_its_own(
    way: Callable[[Publisher], Awaitable[None]], producers: list[FakeProducer]
) -> None:
    async with Publisher("host:1") as opened:
        await way(opened)
        await way(opened)
    ids = {Codec().decode(Topic.FEEDBACK, record["value"]).feedback_id for _, record in producers[0].sent}
    assert len(ids) == 2


async def test_an_id_of_the_apps_own_is_kept(producers: list[FakeProducer]) -> None:
    async with Publisher("host:1") as opened:
        await opened.corrected(model_id="m", prediction_id="p", label=1, feedback_id="mine")
    assert Codec().decode(Topic.FEEDBACK, producers[0].sent[0][1]["value"]).feedback_id == "mine"


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (Prediction(prediction_id="", model_id="m", output=0.5), ErrorCode.INVALID_EVENT),
        (Prediction(prediction_id="p", model_id="m", output=float("nan")), ErrorCode.NON_FINITE),
        (Prediction(prediction_id="p", model_id="m", output=0.5, confidence=2.0), ErrorCode.INVALID_EVENT),
        (Prediction(prediction_id="p", model_id="m", output=0.5, features=["x" * 100] * 1000), ErrorCode.TOO_LARGE),
    ],
)
async def test_what_the_worker_would_refuse_is_refused_before_it_is_sent(
    event: InputEvent, code: ErrorCode, producers: list[FakeProducer]
) -> None:
    async with Publisher("host:1") as opened:
        with pytest.raises(Reject) as reject:
            await opened.send(Topic.PREDICTIONS, event)
    assert reject.value.code is code
    assert not producers[0].sent


async def test_the_time_of_an_event_is_its_records_time(producers: list[FakeProducer]) -> None:
    async with Publisher("host:1") as opened:
        await opened.send(Topic.PREDICTIONS, Prediction(prediction_id="p", model_id="m", output=0.5), time_ms=AT_MS)
    record = producers[0].sent[0][1]
    assert record["timestamp_ms"] == AT_MS
    assert dict(record["headers"])["ce_time"] == b"2023-11-14T22:13:20Z"


async def test_many_events_go_to_the_partitions_that_one_would_go_to_in_their_order(
    producers: list[FakeProducer],
) -> None:
    events = [Correction(feedback_id=f"f{n}", prediction_id="p", model_id=f"m{n % 20}", label=1.0) for n in range(500)]
    async with Publisher("host:1", prefix="x.") as opened:
        assert await opened.send_many(Topic.FEEDBACK, [(event, AT_MS + n) for n, event in enumerate(events)]) == 500
    found: dict[bytes, list[int]] = {}
    for topic, partition, batch in producers[0].batches:
        assert topic == "x.feedback"
        log = MemoryRecords(bytes(batch._build()))
        while (part := log.next_batch()) is not None:
            for record in part:
                found.setdefault(record.key, []).append(record.timestamp - AT_MS)
                everywhere = list(range(PARTITIONS))
                # aiokafka's own choice for single sends, and the worker's idea of the right place
                assert (
                    partition
                    == DefaultPartitioner()(record.key, everywhere, everywhere)
                    == home(record.key, PARTITIONS)
                )
    assert found == {b"m%d" % model: list(range(model, 500, 20)) for model in range(20)}


@pytest.mark.parametrize(
    ("topic", "bad", "code"),
    [
        (Topic.PREDICTIONS, Prediction(prediction_id="", model_id="m", output=0.5), ErrorCode.INVALID_EVENT),
        (Topic.PREDICTIONS, Prediction(prediction_id="p", model_id="m", output=float("inf")), ErrorCode.NON_FINITE),
        (Topic.PREDICTIONS, Prediction(prediction_id="p", model_id="m", output="x" * 70_000), ErrorCode.TOO_LARGE),
        (Topic.FEEDBACK, Prediction(prediction_id="p", model_id="m", output=0.5), ErrorCode.UNKNOWN_TYPE),
        (Topic.STATE, Prediction(prediction_id="p", model_id="m", output=0.5), ErrorCode.UNKNOWN_TYPE),
    ],
)
async def test_one_bad_event_among_many_is_named_and_none_is_sent(
    topic: Topic, bad: InputEvent, code: ErrorCode, producers: list[FakeProducer]
) -> None:
    good: InputEvent = Prediction(prediction_id="p", model_id="m", output=0.5)
    if topic is Topic.FEEDBACK:
        good = Correction(feedback_id="f", prediction_id="p", model_id="m", label=1.0)
    async with Publisher("host:1") as opened:
        with pytest.raises(Reject) as reject:
            await opened.send_many(topic, [(good, 1), (bad, 2)])
    assert reject.value.code is code
    if topic is not Topic.STATE:
        assert reject.value.__notes__ == ["event 1 of send_many, counted from 0; none was sent"]
    assert not producers[0].batches


async def test_events_that_were_checked_before_are_not_checked_again(producers: list[FakeProducer]) -> None:
    unchecked = Prediction(prediction_id="", model_id="m", output=0.5)
    async with Publisher("host:1") as opened:
        assert await opened.send_many(Topic.PREDICTIONS, [(unchecked, 1)], is_checked=True) == 1
        with pytest.raises(Reject):
            await opened.send_many(Topic.STATE, [(unchecked, 1)], is_checked=True)
    assert len(producers[0].batches) == 1


async def test_the_limits_are_those_that_the_worker_is_configured_with(producers: list[FakeProducer]) -> None:
    large = Prediction(prediction_id="p", model_id="m", output=0.5, features=["x" * 100] * 1000)
    async with Publisher("host:1", max_record_bytes=200_000) as opened:
        await opened.send(Topic.PREDICTIONS, large)
        assert await opened.send_many(Topic.PREDICTIONS, [(large, 1)]) == 1
    assert len(producers[0].sent) == len(producers[0].batches) == 1


async def test_the_producer_is_idempotent_and_options_pass_through(producers: list[FakeProducer]) -> None:
    async with Publisher("host:1", security_protocol="SSL", linger_ms=50):
        assert producers[0].is_running
    options = producers[0].options
    assert options["enable_idempotence"]
    assert (options["security_protocol"], options["linger_ms"], options["bootstrap_servers"]) == ("SSL", 50, "host:1")
    assert not producers[0].is_running


async def test_a_start_that_fails_leaves_nothing_open(producers: list[FakeProducer]) -> None:
    with pytest.raises(ConnectionError):
        async with Publisher("nowhere:1"):
            raise AssertionError("never entered")
    assert not producers[0].is_running


async def test_a_topic_that_is_missing_is_told_at_the_start_and_nothing_is_left_open(
    producers: list[FakeProducer], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none_there(_: Any, names: list[str], *, is_partial: bool) -> dict[str, int]:
        assert (sorted(names), is_partial) == (["x.control", "x.feedback", "x.metrics", "x.predictions"], True)
        raise LookupError("there is no topic x.control")

    monkeypatch.setattr(publisher, "partition_counts", none_there)
    with pytest.raises(LookupError):
        async with Publisher("host:1", prefix="x."):
            raise AssertionError("never entered")
    assert not producers[0].is_running


async def test_a_publisher_outside_its_context_says_how_it_is_used() -> None:
    with pytest.raises(RuntimeError, match="async with Publisher"):
        await Publisher("host:1").predicted(model_id="m", prediction_id="p", output=0.5)


def test_the_client_needs_neither_numpy_nor_the_core() -> None:
    script = (
        "import sys, adaptive_stream.client\n"
        "heavy = {'numpy', 'scipy', 'torch', 'pydantic', 'adaptive_stream.core', 'adaptive_stream.runtime'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
