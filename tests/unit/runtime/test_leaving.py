"""A worker that leaves: nothing starts behind its back, and nothing that it ends lives on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from adaptive_stream.config import load
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime import worker as worker_module
from adaptive_stream.runtime.task import Task
from adaptive_stream.runtime.worker import Worker

if TYPE_CHECKING:
    import pytest

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
