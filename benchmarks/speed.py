"""Throughput: against the bare loop, against Quix Streams with River, over many models, over two processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from adaptive_stream.embedded.child import start_child
from benchmarks.stage import Progress, Stage, cpu_s, ends, said, stopped, written_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.report import Report

RUNS = 3  # of each side, in turn; the medians are compared
PREDICTIONS = 300_000
WARM = 0.15  # the share of the records after which the clock starts: assignment, first fetches, caches
PEER = "ADAPTIVE_STREAM_BENCH_PEER"  # an interpreter that has quixstreams and river


async def speed(report: Report, bootstrap: str, folder: Path) -> None:
    """Measure the worker against the bare loop and against Quix Streams with River, in turn."""
    stage = Stage(bootstrap, folder, partitions=6)
    await stage.open()
    count = await stage.fill(PREDICTIONS, models=10)
    peer = os.environ.get(PEER)
    bare, worker, quix, written = [], [], [], 0
    for run in range(RUNS):
        bare.append(await bare_rate(stage, count))
        worker.append(await worker_rate(stage, count))
        written = written or await written_bytes(stage)
        if peer and run == 0:  # an order of magnitude slower: one run of it takes as long as ten of ours
            quix.append(await quix_rate(stage, count, peer))
    rates, seconds = zip(*worker, strict=True)
    bare_rates, bare_seconds = zip(*bare, strict=True)
    report.add("worker_events_per_s", median(rates), "1/s")
    report.add("bare_events_per_s", median(bare_rates), "1/s")
    report.add("worker_to_bare", median(rates) / median(bare_rates), "ratio", goal=0.35)  # drift is on
    report.add("worker_cpu_per_event", median(seconds) * 1e6, "µs")
    report.add("bare_cpu_per_event", median(bare_seconds) * 1e6, "µs")
    report.add("worker_bytes_written_per_event", written / count, "B")
    if quix:
        report.add("quix_events_per_s", median(quix), "1/s")
        report.add("worker_to_quix", median(rates) / median(quix), "ratio", goal=4.0)


async def bare_rate(stage: Stage, count: int) -> tuple[float, float]:
    """Return events/s and CPU seconds per event of the bare loop."""
    command = [sys.executable, "-m", "benchmarks.bare", stage.bootstrap, stage.prefix, str(stage.partitions)]
    done = await asyncio.to_thread(
        subprocess.run, [*command, str(int(count * WARM)), str(count)], capture_output=True, text=True, check=True
    )
    rate, seconds, events = (float(part) for part in done.stdout.split())
    return rate, seconds / events


async def worker_rate(
    stage: Stage, count: int, *, processes: int = 1, settings: Sequence[str] = ()
) -> tuple[float, float]:
    """Return events/s and CPU seconds per event of a fresh group of workers that reads everything."""
    group = f"{stage.name}-{uuid.uuid4().hex[:6]}"
    await stage.forget()
    config = stage.config(*settings, group=group)
    workers = [stage.worker(config, number) for number in range(processes)]
    with stopped(workers):
        async with Progress(stage, group) as progress:
            first = await progress.reach(int(count * WARM))
            for number, worker in enumerate(workers):  # the clock starts when all have their share
                await said(stage.log(config, number), "task_running", worker, times=stage.partitions // processes)
            done, used = await progress.committed(), sum(cpu_s(worker.pid) for worker in workers)
            started = max(first, time.monotonic())
            ended = await progress.reach(count)
            used = sum(cpu_s(worker.pid) for worker in workers) - used
    return (count - done) / (ended - started), used / (count - done)


async def quix_rate(stage: Stage, count: int, peer: str) -> float:
    """Return events/s of the peer."""
    group = f"{stage.name}-quix"
    script = Path(__file__).with_name("quix.py")
    state = stage.folder / group
    command = [peer, str(script), stage.bootstrap, stage.prefix, group, str(state)]
    process = start_child(command, state.with_suffix(".log"))
    with stopped([process]):
        async with Progress(stage, group) as progress:
            await progress.reach(int(count * WARM))
            done, started = await progress.committed(), time.monotonic()
            ended = await progress.reach(count)
    return (count - done) / (ended - started)


async def models(report: Report, bootstrap: str, folder: Path) -> None:
    """Measure what 10,000 models in one task cost beside 10."""
    rates = {}
    for number in (10, 10_000):
        found = []
        stage = Stage(bootstrap, folder, partitions=1)
        await stage.open()
        count = await stage.fill(PREDICTIONS, models=number)
        found = [(await worker_rate(stage, count))[0] for _ in range(RUNS)]
        rates[number] = median(found)
    report.add("rate_10000_models_to_10", rates[10_000] / rates[10], "ratio", goal=0.75)


async def processes(report: Report, bootstrap: str, folder: Path) -> None:
    """Measure two worker processes beside one. The broker needs a core, too: two processes are not alone on two."""
    stage = Stage(bootstrap, folder, partitions=6)
    await stage.open()
    count = await stage.fill(4 * PREDICTIONS, models=60)
    assert all((await ends(stage)).values()), "every partition has a part of the work"
    one = median([(await worker_rate(stage, count))[0] for _ in range(RUNS)])
    two = median([(await worker_rate(stage, count, processes=2))[0] for _ in range(RUNS)])
    report.add("two_processes_to_one", two / one, "ratio", goal=1.6)
