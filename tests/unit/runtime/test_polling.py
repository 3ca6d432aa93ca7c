"""The worker and its consumer: what it is made with, what it is asked, and what an assignment does first."""

# ruff: noqa: ANN401 - the fake takes what aiokafka takes
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.runtime import access, topics
from adaptive_stream.runtime import worker as module
from adaptive_stream.runtime.failure import OutOfRange, TransactionFailed
from adaptive_stream.runtime.task import Move, Stage, Task
from adaptive_stream.runtime.worker import Worker
from tests.unit.runtime.records import config, record

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

LIMIT_S = 60.0
END = 100  # of every partition, as the fake consumer answers


class Consumer:
    """What the worker uses of the client's consumer; it notes every call, in order."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.calls: list[tuple[str, Any]] = []
        self.errors: list[Exception] = []  # what the group has to tell
        self.looks = 0
        self.assigned: set[TopicPartition] = set()
        self.may_answer = asyncio.Event()
        self._coordinator = self
        self._coordination_task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._subscription = SimpleNamespace(subscription=SimpleNamespace(assignment=None))

    def check_errors(self) -> None:
        self.looks += 1
        if self.errors:
            raise self.errors.pop(0)

    def request_rejoin(self) -> None:
        self.calls.append(("rejoin", None))

    def subscribe(self, names: list[str], *, listener: Any) -> None:
        del listener
        self.calls.append(("subscribe", names))

    async def start(self) -> None:
        self.calls.append(("start", None))
        await asyncio.Event().wait()  # as the client's own: without a limit, until the group assigns something

    async def stop(self) -> None:
        self.calls.append(("stop", None))

    def assignment(self) -> set[TopicPartition]:
        return self.assigned

    def pause(self, *tps: TopicPartition) -> None:
        self.calls.append(("pause", set(tps)))

    def resume(self, *tps: TopicPartition) -> None:
        self.calls.append(("resume", set(tps)))

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.calls.append(("seek", (tp, offset)))

    async def getmany(self, *tps: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        del timeout_ms
        self.calls.append(("getmany", set(tps)))
        await asyncio.sleep(0)
        return {}

    async def end_offsets(self, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        self.calls.append(("end_offsets", set(tps)))
        await self.may_answer.wait()
        return dict.fromkeys(tps, END)

    def named(self, *names: str) -> list[tuple[str, Any]]:
        return [call for call in self.calls if call[0] in names]


def a_worker(*settings: str) -> tuple[Worker, Consumer]:
    """A worker that has its consumer and no task."""
    worker = Worker(config("http.enabled=false", *settings))
    consumer = Consumer()
    worker._consumer = consumer
    worker._membership = module.Membership(consumer, patience_s=10.0)
    worker._partitions = dict.fromkeys(Topic, 10)
    return worker, consumer


def tps_of(worker: Worker, *partitions: int) -> set[TopicPartition]:
    return {TopicPartition(name, partition) for name in worker._inputs for partition in partitions}


def a_running_task(worker: Worker, consumer: Consumer, partition: int = 0) -> Task:
    """Give the worker a task that runs, with its partitions assigned."""

    async def committed(_: int) -> dict[Topic, int | None]:
        raise AssertionError("these tests never take a partition over")

    task = Task(
        worker.config,
        partition=partition,
        partitions=worker._partitions,
        codec=worker._codec,
        telemetry=worker.telemetry,
        committed=committed,
        version="test",
    )
    for move in (Move.OPEN, Move.FENCED, Move.RESTORED):
        task.move(move)
    worker.tasks[partition] = task
    consumer.assigned |= tps_of(worker, partition)
    return task


async def until(condition: Callable[[], bool], *, what: str) -> None:
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 - what is waited for is a count, not an event
                await asyncio.sleep(0)
    except TimeoutError:
        raise AssertionError(what) from None


@pytest.fixture
def idle_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0)


# -- its making --------------------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Consumer]:
    """The consumers that a worker makes; its topics and its permissions are in order."""
    consumers: list[Consumer] = []

    def make(**options: Any) -> Consumer:
        consumers.append(Consumer(**options))
        return consumers[-1]

    async def check(_: object) -> dict[Topic, int]:
        await asyncio.sleep(0)
        return dict.fromkeys(Topic, 1)

    async def require(_: object) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(module, "AIOKafkaConsumer", make)
    monkeypatch.setattr(topics, "check", check)
    monkeypatch.setattr(access, "require", require)
    return consumers


async def test_a_worker_that_is_told_to_stop_before_its_first_assignment_leaves_with_zero(
    made: list[Consumer],
) -> None:
    worker = Worker(config("http.enabled=false"))
    life = asyncio.create_task(worker.run())
    await until(lambda: bool(made and made[0].named("start")), what="it waits for its assignment")
    worker.stop()
    async with asyncio.timeout(LIMIT_S):
        assert await life == 0
    assert made[0].named("start", "stop") == [("start", None), ("stop", None)]


@pytest.mark.parametrize("asked", [(topics, "check"), (access, "require")], ids=lambda asked: asked[1])
async def test_a_worker_that_is_told_to_stop_while_it_waits_for_a_broker_leaves_with_zero(
    asked: tuple[Any, str], made: list[Consumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked = asyncio.Event()

    async def wait_for_a_broker(_: object) -> None:
        is_asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(*asked, wait_for_a_broker)
    worker = Worker(config("http.enabled=false"))
    life = asyncio.create_task(worker.run())
    async with asyncio.timeout(LIMIT_S):
        await is_asked.wait()
        worker.stop()
        assert await life == 0
    assert not made


@pytest.mark.parametrize("asked", [(topics, "check"), (access, "require")], ids=lambda asked: asked[1])
async def test_a_worker_that_is_cancelled_while_it_waits_for_a_broker_leaves_no_call_behind(
    asked: tuple[Any, str], made: list[Consumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_asked, is_over = asyncio.Event(), asyncio.Event()

    async def wait_for_a_broker(_: object) -> None:
        is_asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            is_over.set()

    monkeypatch.setattr(*asked, wait_for_a_broker)
    life = asyncio.create_task(Worker(config("http.enabled=false")).run())
    async with asyncio.timeout(LIMIT_S):
        await is_asked.wait()
        life.cancel()
        with pytest.raises(asyncio.CancelledError):
            await life
    assert is_over.is_set()
    assert not made


async def test_the_consumer_is_made_with_what_keeps_its_partitions_together_and_itself_in_the_group(
    made: list[Consumer],
) -> None:
    worker = Worker(config("http.enabled=false", "kafka.rebalance_timeout_ms=61000", "kafka.session_timeout_ms=44000"))
    life = asyncio.create_task(worker.run())
    await until(lambda: bool(made and made[0].named("start")), what="it waits for its assignment")
    worker.stop()
    await life
    wanted = {
        "partition_assignment_strategy": [RangePartitionAssignor],
        "rebalance_timeout_ms": 61_000,
        "session_timeout_ms": 44_000,
        "max_poll_interval_ms": 2**31 - 1,  # none: the longest that the client takes
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
    }
    assert {name: made[0].options[name] for name in wanted} == wanted


# -- its polls ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("idle_s")
async def test_the_client_is_never_asked_for_no_partitions_because_that_means_all() -> None:
    worker, consumer = a_worker("batch.max_buffer_bytes=65536")
    task = a_running_task(worker, consumer)
    consumer.assigned = set()
    polling = asyncio.create_task(worker._poll())

    async def polls(*, what: str) -> list[tuple[str, Any]]:
        consumer.calls.clear()
        looks = consumer.looks
        await until(lambda: consumer.looks > looks + 10, what=what)
        return consumer.named("getmany")

    assert not await polls(what="nothing is assigned")
    consumer.assigned = tps_of(worker, 0)
    assert {frozenset(asked) for _, asked in await polls(what="a task runs")} == {frozenset(tps_of(worker, 0))}
    for topic in INPUTS:
        task.feed(topic, [record(n, value=b"x" * 1_000) for n in range(70)])
    assert not await polls(what="its buffer is full")
    task.lanes.clear()
    task.move(Move.FAIL)
    assert not await polls(what="no task runs")
    worker._stopping.set()
    await polling


@pytest.mark.usefixtures("idle_s")
async def test_the_group_is_looked_at_although_no_task_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0)
    worker, consumer = a_worker()
    consumer.errors = [kafka_errors.KafkaError("heartbeats have ended"), kafka_errors.GroupAuthorizationFailedError()]
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(module.Fatal, match="the group refuses this worker: GroupAuthorizationFailedError"):
            await worker._poll()
    assert consumer.named("rejoin") == [("rejoin", None)]


async def missed(worker: Worker, consumer: Consumer, meanwhile: Callable[[], None]) -> None:
    """Let the client miss an offset, and let something happen while it asks for the end."""
    missing = asyncio.create_task(worker._miss({TopicPartition(worker.config.topics.name(Topic.FEEDBACK), 0): 5}))
    await until(lambda: bool(consumer.named("end_offsets")), what="the end is asked for")
    meanwhile()
    consumer.may_answer.set()
    await missing


async def test_a_record_that_is_gone_fails_its_task() -> None:
    worker, consumer = a_worker()
    task = a_running_task(worker, consumer)
    await missed(worker, consumer, lambda: None)
    assert isinstance(task.failure, OutOfRange)


async def test_a_task_that_failed_and_restores_by_itself_meanwhile_is_left_alone() -> None:
    worker, consumer = a_worker()
    task = a_running_task(worker, consumer)

    def fail_and_restore() -> None:
        task.fail(TransactionFailed("a commit outlived its limit"))
        for move in (Move.MEND, Move.FENCED):
            task.move(move)

    await missed(worker, consumer, fail_and_restore)
    assert task.stage is Stage.RESTORING
    assert isinstance(task.failure, TransactionFailed)


async def test_a_task_that_came_for_one_that_went_meanwhile_is_left_alone() -> None:
    worker, consumer = a_worker()
    tasks = [a_running_task(worker, consumer)]
    await missed(worker, consumer, lambda: tasks.append(a_running_task(worker, consumer)))
    assert [task.failure for task in tasks] == [None, None]
    assert worker.tasks == {0: tasks[1]}


# -- its lag -----------------------------------------------------------------------------------------------------


async def test_a_lag_that_is_not_known_is_held_and_may_rise(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, consumer = a_worker()
    tasks = [a_running_task(worker, consumer, partition) for partition in range(2)]
    behind: dict[int, int | None] = {0: 3, 1: 4}
    monkeypatch.setattr(worker._membership, "behind", lambda tp: behind[tp.partition])
    lags = []
    for each in ({0: 3, 1: 4}, {0: None, 1: 4}, {0: None, 1: 9}, {0: None, 1: 2}, {0: 2, 1: 2}):
        behind |= each
        lags.append(worker._lag()[Topic.FEEDBACK])
    assert lags == [7, 7, 9, 9, 4]
    tasks[0].feed(Topic.FEEDBACK, [record(n) for n in range(5)])
    assert worker._lag() == {**dict.fromkeys(INPUTS, 4), Topic.FEEDBACK: 9}
    worker.tasks.clear()
    assert worker._lag() == dict.fromkeys(INPUTS, 0)


# -- its assignments ---------------------------------------------------------------------------------------------


@pytest.fixture
def silent_lives(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The partitions whose tasks begin to live, in order; none of them comes further than that."""
    begun: list[int] = []

    def live(task: Task, **_: Any) -> Coroutine[Any, Any, None]:
        begun.append(task.partition)
        return wait_for_ever()

    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Task, "live", live)
    return begun


