"""A worker's place in its group: it keeps it through a long restore, comes back to it, or leaves with a code."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.failure import TransactionFailed
from adaptive_stream.runtime.restore import Restore
from adaptive_stream.runtime.task import Stage
from adaptive_stream.runtime.worker import Worker
from tests.integration.scene import START_MS, Scene, prediction, until
from tests.integration.worker import working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import pytest
    from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

ONE = "topics.partitions=1"
PROMPT_S = 30.0  # far below the rebalance timeout of a minute, for which the rival below holds its group


class Heart:
    """The heartbeats of a worker's consumer: counted, and failing once when told to."""

    def __init__(self, worker: Worker) -> None:
        assert worker._consumer is not None
        self.coordinator: Any = worker._consumer._coordinator
        self.beats = 0
        self.fails_with: Exception | None = None
        self._beat = self.coordinator._do_heartbeat
        self.coordinator._do_heartbeat = self

    async def __call__(self) -> bool:
        if self.fails_with is not None:
            error, self.fails_with = self.fails_with, None
            raise error
        is_well: bool = await self._beat()
        self.beats += is_well
        return is_well

    async def beats_on(self) -> None:
        """Wait until it has beaten twice more."""
        wanted = self.beats + 2
        await until(lambda: self.beats >= wanted, what="heartbeats go on")


def rebalances(worker: Worker) -> float:
    return worker.telemetry.registry.get_sample_value("adaptive_stream_rebalances_total") or 0.0


async def consumes(scene: Scene, worker: Worker, *, first: int) -> None:
    """Check that new records have their effect."""
    await scene.publish((Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(first, first + 10))
    await scene.drained()
    memory = worker.tasks[0].memory
    assert memory is not None
    assert memory.fleets.gauges()["waiting"] == first + 10


async def test_a_worker_that_does_not_fetch_for_longer_than_five_minutes_keeps_its_place_and_goes_on(
    kafka: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_restore, run = asyncio.Event(), Restore.run

    async def held(self: Restore, committed: Mapping[Topic, int | None]) -> object:
        await may_restore.wait()
        return await run(self, committed)

    scene = Scene(bootstrap=kafka, name=names, settings=(ONE,))
    await scene.open()
    async with working(scene.config()) as worker:
        await consumes(scene, worker, first=0)
        heart, joined = Heart(worker), rebalances(worker)
        monkeypatch.setattr(Restore, "run", held)
        worker.tasks[0].fail(TransactionFailed("planted"))
        subscription: Any = worker._consumer._subscription  # type: ignore[union-attr]
        await until(
            lambda: worker.tasks[0].stage is Stage.RESTORING and subscription._fetch_count == 0,
            what="nothing is fetched while the only task restores",
        )
        subscription._last_fetch_ended -= 301  # the client allows 300 s between two fetches unless it is told otherwise
        await heart.beats_on()
        assert subscription.fetcher_idle_time > 300
        may_restore.set()
        await consumes(scene, worker, first=10)
        assert rebalances(worker) == joined, "it has never left"


async def test_heartbeats_that_ended_with_an_error_begin_again_and_the_worker_consumes_on(
    kafka: str, names: str
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=(ONE,))
    await scene.open()
    with structlog.testing.capture_logs() as logs:
        async with working(scene.config()) as worker:
            await consumes(scene, worker, first=0)
            heart, joined = Heart(worker), rebalances(worker)
            heart.fails_with = kafka_errors.KafkaError("planted")
            await until(lambda: rebalances(worker) > joined, what="it has joined again")
            await heart.beats_on()
            await until(lambda: worker.is_ready, what="its task runs again")
            await consumes(scene, worker, first=10)
    told = [line["reason"] for line in logs if line["event"] == "group_failed"]
    assert len(told) == 1
    assert "planted" in told[0]


async def test_a_group_that_refuses_a_worker_ends_it_with_78(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=(ONE,))
    await scene.open()
    worker = Worker(scene.config())
    with structlog.testing.capture_logs() as logs:
        life = asyncio.create_task(worker.run())
        await until(lambda: worker.is_ready and bool(worker.tasks), what="the worker runs")
        Heart(worker).fails_with = kafka_errors.GroupAuthorizationFailedError(names)
        async with asyncio.timeout(120):
            assert await life == 78
    [line] = [line for line in logs if line["event"] == "worker_refuses"]
    assert "the group refuses this worker: GroupAuthorizationFailedError" in line["reason"]
    assert names in line["reason"]


class Rival(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """A member that takes its time to give its partitions up: the group waits for it."""

    def __init__(self) -> None:
        self.is_asked, self.may_go_on = asyncio.Event(), asyncio.Event()

    async def on_partitions_revoked(self, revoked: set[object]) -> None:
        if revoked:
            self.is_asked.set()
            await self.may_go_on.wait()

    def on_partitions_assigned(self, assigned: set[object]) -> None: ...


@contextlib.asynccontextmanager
async def a_rival(scene: Scene, assignor: type[AbstractPartitionAssignor]) -> AsyncIterator[Rival]:
    rival = Rival()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=scene.bootstrap,
        group_id=scene.name,
        enable_auto_commit=False,
        partition_assignment_strategy=[assignor],
        heartbeat_interval_ms=300,
        rebalance_timeout_ms=60_000,
    )
    consumer.subscribe([scene.prefix + Topic.PREDICTIONS.value], listener=rival)
    await consumer.start()
    try:
        yield rival
    finally:
        rival.may_go_on.set()
        await consumer.stop()


async def test_a_group_that_divides_its_partitions_otherwise_is_refused_at_the_start_with_78(
    kafka: str, names: str
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=(ONE,))
    await scene.open()
    async with a_rival(scene, RoundRobinPartitionAssignor):
        with structlog.testing.capture_logs() as logs:
            assert await Worker(scene.config()).run() == 78
    [line] = [line for line in logs if line["event"] == "worker_refuses"]
    assert "InconsistentGroupProtocolError" in line["reason"]


async def test_a_worker_told_to_stop_while_its_group_rebalances_without_end_leaves_within_its_budget(
    kafka: str, names: str
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=(ONE,))
    await scene.open()
    async with a_rival(scene, RangePartitionAssignor) as rival:
        worker = Worker(scene.config("state.close_timeout_s=1"))
        life = asyncio.create_task(worker.run())
        await until(lambda: rival.is_asked.is_set() or life.done(), what="the group waits for the rival")
        assert not life.done()
        worker.stop()
        async with asyncio.timeout(PROMPT_S):
            assert await life == 0
        assert not worker.tasks
        assert not rival.may_go_on.is_set()
