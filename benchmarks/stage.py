"""The stage of a benchmark: a Kafka of its own, topics with events in them, worker processes, and the clock.

Owns everything that is not measured. Nothing here is a part of the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import sys
import time
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from adaptive_stream.client import Publisher
from adaptive_stream.config import Config, load
from adaptive_stream.contracts.events import Correction, Prediction
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.embedded.child import start_child, stop_children
from adaptive_stream.runtime import topics

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

FEATURES = 20
START_MS = 1_700_000_000_000
CHUNK = 5_000  # events published at once
LABELLED = 0.1  # share of the predictions that get feedback
DELAY = 2_000  # predictions between a prediction and its feedback
LIMIT_S = 600.0


@dataclass(frozen=True)
class Stage:
    """Topics and a group of one benchmark.

    Args:
        bootstrap: of the Kafka.
        folder: for configurations and logs.
        partitions: of each topic.
        settings: of the worker, over the defaults of a benchmark.
    """

    bootstrap: str
    folder: Path
    partitions: int = 1
    settings: Sequence[str] = ()
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex[:8]}")

    @property
    def prefix(self) -> str:
        """Of the topics' names."""
        return f"{self.name}."

    def config(self, *settings: str, group: str = "") -> Config:
        """Return the configuration of a worker, of another group perhaps."""
        features = ", ".join(f"{{name: f{number}}}" for number in range(FEATURES))
        return load(
            [],
            {},
            [
                f"kafka.bootstrap={self.bootstrap}",
                f"kafka.group={group or self.name}",
                f"topics.prefix={self.prefix}",
                f"topics.partitions={self.partitions}",
                "topics.retention_ms=-1",
                "http.host=127.0.0.1",
                "http.port=0",
                'families.f.match=["m*"]',
                f"families.f.features=[{features}]",
                "families.f.max_models=20000",
                *self.settings,
                *settings,
            ],
        )

    async def open(self) -> None:
        """Create the topics."""
        await topics.create(self.config())

    async def forget(self) -> None:
        """Empty the state topic: the next group starts from nothing."""
        name = self.prefix + Topic.STATE.value
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([name])
            while name in await admin.list_topics():  # noqa: ASYNC110 - polls a broker
                await asyncio.sleep(0.1)
        finally:
            await admin.close()
        await self.open()

    async def fill(self, predictions: int, *, models: int, first: int = 0, rate_s: float = 5_000.0) -> int:
        """Produce predictions of many models in turn, and feedback on a tenth of them. Returns how many records.

        Args:
            predictions: how many.
            models: how many different ones.
            first: number of the first prediction; ids and times follow it.
            rate_s: predictions in a second of event time.
        """
        dice = random.Random(first)
        count = 0
        async with Publisher(self.bootstrap, prefix=self.prefix, max_batch_size=500_000) as publisher:
            for start in range(first, first + predictions, CHUNK):
                numbers = range(start, min(start + CHUNK, first + predictions))
                count += await publisher.send_many(
                    Topic.PREDICTIONS,
                    ((prediction(n, models, dice), time_ms(n, rate_s)) for n in numbers),
                    is_checked=True,
                )
                known = [n - DELAY for n in numbers if n - DELAY >= 0 and is_labelled(n - DELAY, models)]
                count += await publisher.send_many(
                    Topic.FEEDBACK,
                    ((correction(n, models, dice), time_ms(n + DELAY, rate_s)) for n in known),
                    is_checked=True,
                )
        return count

    def worker(self, config: Config, number: int = 0) -> subprocess.Popen[bytes]:
        """Start a worker process."""
        file = self.folder / f"{config.kafka.group}-{number}.yaml"
        file.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        command = [sys.executable, "-m", "adaptive_stream.cli", "run", "--config", str(file)]
        return start_child(command, self.log(config, number))

    def log(self, config: Config, number: int = 0) -> Path:
        """Return where a worker process writes its log."""
        return self.folder / f"{config.kafka.group}-{number}.log"


