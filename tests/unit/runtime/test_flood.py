"""Ten times too much for what the runtime holds: it stays within its limits, and nothing is lost by that."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Adaptation, AdaptationKind, Correction, Prediction, Trigger
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.core.fleets import Thawing
from adaptive_stream.runtime import http
from adaptive_stream.runtime.http import Server
from adaptive_stream.runtime.intake import Refused
from adaptive_stream.runtime.lane import Lanes
from adaptive_stream.runtime.stepping import Advanced
from adaptive_stream.runtime.task import MAX_COMMITS_IN_FLIGHT, Move, Task
from adaptive_stream.runtime.telemetry import Telemetry
from adaptive_stream.runtime.worker import Worker
from adaptive_stream.testing import Driver
from tests.unit.runtime.records import START_MS, config, record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import ConsumerRecord

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
