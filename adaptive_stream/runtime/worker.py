"""The worker: one loop that polls, steps and commits every task that the group assigns to it.

Owns the group consumer and the set of tasks. Never contains statistics and never looks into a record. Called by
``adaptive-stream run``; the HTTP thread reads what it publishes.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.runtime import access, failure, topics
from adaptive_stream.runtime.connection import connection
from adaptive_stream.runtime.failure import HOPELESS, Disposition, Fatal, OutOfRange, RestoreFailed
from adaptive_stream.runtime.http import Server
from adaptive_stream.runtime.membership import NO_POLL_LIMIT_MS, REFUSED, Membership
from adaptive_stream.runtime.restore import cut_off
from adaptive_stream.runtime.task import Stage, Task
from adaptive_stream.runtime.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from adaptive_stream.config import Config

Result = TypeVar("Result")

POLL_MS = 50  # how long one poll waits for records; a new task is polled at the latest after it
IDLE_S = 0.01  # how long the stepping loop waits when no batch is due
CANCEL_S = 1.0  # between two requests to a task to end; one takes effect at once unless it is lost
RETRY_S = 1.0  # after a failure, before the group or the broker is asked again
GAUGES_S = 1.0  # how often the gauges are set
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):  # noqa: N818 - it names what happened
    """The worker was told to stop while it started."""


@dataclass
class Worker:
    """One worker process.

    Args:
        config: checked already.
        telemetry: its metrics; a new one each.
    """

    config: Config
    telemetry: Telemetry = field(default_factory=Telemetry)
    tasks: dict[int, Task] = field(default_factory=dict)
    http_port: int | None = None

    def __post_init__(self) -> None:
        self._log = structlog.get_logger()
        self._codec = Codec(max_record_bytes=self.config.batch.max_record_bytes, max_depth=self.config.batch.max_depth)
        self._version = version("adaptive-stream")
        self._partitions: dict[Topic, int] = {}
        self._lives: dict[int, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._fatal: Fatal | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._membership: Membership | None = None
        self._lags = dict.fromkeys(INPUTS, 0)
        self._is_rebalancing = True
        self._inputs = {self.config.topics.name(topic): topic for topic in INPUTS}

    @property
    def is_ready(self) -> bool:
        """Whether the group has assigned and every task runs. A worker without partitions is ready, too."""
        return not self._is_rebalancing and all(task.stage is Stage.RUNNING for task in self.tasks.values())

    def stop(self) -> None:
        """Finish the batches, commit, leave the group. Returns at once; ``run`` ends when it is done."""
        self._stopping.set()
        self.telemetry.wake()

    async def run(self) -> int:
        """Work until stopped.

        Returns:
            The exit code of the process: 0 after a stop, 69 when Kafka could not be reached, 78 when the topics, the
            group or the log refuse.
        """
        try:
            self._partitions = await self._unless_stopped(topics.check(self.config))
            await self._unless_stopped(access.require(self.config))
        except Stopped:
            self._log.info("worker_stopped")
            return 0
        server = Server(self, self.telemetry, asyncio.get_running_loop())
        if self.config.http.enabled:
            self.http_port = server.start(self.config.http.host, self.config.http.port)
            self._log.info("http_listening", host=self.config.http.host, port=self.http_port)
        kafka = self.config.kafka
        self._consumer = AIOKafkaConsumer(
            **connection(self.config),
            group_id=kafka.group,
            group_instance_id=kafka.group_instance_id,
            enable_auto_commit=False,
            auto_offset_reset="none",  # any other skips silently what retention took; a task knows where it begins
            isolation_level="read_committed",
            partition_assignment_strategy=[RangePartitionAssignor],  # any other one breaks the co-partitioning
            session_timeout_ms=kafka.session_timeout_ms,
            rebalance_timeout_ms=kafka.rebalance_timeout_ms,
            max_poll_interval_ms=NO_POLL_LIMIT_MS,
            heartbeat_interval_ms=kafka.heartbeat_interval_ms,
            fetch_max_wait_ms=kafka.fetch_max_wait_ms,
            max_partition_fetch_bytes=kafka.max_partition_fetch_bytes,
        )
        self._membership = Membership(self._consumer, patience_s=kafka.session_timeout_ms / 1000)
        self._consumer.subscribe(list(self._inputs), listener=Rebalances(self))
        loops: list[asyncio.Task[None]] = []
        try:
            await self._unless_stopped(self._consumer.start())
            self._log.info("worker_started", group=kafka.group, version=self._version, partitions=self._partitions)
            loops = [asyncio.create_task(loop()) for loop in (self._poll, self._step, self._watch)]
            stopped = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait([*loops, stopped], return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            for loop in done - {stopped}:
                loop.result()
        except Stopped:
            pass
        except Fatal as fatal:
            self._fatal = fatal
        except (kafka_errors.KafkaError, OSError) as error:
            is_forbidden = isinstance(error, (kafka_errors.TopicAuthorizationFailedError, *REFUSED))
            code = failure.EX_CONFIG if is_forbidden else failure.EX_UNAVAILABLE
            self._fatal = Fatal(f"Kafka: {error!r}", exit_code=code)
        finally:
            try:
                await self._leave(loops)
            finally:
                server.stop()
        if self._fatal is not None:
            self._log.error("worker_refuses", reason=str(self._fatal), exit_code=self._fatal.exit_code)
            return self._fatal.exit_code
        self._log.info("worker_stopped")
        return 0

    def report(self) -> dict[str, Any]:
        """Return what /status shows: the tasks, their stages, batches and positions. Plain values only."""
        return {
            "version": self._version,
            "group": self.config.kafka.group,
            "ready": self.is_ready,
            "tasks": [
                {
                    "partition": task.partition,
                    "stage": task.stage.value,
                    "batch": task.memory.batch if task.memory else None,
                    "checkpoint": task.memory.checkpoint_batch if task.memory else None,
                    "positions": {str(t): o for t, o in task.memory.positions.items()} if task.memory else {},
                    "buffered_records": task.lanes.count,
                    "restore_remaining_records": task.restore_remaining,
                    "failure": str(task.failure) if task.failure else None,
                    **(task.memory.fleets.gauges() if task.memory else {}),
                }
                for task in sorted(self.tasks.values(), key=lambda task: task.partition)
            ],
        }

    def is_alive(self) -> bool:
        """Whether the loop turns and polls. Never a question about the broker."""
        limit_s = max(10.0, self.config.kafka.session_timeout_ms / 1000)
        is_polling = self._is_rebalancing or self.telemetry.silence_s("poll") < limit_s
        return self.telemetry.silence_s("loop") < limit_s and is_polling

    async def _unless_stopped(self, call: Coroutine[Any, Any, Result]) -> Result:
        """Await a call of the start, or break it off: the first assignment may come only after minutes.

        Raises:
            Stopped: the worker was told to stop first.
        """
        calling, stopped = asyncio.create_task(call), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([calling, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not calling.done():
                raise Stopped
            return calling.result()
        finally:
            stopped.cancel()
            if not calling.done():  # as well when the worker itself is cancelled: nobody else knows of the call
                calling.cancel()
                await asyncio.wait([calling], timeout=CANCEL_S)

    # -- the three loops -----------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        """Fetch into the lanes of the running tasks, and see to it that the worker stays in its group."""
        assert self._consumer is not None, "polled before the consumer started"
        assert self._membership is not None, "made with the consumer"
        while not self._stopping.is_set():
            self.telemetry.beat("poll")
            if not self._membership.check():
                await asyncio.sleep(RETRY_S)
                continue
            wanted = self._wanted()
            if not wanted:  # getmany() with no partitions would mean all of them
                await asyncio.sleep(IDLE_S)
                continue
            try:
                fetched = await self._consumer.getmany(*wanted, timeout_ms=POLL_MS)
            except kafka_errors.OffsetOutOfRangeError as error:
                await self._miss(error.args[0])
                continue
            except (kafka_errors.KafkaError, OSError) as error:
                if isinstance(error, kafka_errors.TopicAuthorizationFailedError):
                    raise
                self._log.warning("poll_failed", reason=repr(error))
                await asyncio.sleep(RETRY_S)
                continue
            for tp, records in fetched.items():
                task = self.tasks.get(tp.partition)
                if task is not None and task.stage is Stage.RUNNING:
                    task.feed(self._inputs[tp.topic], records)
            self._note_ends()
            if fetched:
                self.telemetry.wake()

    async def _miss(self, wanted: Mapping[TopicPartition, int]) -> None:
        """Fail the tasks whose next record is not there: the restore finds what is lost, and the policy for it."""
        assert self._consumer is not None, "polled before the consumer started"
        for tp, offset in wanted.items():
            task = self.tasks.get(tp.partition)
            if task is None or task.stage is not Stage.RUNNING:
                continue
            self.telemetry.beat("poll")
            try:
                async with asyncio.timeout(self.config.kafka.call_timeout_ms / 1000):
                    end = (await self._consumer.end_offsets([tp]))[tp]
            except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
                self._log.warning("poll_failed", reason=repr(error))
                continue
            if self.tasks.get(tp.partition) is not task or task.stage is not Stage.RUNNING:
                continue  # it failed by itself meanwhile, or went
            where = f"{tp.topic}-{tp.partition}"
            if offset > end:
                task.fail(cut_off(where, offset=offset, end=end))
            else:
                task.fail(OutOfRange(f"{where}: offset {offset} is not there any more"))

    async def _step(self) -> None:
        """Step the batches that are due, task by task, while the commits of others are on their way."""
        while not self._stopping.is_set():
            is_busy = False
            for task in list(self.tasks.values()):
                batch = task.next_batch()
                if batch is not None:
                    is_busy = True
                    await task.advance(batch)
            self.telemetry.beat("loop")
            if not is_busy:
                await self.telemetry.wait(IDLE_S)

    async def _watch(self) -> None:
        """Set the gauges, and end the worker when a task says that only an operator can help."""
        while not self._stopping.is_set():
            for partition, task in list(self.tasks.items()):
                life = self._lives[partition]
                if life.done() and not life.cancelled() and life.exception() is not None:
                    raise life.exception() or AssertionError("unreachable")
                if task.failure is not None and task.failure.disposition is Disposition.EXIT:
                    assert isinstance(task.failure, Fatal), "only Fatal says EXIT"
                    self._fatal = task.failure
                    self.stop()
            stages = dict.fromkeys((stage.value for stage in Stage), 0)
            for task in self.tasks.values():
                stages[task.stage.value] += 1
            self.telemetry.set_stages(stages)
            self.telemetry.restore_remaining.set(sum(task.restore_remaining for task in self.tasks.values()))
            self.telemetry.buffer_bytes.set(sum(task.lanes.size_bytes for task in self.tasks.values()))
            for topic, lag in self._lag().items():
                self.telemetry.lag.labels(str(topic)).set(lag)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GAUGES_S):
                    await self._stopping.wait()

    # -- partitions come and go ----------------------------------------------------------------------------------

    async def revoke(self) -> None:
        """Finish what is being stepped and commit it; keep the memories, the partitions may come right back."""
        self._is_rebalancing = True
        limit_s = self.config.state.close_timeout_s
        await asyncio.gather(*(task.suspend(limit_s=limit_s) for task in self.tasks.values()))

    def assign(self, assigned: Iterable[TopicPartition]) -> None:
        """Start, resume and close tasks. Returns at once: no heartbeat is sent while the group waits for this."""
        if self._stopping.is_set():
            return  # the tasks are closed, and one that starts behind their back would outlive the worker
        assert self._consumer is not None, "assigned before the consumer started"
        assert self._membership is not None, "made with the consumer"
        wanted = {tp.partition for tp in assigned}
        self._consumer.pause(*assigned)
        for partition in self.tasks.keys() - wanted:
            asyncio.ensure_future(self._close(partition))  # noqa: RUF006 - it is awaited through the task's own close
        for partition in sorted(wanted):
            task = self.tasks.get(partition)
            if task is None:
                task = Task(
                    self.config,
                    partition=partition,
                    partitions=self._partitions,
                    codec=self._codec,
                    telemetry=self.telemetry,
                    committed=self._committed,
                    version=self._version,
                )
                self.tasks[partition] = task
                self._lives[partition] = asyncio.create_task(task.live(admit=self._admit))
            elif task.stage is Stage.SUSPENDED:
                self._admit(task)
        self._is_rebalancing = False
        self._membership.joined()
        self.telemetry.rebalances.inc()
        self._log.info("partitions_assigned", partitions=sorted(wanted))

    def _admit(self, task: Task) -> None:
        """Seek to the task's positions and let its records come; a task whose partition is not here waits suspended."""
        assert self._consumer is not None, "admitted before the consumer started"
        assert self._membership is not None, "made with the consumer"
        tps = {topic: TopicPartition(self.config.topics.name(topic), task.partition) for topic in INPUTS}
        if not set(tps.values()) <= self._consumer.assignment() or (
            self._is_rebalancing and task.stage is Stage.RUNNING
        ):
            if task.stage is Stage.RUNNING:
                task.pause()
            return
        positions = task.seek_positions
        task.lanes.begin(positions)
        for topic, offset in positions.items():
            self._membership.seek(tps[topic], offset)
        self._consumer.resume(*tps.values())
        task.resume()

    async def _close(self, partition: int) -> None:
        task, life = self.tasks.pop(partition), self._lives.pop(partition)
        while not life.done():  # a cancellation can be lost in the client, and in wait_for of Python 3.11: say it again
            life.cancel()
            await asyncio.wait([life], timeout=CANCEL_S)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                life.result()
        finally:
            await task.close()
            self.telemetry.drop_levels(partition)

    async def _committed(self, partition: int) -> dict[Topic, int | None]:
        assert self._consumer is not None, "asked before the consumer started"
        offsets: dict[Topic, int | None] = {}
        try:
            async with asyncio.timeout(self.config.kafka.call_timeout_ms / 1000):
                for name, topic in self._inputs.items():
                    offsets[topic] = await self._consumer.committed(TopicPartition(name, partition))
        except HOPELESS as error:
            raise Fatal(
                f"partition {partition}: committed offsets: {error!r}; waiting does not mend it, the broker must allow"
                " it first"
            ) from error
        except (kafka_errors.KafkaError, OSError, TimeoutError) as error:
            raise RestoreFailed(f"partition {partition}: committed offsets: {error!r}") from error
        return offsets

    # -- small questions -----------------------------------------------------------------------------------------

    def _wanted(self) -> list[TopicPartition]:
        assert self._consumer is not None, "polled before the consumer started"
        here = self._consumer.assignment()
        names = [(name, topic) for name, topic in self._inputs.items()]
        return [
            tp
            for task in self.tasks.values()
            if task.stage is Stage.RUNNING
            for name, topic in names
            if task.lanes.has_room(topic) and (tp := TopicPartition(name, task.partition)) in here
        ]

    def _note_ends(self) -> None:
        """Tell the lanes whether they hold all there is: the alignment in time waits for those that do not."""
        assert self._membership is not None, "noted before the consumer started"
        for task in self.tasks.values():
            for name, topic in self._inputs.items():
                tp = TopicPartition(name, task.partition)
                task.lanes.lanes[topic].is_at_end = self._membership.behind(tp) == 0
                task.lanes.lanes[topic].position = self._membership.position(tp)

    def _lag(self) -> dict[Topic, int]:
        """Return the records of each topic that no batch holds yet.

        Of a task that restores it is not known: until it is, a lag may rise and does not fall.
        """
        assert self._membership is not None, "asked before the consumer started"
        for name, topic in self._inputs.items():
            behind = {
                task: self._membership.behind(TopicPartition(name, task.partition)) for task in self.tasks.values()
            }
            lag = sum((some or 0) + len(task.lanes.lanes[topic].records) for task, some in behind.items())
            self._lags[topic] = max(lag, self._lags[topic]) if None in behind.values() else lag
        return self._lags

    async def _leave(self, loops: list[asyncio.Task[None]]) -> None:
        """Finish, commit, leave the group, within the budget."""
        self._stopping.set()
        deadline = time.monotonic() + self.config.state.close_timeout_s
        for loop in loops:
            with contextlib.suppress(asyncio.CancelledError, kafka_errors.KafkaError, OSError):
                if loop.done():
                    continue
                done, _ = await asyncio.wait([loop], timeout=max(0.1, deadline - time.monotonic()))
                if not done:
                    loop.cancel()
                    await loop
        await asyncio.gather(
            *(task.suspend(limit_s=max(0.1, deadline - time.monotonic())) for task in self.tasks.values())
        )
        closed = await asyncio.gather(*map(self._close, list(self.tasks)), return_exceptions=True)
        if self._membership is not None:
            await self._membership.leave(limit_s=max(1.0, deadline - time.monotonic()))
        for error in closed:
            if error is not None:  # a defect in a task's life: told once nothing is left open
                raise error


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Pass the group's decisions on to the worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Finish and commit; the next owner fences the rest."""
        del revoked  # the eager protocol takes all of them
        await self._worker.revoke()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Pause and return; what takes time happens in the background."""
        self._worker.assign(assigned)


async def serve(config: Config) -> int:
    """Run a worker until SIGTERM or SIGINT; a second signal ends the process at once."""
    worker = Worker(config)
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        worker.stop()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # the next one, of either kind, ends the process

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal)
    return await worker.run()
