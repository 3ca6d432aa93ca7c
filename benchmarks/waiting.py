"""Waiting: from feedback to its effect, for a commit with much state, for a restore, for a takeover."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from statistics import median, quantiles
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaConsumer, TopicPartition

from adaptive_stream.client import Publisher
from adaptive_stream.contracts.events import Action, Control
from adaptive_stream.contracts.topics import Topic
from benchmarks.speed import worker_rate
from benchmarks.stage import LIMIT_S, START_MS, Progress, Stage, free_port, metric, peak_bytes, said, stopped

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.report import Report

COMMIT_MS = 200
ORDERS = 300  # whose effects are timed; each has one, an adaptation
LOAD_S = 30.0
WRITING = 60  # commits in which a snapshot of 160 MB is done, of 4 MiB each
COMMITS = 100  # that are timed
RESTORES = 5  # of the same state: a core's pace is now the whole and now half, for seconds on end


async def latency(report: Report, bootstrap: str, folder: Path) -> None:
    """Time the way from an order to its answer, with nothing else to do, and at 70 % of the highest throughput.

    An order takes feedback's way: its own input, the same batch, the same transaction; and unlike feedback it has
    exactly one output that can be waited for.
    """
    stage = Stage(bootstrap, folder, partitions=1, settings=(f"batch.commit_interval_ms={COMMIT_MS}",))
    await stage.open()
    count = await stage.fill(200_000, models=10)
    highest, _ = await worker_rate(stage, count)
    light = await timed(stage, rate_s=0.0)
    report.add("effect_light_p50", quantile(light, 0.5), "ms", goal=COMMIT_MS, is_most=True)
    report.add("effect_light_p99", quantile(light, 0.99), "ms", goal=COMMIT_MS + 100, is_most=True)
    loaded = await timed(stage, rate_s=0.7 * highest)
    report.add("effect_at_70_percent_p50", quantile(loaded, 0.5), "ms")
    report.add("effect_at_70_percent_p99", quantile(loaded, 0.99), "ms", goal=3 * COMMIT_MS, is_most=True)


async def timed(stage: Stage, *, rate_s: float) -> list[float]:
    """Return the milliseconds from each order's produce to its answer, under a load of so many events a second."""
    fresh = Stage(stage.bootstrap, stage.folder, partitions=1, settings=stage.settings)
    await fresh.open()
    config = fresh.config()
    with stopped([fresh.worker(config)]):
        async with (
            Progress(fresh, config.kafka.group) as progress,
            Publisher(fresh.bootstrap, prefix=fresh.prefix, max_batch_size=500_000) as publisher,
        ):
            await fresh.fill(1_000, models=10)
            await progress.reach(1_000)
            over = asyncio.Event()
            load = asyncio.create_task(_load(fresh, rate_s, over))
            try:
                return await _answers(fresh, publisher)
            finally:
                over.set()
                await load


async def _load(stage: Stage, rate_s: float, over: asyncio.Event) -> None:
    """Publish predictions and feedback at a rate, in small portions, until it is over."""
    number, started = 1_000, time.monotonic()
    portion = max(1, int(rate_s / 20 / 1.1))
    while rate_s and not over.is_set():
        await stage.fill(portion, models=10, first=number)
        number += portion
        ahead = started + (number - 1_000) * 1.1 / rate_s - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)


async def _answers(stage: Stage, publisher: Publisher) -> list[float]:
    sent: dict[str, float] = {}
    times: list[float] = []
    tp = TopicPartition(stage.prefix + Topic.ADAPTATIONS.value, 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=stage.bootstrap, isolation_level="read_committed", fetch_max_wait_ms=5
    ) as consumer:
        consumer.assign([tp])
        await consumer.seek_to_end(tp)

        async def ask() -> None:
            for number in range(ORDERS):
                order = Control(command_id=f"c{number}", action=Action.FREEZE, model_id=f"m{number % 10}")
                sent[order.command_id] = time.monotonic()
                await publisher.send_many(Topic.CONTROL, [(order, _now_of(number))])
                await asyncio.sleep(LOAD_S / ORDERS)

        asking = asyncio.create_task(ask())
        deadline = time.monotonic() + LIMIT_S
        while len(times) < ORDERS and time.monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=20)).values():
                now = time.monotonic()
                times += [(now - sent[json.loads(r.value)["caused_by"][0]]) * 1000 for r in records]
        await asking
    return times


def _now_of(number: int) -> int:
    return START_MS + number


def quantile(values: list[float], share: float) -> float:
    """Return a quantile."""
    return quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