def prediction(number: int, models: int, dice: random.Random) -> Prediction:
    """Return the prediction of this number."""
    return Prediction(
        prediction_id=f"prediction-{number:09d}",
        model_id=f"m{number % models}",
        output=round(dice.random(), 4),
        features=[round(dice.gauss(0, 1), 4) for _ in range(FEATURES)],
    )


def correction(number: int, models: int, dice: random.Random) -> Correction:
    """Return its correction."""
    return Correction(
        feedback_id=f"feedback-{number:09d}",
        prediction_id=f"prediction-{number:09d}",
        model_id=f"m{number % models}",
        label=float(dice.random() < 0.5),
    )


def is_labelled(number: int, models: int) -> bool:
    """Say whether the prediction of this number gets feedback; every model gets its share."""
    every = round(1 / LABELLED)
    return number % every == number // models % every


def time_ms(number: int, rate_s: float) -> int:
    """Return the time of the prediction of this number."""
    return START_MS + int(number / rate_s * 1000)


class Progress:
    """How far a group is; an async context manager.

    Args:
        stage: whose inputs.
        group: the consumer group.
    """

    def __init__(self, stage: Stage, group: str) -> None:
        self._stage = stage
        self._group = group
        self._admin = AIOKafkaAdminClient(bootstrap_servers=stage.bootstrap)

    async def __aenter__(self) -> Self:
        await self._admin.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def committed(self) -> int:
        """Return the sum of the committed offsets of the inputs."""
        try:
            offsets = await self._admin.list_consumer_group_offsets(self._group)
        except KafkaError:
            return 0  # nobody has asked for the group yet
        names = {self._stage.prefix + topic.value for topic in INPUTS}
        return sum(max(0, offset.offset) for tp, offset in offsets.items() if tp.topic in names)

    async def reach(self, count: int) -> float:
        """Wait until so many records are committed and return the time (monotonic seconds) at which they were."""
        deadline = time.monotonic() + LIMIT_S
        while await self.committed() < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._group}: {await self.committed()} of {count} records after {LIMIT_S:g} s")
            await asyncio.sleep(0.02)
        return time.monotonic()


async def written_bytes(stage: Stage) -> int:
    """Return the bytes of keys, values and headers that workers have committed to this stage's topics so far."""
    names = [stage.prefix + topic.value for topic in Topic if topic not in INPUTS]
    size = 0
    consumer = AIOKafkaConsumer(
        *names, bootstrap_servers=stage.bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    async with consumer:  # without a group it takes every partition itself
        found = consumer.assignment()
        assert found, "the topics of the stage are there"
        end = await consumer.end_offsets(list(found))
        while any([await consumer.position(tp) < end[tp] for tp in found]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    size += len(record.key or b"") + len(record.value or b"")
                    size += sum(len(name) + len(value or b"") for name, value in record.headers)
    return size


async def ends(stage: Stage) -> dict[TopicPartition, int]:
    """Return the end offsets of the inputs."""
    async with AIOKafkaConsumer(bootstrap_servers=stage.bootstrap) as consumer:
        names = [stage.prefix + topic.value for topic in (Topic.PREDICTIONS, Topic.FEEDBACK)]
        return dict(await consumer.end_offsets([TopicPartition(n, p) for n in names for p in range(stage.partitions)]))


@contextlib.contextmanager
def stopped(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Stop these processes at the end."""
    try:
        yield
    finally:
        stop_children(processes, limit_s=30.0)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Return the largest resident size that a process has had."""
    return _status_bytes(pid, "VmHWM")


def resident_bytes(pid: int) -> int:
    """Return the resident size of a process."""
    return _status_bytes(pid, "VmRSS")


def _status_bytes(pid: int, name: str) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def metric(port: int, name: str) -> float:
    """Return one sample of a worker's /metrics, 0 where it is not there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    return 0.0


async def said(log: Path, event: str, process: subprocess.Popen[bytes], *, times: int = 1) -> dict[str, float]:
    """Wait until a worker's log has so many lines of this event. Returns the last of them."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        text = log.read_text() if log.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]
        found: list[dict[str, float]] = [line for line in lines if line.get("event") == event]
        if len(found) >= times:
            return found[times - 1]
        await asyncio.sleep(0.05)
    raise TimeoutError(f"{log}: no {event}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
