"""What a subscriber yields, skips and commits; the fake consumer hands out portions and takes commits."""

# ruff: noqa: ANN401 - the fake takes what aiokafka takes
from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, RequestTimedOutError

from adaptive_stream.client import Subscriber, subscriber
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Adaptation, AdaptationKind, Trigger
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NAME = "adaptive.adaptations"
ZERO, ONE = TopicPartition(NAME, 0), TopicPartition(NAME, 1)


@dataclass
class FakeRecord:
    offset: int
    value: bytes | None
    partition: int = 0
    topic: str = NAME
    timestamp: int = 1
    headers: tuple[tuple[str, bytes], ...] = field(default=())


def record(offset: int, *, partition: int = 0) -> FakeRecord:
    event = Adaptation(
        adaptation_id=f"{partition}@{offset}",
        kind=AdaptationKind.FROZEN,
        model_id="m",
        trigger=Trigger.CONTROL,
        evidence={},
        at="2013-06-01T00:00:00Z",
    )
    return FakeRecord(offset, Codec().encode(event), partition)


class FakeConsumer:
    """What the subscriber uses of the client."""

    made: list[FakeConsumer]
    portions: list[list[FakeRecord]]  # what the next fetches bring; an empty one ends the test's loop

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.committed: list[dict[TopicPartition, int]] = []
        self.refusal: Exception | None = None
        self.listener: Any = None
        self.is_running = False
        self.made.append(self)

    def subscribe(self, topics: list[str], *, listener: Any) -> None:
        assert topics == [NAME]
        self.listener = listener

    def assign(self, tps: list[TopicPartition]) -> None:
        assert {tp.partition for tp in tps} == {0, 1}

    def assignment(self) -> set[TopicPartition]:
        return {ZERO, ONE}

    async def start(self) -> None:
        self.is_running = True

    async def stop(self) -> None:
        self.is_running = False

    async def seek_to_beginning(self, *_: TopicPartition) -> None: ...

    async def getmany(self, *, timeout_ms: int) -> dict[TopicPartition, list[FakeRecord]]:
        assert timeout_ms > 0
        await asyncio.sleep(0)
        if not self.portions:
            raise EndOfTestError
        fetched: dict[TopicPartition, list[FakeRecord]] = {}
        for one in self.portions.pop(0):
            fetched.setdefault(TopicPartition(one.topic, one.partition), []).append(one)
        return fetched

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def position(self, _: TopicPartition) -> int:
        return 0

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.committed.append(dict(offsets))


class EndOfTestError(Exception):
    """Nothing more comes."""


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> list[FakeConsumer]:
    async def counts(_: Any, names: Any) -> dict[str, int]:
        return dict.fromkeys(names, 2)

    FakeConsumer.made, FakeConsumer.portions = [], []
    monkeypatch.setattr(subscriber, "AIOKafkaConsumer", FakeConsumer)
    monkeypatch.setattr(subscriber, "partition_counts", counts)
    monkeypatch.setattr(subscriber, "COMMIT_S", 0.0)
    return FakeConsumer.made


async def follow(followed: Subscriber, seen: list[str], body: Callable[[str], None] = lambda _: None) -> None:
    """Follow until nothing more comes."""
    try:
        async for event in followed:
            assert isinstance(event, Adaptation)
            seen.append(event.adaptation_id)
            body(event.adaptation_id)
    except EndOfTestError:
        pass


# -- nothing is lost -----------------------------------------------------------------------------------------------


