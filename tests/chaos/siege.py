"""One ledger's stream, the workers that serve it, and what is done to them meanwhile.

Owns the worker processes of a schedule and what their probes said. Never audits: the ledger does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from adaptive_stream.contracts.topics import Topic
from tests.chaos.ledger import PARTITIONS, App, Ledger, audit
from tests.integration.scene import Scene, until
from tests.integration.worker import dump, working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import numpy as np

    from tests.integration.worker import WorkerProcess

RECORD = "CHAOS_RECORD"  # a folder: what the probes said is written there
PROBE_S = 1.0  # between two looks at all probes; they cost the workers under fire more than a kubelet's would
OFFSETS = "__consumer_offsets"  # the broker's own: commits of a group are part of a transaction, too
ANSWER_S = 3.0  # a process that stands still does not answer
SETTINGS = (
    "topics.partitions=6",
    "kafka.session_timeout_ms=6000",
    "kafka.heartbeat_interval_ms=500",
    "kafka.rebalance_timeout_ms=10000",
    "kafka.request_timeout_ms=12000",
    "kafka.transaction_timeout_ms=4000",
    "kafka.call_timeout_ms=5000",
    "kafka.metadata_max_age_ms=2000",
    "batch.max_batch_records=400",  # a few hundred transactions a run
    "batch.max_task_idle_ms=600000",  # an input that is behind because of a fault is waited for
    "state.snapshot_interval_s=1",
    "state.journal_ring=100000",
    "state.commit_bytes=40000",  # a snapshot takes several commits
)


@dataclass
class Siege:
    """A schedule's own stream and workers.

    Args:
        scene: its topics and its group.
        ledger: what is sent, and what it must cause.
        dice: of the schedule.
        launch: starts a worker process.
        name: of the schedule.
    """

    scene: Scene
    ledger: Ledger
    dice: np.random.Generator
    launch: Callable[..., WorkerProcess]
    name: str
    workers: list[WorkerProcess] = field(default_factory=list)
    said: dict[int, list[tuple[float, str]]] = field(default_factory=dict)  # by place in ``workers``: what, since when
    marks: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app = App(self.scene, self.ledger)
        self._started = time.monotonic()
        self._client: httpx.AsyncClient | None = None

    @contextlib.asynccontextmanager
    async def under_way(self) -> AsyncIterator[App]:
        """Send the stream inside the block; after it, everything is committed, and audited against the ledger."""
        await self.scene.open()
        self._started = time.monotonic()
        async with httpx.AsyncClient(timeout=ANSWER_S) as self._client:
            watching = asyncio.create_task(self._watch())
            try:
                async with self.app.running():
                    yield self.app
                    self.mark("the schedule is over")
                self.mark("caught up")
                await self._settle()
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                self._write_record()

    # -- workers -------------------------------------------------------------------------------------------------

    def start(self, *, place: str = "", instance: str = "", settings: str = "") -> WorkerProcess:
        """Start a worker, perhaps one that does something to itself at a place."""
        static = f"kafka.group_instance_id={instance}" if instance else ""
        worker = self.launch(self.scene, kill_at=place, settings=f"{settings} {static}".strip())
        self.workers.append(worker)
        return worker

    async def stop(self, worker: WorkerProcess) -> None:
        """Let a worker leave; it must say 0, inside its budget."""
        await worker.said("worker_started")  # before it listens to signals, SIGTERM ends the interpreter as it does any
        self.mark(f"SIGTERM to {worker.log.stem}")
        began = time.monotonic()
        worker.send(signal.SIGTERM)
        assert await worker.ended() == 0, worker.log.read_text()[-4000:]
        budget_s = self.scene.config().state.close_timeout_s
        assert time.monotonic() - began < budget_s + 10  # and what Python takes to end on a busy machine

    async def instant(self, limit_s: float) -> None:
        """Let a random time pass, so that the next fault comes at no particular place."""
        await asyncio.sleep(float(self.dice.uniform(0, limit_s)))

    async def still(self, worker: WorkerProcess) -> None:
        """Wait until a worker has stopped itself."""
        await until(lambda: state_of(worker) == "T", what="the worker reaches its place and stands still")

    async def running(self, worker: WorkerProcess) -> int:
        """Return how many tasks the worker runs; -1 while it does not answer."""
        status = await self._ask(worker, "/status")
        if status is None:
            return -1
        return sum(task["stage"] == "running" for task in status.json()["tasks"])

    async def share(self, *workers: WorkerProcess) -> None:
        """Wait until these workers run all tasks between them, each at least one."""

        async def do_share() -> bool:
            counts = [await self.running(worker) for worker in workers]
            return sum(counts) == PARTITIONS and min(counts) > 0

        await until(
            do_share, what=f"{[worker.log.stem for worker in workers]} share the partitions", limit_s=180, turn_s=0.25
        )

    def mark(self, what: str) -> None:
        """Note what was done."""
        self.marks.append((time.monotonic() - self._started, what))

    async def aborted(self) -> int:
        """Count the state records whose transaction was aborted."""
        every = await self.scene.read(Topic.STATE, isolation="read_uncommitted")
        return len(every[Topic.STATE]) - len((await self.scene.read(Topic.STATE))[Topic.STATE])

    async def closed(self) -> None:
        """Wait until no transaction is open anywhere, and every marker of those that have ended is written.

        On one topic alone it may be ended and on another not yet: a lone broker that is killed in between forgets the
        other's markers, and the next commit of the same task makes visible what was aborted (docs/decisions/chaos.md).
        """

        async def none_is() -> bool:
            stable, true = [await self._ends(level) for level in ("read_committed", "read_uncommitted")]
            return stable == true

        await until(none_is, what="the broker ends the open transactions")

    async def _ends(self, isolation: str) -> dict[TopicPartition, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.scene.bootstrap)
        await admin.start()
        try:
            found = await admin.describe_topics([*(self.scene.prefix + topic.value for topic in Topic), OFFSETS])
        finally:
            await admin.close()
        tps = [TopicPartition(each["topic"], part["partition"]) for each in found for part in each["partitions"]]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.scene.bootstrap, isolation_level=isolation)
        consumer.assign(tps)
        await consumer.start()
        try:
            ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
            return ends
        finally:
            await consumer.stop()

    async def _settle(self) -> None:
        """Let the workers leave, take over, hear the end of the stream, and compare."""
        for worker in self.workers:
            if worker.code is None:
                await self.stop(worker)
        async with working(self.scene.config()) as last:
            await until(lambda: len(last.tasks) == PARTITIONS and last.is_ready, what="the last worker holds all")
            await self.app.finish()
            await self.scene.drained()
            states = dump(last)
        await audit(self.scene, self.ledger, states)

    # -- probes --------------------------------------------------------------------------------------------------

    def probes(self, worker: WorkerProcess, *, since: float = 0.0) -> set[str]:
        """Return everything that a worker's probes said from a mark on, as "livez readyz"."""
        said = self.said.get(self.workers.index(worker), [])
        return {what.rsplit(" ", 1)[0] for at, what in said if at >= since}

    async def _ask(self, worker: WorkerProcess, path: str) -> httpx.Response | None:
        port = next((line["port"] for line in worker.lines() if line.get("event") == "http_listening"), None)
        if port is None or worker.code is not None or self._client is None:
            return None
        try:
            return await self._client.get(f"http://127.0.0.1:{port}{path}")
        except httpx.HTTPError:
            return None

    async def _watch(self) -> None:
        while True:
            for place, worker in enumerate(self.workers):
                if worker.code is not None or state_of(worker) == "T":
                    what = "none none -" if worker.code is None else "gone gone -"
                else:
                    answers = [await self._ask(worker, path) for path in ("/livez", "/readyz", "/status")]
                    codes = [str(answer.status_code) if answer is not None else "none" for answer in answers[:2]]
                    what = f"{codes[0]} {codes[1]} {stages(answers[2])}"
                said = self.said.setdefault(place, [])
                if not said or said[-1][1] != what:
                    said.append((time.monotonic() - self._started, what))
            await asyncio.sleep(PROBE_S)

    def _write_record(self) -> None:
        folder = os.environ.get(RECORD)
        if folder is None:
            return
        lines = [(at, f"-- {what}") for at, what in self.marks]
        for place, said in self.said.items():
            lines += [(at, f"worker-{place} livez readyz stages: {what}") for at, what in said]
        text = "".join(f"{at:7.2f} {what}\n" for at, what in sorted(lines))
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{self.name}.txt").write_text(text, encoding="utf-8")


def stages(answer: httpx.Response | None) -> str:
    """Return the stages of a worker's tasks, as "running:6"."""
    if answer is None or answer.status_code != httpx.codes.OK:
        return "-"
    counts: dict[str, int] = {}
    tasks: list[dict[str, Any]] = answer.json()["tasks"]
    for task in tasks:
        counts[task["stage"]] = counts.get(task["stage"], 0) + 1
    return ",".join(f"{stage}:{count}" for stage, count in sorted(counts.items())) or "none"


def state_of(worker: WorkerProcess) -> str:
    """Return the kernel's letter for a process: R, S, T for one that stands still, Z, X for none."""
    return state_of_pid(worker.pid)


def state_of_pid(pid: int) -> str:
    """Return the same of any process."""
    return _stat(pid)[0]


def cpu_s(worker: WorkerProcess) -> float:
    """Return the processor time that a process has used so far."""
    fields = _stat(worker.pid)
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks_per_s


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return ["X"]