async def closed(worker: Worker) -> None:
    for partition in list(worker.tasks):
        await worker._close(partition)


async def test_the_first_thing_of_an_assignment_is_to_pause_all_of_it(
    silent_lives: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, consumer = a_worker()
    back = a_running_task(worker, consumer, 1)
    worker._lives[1] = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]  # as a life that waits
    back.pause()
    monkeypatch.setattr(Task, "seek_positions", dict.fromkeys(INPUTS, 7))
    begun: list[list[int]] = []
    monkeypatch.setattr(consumer, "pause", lambda *tps: begun.append([*silent_lives]) or Consumer.pause(consumer, *tps))
    wanted = consumer.assigned = tps_of(worker, 0, 1, 2)
    worker.assign(wanted)
    assert consumer.calls[0] == ("pause", wanted)
    assert begun == [[]], "no task begins before"
    assert silent_lives == [0, 2]
    assert consumer.named("resume") == [("resume", tps_of(worker, 1))]
    await closed(worker)


@pytest.mark.usefixtures("silent_lives")
async def test_tasks_lives_and_levels_are_those_of_the_newest_assignment_however_many_came_before() -> None:
    worker, consumer = a_worker()
    for turn in range(30):
        wanted = {turn % 10, (turn + 1) % 10}
        consumer.assigned = tps_of(worker, *wanted)
        worker.assign(consumer.assigned)
        for partition in wanted:
            worker.telemetry._levels[partition] = ({}, {})
        await until(lambda wanted=wanted: worker.tasks.keys() == wanted, what="what is not wanted is closed")  # type: ignore[misc]
        assert worker._lives.keys() == wanted
        await until(
            lambda wanted=wanted: worker.telemetry._levels.keys() == wanted,  # type: ignore[misc]
            what="and its levels leave with it",
        )
    await closed(worker)