async def commit(report: Report, bootstrap: str, folder: Path) -> None:
    """Time commits of tasks with little and with 100 MB of state, under the same light load.

    Those of the larger one are timed twice: while a first snapshot of all of it is written, 4 MiB with each commit, and
    after that.
    """
    means = {}
    for name, waiting in (("1 kB", 0), ("100 MB", 450_000)):
        port = free_port()
        stage = Stage(
            bootstrap,
            folder,
            partitions=1,
            settings=(f"http.port={port}", f"batch.commit_interval_ms={COMMIT_MS}", "state.snapshot_interval_s=5"),
        )
        await stage.open()
        first = await stage.fill(max(1, waiting), models=10, rate_s=100_000.0) if waiting else 0
        config = stage.config()
        with stopped([stage.worker(config)]):
            async with Progress(stage, config.kafka.group) as progress:
                if first:
                    await progress.reach(first)
                done, number = first, waiting
                spent = []
                for _ in range(WRITING + COMMITS):
                    done += await stage.fill(50, models=10, first=number, rate_s=100_000.0)
                    number += 50
                    await progress.reach(done)
                    spent.append(_commits(port))
                state_bytes = metric(port, "adaptive_stream_join_bytes")
        writing, means[name] = _mean_ms(spent[0], spent[WRITING]), _mean_ms(spent[WRITING], spent[-1])
        report.add(f"commit_with_{name.replace(' ', '_')}", means[name], "ms")
        report.add(f"commit_with_{name.replace(' ', '_')}_and_its_snapshot", writing, "ms")
        report.add(f"state_of_{name.replace(' ', '_')}", state_bytes / 1e6, "MB")
    report.add("commit_100_MB_to_1_kB", means["100 MB"] / means["1 kB"], "ratio", goal=1.5, is_most=True)


def _commits(port: int) -> tuple[float, float]:
    """Return the seconds that a worker has spent on commits, and how many they were."""
    return metric(port, "adaptive_stream_commit_seconds_sum"), metric(port, "adaptive_stream_commit_seconds_count")


def _mean_ms(start: tuple[float, float], end: tuple[float, float]) -> float:
    return (end[0] - start[0]) / (end[1] - start[1]) * 1000


async def restore(report: Report, bootstrap: str, folder: Path) -> None:
    """Time the restore of 10,000 models and a million waiting predictions."""
    stage = Stage(bootstrap, folder, partitions=1, settings=("state.snapshot_interval_s=5",))
    await stage.open()
    count = await stage.fill(985_000, models=10_000, rate_s=100_000.0)
    config = stage.config()
    first = stage.worker(config, 0)
    with stopped([first]):
        async with Progress(stage, config.kafka.group) as progress:
            await progress.reach(count)
            # a snapshot of 180 MB takes 45 commits, and each needs a batch; the one under way when the burst ends
            # holds a part of it, the next one all: what comes after that is stepped again, and is little
            for _ in range(150):
                count += await stage.fill(100, models=10_000, first=2_000_000 + count, rate_s=100_000.0)
                await progress.reach(count)
    seconds, peaks = list[float](), list[int]()
    for number in range(1, RESTORES + 1):
        again = stage.worker(config, number)
        with stopped([again]):
            seconds.append((await said(stage.log(config, number), "task_running", again))["restore_s"])
            peaks.append(peak_bytes(again.pid))
    report.add("restore_1e6_waiting", median(seconds), "s", goal=10.0, is_most=True)
    report.add("restore_1e6_waiting_quickest", min(seconds), "s")
    report.add("restore_1e6_waiting_slowest", max(seconds), "s")
    report.add("restore_peak_memory", max(peaks) / 1e9, "GB", goal=1.5, is_most=True)


async def takeover(report: Report, bootstrap: str, folder: Path) -> None:
    """Time from the end of a killed worker's session to the first commit of another one on its partitions."""
    session_ms = 6_000
    stage = Stage(
        bootstrap,
        folder,
        partitions=6,
        settings=(
            f"kafka.session_timeout_ms={session_ms}",
            "kafka.heartbeat_interval_ms=500",
            "state.snapshot_interval_s=2",
        ),
    )
    await stage.open()
    count = await stage.fill(100_000, models=100)
    config = stage.config()
    found = []
    for _ in range(3):
        victim = stage.worker(config, 0)
        with stopped([victim]):
            async with Progress(stage, config.kafka.group) as progress:
                await progress.reach(count)
                await asyncio.sleep(3.0)
                other = stage.worker(config, 1)
                with stopped([other]):
                    await said(stage.log(config, 1), "task_running", other)
                    victim.send_signal(signal.SIGKILL)
                    killed = time.monotonic()
                    count += await stage.fill(600, models=100, first=count)
                    ended = await progress.reach(count)
                    found.append(ended - killed - session_ms / 1000)
        stage.log(config, 1).unlink()
    report.add("takeover_after_session", median(found), "s", goal=2.0, is_most=True)
