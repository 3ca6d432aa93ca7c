"""Read a task's state back from the log: newest checkpoint, its pages, the waiting predictions, the journal after it.

Owns the whole way from the bytes of the state topic to a memory that equals the lost one to the bit. Never writes.
Called by the task after fencing, so that nobody else writes meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka_errors

from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.core.fleets import Fleets, Thawing
from adaptive_stream.runtime import journal
from adaptive_stream.runtime.connection import connection, without_leader
from adaptive_stream.runtime.failure import HOPELESS, Fatal, RestoreFailed
from adaptive_stream.runtime.intake import Refused
from adaptive_stream.runtime.lane import order
from adaptive_stream.runtime.stepping import Poison

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from adaptive_stream.config import Config
    from adaptive_stream.runtime.intake import Intake
    from adaptive_stream.runtime.stepping import Stepper

LOOK_MS = 100  # how long one look for further records waits


@dataclass(slots=True)
class Memory:
    """All that a running task knows. Whoever holds another one than the task's own holds a spoilt one."""

    fleets: Fleets
    batch: int  # number of the newest batch stepped
    positions: dict[Topic, int]  # next offset of each input
    snapshotter: journal.Snapshotter
    checkpoint_batch: int  # of the newest complete checkpoint; 0 before the first
    skipped: set[tuple[str, int]] = field(default_factory=set)  # (topic, offset) of poison, as journalled
    owed: list[Refused] = field(default_factory=list)  # poison found while restoring: its dead letters are still due
    behind: set[Topic] = field(default_factory=set)  # inputs whose committed offset is not their position


@dataclass(slots=True)
class Found:
    """What the state topic holds of one task."""

    checkpoint: journal.Checkpoint | None
    pages: dict[str, bytes]
    entries: list[journal.Entry]
    skipped: set[tuple[str, int]]
    known: list[journal.Entry]  # all that the ring holds, the newest first

    @property
    def newest(self) -> journal.Entry | None:
        """The newest entry of the journal."""
        return self.known[0] if self.known else None


