"""Ten times too much for what the runtime holds: it stays within its limits, and nothing is lost by that."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import httpx
import numpy as np
import pytest

from adaptive_stream.client.letters import Letter, Place, Return
from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Adaptation, AdaptationKind, Correction, Prediction, Trigger
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.core.fleets import Fleets, Thawing
from adaptive_stream.runtime import http, journal, restore
from adaptive_stream.runtime.http import Server
from adaptive_stream.runtime.intake import Intake, Refused
from adaptive_stream.runtime.lane import Lanes
from adaptive_stream.runtime.replay import MAX_BYTES, MAX_RECORDS, Replay
from adaptive_stream.runtime.stepping import Advanced, Stepper
from adaptive_stream.runtime.task import MAX_COMMITS_IN_FLIGHT, Move, Task
from adaptive_stream.runtime.telemetry import Telemetry
from adaptive_stream.runtime.worker import Worker
from adaptive_stream.testing import Driver
from tests.unit.runtime.records import START_MS, config, prediction, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from aiokafka import ConsumerRecord, TopicPartition

    from adaptive_stream.core.slice import Slice, Stepped
    from adaptive_stream.runtime.session import Write

LIMITS_MS = (0, 2 * START_MS)
BUFFER_BYTES, FETCH = 10_000, 5  # bytes of a buffer, records of a fetch


# -- buffers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "parts",
    [{"value": b"x" * 200}, {"value": b""}, {"key": b"k" * 200}, {"headers": [("h", b"x" * 200)]}],
    ids=["values", "nothing-but-records", "keys", "headers"],
)
def test_a_buffer_takes_one_fetch_of_each_input_beyond_its_limit(parts: dict[str, Any]) -> None:
    lanes = Lanes(max_batch_records=1000, max_buffer_bytes=BUFFER_BYTES)
    one = Lanes(max_batch_records=1, max_buffer_bytes=1)
    one.lanes[Topic.FEEDBACK].extend([record(0, **parts)])
    offered = 0
    while offered * one.size_bytes < 10 * BUFFER_BYTES:
        for topic in INPUTS:
            offered += FETCH
            if lanes.has_room(topic):
                lanes.lanes[topic].extend([record(offered + n, **parts) for n in range(FETCH)])
    assert BUFFER_BYTES <= lanes.size_bytes <= BUFFER_BYTES + len(INPUTS) * FETCH * one.size_bytes


def test_a_batch_takes_no_more_than_its_limit() -> None:
    lanes = Lanes(max_batch_records=7, max_buffer_bytes=BUFFER_BYTES)
    for topic in INPUTS:
        lanes.lanes[topic].extend([record(n, START_MS + n) for n in range(70)])
        lanes.lanes[topic].is_at_end = True
    taken = []
    while lanes.count:
        counts = lanes.takeable(limits_ms=LIMITS_MS, is_patient=False)
        taken.append(len(lanes.cut(counts, cut_ms=1).records))
    assert taken == [7] * 40


async def never() -> None:
    await asyncio.Event().wait()


def running() -> Task:
    """A task that runs, with records that make a batch."""

    async def committed(_: int) -> dict[Topic, int | None]:
        return {}

    tree = config("batch.max_batch_records=1")
    task = Task(
        tree,
        partition=0,
        partitions=dict.fromkeys(Topic, 1),
        codec=Codec(),
        telemetry=Telemetry(),
        committed=committed,
        version="test",
    )
    for move in (Move.OPEN, Move.FENCED, Move.RESTORED):
        task.move(move)
    for lane in task.lanes.lanes.values():
        lane.is_at_end = True
    task.feed(Topic.PREDICTIONS, records(20))
    return task


def records(count: int) -> Sequence[ConsumerRecord]:
    return [record(number) for number in range(count)]


async def test_no_batch_is_cut_while_as_many_commits_are_under_way_as_may_be() -> None:
    task = running()
    for _ in range(10 * MAX_COMMITS_IN_FLIGHT):
        if task.next_batch() is not None:
            task._commits.append(asyncio.create_task(never()))
    assert len(task._commits) == MAX_COMMITS_IN_FLIGHT
    task._commits.pop().cancel()
    assert task.next_batch() is not None
    for commit in task._commits:
        commit.cancel()


# -- a restore ---------------------------------------------------------------------------------------------------


def test_a_restore_holds_the_predictions_that_wait_and_no_others_between_them() -> None:
    tree = config('families.few.match=["few"]', "join.max_bytes=65536", "join.window_s=31536000")
    driver = Driver(tree)
    driver.send(Prediction(prediction_id="p", model_id="few", output=0.5), at_ms=START_MS)
    capacity = driver.fleets.fleets[0].join.capacity
    for number in range(10 * capacity):
        driver.send(Prediction(prediction_id=f"p{number}", model_id="m", output=0.5), at_ms=START_MS + number)
    driver.run()
    frozen = driver.freeze()
    held = Thawing(tree, frozen.head, frozen.pages).wants(np.arange(10 * capacity + 1))
    assert np.flatnonzero(held).tolist() == [0, *range(9 * capacity + 1, 10 * capacity + 1)]


class Log:
    """In place of a reader: the records of each topic of one partition."""

    records: Mapping[Topic, Sequence[ConsumerRecord]]

    def __init__(self, *_: object) -> None:
        self._positions: dict[Topic, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def beginnings(self) -> dict[Topic, int]:
        return {topic: self.records[topic][0].offset if self.records[topic] else 0 for topic in self.records}

    async def ends(self) -> dict[Topic, int]:
        return {topic: self.records[topic][-1].offset + 1 if self.records[topic] else 0 for topic in self.records}

    def seek(self, positions: Mapping[Topic, int]) -> None:
        self._positions |= positions

    async def until(self, topic: Topic, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        run = [one for one in self.records[topic] if self._positions[topic] <= one.offset < end]
        self._positions[topic] = end
        if run:
            yield run


async def test_a_restore_in_which_every_record_is_poison_owes_each_one_letter_and_tells_a_loss_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches, each, gone = 10, 4, 3
    entries = [
        journal.Entry(
            batch=batch + 1,
            cut_ms=START_MS + batch,
            ranges={
                "predictions": (batch * each, (batch + 1) * each),
                **({"feedback": (0, gone)} if not batch else {}),
            },
            version="1",
        )
        for batch in range(batches)
    ]
    state = [
        record(n, key=journal.entry_key(entry.batch, ring=64), value=journal.encode(entry))
        for n, entry in enumerate(entries)
    ]
    Log.records = {
        **dict.fromkeys(INPUTS, ()),
        Topic.STATE: state,
        Topic.PREDICTIONS: [prediction(n) for n in range(batches * each)],
        Topic.FEEDBACK: [record(gone)],
    }
    tries = 0

    def fail(fleets: Fleets, slice_: Slice) -> Stepped:
        nonlocal tries
        if slice_.events:
            tries += 1
            raise ZeroDivisionError("planted")
        return step(fleets, slice_)

    step = Fleets.step
    monkeypatch.setattr(Fleets, "step", fail)
    monkeypatch.setattr(restore, "Reader", Log)
    tree = config("state.on_lost_history=continue")
    intake = Intake(Codec(), partition=0, partitions=1)
    one = restore.Restore(
        tree,
        partition=0,
        intake=intake,
        stepper=Stepper(tree, intake, earliest_ms=0),
        on_remaining=lambda _: None,
    )
    memory = await one.run({Topic.PREDICTIONS: batches * each, Topic.FEEDBACK: gone})
    assert tries == batches * (1 + each), "a search in each batch, and each record once"
    assert len(one._searches) == batches
    assert len(one._poison) == len(memory.owed) == len(memory.skipped) == batches * each
    assert [topic for topic, _ in one.lost] == [Topic.FEEDBACK]
    assert memory.behind == set()


# -- a replay ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size_bytes", "most"), [(10, MAX_RECORDS), (MAX_BYTES // 7, 8)], ids=["many", "large"])
async def test_a_replay_holds_no_more_than_one_transaction_and_sends_all(size_bytes: int, most: int) -> None:
    sent: list[int] = []

    async def commit(writes: Sequence[Write], offsets: Mapping[TopicPartition, int], *, group: str) -> None:
        assert (offsets, group) == ({}, "g")
        sent.append(len(writes) // 2)  # a record and its mark

    replay = Replay(config())
    replay._session = SimpleNamespace(commit=commit)  # type: ignore[assignment]
    value = b"x" * size_bytes
    for number in range(10 * MAX_RECORDS):
        place = Place(0, number)
        letter = Letter(place, START_MS, "empty", "", "$", "in", 0, number, START_MS, None, value, ())
        await replay.add(letter, Return("in", 0, None, value, START_MS, ()))
        assert len(replay._pending) < most
    await replay.flush()
    assert max(sent) <= most
    assert sum(sent) == replay.sent == 10 * MAX_RECORDS


# -- the process -------------------------------------------------------------------------------------------------


def series(telemetry: Telemetry) -> int:
    return sum(len(family.samples) for family in telemetry.registry.collect())


def seen(models: int) -> Telemetry:
    """Telemetry of a task that met so many models, each with output, dead letter, prediction and feedback."""
    telemetry = Telemetry()
    driver = Driver(config())
    for number in range(models):
        model = f"m{number}"
        driver.send(Prediction(prediction_id="p", model_id=model, output=0.5, variant_id=f"v{number}"), at_ms=START_MS)
        driver.send(Correction(feedback_id="f", prediction_id="p", model_id=model, label=1.0), at_ms=START_MS + 1)
        adaptation = Adaptation(
            adaptation_id=f"a{number}",
            kind=AdaptationKind.FROZEN,
            model_id=model,
            trigger=Trigger.CONTROL,
            evidence={},
            at=format_time(START_MS),
        )
        refused = Refused(Topic.FEEDBACK, record(number, key=model.encode()), Reject(ErrorCode.NOT_JSON, model))
        telemetry.count_batch([Topic.FEEDBACK], Advanced([adaptation], [refused], []))
    driver.run()
    telemetry.take_levels(0, driver.fleets)
    for loop in ("poll", "loop"):
        telemetry.beat(loop)
    return telemetry


@pytest.mark.slow
def test_ten_thousand_models_add_no_series_to_the_metrics() -> None:
    assert series(seen(10_000)) == series(seen(1))
    assert len(seen(2)._beats) == 2


async def test_connections_beyond_the_limit_are_refused_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "MAX_CONNECTIONS", 4)
    worker = Worker(config())
    server = Server(worker, worker.telemetry, asyncio.get_running_loop())
    port = server.start("127.0.0.1", 0)
    idle: list[socket.socket] = []

    async def until_answered_with(code: int) -> None:
        async with httpx.AsyncClient(timeout=30) as client, asyncio.timeout(60):
            while True:
                try:
                    answer = await client.get(f"http://127.0.0.1:{port}/livez")
                except httpx.ConnectError:  # the thread has not begun to listen
                    continue
                if answer.status_code == code:
                    return

    try:
        await until_answered_with(200)
        idle += [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        await until_answered_with(503)
        for one in idle:
            one.close()
        await until_answered_with(200)
    finally:
        for one in idle:
            one.close()
        server.stop()
