"""What a worker lost comes back from the log: byte for byte, after a kill as after a stop."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.contracts.events import Action, Control
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime import journal
from adaptive_stream.runtime.session import Session
from adaptive_stream.runtime.task import Task
from adaptive_stream.runtime.telemetry import Telemetry
from adaptive_stream.runtime.worker import Worker
from tests.integration.scene import START_MS, Scene, correction, field_of, prediction, until
from tests.integration.test_crash import MODELS, stream
from tests.integration.worker import dump, working

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.worker import WorkerProcess

NEVER = "never:before:1"  # a witness that only ends when told


def with_static_member(kafka: str, name: str, *settings: str) -> Scene:
    return Scene(bootstrap=kafka, name=name, settings=("kafka.group_instance_id=alone", *settings))


@pytest.mark.parametrize("snapshot_interval_s", ["0.1", "3600"], ids=["from-snapshots", "from-the-journal-alone"])
async def test_the_restored_state_equals_the_lost_one_byte_for_byte(
    snapshot_interval_s: str, kafka: str, names: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene = with_static_member(
        kafka, names, f"state.snapshot_interval_s={snapshot_interval_s}", "state.journal_ring=300000"
    )
    await scene.open()
    records = stream()
    lost = start_worker(scene, kill_at=NEVER)
    # in two portions, so that a snapshot has predictions that wait across it
    await scene.publish(records[: len(records) // 2])
    await scene.drained()
    if snapshot_interval_s == "0.1":
        await scene.checkpointed(time_ms=records[len(records) // 2][2], models=MODELS)
    await scene.publish(records[len(records) // 2 :])
    await scene.drained()
    lost.send(signal.SIGUSR1)
    assert await lost.ended() == -signal.SIGKILL
    states = {int(p): base64.b64decode(state) for p, state in json.loads(lost.dumped.read_text()).items()}
    has_checkpoint = any(r.key == journal.CHECKPOINT_KEY for r in (await scene.read(Topic.STATE))[Topic.STATE])
    assert has_checkpoint == (snapshot_interval_s == "0.1")
    async with working(scene.config()) as worker:
        restored = dump(worker)
    assert len(states) == 3
    assert restored == states


async def test_each_of_many_orders_is_answered_once_through_kills(
    kafka: str, names: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene = with_static_member(kafka, names)
    await scene.open()
    orders = [f"order-{number}" for number in range(90)]
    await scene.publish([(Topic.PREDICTIONS, prediction(n, model=f"m{n % 3}"), START_MS) for n in range(3)])
    for turn in range(3):
        worker = start_worker(scene)
        before, _ = await scene.offsets()
        await scene.publish(
            (
                Topic.CONTROL,
                Control(command_id=order, action=Action.FREEZE, model_id=f"m{number % 3}"),
                START_MS + number,
            )
            for number, order in enumerate(orders)
            if number // 30 == turn
        )

        async def is_further(since: int = sum(before.values())) -> bool:
            committed, _ = await scene.offsets()
            return sum(committed.values()) > since

        await until(is_further, what="some orders are obeyed")
        worker.kill()
    async with working(scene.config()):
        await scene.drained()
    bodies = await scene.bodies(Topic.ADAPTATIONS)
    answered = [field_of(body, "caused_by") for part in bodies.values() for body in part]
    assert sorted(answered) == sorted([order] for order in orders)


async def test_sigterm_commits_what_is_under_way_and_leaves_with_zero(
    kafka: str, names: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene = with_static_member(kafka, names, "batch.max_batch_records=20")
    await scene.open()
    await scene.publish(stream())
    stopped = start_worker(scene)
    await stopped.said("task_running")

    async def has_committed() -> bool:
        return sum((await scene.offsets())[0].values()) > 0

    await until(has_committed, what="a batch is committed")
    began = time.monotonic()
    stopped.send(signal.SIGTERM)
    assert await stopped.ended() == 0
    assert time.monotonic() - began < scene.config().state.close_timeout_s + 10
    left, _ = await scene.offsets()
    # the journal ends where the offsets end: nothing that was stepped and committed will be stepped live again
    await scene.check_journals()
    async with working(scene.config()) as worker:
        positions = {p: task.memory.positions for p, task in worker.tasks.items() if task.memory is not None}
        for tp, offset in left.items():
            topic = Topic(tp.topic.removeprefix(scene.prefix))
            assert positions[tp.partition][topic] >= offset
        await scene.drained()
    await scene.check_journals()


async def test_a_worker_told_to_leave_in_the_middle_of_a_rebalance_commits_what_is_under_way(
    kafka: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, suspend = Session._call, Task.suspend
    is_committing, may_commit = asyncio.Event(), asyncio.Event()
    suspended: list[int] = []

    async def held(self: Session, what: str, awaitable: Awaitable[object]) -> object:
        if what == "commit":
            is_committing.set()
            await may_commit.wait()
        return await call(self, what, awaitable)

    async def noted(self: Task, *, limit_s: float) -> None:
        suspended.append(self.partition)
        if len(suspended) == 2:  # a worker that lets go at once has let go long before this
            asyncio.get_running_loop().call_later(0.5, may_commit.set)
        await suspend(self, limit_s=limit_s)

    scene = Scene(bootstrap=kafka, name=names, settings=("topics.partitions=1",))
    await scene.open()
    await scene.publish([(Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(10)])
    monkeypatch.setattr(Session, "_call", held)
    monkeypatch.setattr(Task, "suspend", noted)
    async with working(scene.config()) as worker:
        await is_committing.wait()
        rebalance = asyncio.create_task(worker.revoke())
        await until(lambda: suspended == [0], what="the rebalance waits for the commit")
    await rebalance
    assert suspended == [0, 0]
    every = await scene.read(Topic.STATE, isolation="read_uncommitted")
    assert len(every[Topic.STATE]) == len((await scene.read(Topic.STATE))[Topic.STATE]) > 0, "nothing was aborted"


async def test_a_damaged_page_of_a_snapshot_is_found_and_refused(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=("topics.partitions=1", "state.snapshot_interval_s=0.1"))
    await scene.open()
    await scene.publish([(Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(10)])
    async with working(scene.config()):
        await scene.checkpointed(time_ms=START_MS + 10)
    newest = {record.key: record.value for record in (await scene.read(Topic.STATE))[Topic.STATE]}
    directory = journal.decode_checkpoint(newest[journal.CHECKPOINT_KEY]).directory
    page, (slot, _, _) = next(iter(directory.items()))
    key = journal.page_key(page, slot=slot, chunk=0)
    damaged = bytes([newest[key][0] ^ 1]) + newest[key][1:]
    await scene.produce(Topic.STATE, damaged, key=key, partition=0)
    assert await Worker(scene.config()).run() == 78


async def test_offsets_that_somebody_moved_are_refused(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=("topics.partitions=1",))
    await scene.open()
    await scene.publish([(Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(10)])
    async with working(scene.config()):
        await scene.drained()
    await scene.move_offset(Topic.PREDICTIONS, 3)
    assert await Worker(scene.config()).run() == 78
    # told to trust the journal, it goes on where it was
    await scene.publish([(Topic.FEEDBACK, correction(n), START_MS + 100 + n) for n in range(10)])
    async with working(scene.config("state.on_offset_mismatch=trust_journal")) as worker:
        await until(lambda: joined(worker) == 10, what="the feedback finds its predictions")
        assert worker.tasks[0].memory.fleets.counters()["dropped"]["duplicate_predictions"] == 0


async def test_offsets_that_lack_the_last_transaction_are_known_from_the_journal(kafka: str, names: str) -> None:
    # as a broker leaves them that forgot to mark them as committed
    scene = Scene(bootstrap=kafka, name=names, settings=("topics.partitions=1", "batch.max_batch_records=20"))
    await scene.open()
    await scene.publish([(Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(100)])
    await scene.publish([(Topic.FEEDBACK, correction(n), START_MS + n) for n in range(50)])
    async with working(scene.config()):
        await scene.drained()
    (last,) = [entries[-1] for entries in (await scene.journals()).values()]
    for topic, (first, _) in last.ranges.items():
        await scene.move_offset(Topic(topic), first)
    telemetry = Telemetry()
    async with working(scene.config(), telemetry=telemetry) as worker:
        assert telemetry.offsets_behind._value.get() == 1
        await scene.publish([(Topic.FEEDBACK, correction(n), START_MS + n) for n in range(50, 100)])
        await scene.drained()
        assert joined(worker) == 100
    await scene.check_journals()
    await scene.move_offset(Topic.FEEDBACK, 49)
    assert await Worker(scene.config()).run() == 78, "this is nobody's batch"


def joined(worker: Worker) -> int:
    memory = worker.tasks[0].memory
    return memory.fleets.counters()["join"]["joined"] if memory is not None else -1


async def test_a_lost_state_topic_with_committed_offsets_is_refused(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=("topics.partitions=1",))
    await scene.open()
    await scene.publish([(Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(10)])
    await scene.move_offset(Topic.PREDICTIONS, 3)
    assert await Worker(scene.config()).run() == 78
    async with working(scene.config("state.on_lost_history=continue")) as worker:
        await scene.drained()
        memory = worker.tasks[0].memory
        assert memory is not None
        assert memory.fleets.gauges()["waiting"] == 7