class Reader:
    """A consumer without a group that reads given ranges of one partition number."""

    def __init__(self, config: Config, partition: int, topics: Sequence[Topic]) -> None:
        self._tps = {topic: TopicPartition(config.topics.name(topic), partition) for topic in topics}
        self._stall_s = config.kafka.call_timeout_ms / 1000
        self._options = {
            **connection(config),
            # it waits for no rebalance, but for as long as a fetch may find nothing
            "request_timeout_ms": max(config.kafka.call_timeout_ms, config.kafka.fetch_max_wait_ms + 1_000),
            "enable_auto_commit": False,
            "auto_offset_reset": "none",  # what retention takes meanwhile must not be skipped silently
            "fetch_max_wait_ms": config.kafka.fetch_max_wait_ms,
            "max_partition_fetch_bytes": config.kafka.max_partition_fetch_bytes,
        }
        self._consumer: AIOKafkaConsumer | None = None
        self._ahead: dict[Topic, list[ConsumerRecord]] = {topic: [] for topic in topics}

    async def __aenter__(self) -> Self:
        consumer = AIOKafkaConsumer(**self._options, isolation_level="read_committed")
        consumer.assign(list(self._tps.values()))
        self._consumer = consumer
        async with contextlib.AsyncExitStack() as half_started:  # cancelled, too, nobody else would stop it
            half_started.push_async_callback(consumer.stop)
            await consumer.start()
            half_started.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def beginnings(self) -> dict[Topic, int]:
        """Return the first offset that each topic still holds."""
        assert self._consumer is not None, "a reader is used inside its context"
        with self._explained(self._consumer):
            found = await self._consumer.beginning_offsets(list(self._tps.values()))
        return {topic: found[tp] for topic, tp in self._tps.items()}

    async def ends(self) -> dict[Topic, int]:
        """Return the true end of each topic: a read-committed consumer would answer the last stable offset instead."""
        consumer = AIOKafkaConsumer(**self._options, isolation_level="read_uncommitted")
        consumer.assign(list(self._tps.values()))
        try:
            await consumer.start()
            with self._explained(consumer):
                found = await consumer.end_offsets(list(self._tps.values()))
        finally:
            await consumer.stop()
        return {topic: found[tp] for topic, tp in self._tps.items()}

    @contextlib.contextmanager
    def _explained(self, consumer: AIOKafkaConsumer) -> Iterator[None]:
        try:
            yield
        except HOPELESS:
            raise
        except (kafka_errors.KafkaError, RestoreFailed) as error:
            why = without_leader(consumer._client, self._tps.values())  # noqa: SLF001 - it has no other way to ask
            if not why:
                raise
            said = str(error) if isinstance(error, RestoreFailed) else repr(error)
            raise RestoreFailed(f"{said}; {why}") from error

    def seek(self, positions: Mapping[Topic, int]) -> None:
        """Go to these offsets."""
        assert self._consumer is not None, "a reader is used inside its context"
        for topic, offset in positions.items():
            self._consumer.seek(self._tps[topic], offset)
            self._ahead[topic] = []

    async def until(self, topic: Topic, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        """Yield runs of records from the current place up to ``end`` (exclusive), as they are fetched."""
        assert self._consumer is not None, "a reader is used inside its context"
        tp = self._tps[topic]
        position, moved_at = -1, time.monotonic()
        while True:
            run = self._ahead[topic]
            self._ahead[topic] = []
            if run and run[-1].offset >= end:
                cut = next(place for place, record in enumerate(run) if record.offset >= end)
                self._ahead[topic] = run[cut:]
                if cut:
                    yield run[:cut]
                return
            if run:
                yield run
            # markers of transactions take offsets too: the position tells that they were passed
            before, position = position, await self._consumer.position(tp)
            if position >= end:
                return
            if run or position != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > self._stall_s:
                await self._check_end(topic, end)
                with self._explained(self._consumer):
                    raise RestoreFailed(
                        f"{tp.topic}-{tp.partition}: nothing came for {self._stall_s:g} s before offset {end}"
                    )
            # a fetch of markers or of aborted records moves the position and returns nothing: look often
            try:
                self._ahead[topic] = (await self._consumer.getmany(tp, timeout_ms=LOOK_MS)).get(tp, [])
            except kafka_errors.OffsetOutOfRangeError:
                await self._check_end(topic, position)
                raise

    async def _check_end(self, topic: Topic, offset: int) -> None:
        """Refuse to wait for what will never come again."""
        try:
            found = (await self.ends())[topic]
        except (kafka_errors.KafkaError, OSError):
            return  # the caller's own failure says enough
        if offset > found:
            tp = self._tps[topic]
            raise cut_off(f"{tp.topic}-{tp.partition}", offset=offset, end=found)


def _lacks_one(
    known: Sequence[journal.Entry], committed: Mapping[Topic, int | None], moved: Mapping[Topic, tuple[int, int]]
) -> bool:
    """Say whether offsets are those before the newest batch of their inputs, all of one batch, the newest first."""
    later: set[Topic] = set()
    for entry in known:
        begins = {Topic(topic): first for topic, (first, end) in entry.ranges.items() if end > first}
        if moved.keys() & begins.keys():
            lacked = {t: first for t, first in begins.items() if t not in later and committed.get(t) is not None}
            return lacked == {topic: theirs for topic, (_, theirs) in moved.items()}
        later |= begins.keys()
    return False


def cut_off(where: str, *, offset: int, end: int) -> Fatal:
    """Return the refusal to go on after a log that lost its end: its offsets now mean, or will mean, other records."""
    return Fatal(
        f"{where} ends at offset {end}, but was read up to {offset}: it was cut (an unclean leader election) or made"
        " anew. Delete this partition's state and committed offsets to start over, or restore the topic from a backup"
    )


class Restore:
    """Read one task's state back.

    Args:
        config: the worker's configuration.
        partition: the task's partition number.
        intake: from raw records to events.
        stepper: the same that steps live batches.
        on_remaining: told how many records are still to be re-read.
    """

    def __init__(
        self,
        config: Config,
        *,
        partition: int,
        intake: Intake,
        stepper: Stepper,
        on_remaining: Callable[[int], None],
    ) -> None:
        self._config = config
        self._partition = partition
        self._intake = intake
        self._stepper = stepper
        self._on_remaining = on_remaining
        self._searches: dict[int, tuple[int, int]] = {}  # batch number > places to step one by one
        self._poison: list[Refused] = []  # found in earlier tries; the journal does not know them yet
        self.lost: list[tuple[Topic, str]] = []  # what ``run`` had to go on without, as the policy allowed
        self.is_offset_behind = False  # the group's offsets lack the last transaction, which is committed

    async def run(self, committed: Mapping[Topic, int | None]) -> Memory:
        """Return the memory as it was after the last committed batch.

        Args:
            committed: the group's committed offsets, asked after fencing.

        Raises:
            RestoreFailed: it did not work this time.
            Fatal: the log does not hold what is needed, and the configured policy is to refuse.
        """
        try:
            while True:
                try:
                    return await self._run(committed)
                except Poison as poison:
                    self._narrow(poison)
        except (msgspec.DecodeError, zlib.error) as error:
            raise Fatal(
                f"partition {self._partition}: the state is of another format, or damaged: {error}. Run the version"
                " that wrote it, or delete this partition's state and committed offsets to start over"
            ) from error
        except HOPELESS as error:
            raise Fatal(
                f"partition {self._partition}: {error!r}; waiting does not mend it, the broker must allow it"
            ) from error
        except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
            raise RestoreFailed(f"partition {self._partition}: {error!r}") from error
        finally:
            self._on_remaining(0)

    def _narrow(self, poison: Poison) -> None:
        """A batch that stepped once fails now (another build): search it, then skip the record and owe its letter."""
        if not poison.batch.records:
            raise RestoreFailed(f"partition {self._partition}: a look for silence failed with {poison.__cause__!r}")
        if poison.culprit is None:
            self._searches[poison.batch.cut_ms] = (poison.first, poison.stop)
            return
        topic, record = poison.culprit
        self._poison.append(Refused(topic, record, Reject(ErrorCode.POISON, "the step failed on it in a restore")))

    async def _run(self, committed: Mapping[Topic, int | None]) -> Memory:
        self.lost, self.is_offset_behind = [], False
        found = await self._find()
        async with Reader(self._config, self._partition, INPUTS) as reader:
            beginnings = await reader.beginnings()
            start = self._start(found, committed, beginnings)
            memory = Memory(
                fleets=await self._thaw(found, reader, beginnings),
                batch=found.checkpoint.batch if found.checkpoint else 0,
                positions=start,
                snapshotter=journal.Snapshotter(
                    found.checkpoint.directory if found.checkpoint else {},
                    record_bytes=self._config.state.record_bytes,
                ),
                checkpoint_batch=found.checkpoint.batch if found.checkpoint else 0,
                skipped=found.skipped | {(str(r.topic), r.record.offset) for r in self._poison},
                owed=list(self._poison),
            )
            await self._replay(memory, found.entries, reader, beginnings)
        self._agree(memory, committed, found.known)
        self._skip_lost(memory, found.newest.passed if found.newest else {}, beginnings)
        return memory

    async def _find(self) -> Found:
        """Read the state topic whole; keep the newest value of each key."""
        newest: dict[bytes, bytes] = {}
        async with Reader(self._config, self._partition, [Topic.STATE]) as reader:
            end = (await reader.ends())[Topic.STATE]
            begin = (await reader.beginnings())[Topic.STATE]
            reader.seek({Topic.STATE: begin})
            async for run in reader.until(Topic.STATE, end):
                for record in run:
                    newest[record.key] = record.value
                    if record.value is None:  # a tombstone: somebody deletes the state by hand
                        del newest[record.key]
        entries = [journal.decode_entry(v) for k, v in newest.items() if k.startswith(journal.JOURNAL_PREFIX)]
        skipped = {(topic, offset) for e in entries for topic, offsets in e.skipped.items() for offset in offsets}
        known = sorted(entries, key=lambda e: -e.batch)
        checkpoint = None
        if journal.CHECKPOINT_KEY in newest:
            checkpoint = journal.decode_checkpoint(newest[journal.CHECKPOINT_KEY])
        after = checkpoint.batch if checkpoint else 0
        entries = sorted((e for e in entries if e.batch > after), key=lambda e: e.batch)
        expected = list(range(after + 1, after + 1 + len(entries)))
        if [e.batch for e in entries] != expected:
            raise Fatal(
                f"partition {self._partition}: the journal has a hole after batch {after}; the state topic was altered."
                " Delete this partition's state and committed offsets to start over, or restore the topic from a backup"
            )
        pages = dict(self._pages(checkpoint, newest)) if checkpoint else {}
        return Found(checkpoint, pages, entries, skipped, known)

    def _pages(self, checkpoint: journal.Checkpoint, newest: Mapping[bytes, bytes]) -> Iterator[tuple[str, bytes]]:
        for page, (slot, count, crc) in checkpoint.directory.items():
            parts = [newest.get(journal.page_key(page, slot=slot, chunk=i)) for i in range(count)]
            content = b"".join(part for part in parts if part is not None)
            if None in parts or zlib.crc32(content) != crc:
                raise Fatal(
                    f"partition {self._partition}: page {page} of checkpoint {checkpoint.batch} is missing or damaged; "
                    "the state topic was altered. It must be compacted, never deleted by time or size"
                )
            yield page, content

    def _start(
        self, found: Found, committed: Mapping[Topic, int | None], beginnings: Mapping[Topic, int]
    ) -> dict[Topic, int]:
        """Return the next offset of each input before the replay."""
        is_known = found.checkpoint is not None or found.entries
        if not is_known and any(offset is not None for offset in committed.values()):
            self._lose(
                Topic.STATE,
                "the group has committed offsets but the state topic holds nothing",
                "go on from the offsets with an empty state",
            )
        positions = {}
        for topic in INPUTS:
            first = next((e.ranges[str(topic)][0] for e in found.entries if str(topic) in e.ranges), None)
            if found.checkpoint is not None:
                positions[topic] = found.checkpoint.positions[str(topic)]
            elif first is not None:
                positions[topic] = first
            else:
                offset = committed.get(topic)
                positions[topic] = beginnings[topic] if offset is None else offset
        return positions

    async def _thaw(self, found: Found, reader: Reader, beginnings: Mapping[Topic, int]) -> Fleets:
        checkpoint = found.checkpoint
        if checkpoint is None:
            return Fleets(self._config)
        pages = dict(found.pages)
        thawing = Thawing(self._config, pages.pop("head"), pages)
        if checkpoint.first_waiting is not None:
            first, end = checkpoint.first_waiting, checkpoint.positions[str(Topic.PREDICTIONS)]
            if first < beginnings[Topic.PREDICTIONS]:
                self._lose(
                    Topic.PREDICTIONS,
                    f"predictions from offset {first} still wait for feedback, but the topic starts at "
                    f"{beginnings[Topic.PREDICTIONS]}",
                    "forget those that are gone",
                )
                first = min(beginnings[Topic.PREDICTIONS], end)
            reader.seek({Topic.PREDICTIONS: first})
            async for run in reader.until(Topic.PREDICTIONS, end):
                for start in range(0, len(run), self._config.batch.slice_records):
                    self._take(thawing, run[start : start + self._config.batch.slice_records])
                    await asyncio.sleep(0)  # a turn of the loop, as between two slices of a batch
                self._on_remaining(end - run[-1].offset)
        return thawing.finish()

    def _take(self, thawing: Thawing, records: Sequence[ConsumerRecord]) -> None:
        """Put those of the records back that wait."""
        # one that waits for long in one family must not make those of the others be parsed
        is_waiting = thawing.wants(np.array([record.offset for record in records]))
        waiting = [record for record, is_one in zip(records, is_waiting.tolist(), strict=True) if is_one]
        thawing.take(self._intake.parse_again(waiting))

    async def _replay(
        self, memory: Memory, entries: Sequence[journal.Entry], reader: Reader, beginnings: Mapping[Topic, int]
    ) -> None:
        remaining = sum(end - first for e in entries for first, end in e.ranges.values())
        for topic in INPUTS:
            spans = (e.ranges[str(topic)] for e in entries if str(topic) in e.ranges)
            first = next((first for first, end in spans if end > first), beginnings[topic])
            if first < beginnings[topic]:
                self._lose(
                    topic,
                    f"the journal needs {topic} from offset {first}, but the topic starts at {beginnings[topic]}",
                    "step what is left",
                )
        if entries:
            reader.seek({topic: max(first, beginnings[topic]) for topic, first in memory.positions.items()})
        for entry in entries:
            self._on_remaining(remaining)
            inputs: dict[Topic, list[ConsumerRecord]] = {}
            for topic in INPUTS:
                if str(topic) in entry.ranges:
                    first, end = entry.ranges[str(topic)]
                    runs = [run async for run in reader.until(topic, end)]
                    inputs[topic] = [record for run in runs for record in run if record.offset >= first]
                    memory.positions[topic] = end
                    remaining -= end - first
            batch = order(inputs, cut_ms=entry.cut_ms, limits_ms=self._stepper.limits_ms(entry.cut_ms))
            batch = replace(batch, is_look=entry.is_look)
            search = self._searches.get(entry.cut_ms)
            await self._stepper.advance(memory.fleets, batch, skipped=memory.skipped, search=search, is_replay=True)
            memory.batch = entry.batch

    def _agree(self, memory: Memory, committed: Mapping[Topic, int | None], known: Sequence[journal.Entry]) -> None:
        """Offsets and journal are committed together; when they differ, somebody moved the group's offsets.

        Or the broker forgot to mark the offsets of one transaction as committed (docs/decisions/chaos.md): then they
        stand exactly one batch behind the journal, which is right, until the next batch of the same inputs.
        """
        moved = {
            topic: (memory.positions[topic], offset)
            for topic, offset in committed.items()
            if offset is not None and memory.batch > 0 and offset != memory.positions[topic]
        }
        memory.behind = set(moved)
        self.is_offset_behind = bool(moved) and _lacks_one(known, committed, moved)
        if moved and not self.is_offset_behind and self._config.state.on_offset_mismatch == "refuse":
            places = ", ".join(
                f"{topic} {ours}, the group's offset is {theirs}" for topic, (ours, theirs) in moved.items()
            )
            if all(theirs > ours for ours, theirs in moved.values()):
                why = (
                    "Somebody moved the group's offsets ahead, or the state topic lost its newest batches (an unclean"
                    " leader election), whose outputs would be published a second time. Set the offsets back, or set"
                    " state.on_offset_mismatch: trust_journal"
                )
            else:
                why = (
                    "Somebody reset the group's offsets. Set them back, or set state.on_offset_mismatch: trust_journal"
                )
            raise Fatal(f"partition {self._partition}: the journal ends at {places}. {why}")

    def _skip_lost(self, memory: Memory, passed: Mapping[str, int], beginnings: Mapping[Topic, int]) -> None:
        """Records that retention took before anybody read them: the worker was down, or behind, for too long."""
        for topic, position in memory.positions.items():
            if position < beginnings[topic]:
                if passed.get(str(topic), position) < beginnings[topic]:
                    self._lose(
                        topic,
                        f"{topic} was read up to offset {position}, but the topic starts at {beginnings[topic]}",
                        "go on from there",
                    )
                memory.positions[topic] = beginnings[topic]
                memory.behind.add(topic)  # the next transaction says so: of offset and journal, or they differ for ever

    def _lose(self, topic: Topic, what: str, otherwise: str) -> None:
        self.lost.append((topic, what))
        if self._config.state.on_lost_history == "refuse":
            raise Fatal(
                f"partition {self._partition}: {what}. Lengthen the topics' retention, or set "
                f"state.on_lost_history: continue to {otherwise}"
            )
