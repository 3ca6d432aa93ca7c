"""The client against a real Kafka: what it sends reaches the worker, what it follows was committed."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import InvalidTimestampError, KafkaTimeoutError

from adaptive_stream.client import Publisher, Subscriber
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Adaptation, AdaptationKind, Trigger
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.embedded import EmbeddedKafka
from adaptive_stream.embedded.broker import _free_ports
from adaptive_stream.runtime.intake import home
from tests.integration.scene import LIMIT_S, START_MS, Scene, prediction, until
from tests.integration.worker import working

if TYPE_CHECKING:
    from pathlib import Path


def adaptation(number: int) -> bytes:
    event = Adaptation(
        adaptation_id=f"d-{number}",
        kind=AdaptationKind.FROZEN,
        model_id="m0",
        trigger=Trigger.CONTROL,
        evidence={},
        at="2013-06-01T00:00:00Z",
    )
    return Codec().encode(event)


async def test_one_event_and_many_go_to_the_same_partition_for_a_key(scene: Scene) -> None:
    await scene.open()
    models = [f"m{number}" for number in range(12)]
    async with scene.publisher() as publisher:
        for model in models:
            await publisher.predicted(model_id=model, prediction_id="one", output=0.5)
        many = [(prediction(number, model=model), START_MS) for number, model in enumerate(models)]
        await publisher.send_many(Topic.PREDICTIONS, many)
    records = (await scene.read(Topic.PREDICTIONS))[Topic.PREDICTIONS]
    assert len(records) == 2 * len(models)
    assert all(record.partition == home(record.key, 3) for record in records)
    assert {record.partition for record in records} == {0, 1, 2}


async def test_a_publisher_goes_on_after_a_record_that_kafka_refuses(scene: Scene) -> None:
    await scene.open()
    tomorrow_ms = time.time_ns() // 1_000_000 + 24 * 3_600_000  # message.timestamp.after.max.ms is an hour
    async with scene.publisher() as publisher:
        await publisher.send(Topic.PREDICTIONS, prediction(0))
        for refused in range(2):
            with pytest.raises(InvalidTimestampError):
                await publisher.send(Topic.PREDICTIONS, prediction(10 + refused), time_ms=tomorrow_ms)
            await publisher.send(Topic.PREDICTIONS, prediction(1 + refused))
        await publisher.send_many(Topic.PREDICTIONS, [(prediction(3), START_MS)])
    records = (await scene.read(Topic.PREDICTIONS))[Topic.PREDICTIONS]
    ids = [Codec().decode(Topic.PREDICTIONS, record.value).prediction_id for record in records]  # type: ignore[union-attr]
    assert ids == [prediction(number).prediction_id for number in range(4)]


async def test_a_publisher_whose_broker_is_gone_gives_up_in_time_goes_on_once_it_is_back_and_ends_without_it(
    names: str, tmp_path: Path
) -> None:
    (port,) = _free_ports(1)
    scene = Scene(bootstrap=f"127.0.0.1:{port}", name=names, settings=("topics.partitions=1",))
    broker = EmbeddedKafka(port=port, folder=tmp_path / "kafka")
    await asyncio.to_thread(broker.start)
    try:
        await scene.open()
        async with Publisher(scene.bootstrap, prefix=scene.prefix, timeout_s=20.0) as publisher:
            await publisher.send(Topic.PREDICTIONS, prediction(0))
            broker.kill(1)
            publisher._line._timeout_s = 1.0
            for number in (1, 1):  # the same id: the first try may still arrive
                with pytest.raises(KafkaTimeoutError, match="may still arrive"):
                    await publisher.send(Topic.PREDICTIONS, prediction(number))
            await asyncio.to_thread(broker.restart, 1)
            publisher._line._timeout_s = 20.0
            await publisher.send(Topic.PREDICTIONS, prediction(2))
            records = (await scene.read(Topic.PREDICTIONS))[Topic.PREDICTIONS]
            ids = [Codec().decode(Topic.PREDICTIONS, record.value).prediction_id for record in records]  # type: ignore[union-attr]
            assert [*dict.fromkeys(ids)] == [prediction(number).prediction_id for number in range(3)]
            broker.kill(1)
            publisher._line._timeout_s = 1.0
            with pytest.raises(KafkaTimeoutError):
                await publisher.send_many(Topic.PREDICTIONS, [(prediction(3), START_MS)])
            left_at = time.monotonic()
        assert time.monotonic() - left_at < LIMIT_S / 2, "what can never be sent does not hold up the end"
    finally:
        broker.stop()


async def test_a_publisher_makes_no_topic_that_is_missing(scene: Scene) -> None:
    with pytest.raises(LookupError, match=f"{scene.prefix}control"):
        async with scene.publisher():
            raise AssertionError("never entered")
    with pytest.raises(LookupError):  # asking made none
        async with scene.publisher():
            raise AssertionError("never entered")


async def test_a_subscriber_follows_what_an_order_led_to(scene: Scene) -> None:
    await scene.open()
    async with (
        working(scene.config()),
        scene.publisher() as publisher,
        Subscriber(scene.bootstrap, Topic.ADAPTATIONS, prefix=scene.prefix) as subscriber,
    ):
        await publisher.predicted(model_id="m0", prediction_id="p", output=0.5, features=[1.0, 2.0])
        await publisher.ordered(model_id="m0", action="freeze", command_id="c-1")
        async with asyncio.timeout(LIMIT_S):
            async for event in subscriber:
                assert isinstance(event, Adaptation)
                assert event.caused_by == ["c-1"]
                assert event.kind in (AdaptationKind.FROZEN, AdaptationKind.REJECTED)
                break


async def test_a_group_loses_nothing_when_a_member_dies_and_when_one_joins(scene: Scene) -> None:
    await scene.open()
    for number in range(30):
        await scene.produce(Topic.ADAPTATIONS, adaptation(number), partition=number % 3)
    seen: list[str] = []

    def member() -> Subscriber:
        return Subscriber(scene.bootstrap, Topic.ADAPTATIONS, prefix=scene.prefix, group=f"{scene.name}-readers")

    async def follow(most: int) -> None:
        async with asyncio.timeout(LIMIT_S), member() as subscriber:
            async for record, event in subscriber.events():
                assert isinstance(event, Adaptation)
                assert record.topic == f"{scene.prefix}adaptations"
                seen.append(event.adaptation_id)
                if len(seen) >= most:
                    break

    await follow(7)  # the seventh's body never comes back
    handled, failed = seen[:6], seen[6]
    seen.clear()
    both = asyncio.gather(follow(30), follow(30), return_exceptions=True)
    await until(lambda: len(set(seen)) >= 24, what="the others come, and the failed one again")
    both.cancel()
    with suppress(asyncio.CancelledError):
        await both
    assert set(seen) == {f"d-{number}" for number in range(30)} - set(handled)
    assert failed in seen


async def test_a_subscriber_of_topics_that_do_not_exist_says_so(scene: Scene) -> None:
    with pytest.raises(LookupError, match=f"{scene.prefix}alerts"):
        async with Subscriber(scene.bootstrap, Topic.ALERTS, prefix=scene.prefix):
            raise AssertionError("never entered")
