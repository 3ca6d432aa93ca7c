"""One partition number across all inputs: its memory, its producer, its life.

Owns the order of things around a transaction and in a take-over. Never fetches: the worker feeds it. Called by the
worker's loop; its own background coroutine brings it to RUNNING and back there after each failure.

    ASSIGNED ─open─► FENCING ─fenced─► RESTORING ─restored─► RUNNING ◄─resume─ SUSPENDED
                        ▲                                       │ └──suspend────►┘  │
                        └──────mend────── POISONED ◄───fail─────┘                   └─close─► CLOSED
                                          (fail and close are possible anywhere but in CLOSED)
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import structlog
from aiokafka import TopicPartition

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime import journal
from adaptive_stream.runtime.failure import EX_TEMPFAIL, Disposition, Fatal, TaskFailure
from adaptive_stream.runtime.intake import Intake, Refused
from adaptive_stream.runtime.lane import Batch, Lanes
from adaptive_stream.runtime.restore import Memory, Restore
from adaptive_stream.runtime.session import Session, Write
from adaptive_stream.runtime.stepping import Abandoned, Advanced, Poison, Stepper
from adaptive_stream.runtime.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiokafka import ConsumerRecord

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.codec import Codec
    from adaptive_stream.runtime.telemetry import Telemetry

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 10.0  # between tries to come back; the broker may be gone for minutes
MAX_COMMITS_IN_FLIGHT = 2  # one at the broker, one whose batch is stepped meanwhile


class Stage(Enum):
    """Where a task is in its life."""

    ASSIGNED = "assigned"
    FENCING = "fencing"
    RESTORING = "restoring"
    RUNNING = "running"
    SUSPENDED = "suspended"
    POISONED = "poisoned"
    CLOSED = "closed"


class Move(Enum):
    """What changes the stage."""

    OPEN = "open"
    FENCED = "fenced"
    RESTORED = "restored"
    SUSPEND = "suspend"
    RESUME = "resume"
    FAIL = "fail"
    MEND = "mend"
    CLOSE = "close"


MOVES: dict[Stage, dict[Move, Stage]] = {
    Stage.ASSIGNED: {Move.OPEN: Stage.FENCING, Move.FAIL: Stage.POISONED, Move.CLOSE: Stage.CLOSED},
    Stage.FENCING: {Move.FENCED: Stage.RESTORING, Move.FAIL: Stage.POISONED, Move.CLOSE: Stage.CLOSED},
    Stage.RESTORING: {Move.RESTORED: Stage.RUNNING, Move.FAIL: Stage.POISONED, Move.CLOSE: Stage.CLOSED},
    Stage.RUNNING: {Move.SUSPEND: Stage.SUSPENDED, Move.FAIL: Stage.POISONED, Move.CLOSE: Stage.CLOSED},
    Stage.SUSPENDED: {Move.RESUME: Stage.RUNNING, Move.FAIL: Stage.POISONED, Move.CLOSE: Stage.CLOSED},
    Stage.POISONED: {Move.MEND: Stage.FENCING, Move.CLOSE: Stage.CLOSED},
    Stage.CLOSED: {},
}


@dataclass(slots=True)
class Suspect:
    """A batch on which the step failed, kept to find the record, and the places to step one by one."""

    batch: Batch
    search: tuple[int, int] | None


class Task:
    """One partition number, from assignment to close.

    Args:
        config: the worker's configuration.
        partition: its number.
        partitions: of each topic, on the cluster.
        codec: bytes to events and back.
        telemetry: where counts go.
        committed: asks the broker for the group's committed offsets of this partition.
        version: of this build, for the journal.
    """

    def __init__(
        self,
        config: Config,
        *,
        partition: int,
        partitions: Mapping[Topic, int],
        codec: Codec,
        telemetry: Telemetry,
        committed: Callable[[int], Awaitable[dict[Topic, int | None]]],
        version: str,
    ) -> None:
        self.partition = partition
        self.stage = Stage.ASSIGNED
        self.lanes = Lanes(
            max_batch_records=config.batch.max_batch_records, max_buffer_bytes=config.batch.max_buffer_bytes
        )
        self.memory: Memory | None = None
        self.failure: TaskFailure | None = None
        self.restore_remaining = 0
        self._config = config
        self._telemetry = telemetry
        self._committed = committed
        self._version = version
        self._log = structlog.get_logger().bind(partition=partition)
        self._intake = Intake(codec, partition=partition, partitions=partitions[Topic.PREDICTIONS])
        self._stepper = Stepper(config, self._intake, earliest_ms=parse_time(config.time.earliest))
        self._writer = Writer(config, codec, partition=partition, partitions=partitions)
        self._session = Session(config, transactional_id=f"{config.kafka.group}-{partition}")
        self._commits: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()  # no batch is being stepped
        self._idle.set()
        self._failed = asyncio.Event()
        grids_s = [family.monitor.evaluate_every_s for family in config.families.values()]
        self._idle_s = float(min(grids_s, default=300))
        self._running_since = math.inf  # monotonic: since when the memory is ready
        self._cut_at = -math.inf  # monotonic: when the last batch was cut; what comes after a pause goes at once
        self._held_since: float | None = None  # monotonic: since when the alignment in time holds the batch
        self._suspect: Suspect | None = None
        self._poison: list[Refused] = []
        self._frozen_at = time.monotonic()
        self._owed_after: int | None = None  # batch after which a checkpoint is due, whether records come or not

    # -- its life ------------------------------------------------------------------------------------------------

    def move(self, move: Move) -> None:
        """Change the stage, as the table allows."""
        after = MOVES[self.stage].get(move)
        assert after is not None, f"task {self.partition}: {move.value} is not a move in {self.stage.value}"
        self.stage = after

    @property
    def is_closed(self) -> bool:
        """Whether its life is over."""
        return self.stage is Stage.CLOSED

    async def live(self, *, admit: Callable[[Task], None]) -> None:
        """Bring the task to RUNNING, and back there after each failure, until it is closed.

        Args:
            admit: told that the memory is ready: seeks the consumer to its positions and lets records come.
        """
        backoff_s = FIRST_BACKOFF_S
        self.move(Move.OPEN)
        while not self.is_closed:
            try:
                await self._take_over()
                admit(self)
                backoff_s = FIRST_BACKOFF_S
            except TaskFailure as failure:
                self.fail(failure)
            await self._failed.wait()
            self._failed.clear()
            if self.is_closed:
                return
            failure_ = self.failure
            if failure_ is not None and failure_.disposition is Disposition.EXIT:
                return
            if failure_ is not None:
                # a fenced task waits until a heartbeat must have told whether the group still wants it here
                is_fenced = failure_.disposition is Disposition.REJOIN
                await asyncio.sleep(self._config.kafka.heartbeat_interval_ms * 1.5e-3 if is_fenced else backoff_s)
                backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)
            if self.stage is Stage.POISONED:
                self.move(Move.MEND)

    async def _take_over(self) -> None:
        await self._finish_commits()
        await self._session.fence()
        self.move(Move.FENCED)
        started = time.monotonic()
        committed = await self._committed(self.partition)
        restore = Restore(
            self._config,
            partition=self.partition,
            intake=self._intake,
            stepper=self._stepper,
            on_remaining=self._note_remaining,
        )
        memory = await restore.run(committed)
        for topic, what in restore.lost:
            self._telemetry.history_lost.labels(str(topic)).inc()
            self._log.warning("history_lost", topic=str(topic), reason=what, policy="continue")
        if restore.is_offset_behind:
            self._telemetry.offsets_behind.inc()
            offsets = {str(topic): offset for topic, offset in committed.items()}
            self._log.warning("offsets_behind", batch=memory.batch, committed=offsets)
        # what is behind the positions was committed by an heir, dead letter and all, while this process stood still
        self._poison = [one for one in self._poison if one.record.offset >= memory.positions[one.topic]]
        memory.owed.extend(self._poison)
        memory.skipped |= {(str(refused.topic), refused.record.offset) for refused in self._poison}
        if self._suspect is not None and not self._follows(self._suspect.batch, memory):
            self._suspect = None  # a commit that was in flight failed too: the records come again by themselves
        self.lanes.clear()
        self._held_since = None
        self._running_since = time.monotonic()
        # what was lost is lost once: the policy may be strict again as soon as a checkpoint goes on without it
        self._owed_after = memory.batch if restore.lost else None
        self._frozen_at = -math.inf if restore.lost else self._running_since
        self.memory = memory
        self.failure = None
        self.move(Move.RESTORED)
        self._log.info(
            "task_running",
            batch=memory.batch,
            checkpoint=memory.checkpoint_batch,
            restore_s=round(time.monotonic() - started, 3),
        )

    def fail(self, failure: TaskFailure | None) -> None:
        """Drop the memory; ``live`` brings the task back. None: the step failed, and the search is on."""
        if self.stage in (Stage.CLOSED, Stage.POISONED):
            return
        self.failure = failure
        self.memory = None
        self.lanes.clear()
        self.move(Move.FAIL)
        if failure is not None:
            self._telemetry.failures.labels(failure.disposition.value).inc()
            self._log.warning("task_failed", disposition=failure.disposition.value, reason=str(failure))
        self._failed.set()

    def pause(self) -> None:
        """Wait for an assignment with the memory ready: it was restored in the middle of a rebalance."""
        self.move(Move.SUSPEND)

    def resume(self) -> None:
        """Run, if suspended: the partition came back, and nobody else has committed meanwhile or this one is fenced."""
        if self.stage is Stage.SUSPENDED:
            self.move(Move.RESUME)

    async def suspend(self, *, limit_s: float) -> None:
        """Finish the batch and its commit, keep the memory: the partition may come back with the next assignment.

        A task that is suspended already may still be finishing: a worker can be told to leave in mid-rebalance.
        """
        if self.stage is Stage.RUNNING:
            self.move(Move.SUSPEND)
            self.lanes.clear()
            self._held_since = None
        if self.stage is not Stage.SUSPENDED:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._idle.wait()
                await self._finish_commits()
        if self._commits or not self._idle.is_set():
            self.fail(TaskFailure("the batch did not finish within the limit of a rebalance"))

    async def close(self) -> None:
        """Let go for good. Whatever was not committed will be stepped by the next owner."""
        if self.stage is Stage.CLOSED:
            return
        self.move(Move.CLOSE)
        self.memory = None
        self.lanes.clear()
        self._failed.set()
        for commit in self._commits:
            commit.cancel()
        await asyncio.gather(*self._commits, return_exceptions=True)
        await self._session.discard()

    @property
    def seek_positions(self) -> dict[Topic, int]:
        """Where the consumer must go on: after the newest batch, and after a batch that is kept for a search."""
        assert self.memory is not None, "only a restored task has positions"
        positions = dict(self.memory.positions)
        if self._suspect is not None:
            positions |= {topic: end for topic, (_, end) in self._suspect.batch.ranges.items()}
        return positions

    # -- its batches ---------------------------------------------------------------------------------------------

    def feed(self, topic: Topic, records: Sequence[ConsumerRecord]) -> None:
        """Take in what was fetched."""
        self.lanes.lanes[topic].extend(records)

    def next_batch(self) -> Batch | None:
        """Cut a batch when one is due; None while it is not."""
        if self.stage is not Stage.RUNNING or len(self._commits) >= MAX_COMMITS_IN_FLIGHT or not self._idle.is_set():
            return None
        if self._suspect is not None:
            return self._suspect.batch
        now = time.monotonic()
        if not self.lanes.count:
            return self._idle_batch(now)
        is_full = self.lanes.count >= self._config.batch.max_batch_records
        if not is_full and now - self._cut_at < self._config.batch.commit_interval_ms / 1000:
            return None
        cut_ms = time.time_ns() // 1_000_000
        limits_ms = self._stepper.limits_ms(cut_ms)
        is_patient = self._held_since is None or now - self._held_since < self._config.batch.max_task_idle_ms / 1000
        counts = self.lanes.takeable(limits_ms=limits_ms, is_patient=is_patient)
        if not any(counts.values()):
            if self._held_since is None:
                self._held_since = now
            return None
        self._held_since = None
        batch = self.lanes.cut(counts, cut_ms=cut_ms)
        self._cut_at = now
        return batch

    def _idle_batch(self, now: float) -> Batch | None:
        """Cut a batch without records when it is time to look for silence, or to write a checkpoint that is owed.

        Its cut time is journalled as any.
        """
        is_time = now - max(self._cut_at, self._running_since) >= self._idle_s
        is_look = is_time and self.memory is not None and self.memory.fleets.is_watching
        is_owed = self._owed_after is not None and now - self._cut_at >= self._config.batch.commit_interval_ms / 1000
        if not (is_look or is_owed) or not all(lane.is_at_end for lane in self.lanes.lanes.values()):
            return None
        self._cut_at = now
        return Batch(cut_ms=time.time_ns() // 1_000_000, topics=[], records=[], ranges={}, is_look=is_look)

    async def advance(self, batch: Batch) -> None:
        """Step the batch and start its commit in the background."""
        memory = self.memory
        assert memory is not None, "only a running task steps"
        self._idle.clear()
        started = time.monotonic()
        is_due = self._is_snapshot_due(memory)
        try:
            advanced = await self._stepper.advance(
                memory.fleets,
                batch,
                skipped=memory.skipped,
                search=self._suspect.search if self._suspect else None,
                is_measured=is_due,
                is_valid=lambda: self.memory is memory,
            )
        except Poison as poison:
            self._suspected(poison)
        except Abandoned:
            pass
        else:
            self._telemetry.batch_seconds.observe(time.monotonic() - started)
            self._start_commit(memory, batch, advanced, is_due=is_due)
        finally:
            self._idle.set()

    def _suspected(self, poison: Poison) -> None:
        culprit = poison.culprit
        self._telemetry.step_failures.inc()
        self._log.error("step_failed", first=poison.first, stop=poison.stop, exc_info=poison.__cause__)
        if not poison.batch.records:
            # one of earlier batches, measured only now: the restore measures slice by slice, and finds it
            self.fail(TaskFailure(f"a look for silence failed with {poison.__cause__!r}"))
            return
        if culprit is None:
            self._suspect = Suspect(poison.batch, (poison.first, poison.stop))
        else:
            topic, record = culprit
            cause = type(poison.__cause__).__name__
            reject = Reject(
                ErrorCode.POISON, f"the step failed on this record with {cause}; the worker's log has the trace"
            )
            self._poison.append(Refused(topic, record, reject))
            self._suspect = Suspect(poison.batch, None)
        self.fail(None)

    def _start_commit(self, memory: Memory, batch: Batch, advanced: Advanced, *, is_due: bool) -> None:
        memory.batch += 1
        memory.positions |= {topic: end for topic, (_, end) in batch.ranges.items()}
        owed, memory.owed, self._poison, self._suspect = memory.owed, [], [], None
        if memory.skipped:  # what was passed is not met again, and no slice need look for it
            positions = {str(topic): offset for topic, offset in memory.positions.items()}
            memory.skipped = {(topic, offset) for topic, offset in memory.skipped if offset >= positions[topic]}
        known = {(refused.topic, refused.record.offset) for refused in owed}
        refused = [r for r in advanced.refused if (r.topic, r.record.offset) not in known]
        advanced.refused = [*owed, *refused]
        if is_due:
            self._freeze(memory)
        writes = self._writes(memory, batch, advanced)
        offsets = {
            TopicPartition(self._config.topics.name(topic), self.partition): memory.positions[topic]
            for topic in {*batch.ranges, *memory.behind}
        }
        memory.behind = set()
        earlier = self._commits[-1] if self._commits else None
        commit = asyncio.create_task(self._commit(writes, offsets, earlier=earlier))
        self._commits.append(commit)
        commit.add_done_callback(lambda done: self._committed_one(done, memory, batch, advanced))

    def _writes(self, memory: Memory, batch: Batch, advanced: Advanced) -> list[Write]:
        cut_ms = batch.cut_ms
        writes = [
            self._writer.output(event, batch=memory.batch, index=index, cut_ms=cut_ms)
            for index, event in enumerate(advanced.outputs)
        ]
        writes += [self._writer.dead_letter(refused, cut_ms=cut_ms) for refused in advanced.refused]
        writes += self._writer.moved(advanced.misplaced)
        skipped: dict[str, list[int]] = {}
        for refused in advanced.refused:
            if refused.reject.code is ErrorCode.POISON:
                skipped.setdefault(str(refused.topic), []).append(refused.record.offset)
        entry = journal.Entry(
            batch=memory.batch,
            cut_ms=cut_ms,
            ranges={
                **{str(topic): (memory.positions[topic], memory.positions[topic]) for topic in memory.behind},
                **{str(topic): span for topic, span in batch.ranges.items()},
            },
            is_look=batch.is_look,
            version=self._version,
            skipped=skipped,
            passed={str(topic): offset for topic, offset in self.lanes.passed().items()},
        )
        key = journal.entry_key(memory.batch, ring=self._config.state.journal_ring)
        writes.append(self._writer.state(key, journal.encode(entry), cut_ms=cut_ms))
        writes += [self._writer.state(key, value, cut_ms=cut_ms) for key, value in self._snapshot(memory)]
        return writes

    def _is_snapshot_due(self, memory: Memory) -> bool:
        """Say whether the next commit begins a snapshot."""
        state, since = self._config.state, memory.batch + 1 - memory.checkpoint_batch
        is_time = time.monotonic() - self._frozen_at >= state.snapshot_interval_s
        return memory.snapshotter.is_idle and (is_time or since >= state.journal_ring // 2)

    def _freeze(self, memory: Memory) -> None:
        """Begin a snapshot: of the state as it is now, written with this commit and those after it."""
        self._frozen_at = time.monotonic()
        frozen = memory.fleets.freeze()
        checkpoint = journal.Checkpoint(
            batch=memory.batch,
            positions={str(topic): offset for topic, offset in memory.positions.items()},
            first_waiting=frozen.first_waiting_offset,
            directory={},
            version=self._version,
        )
        memory.snapshotter.begin({**frozen.pages, "head": frozen.head}, checkpoint, every=frozen.directory)

    def _snapshot(self, memory: Memory) -> list[tuple[bytes, bytes]]:
        """Return the state records of a snapshot that this commit writes."""
        state, since = self._config.state, memory.batch - memory.checkpoint_batch
        # the journal's ring must never overwrite an entry that the last checkpoint still needs
        is_pressing = since >= state.journal_ring - 2
        records, checkpoint_ = memory.snapshotter.due(2**62 if is_pressing else state.commit_bytes)
        if checkpoint_ is not None:
            memory.checkpoint_batch = checkpoint_.batch
            if self._owed_after is not None and checkpoint_.batch > self._owed_after:
                self._owed_after = None
        return records

    async def _commit(
        self, writes: list[Write], offsets: dict[TopicPartition, int], *, earlier: asyncio.Task[None] | None
    ) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
            if earlier.cancelled() or earlier.exception() is not None:
                raise Abandoned
        started = time.monotonic()
        await self._session.commit(writes, offsets, group=self._config.kafka.group)
        self._telemetry.commit_seconds.observe(time.monotonic() - started)

    def _committed_one(self, done: asyncio.Task[None], memory: Memory, batch: Batch, advanced: Advanced) -> None:
        self._commits.remove(done)
        if done.cancelled():
            return
        match done.exception():
            case None:
                self._telemetry.count_batch(batch.topics, advanced)
                self._telemetry.take_levels(self.partition, memory.fleets)
                self._telemetry.wake()
            case Abandoned():
                pass
            case TaskFailure() as failure:
                if self.memory is memory:
                    self.fail(failure)
            case error:
                reason = f"partition {self.partition}: {error!r} in a commit: a defect, please report it"
                self.fail(Fatal(reason, exit_code=EX_TEMPFAIL))  # a new process restores what is committed

    async def _finish_commits(self) -> None:
        while self._commits:
            await asyncio.wait(list(self._commits))
            await asyncio.sleep(0)  # let the done callbacks run

    def _follows(self, batch: Batch, memory: Memory) -> bool:
        return all(memory.positions[topic] == first for topic, (first, _) in batch.ranges.items())

    def _note_remaining(self, count: int) -> None:
        self.restore_remaining = count