async def test_a_record_that_cannot_be_read_is_counted_and_told_and_the_others_come(
    consumers: list[FakeConsumer],
) -> None:
    newer = record(2).value.replace(b'"frozen"', b'"thawed"')  # type: ignore[union-attr]
    told: list[tuple[int, ErrorCode]] = []
    FakeConsumer.portions = [
        [record(0), FakeRecord(1, b"foreign"), FakeRecord(2, newer), FakeRecord(3, None), FakeRecord(4, b""), record(5)]
    ]
    seen: list[str] = []

    def tell(one: Any, reject: Reject) -> None:
        told.append((one.offset, reject.code))

    async with Subscriber("host:1", Topic.ADAPTATIONS, on_reject=tell) as followed:
        await follow(followed, seen)
        assert followed.skipped == 3
    assert seen == ["0@0", "0@5"]
    assert told == [(1, ErrorCode.NOT_JSON), (2, ErrorCode.INVALID_EVENT), (4, ErrorCode.EMPTY)]
    assert not consumers[0].committed


async def test_a_loop_that_is_left_goes_on_where_it_was(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(offset) for offset in range(4)], [record(4)]]
    seen: list[str] = []
    async with Subscriber("host:1", Topic.ADAPTATIONS) as followed:
        async for event in followed:
            seen.append(event.adaptation_id)  # type: ignore[union-attr]
            break
        with pytest.raises(ZeroDivisionError):
            await follow(followed, seen, lambda _: 1 // 0)  # type: ignore[arg-type, return-value]
        assert not await followed.is_at_end(), "what is fetched ahead has not been seen yet"
        polled = await followed.poll(timeout_ms=1)
        await follow(followed, seen)
    assert [one.offset for _, one in polled] == [2, 3]
    assert seen == ["0@0", "0@1", "0@4"]
    assert len(consumers) == 1


async def test_events_come_with_their_places_and_times(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(7, partition=1)]]
    async with Subscriber("host:1", Topic.ADAPTATIONS) as followed:
        async for found, event in followed.events():
            assert (found.topic, found.partition, found.offset, found.timestamp) == (NAME, 1, 7, 1)
            assert event == followed.decode(Topic.ADAPTATIONS, found)
            break
    assert not consumers[0].is_running


# -- the place of a group ------------------------------------------------------------------------------------------


async def test_an_event_is_committed_when_the_body_comes_back_and_not_before(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(0), record(1), record(0, partition=1)]]
    before: list[list[dict[TopicPartition, int]]] = []
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
        await follow(followed, [], lambda _: before.append(list(consumers[0].committed)))
    assert before == [[], [{ZERO: 1}], [{ZERO: 1}, {ZERO: 2}]]
    assert consumers[0].committed[-1] == {ONE: 1}
    assert consumers[0].options["enable_auto_commit"] is False


async def test_what_a_body_failed_on_and_what_was_fetched_ahead_stay_uncommitted(
    consumers: list[FakeConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "COMMIT_S", 1e9)  # nothing but the end commits
    FakeConsumer.portions = [[record(offset) for offset in range(9)]]

    def fail_on_the_third(seen: str) -> None:
        assert seen != "0@2"

    async def run() -> None:
        async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
            followed._committed_at = 1e9
            await follow(followed, [], fail_on_the_third)

    with pytest.raises(AssertionError):
        await run()
    assert consumers[0].committed == [{ZERO: 2}]


async def test_a_loop_commits_once_a_second_at_most(
    consumers: list[FakeConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "COMMIT_S", 3600.0)
    FakeConsumer.portions = [[record(offset) for offset in range(500)]]
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
        await follow(followed, [])
    assert consumers[0].committed[-1] == {ZERO: 500}
    assert len(consumers[0].committed) <= 2


async def test_a_poll_is_committed_when_the_app_says_so(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(0), record(5, partition=1)], [record(1)]]
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
        await followed.poll(timeout_ms=1)
        assert not consumers[0].committed
        await followed.commit()
        await followed.commit()
        await followed.poll(timeout_ms=1)
    assert consumers[0].committed == [{ZERO: 1, ONE: 6}]


async def test_partitions_that_move_take_what_was_fetched_of_them_along(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(0), record(1), record(0, partition=1), record(2)]]
    seen: list[str] = []
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
        async for event in followed:
            seen.append(event.adaptation_id)  # type: ignore[union-attr]
            if len(seen) == 2:
                break
        await consumers[0].listener.on_partitions_revoked({ZERO})
        await follow(followed, seen)
    assert seen == ["0@0", "0@1", "1@0"]
    assert consumers[0].committed == [{ZERO: 1}, {ONE: 1}]


