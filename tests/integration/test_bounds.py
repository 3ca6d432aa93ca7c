"""Where the log itself runs out: retention that was too short, records that a topic does not take, absurd clocks."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.runtime import task as task_module
from adaptive_stream.runtime.intake import home
from adaptive_stream.runtime.worker import Worker
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.worker import dump, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import InputEvent
    from adaptive_stream.core.slice import Slice, Stepped
    from tests.integration.worker import WorkerProcess

ONE = "topics.partitions=1"
SNAPSHOTS = (ONE, "state.snapshot_interval_s=0.1")
SELDOM = "state.snapshot_interval_s=3600"
JOURNAL_ALONE = (ONE, SELDOM, "state.journal_ring=300000")
CONTINUE = "state.on_lost_history=continue"
EVENTS = 10


@contextlib.asynccontextmanager
async def admin(scene: Scene) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=scene.bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def forget(scene: Scene, topic: Topic, *, before: int) -> None:
    """Delete the records of partition 0 before an offset, as retention does; -1: all."""
    async with admin(scene) as client:
        await client.delete_records({TopicPartition(scene.prefix + topic.value, 0): RecordsToDelete(before)})


async def missed(kafka: str, name: str, *, before: int) -> Scene:
    """Return a scene whose worker had four corrections, and in which those before an offset are gone; -1: all."""
    scene = Scene(bootstrap=kafka, name=name, settings=SNAPSHOTS)
    await scene.open()
    await scene.publish([*predictions(0, EVENTS), *corrections(0, 4)])
    async with working(scene.config()):
        await scene.drained()
        await scene.checkpointed(time_ms=START_MS + 200)
    await scene.publish(corrections(4, EVENTS))
    await forget(scene, Topic.FEEDBACK, before=before)
    return scene


async def refusal(config: Config) -> str:
    """Run a worker that must refuse with 78, and return the reason that it logs."""
    with structlog.testing.capture_logs() as logs:
        assert await Worker(config).run() == 78
    [line] = [line for line in logs if line["event"] == "worker_refuses"]
    assert (line["log_level"], line["exit_code"]) == ("error", 78)
    return str(line["reason"])


def counters(worker: Worker) -> dict[str, int]:
    """Return the outcomes and what was dropped, of partition 0."""
    memory = worker.tasks[0].memory
    if memory is None:
        return {}
    found = memory.fleets.counters()
    return {**found["join"], **found["dropped"], "waiting": memory.fleets.gauges()["waiting"]}


async def settled(worker: Worker) -> None:
    """Wait for a checkpoint of partition 0, which a loss makes due at once."""
    await until(lambda: worker.tasks[0]._owed_after is None, what="a checkpoint goes on without what was lost")


def lost(worker: Worker, topic: Topic) -> float:
    name = "adaptive_stream_history_lost_total"
    return worker.telemetry.registry.get_sample_value(name, {"topic": topic.value}) or 0.0


def predictions(first: int, stop: int) -> list[tuple[Topic, InputEvent, int]]:
    return [(Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(first, stop)]


def corrections(first: int, stop: int) -> list[tuple[Topic, InputEvent, int]]:
    return [(Topic.FEEDBACK, correction(n), START_MS + 100 + n) for n in range(first, stop)]


# -- retention shorter than what is needed -----------------------------------------------------------------------


async def test_records_that_retention_took_unread_while_the_worker_was_down_are_refused_or_told(
    kafka: str, names: str
) -> None:
    scene = await missed(kafka, names, before=7)
    reason = await refusal(scene.config())
    assert "partition 0: feedback was read up to offset 4, but the topic starts at 7" in reason
    assert "state.on_lost_history: continue" in reason
    with structlog.testing.capture_logs() as logs:
        async with working(scene.config(CONTINUE)) as worker:
            await scene.drained()
            assert counters(worker)["joined"] == 4 + 3
            assert lost(worker, Topic.FEEDBACK) == 1
            state = dump(worker)
    told = [(line["log_level"], line["topic"], line["partition"]) for line in logs if line["event"] == "history_lost"]
    assert told == [("warning", "feedback", 0)]
    async with working(scene.config()) as worker:  # what is lost is lost once: the policy may be strict again
        assert dump(worker) == state
        assert lost(worker, Topic.FEEDBACK) == 0


async def test_waiting_predictions_that_retention_took_are_refused_or_counted_as_lost(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=SNAPSHOTS)
    await scene.open()
    await scene.publish(predictions(0, EVENTS))
    async with working(scene.config()):
        await scene.drained()
        await scene.checkpointed(time_ms=START_MS + 50)
    await forget(scene, Topic.PREDICTIONS, before=6)
    assert "predictions from offset 0 still wait for feedback, but the topic starts at 6" in await refusal(
        scene.config()
    )
    await scene.publish(corrections(0, EVENTS))
    async with working(scene.config(CONTINUE, *JOURNAL_ALONE)) as worker:
        await until(lambda: counters(worker).get("joined") == 4, what="those that are there are joined")
        await scene.drained()
        found = counters(worker)
        assert (found["joined"], found["early"], found["waiting"], found["waiting_lost"]) == (4, 6, 0, 6)
        assert lost(worker, Topic.PREDICTIONS) == 1
        await settled(worker)
    async with working(scene.config()) as worker:
        assert lost(worker, Topic.PREDICTIONS) == 0


async def test_a_journal_whose_records_retention_took_is_refused_or_stepped_with_what_is_left(
    kafka: str, names: str
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    await scene.open()
    await scene.publish([*predictions(0, EVENTS), *corrections(0, EVENTS)])
    async with working(scene.config()):
        await scene.drained()
    await forget(scene, Topic.FEEDBACK, before=6)
    assert "the journal needs feedback from offset 0, but the topic starts at 6" in await refusal(scene.config())
    async with working(scene.config(CONTINUE)) as worker:
        assert counters(worker)["joined"] == 4
        assert lost(worker, Topic.FEEDBACK) == 1
        await scene.drained()
        await settled(worker)
        state = dump(worker)
    async with working(scene.config()) as worker:
        assert dump(worker) == state


async def test_a_state_that_is_gone_is_counted_when_the_worker_goes_on_without(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    await scene.open()
    await scene.publish(predictions(0, EVENTS))
    await scene.move_offset(Topic.PREDICTIONS, 3)
    assert "the state topic holds nothing" in await refusal(scene.config())
    async with working(scene.config(CONTINUE)) as worker:
        await scene.drained()
        assert counters(worker)["waiting"] == EVENTS - 3
        assert lost(worker, Topic.STATE) == 1


async def test_what_retention_took_of_an_idle_input_is_lost_once(
    kafka: str, names: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene = await missed(kafka, names, before=-1)
    assert "feedback was read up to offset 4, but the topic starts at 10" in await refusal(scene.config())
    # killed once the place is committed, in the middle of the checkpoint that goes with it
    crashed = start_worker(scene, kill_at="commit:after:1", settings=f"{CONTINUE} state.commit_bytes=4096")
    assert await crashed.ended() == -signal.SIGKILL
    for settings in ((CONTINUE, *JOURNAL_ALONE), ()):
        async with working(scene.config(*settings)) as worker:
            await settled(worker)
            assert lost(worker, Topic.FEEDBACK) == 0
    await scene.drained()


async def test_a_loss_is_written_down_at_once_though_no_record_comes_any_more(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    await scene.open()
    await scene.publish(predictions(0, EVENTS))
    await scene.move_offset(Topic.PREDICTIONS, EVENTS)
    assert "the state topic holds nothing" in await refusal(scene.config())
    async with working(scene.config(CONTINUE)) as worker:
        assert lost(worker, Topic.STATE) == 1
        await settled(worker)
    async with working(scene.config()) as worker:
        assert lost(worker, Topic.STATE) == 0


def long_named(first: int, stop: int) -> list[tuple[Topic, InputEvent, int]]:
    """Predictions of some 400 bytes each."""
    return [
        (
            Topic.PREDICTIONS,
            Prediction(prediction_id=f"p{n}".ljust(256, "."), model_id="m0", output=0.9, features=[1.0, 2.0]),
            START_MS + n,
        )
        for n in range(first, stop)
    ]


@pytest.mark.parametrize("policy", ["refuse", "continue"])
async def test_a_running_worker_that_falls_behind_the_retention_skips_nothing_silently(
    policy: str, kafka: str, names: str
) -> None:
    tight = ("batch.max_buffer_bytes=65536", "kafka.max_partition_fetch_bytes=65536")
    scene = Scene(bootstrap=kafka, name=names, settings=(*JOURNAL_ALONE, *tight, f"state.on_lost_history={policy}"))
    await scene.open()
    worker = Worker(scene.config())
    with structlog.testing.capture_logs() as logs:
        life = asyncio.create_task(worker.run())
        await until(lambda: worker.is_ready and bool(worker.tasks), what="the worker runs")
        task = worker.tasks[0]
        task._idle.clear()  # as a step that takes long: the buffer fills up, and the fetches stop
        await scene.publish(long_named(0, 4000))
        await until(lambda: not task.lanes.has_room(Topic.PREDICTIONS), what="the buffer is full")
        assert task.lanes.count < 1000
        await forget(scene, Topic.PREDICTIONS, before=3990)
        task._idle.set()
        if policy == "refuse":
            async with asyncio.timeout(120):
                assert await life == 78
        else:
            await scene.drained()
            await until(lambda: lost(worker, Topic.PREDICTIONS) >= 1, what="the loss is counted")
            worker.stop()
            assert await life == 0
    assert any(line["event"] == "task_failed" and "is not there any more" in line["reason"] for line in logs)
    told = next(line for line in logs if line["event"] == ("worker_refuses" if policy == "refuse" else "history_lost"))
    assert "but the topic starts at 3990" in told["reason"]


async def test_a_topic_that_lost_its_end_is_refused_whatever_the_policy(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=(*JOURNAL_ALONE, CONTINUE, "kafka.call_timeout_ms=3000"))
    await scene.open()
    await scene.publish(predictions(0, EVENTS))
    async with working(scene.config()):
        await scene.drained()
    await gone(scene, Topic.PREDICTIONS)
    await scene.open()
    await scene.publish(predictions(0, 3))
    assert "predictions-0 ends at offset 3, but was read up to 10: it was cut" in await refusal(scene.config())


async def test_offsets_that_expired_are_known_from_the_journal(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    await scene.open()
    await scene.publish([*predictions(0, EVENTS), *corrections(0, EVENTS)])
    async with working(scene.config()) as worker:
        await scene.drained()
        state = dump(worker)
    # a group without offsets finds the state of one whose offsets the broker has forgotten
    async with working(scene.config(f"kafka.group={names}-forgotten")) as worker:
        assert dump(worker) == state
        assert lost(worker, Topic.STATE) == 0


async def gone(scene: Scene, topic: Topic) -> None:
    """Delete a topic and wait until nobody sees it any more."""
    name = scene.prefix + topic.value
    async with admin(scene) as client:
        await client.delete_topics([name])

        async def is_gone() -> bool:
            return name not in await client.list_topics()

        await until(is_gone, what="the topic is deleted")


async def test_without_state_and_offsets_a_worker_starts_over_with_all_that_the_inputs_hold(
    kafka: str, names: str
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    await scene.open()
    await scene.publish([*predictions(0, EVENTS), *corrections(0, EVENTS)])
    async with working(scene.config()) as worker:
        await scene.drained()
        state = dump(worker)
    await gone(scene, Topic.STATE)
    await scene.open()
    async with working(scene.config(f"kafka.group={names}-anew")) as worker:
        await until(lambda: counters(worker).get("joined") == EVENTS, what="everything is stepped again")
        assert dump(worker) == state


# -- offsets that hold no record ---------------------------------------------------------------------------------


async def in_a_transaction(scene: Scene, events: Sequence[tuple[Topic, InputEvent, int]]) -> None:
    """Publish as a transactional client does: a marker follows the records and takes an offset, too."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap, transactional_id=f"{scene.name}-app")
    await producer.start()
    try:
        async with producer.transaction():
            for topic, event, time_ms in events:
                value = Codec().encode(event)
                key = event.model_id.encode()
                await producer.send(scene.prefix + topic.value, value, key=key, timestamp_ms=time_ms)
    finally:
        await producer.stop()


