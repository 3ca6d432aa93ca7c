"""A test's own part of the shared Kafka: its topics and its group, what it produces and what it reads back."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from adaptive_stream.client import Publisher
from adaptive_stream.config import Config, load
from adaptive_stream.contracts.events import Correction, Metrics, Prediction
from adaptive_stream.contracts.topics import INPUTS, OUTPUTS, Topic
from adaptive_stream.runtime import journal, topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from aiokafka import ConsumerRecord

    from adaptive_stream.contracts.events import InputEvent

LIMIT_S = 120.0  # generous: a shared machine has taken a minute to start a broker
MARKERS_S = 5.0  # a broker writes a commit's markers within milliseconds
TURN_S = 0.02  # between two looks at a condition
START_MS = 1_700_000_000_000
# small bounds and short intervals, so that a short stream crosses them often; patience long enough to never run out
SETTINGS = (
    "topics.partitions=3",
    "topics.retention_ms=-1",
    "kafka.session_timeout_ms=10000",
    "kafka.heartbeat_interval_ms=300",
    "batch.commit_interval_ms=50",
    "batch.max_task_idle_ms=60000",
    "state.snapshot_interval_s=0.3",
    "state.commit_bytes=16384",
    "state.record_bytes=4096",
    "http.host=127.0.0.1",
    "http.port=0",
)
FAMILY = (
    'families.f.match=["m*"]',
    "families.f.features=[{name: a}, {name: b}]",
    "families.f.monitor.pane_s=600",
    "families.f.monitor.evaluate_every_s=60",
    "families.f.monitor.status_interval_s=60",
    "families.f.monitor.baseline_labels=10",
    "families.f.alerts.AccuracyDegraded.min_count=10",
)


async def until(
    condition: Callable[[], bool | Awaitable[bool]], *, what: str, limit_s: float = LIMIT_S, turn_s: float = TURN_S
) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + limit_s
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, f"waited {limit_s:g} s in vain: {what}"
        await asyncio.sleep(turn_s)


@dataclass(frozen=True)
class Scene:
    """Topics and a consumer group of one test.

    Args:
        bootstrap: of the Kafka.
        name: of the group; the topics' prefix is this and a dot.
        settings: over those above, as ``kafka.group=mine``.
    """

    bootstrap: str
    name: str
    settings: Sequence[str] = field(default=())
    family: Sequence[str] = FAMILY

    @property
    def prefix(self) -> str:
        return f"{self.name}."

    def config(self, *settings: str) -> Config:
        """Return a worker's configuration."""
        own = (f"kafka.bootstrap={self.bootstrap}", f"kafka.group={self.name}", f"topics.prefix={self.prefix}")
        return load([], {}, [*SETTINGS, *own, *self.family, *self.settings, *settings])

    async def open(self) -> None:
        """Create the topics."""
        await topics.create(self.config())

    async def create(self, *wanted: Topic) -> None:
        """Create only these topics."""
        config = self.config().topics
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.create_topics(
                [
                    NewTopic(config.name(topic), num_partitions=config.partitions, replication_factor=1)
                    for topic in wanted
                ]
            )

            async def are_there() -> bool:  # a broker answers before it lists them
                return {config.name(topic) for topic in wanted} <= set(await admin.list_topics())

            await until(are_there, what="the broker lists the topics")
        finally:
            await admin.close()

    def publisher(self) -> Publisher:
        return Publisher(self.bootstrap, prefix=self.prefix)

    async def publish(self, events: Iterable[tuple[Topic, InputEvent, int]]) -> None:
        """Publish events with their times, in order within each topic, and wait until Kafka has them."""
        by_topic: dict[Topic, list[tuple[InputEvent, int]]] = defaultdict(list)
        for topic, event, time_ms in events:
            by_topic[topic].append((event, time_ms))
        async with self.publisher() as publisher:
            for topic, pairs in by_topic.items():
                await publisher.send_many(topic, pairs)

    async def produce(
        self,
        topic: Topic,
        value: bytes | None,
        *,
        key: bytes | None = b"m0",
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        time_ms: int = START_MS,
    ) -> ConsumerRecord:
        """Produce raw bytes, as a foreign client would."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            return await producer.send_and_wait(
                self.prefix + topic.value,
                value,
                key=key,
                partition=partition,
                headers=list(headers),
                timestamp_ms=time_ms,
            )
        finally:
            await producer.stop()

    async def read(self, *wanted: Topic, isolation: str = "read_committed") -> dict[Topic, list[ConsumerRecord]]:
        """Return everything in the topics, by partition and offset.

        A commit is answered before its markers are written: a reader who came in between would miss what was committed
        already. So records that are there and not committed are waited for, but not for as long as a transaction that
        somebody left open.
        """
        ends = await self._settled(wanted) if isolation == "read_committed" else await self._ends(wanted)
        roles = {self.prefix + topic.value: topic for topic in wanted}
        consumer = AIOKafkaConsumer(
            *roles, bootstrap_servers=self.bootstrap, isolation_level=isolation, auto_offset_reset="earliest"
        )
        found: dict[Topic, list[ConsumerRecord]] = {topic: [] for topic in wanted}
        await consumer.start()
        try:
            await consumer.seek_to_beginning(*ends)
            async with asyncio.timeout(LIMIT_S):
                for tp in sorted(ends):
                    while await consumer.position(tp) < ends[tp]:
                        fetched = await consumer.getmany(tp, timeout_ms=1000)
                        found[roles[tp.topic]].extend(fetched.get(tp, []))
        finally:
            await consumer.stop()
        return found

    async def bodies(self, *wanted: Topic) -> dict[str, list[bytes]]:
        """Return the committed bodies of the outputs, by topic and partition: what a reader sees, in order."""
        found = await self.read(*(wanted or (*OUTPUTS, Topic.DEAD_LETTERS)))
        made: dict[str, list[bytes]] = defaultdict(list)
        for topic, records in found.items():
            for record in records:
                made[f"{topic.value}/{record.partition}"].append(record.value)
        return dict(made)

    async def offsets(self) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return the group's committed offsets and the ends of the inputs."""
        ends = await self._ends(INPUTS)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self.name)
        except (kafka_errors.GroupCoordinatorNotAvailableError, kafka_errors.NotCoordinatorForGroupError):
            found = {}  # the broker is younger than any group
        finally:
            await admin.close()
        return {tp: max(0, found[tp].offset) if tp in found else 0 for tp in ends}, ends

    async def _settled(self, wanted: Sequence[Topic]) -> dict[TopicPartition, int]:
        """Return the ends of what is committed, once that is all that is there now; at the latest after a while."""
        every, deadline = await self._ends(wanted), time.monotonic() + MARKERS_S
        while True:
            ends = await self._ends(wanted, isolation="read_committed")
            if time.monotonic() > deadline or all(ends[tp] >= every[tp] for tp in every):
                return ends
            await asyncio.sleep(TURN_S)

    async def _ends(self, wanted: Iterable[Topic], *, isolation: str = "read_uncommitted") -> dict[TopicPartition, int]:
        names = [self.prefix + topic.value for topic in wanted]
        consumer = AIOKafkaConsumer(*names, bootstrap_servers=self.bootstrap, isolation_level=isolation)
        await consumer.start()
        try:
            ends: dict[TopicPartition, int] = await consumer.end_offsets(sorted(consumer.assignment()))
        finally:
            await consumer.stop()
        assert ends, "the topics exist"
        return ends

    async def move_offset(self, topic: Topic, offset: int) -> None:
        """Commit another offset of partition 0 for the group, as an operator's tool does."""
        tp = TopicPartition(self.prefix + topic.value, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.name, enable_auto_commit=False)
        consumer.assign([tp])
        await consumer.start()
        try:
            await consumer.commit({tp: offset})
        finally:
            await consumer.stop()

    async def drained(self) -> None:
        """Wait until the group has committed the whole of the inputs."""

        async def is_drained() -> bool:
            committed, ends = await self.offsets()
            return committed == ends

        await until(is_drained, what="every input record is committed")

    async def caught_up(self) -> None:
        """Wait until the group has committed every record of the inputs.

        Unlike ``drained`` when somebody writes to them in transactions: the marker behind the last record is no record.
        """

        async def has_all() -> bool:
            found = await self.read(*INPUTS)
            committed, _ = await self.offsets()
            records = [record for topic in INPUTS for record in found[topic]]
            return all(committed[TopicPartition(r.topic, r.partition)] > r.offset for r in records)

        await until(has_all, what="every input record is committed")

    async def checkpointed(self, *, time_ms: int, models: int = 1) -> None:
        """Wait until every partition with records has a complete snapshot; commits go on meanwhile."""

        async def has_checkpoints() -> bool:
            ticks = [Metrics(model_id=f"m{model}", accuracy=0.5) for model in range(models)]
            await self.publish((Topic.METRICS, tick, time_ms) for tick in ticks)
            state = (await self.read(Topic.STATE))[Topic.STATE]
            done = {record.partition for record in state if record.key == journal.CHECKPOINT_KEY}
            return bool(done) and done == {record.partition for record in state}

        await until(has_checkpoints, what="checkpoints are written")

    async def journals(self) -> dict[int, list[journal.Entry]]:
        """Return the committed journal entries of each partition, in the order in which they were written."""
        found: dict[int, list[journal.Entry]] = defaultdict(list)
        for record in (await self.read(Topic.STATE))[Topic.STATE]:
            if record.key.startswith(journal.JOURNAL_PREFIX):
                found[record.partition].append(journal.decode_entry(record.value))
        return dict(found)

    async def check_journals(self) -> None:
        """Check that the committed batches tile the inputs: no record in none of them, none in two."""
        committed, _ = await self.offsets()
        for partition, entries in (await self.journals()).items():
            assert [entry.batch for entry in entries] == list(range(1, len(entries) + 1))
            for topic in INPUTS:
                spans = [entry.ranges[topic.value] for entry in entries if topic.value in entry.ranges]
                ends = [end for _, end in spans]
                assert [first for first, _ in spans] == [0, *ends[:-1]][: len(spans)]
                assert committed[TopicPartition(self.prefix + topic.value, partition)] == (ends[-1] if ends else 0)


def prediction(number: int, *, model: str = "m0", output: float = 0.9) -> Prediction:
    return Prediction(prediction_id=f"p{number}", model_id=model, output=output, features=[float(number), 1.0])


def correction(number: int, *, model: str = "m0", label: float = 1.0) -> Correction:
    return Correction(feedback_id=f"f{number}", prediction_id=f"p{number}", model_id=model, label=label)


def field_of(body: bytes, name: str) -> object:
    """Return one field of a JSON body."""
    return msgspec.json.decode(body)[name]
