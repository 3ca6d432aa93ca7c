"""Records on the partition that another client's partitioner chose: moved home once, and joined as any other."""

from __future__ import annotations

import signal
import zlib
from typing import TYPE_CHECKING

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from adaptive_stream.client.letters import Letter, read_record
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.intake import MOVED_HEADER, home
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.worker import working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiokafka import ConsumerRecord

    from adaptive_stream.contracts.events import InputEvent
    from adaptive_stream.runtime.worker import Worker
    from tests.integration.worker import WorkerProcess

PARTITIONS = 3
MODELS, EVENTS = 12, 240
TRACED = (("traceparent", b"00-1"), ("x", b"\x00"))
MOVED = (MOVED_HEADER, b"1")


def of_crc32(key: bytes) -> int:
    """The partition that librdkafka's ``consistent`` partitioner gives a key."""
    return zlib.crc32(key) % PARTITIONS


def at_home(key: bytes) -> int:
    return home(key, PARTITIONS)


def keys() -> list[bytes]:
    return [f"m{number}".encode() for number in range(MODELS)]


ABROAD = sum(
    of_crc32(f"m{number % MODELS}".encode()) != at_home(f"m{number % MODELS}".encode()) for number in range(EVENTS)
)


async def send(
    scene: Scene, topic: Topic, events: Iterable[tuple[InputEvent, int]], *, partitioner: Callable[[bytes], int]
) -> None:
    """Send as a client with this partitioner would."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap, linger_ms=5)
    await producer.start()
    try:
        futures = [
            await producer.send(
                scene.prefix + topic.value,
                msgspec.json.encode(event),
                key=event.model_id.encode(),
                partition=partitioner(event.model_id.encode()),
                headers=list(TRACED),
                timestamp_ms=time_ms,
            )
            for event, time_ms in events
        ]
        for future in futures:
            await future
    finally:
        await producer.stop()


def predictions() -> list[tuple[InputEvent, int]]:
    return [(prediction(number, model=f"m{number % MODELS}"), START_MS + number) for number in range(EVENTS)]


def corrections() -> list[tuple[InputEvent, int]]:
    return [(correction(number, model=f"m{number % MODELS}"), START_MS + 1_000 + number) for number in range(EVENTS)]


def joined(worker: Worker) -> dict[str, int]:
    """Return the feedback by outcome, over all tasks; without the outcomes that did not occur."""
    made: dict[str, int] = {}
    for task in worker.tasks.values():
        if task.memory is not None:
            for outcome, count in task.memory.fleets.counters()["join"].items():
                made[outcome] = made.get(outcome, 0) + count
    return {outcome: count for outcome, count in made.items() if count}


def counted(worker: Worker, name: str) -> float:
    return worker.telemetry.registry.get_sample_value(f"adaptive_stream_{name}") or 0.0


async def check_moved_once(scene: Scene, topic: Topic, events: list[tuple[InputEvent, int]]) -> None:
    """Check that a topic holds what was sent by CRC32, and beside it each misplaced record once more, at home."""
    records = (await scene.read(topic))[topic]
    moved = [record for record in records if MOVED in record.headers]
    assert len(records) - len(moved) == len(events)
    assert all(record.partition == at_home(record.key) for record in moved)

    def content(record: ConsumerRecord) -> tuple[bytes, bytes, object, int]:
        return record.key, record.value, tuple(h for h in record.headers if h != MOVED), record.timestamp

    misplaced = [record for record in records if record.partition != at_home(record.key)]
    assert sorted(map(content, moved)) == sorted(map(content, misplaced))
    assert len(moved) == ABROAD


def test_the_two_partitioners_disagree_on_some_keys_and_agree_on_others() -> None:
    assert 0 < sum(of_crc32(key) != at_home(key) for key in keys()) < MODELS
    assert ABROAD > EVENTS // 4


async def test_a_prediction_that_takes_the_long_way_meets_feedback_that_waits_for_it(scene: Scene) -> None:
    await scene.open()
    # the feedback is there first: by the time its prediction comes home, it has been consumed
    await send(scene, Topic.FEEDBACK, corrections(), partitioner=at_home)
    async with working(scene.config()) as worker:
        await scene.drained()
        assert joined(worker) == {"early": EVENTS}
        await send(scene, Topic.PREDICTIONS, predictions(), partitioner=of_crc32)
        await until(lambda: joined(worker) == {"joined": EVENTS}, what="every feedback has met its prediction")
        await until(lambda: counted(worker, "records_repartitioned_total") == ABROAD, what="each move is counted once")
    await check_moved_once(scene, Topic.PREDICTIONS, predictions())
    assert (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS] == []
    async with working(scene.config()) as worker:
        await scene.caught_up()
        assert joined(worker) == {"joined": EVENTS}, "a restore moves nothing a second time"
    await check_moved_once(scene, Topic.PREDICTIONS, predictions())


async def test_feedback_that_takes_the_long_way_finds_its_prediction(scene: Scene) -> None:
    await scene.open()
    await send(scene, Topic.PREDICTIONS, predictions(), partitioner=at_home)
    await send(scene, Topic.FEEDBACK, corrections(), partitioner=of_crc32)
    async with working(scene.config()) as worker:
        await until(lambda: joined(worker) == {"joined": EVENTS}, what="every feedback has met its prediction")
        await until(lambda: counted(worker, "records_repartitioned_total") == ABROAD, what="each move is counted once")
    await check_moved_once(scene, Topic.FEEDBACK, corrections())
    assert (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS] == []


@pytest.mark.parametrize("place", ["step:after:1", "produce:after:1", "commit:before:2", "commit:after:2"])
async def test_a_worker_that_dies_around_the_move_has_moved_each_record_once(
    kafka: str, names: str, start_worker: Callable[..., WorkerProcess], place: str
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=("kafka.group_instance_id=alone", "batch.max_batch_records=30"))
    await scene.open()
    # neither is where it should be
    await send(scene, Topic.PREDICTIONS, predictions(), partitioner=of_crc32)
    await send(scene, Topic.FEEDBACK, corrections(), partitioner=of_crc32)
    assert await start_worker(scene, kill_at=place).ended() == -signal.SIGKILL
    async with working(scene.config()) as worker:
        await until(lambda: joined(worker) == {"joined": EVENTS}, what="every feedback has met its prediction")
        await scene.caught_up()
        assert joined(worker) == {"joined": EVENTS}
    await check_moved_once(scene, Topic.PREDICTIONS, predictions())
    await check_moved_once(scene, Topic.FEEDBACK, corrections())
    assert (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS] == []


async def test_a_bad_record_abroad_is_refused_at_home_and_one_that_was_moved_already_where_it_lies(
    scene: Scene,
) -> None:
    await scene.open()
    right = at_home(b"m0")
    wrong = (right + 1) % PARTITIONS
    await scene.produce(Topic.PREDICTIONS, b"no", partition=wrong, headers=TRACED)
    lost = await scene.produce(Topic.METRICS, b"{}", partition=wrong, headers=(*TRACED, MOVED))
    async with working(scene.config()) as worker:
        await until(lambda: counted(worker, "records_repartitioned_total") == 1, what="one is moved")
        await scene.caught_up()
    letters = [read_record(record) for record in (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]]
    told = {letter.code: letter for letter in letters if isinstance(letter, Letter)}
    assert len(told) == len(letters) == 2
    refused, still = told["not_json"], told["wrong_partition"]
    assert (refused.value, refused.headers, refused.source_partition) == (b"no", (*TRACED, MOVED), right)
    assert (still.value, still.headers, still.source_offset) == (b"{}", (*TRACED, MOVED), lost.offset)
    assert still.source_partition == wrong