async def test_a_marker_that_retention_took_with_the_records_is_no_loss(kafka: str, names: str) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=SNAPSHOTS)
    await scene.open()
    await scene.publish(predictions(0, EVENTS))
    await in_a_transaction(scene, corrections(0, EVENTS))
    async with working(scene.config()) as worker:
        await scene.caught_up()
        await scene.checkpointed(time_ms=START_MS + 200)
        state = counters(worker)
    await forget(scene, Topic.FEEDBACK, before=-1)
    async with working(scene.config()) as worker:
        assert lost(worker, Topic.FEEDBACK) == 0
        assert counters(worker)["joined"] == state["joined"] == EVENTS


async def test_poison_behind_the_marker_of_a_transaction_is_found(
    kafka: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Fleets.step

    def failing(self: Fleets, slice_: Slice) -> Stepped:
        if any(isinstance(event, Prediction) and event.prediction_id == "p2" for event in slice_.events):
            raise ZeroDivisionError("planted")
        return step(self, slice_)

    monkeypatch.setattr(Fleets, "step", failing)
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    await scene.open()
    async with working(scene.config()) as worker:
        await in_a_transaction(scene, predictions(0, 2))
        await scene.caught_up()
        await in_a_transaction(scene, predictions(2, 4))
        await scene.caught_up()
        assert counters(worker)["waiting"] == 3
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    assert [dict(letter.headers)["as_source_offset"] for letter in letters] == [b"3"]
    await scene.check_journals()


# -- records that a topic does not take --------------------------------------------------------------------------

SMALL = {Topic.STATE: 100, Topic.MODEL_STATUS: 300, Topic.DEAD_LETTERS: 2_000}
BROKERS_DEFAULT = 1_048_588


async def made(scene: Scene, topic: Topic, settings: Mapping[str, str]) -> None:
    name = scene.prefix + topic.value
    async with admin(scene) as client:
        await client.create_topics(
            [NewTopic(name=name, num_partitions=1, replication_factor=1, topic_configs=dict(settings))]
        )


async def mend(scene: Scene, topic: Topic, settings: Mapping[str, str]) -> None:
    async with admin(scene) as client:
        resource = ConfigResource(ConfigResourceType.TOPIC, scene.prefix + topic.value, dict(settings))
        [answer] = await client.alter_configs([resource])
        assert [code for code, *_ in answer.resources] == [0]


@pytest.mark.parametrize("topic", SMALL, ids=lambda topic: topic.value)
async def test_a_topic_that_does_not_take_a_record_is_named_and_nothing_is_lost_once_it_does(
    topic: Topic, kafka: str, names: str
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    policy = {} if topic is Topic.DEAD_LETTERS else {"cleanup.policy": "compact"}
    await made(scene, topic, {**policy, "max.message.bytes": str(SMALL[topic])})
    await scene.open()
    bad = b'{"prediction_id":"' + b"x" * 3_000
    await scene.produce(Topic.PREDICTIONS, bad, partition=0)
    await scene.publish([*predictions(0, EVENTS), *corrections(0, EVENTS)])
    late = Prediction(prediction_id="late", model_id="m0", output=0.9, features=[1.0, 2.0])
    await scene.publish([(Topic.PREDICTIONS, late, START_MS + 120_000)])  # a status is due
    reason = await refusal(scene.config())
    assert f"{scene.prefix}{topic.value}: " in reason
    assert "MessageSizeTooLargeError" in reason
    committed, _ = await scene.offsets()
    assert not any(committed.values())
    assert not any((await scene.bodies()).values())
    await mend(scene, topic, {**policy, "max.message.bytes": str(BROKERS_DEFAULT)})
    async with working(scene.config()) as worker:
        await scene.drained()
        found = counters(worker)
        assert (found["joined"], found["waiting"]) == (EVENTS, 1)
    found_ = await scene.read(Topic.DEAD_LETTERS, Topic.MODEL_STATUS)
    assert [letter.value for letter in found_[Topic.DEAD_LETTERS]] == [bad]
    assert len(found_[Topic.MODEL_STATUS]) == 1
    await scene.check_journals()


LARGE_BYTES = 5_000_000  # of a body: more than a request of ours and a dead letter may have, were it not compressed


@pytest.mark.parametrize("where", ["at-home", "on-the-wrong-partition"])
async def test_a_record_that_came_compressed_and_is_larger_than_a_dead_letter_is_kept_and_its_partition_goes_on(
    where: str, scene: Scene
) -> None:
    await scene.open()
    partition = (home(b"m0", 3) + (where != "at-home")) % 3
    body = b'{"prediction_id":"' + b"x" * LARGE_BYTES
    producer = AIOKafkaProducer(
        bootstrap_servers=scene.bootstrap, compression_type="gzip", max_request_size=2 * LARGE_BYTES
    )
    await producer.start()
    try:
        name = scene.prefix + Topic.PREDICTIONS.value
        await producer.send_and_wait(name, body, key=b"m0", partition=partition, timestamp_ms=START_MS)
    finally:
        await producer.stop()
    async with working(scene.config()) as worker:
        await scene.drained()
        await scene.publish(predictions(0, EVENTS))
        await scene.produce(Topic.CONTROL, b"no", key=None, partition=partition)  # another of the same partition
        await scene.drained()
        memory = worker.tasks[home(b"m0", 3)].memory
        assert memory is not None
        assert memory.fleets.gauges()["waiting"] == EVENTS
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    first, *others = sorted(letters, key=lambda letter: len(letter.value), reverse=True)
    assert (dict(first.headers)["as_error_code"], first.key) == (b"too_large", b"m0")
    assert first.value == body
    assert [dict(other.headers)["as_source_partition"] for other in others] == [b"%d" % partition]


# -- absurd clocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["from-the-future", "from-1970"])
async def test_a_whole_batch_of_absurd_times_moves_no_time_and_is_counted(when: str, kafka: str, names: str) -> None:
    # Kafka itself refuses what is more than an hour ahead
    absurd_ms = 12_345 if when == "from-1970" else time.time_ns() // 1_000_000 + 1_800_000
    scene = Scene(bootstrap=kafka, name=names, settings=(*JOURNAL_ALONE, "time.max_future_skew_s=60"))
    await scene.open()
    async with working(scene.config()) as worker:
        await scene.publish((topic, event, absurd_ms) for topic, event, _ in predictions(0, EVENTS))
        await scene.drained()
        memory = worker.tasks[0].memory
        assert memory is not None
        assert memory.fleets.stream_time_ms == -1
        await scene.publish(predictions(0, EVENTS))
        await scene.publish((topic, event, absurd_ms) for topic, event, _ in predictions(0, EVENTS))
        await scene.publish(corrections(0, EVENTS))
        await scene.drained()
        assert memory.fleets.stream_time_ms == START_MS + 100 + EVENTS - 1
        assert counters(worker)["joined"] == EVENTS

        def refused() -> Any:  # noqa: ANN401 - what the registry gives
            name = "adaptive_stream_dead_letters_total"
            return worker.telemetry.registry.get_sample_value(name, {"code": "absurd_time"})

        await until(lambda: refused() == 2 * EVENTS, what="the refused are counted")
    letters = (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]
    assert {dict(letter.headers)["as_error_code"] for letter in letters} == {b"absurd_time"}
    assert len(letters) == 2 * EVENTS


class Clock:
    """A machine's clock that is two hours ahead; Kafka takes an hour."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def time_ns() -> int:
        return time.time_ns() + 2 * 3600 * 10**9


async def test_a_clock_ahead_of_the_brokers_ends_a_worker_and_nothing_is_lost_once_it_is_right(
    kafka: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=JOURNAL_ALONE)
    await scene.open()
    await scene.publish([*predictions(0, EVENTS), *corrections(0, EVENTS)])
    with monkeypatch.context() as machine:
        machine.setattr(task_module, "time", Clock)
        reason = await refusal(scene.config())
    assert f"{scene.prefix}state: " in reason
    assert "this machine's clock is ahead" in reason
    committed, _ = await scene.offsets()
    assert not any(committed.values())
    async with working(scene.config()) as worker:
        await scene.drained()
        assert counters(worker)["joined"] == EVENTS
