"""A worker that leaves: nothing starts behind its back, and nothing that it ends lives on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition

from adaptive_stream.config import load
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime import worker as worker_module
from adaptive_stream.runtime.membership import Membership
from adaptive_stream.runtime.task import Task
from adaptive_stream.runtime.worker import Worker

LIMIT_S = 30.0


def a_worker() -> Worker:
    return Worker(load([], {}, ['families.f.match=["m*"]']))


def a_task(worker: Worker) -> Task:
    async def committed(_: int) -> dict[Topic, int | None]:
        await asyncio.sleep(0)
        return {}

    return Task(
        worker.config,
        partition=0,
        partitions=dict.fromkeys(Topic, 1),
        codec=Codec(),
        telemetry=worker.telemetry,
        committed=committed,
        version="test",
    )


async def test_an_assignment_that_comes_while_the_worker_leaves_starts_no_task() -> None:
    worker = a_worker()
    worker.stop()
    worker.assign([TopicPartition(worker.config.topics.name(Topic.PREDICTIONS), 0)])
    assert worker.tasks == {}


async def test_a_task_that_loses_a_cancellation_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "CANCEL_S", 0.01)
    worker = a_worker()
    lost = asyncio.Event()

    async def live() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.set()
        await asyncio.Event().wait()

    worker.tasks[0] = task = a_task(worker)
    worker._lives[0] = life = asyncio.create_task(live())
    await asyncio.sleep(0)  # let it come to its first wait
    async with asyncio.timeout(LIMIT_S):
        await worker._close(0)
    assert lost.is_set()
    assert life.cancelled()
    assert task.is_closed


async def of_a_defect() -> asyncio.Task[None]:
    """A life that has ended with a defect."""

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("planted")

    life = asyncio.create_task(fail())
    await asyncio.wait([life])
    return life


async def test_a_task_whose_life_ended_with_a_defect_is_closed_all_the_same() -> None:
    worker = a_worker()
    worker.tasks[0] = task = a_task(worker)
    worker._lives[0] = await of_a_defect()
    worker.telemetry._levels[0] = ({}, {})
    with pytest.raises(ZeroDivisionError, match="planted"):
        await worker._close(0)
    assert task.is_closed
    assert not worker.telemetry._levels


async def test_a_defect_of_one_task_is_told_after_the_others_are_closed_and_the_group_is_left() -> None:
    worker = a_worker()
    for partition in range(2):
        worker.tasks[partition] = a_task(worker)
    waiting = asyncio.create_task(asyncio.Event().wait())
    worker._lives = {0: await of_a_defect(), 1: waiting}  # type: ignore[dict-item]  # what a life returns is not read
    tasks = [*worker.tasks.values()]
    left: list[bool] = []

    async def stop() -> None:
        await asyncio.sleep(0)
        left.append(all(task.is_closed for task in tasks))

    worker._membership = Membership(SimpleNamespace(stop=stop), patience_s=1.0)
    with pytest.raises(ZeroDivisionError, match="planted"):
        await worker._leave([])
    assert left == [True]