async def test_a_commit_that_comes_too_late_ends_no_loop(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(0), record(1)]]
    seen: list[str] = []
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
        consumers[0].refusal = CommitFailedError()
        await follow(followed, seen)
    assert seen == ["0@0", "0@1"]


async def test_a_commit_that_failed_is_made_up_for_by_the_next(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(0), record(1), record(0, partition=1)]]
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
        await followed.poll(timeout_ms=1)
        consumers[0].refusal = RequestTimedOutError()
        with pytest.raises(RequestTimedOutError):
            await followed.commit()
        consumers[0].refusal = None
        await followed.commit()
    assert consumers[0].committed == [{ZERO: 2, ONE: 1}]


async def test_what_is_fetched_ahead_is_one_fetch_and_a_place_for_each_partition(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[record(turn * 10 + n, partition=n % 2) for n in range(10)] for turn in range(50)]
    most = 0
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g") as followed:
        while FakeConsumer.portions:
            async for _ in followed:
                most = max(most, len(followed._ahead))
                break
        assert len(followed._handled) <= 2
        assert len(followed._polled) <= 2
    assert most == 9
    assert [len(followed._ahead), len(followed._handled), len(followed._polled)] == [0, 0, 0]
    assert len(consumers) == 1


async def test_a_group_without_a_place_begins_with_the_oldest(consumers: list[FakeConsumer]) -> None:
    async with Subscriber("host:1", Topic.ADAPTATIONS, group="g", is_from_start=False):
        pass
    assert consumers[0].options["auto_offset_reset"] == "earliest"


# -- used as it must not be ----------------------------------------------------------------------------------------


def test_topics_that_do_not_exist_or_none_are_refused() -> None:
    unknown: Any = "alarms"
    with pytest.raises(ValueError, match="alarms"):
        Subscriber("host:1", unknown)
    with pytest.raises(ValueError, match="at least one topic"):
        Subscriber("host:1")


async def test_a_topic_without_events_says_so_and_can_be_polled(consumers: list[FakeConsumer]) -> None:
    FakeConsumer.portions = [[FakeRecord(0, b"refused", topic="adaptive.dead-letters")]]
    async with Subscriber("host:1", Topic.DEAD_LETTERS) as followed:
        with pytest.raises(ValueError, match="dead-letters carries no events; read its records with poll"):
            await anext(followed.events())
        ((topic, letter),) = await followed.poll(timeout_ms=1)
        with pytest.raises(ValueError, match="poll"):
            followed.decode(topic, letter)
    assert len(consumers) == 1


USES: list[Callable[[Subscriber], Awaitable[Any]]] = [
    lambda s: s.poll(timeout_ms=1),
    lambda s: s.is_at_end(),
    lambda s: anext(s.events()),
    lambda s: s.__aiter__().__anext__(),
]


@pytest.mark.parametrize("use", USES)
async def test_a_subscriber_outside_its_context_says_how_it_is_used(
    use: Callable[[Subscriber], Awaitable[Any]], consumers: list[FakeConsumer]
) -> None:
    followed = Subscriber("host:1", Topic.ADAPTATIONS)
    with pytest.raises(RuntimeError, match="async with Subscriber"):
        await use(followed)
    async with followed:
        with pytest.raises(RuntimeError, match="entered"):
            await followed.__aenter__()
        with pytest.raises(RuntimeError, match="without a group"):
            await followed.commit()
    with pytest.raises(RuntimeError, match="async with Subscriber"):
        await use(followed)
    assert [consumer.is_running for consumer in consumers] == [False]
