"""Brokers die and come back, or do not: the workers wait, and the ledger does not notice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient

from adaptive_stream.embedded import EmbeddedKafka
from tests.chaos.conftest import PROPERTIES
from tests.chaos.siege import cpu_s, state_of_pid
from tests.integration.scene import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.chaos.siege import Siege
    from tests.integration.worker import WorkerProcess

OUTAGE = "CHAOS_OUTAGE_S"
OUTAGE_S = 120.0
CPU_SHARE = 0.25  # of one core while the broker is gone: a loop that spins takes all of it
LINES_PER_S = 5.0  # of the log while the broker is gone: a client that spins writes thousands
REPLICATED = ("topics.replication_factor=3",)
KEEPER = ThreadPoolExecutor(max_workers=1)


async def test_a_coordinator_killed_in_the_middle_of_a_transaction_leaves_nothing_half_done(
    three_brokers: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(three_brokers, *REPLICATED)
    async with siege.under_way() as app:
        for place in ("produce:after:30:SIGSTOP", "offsets:before:30:SIGSTOP", "commit:before:30:SIGSTOP"):
            worker = siege.start(place=place, instance="alone")
            await siege.still(worker)
            async with app.silent():
                await healed(three_brokers)
                node = await coordinator(three_brokers)
                siege.mark(f"node {node}, the coordinator, is killed; the worker is at {place}")
                three_brokers.kill(node)
                worker.send(signal.SIGCONT)
                await siege.instant(3.0)
                await restart(three_brokers, node)
                siege.mark("the node is back")
            await siege.share(worker)
            await app.moved()
            await siege.stop(worker)
        crew = [siege.start(), siege.start()]
        await siege.share(*crew)
        async with app.silent():
            await healed(three_brokers)
            node = await coordinator(three_brokers)
            await siege.instant(1.0)
            siege.mark(f"node {node}, the coordinator, is killed at a random instant")
            three_brokers.kill(node)
            await restart(three_brokers, node)
            siege.mark("the node is back")
        await siege.share(*crew)


async def test_workers_wait_quietly_for_a_broker_that_is_gone_for_long_and_catch_up(
    broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(broker)
    outage_s = float(os.environ.get(OUTAGE) or OUTAGE_S)
    async with siege.under_way() as app:
        crew, leaving = [siege.start(), siege.start()], siege.start()
        await siege.share(*crew, leaving)
        await app.reached(float(siege.dice.uniform(0.1, 0.5)))
        async with app.silent():
            # one broker alone may forget the markers of a commit when it is killed (docs/decisions/chaos.md)
            for worker in (*crew, leaving):
                worker.send(signal.SIGSTOP)
            await siege.closed()
            broker.kill(1)
            for worker in (*crew, leaving):
                worker.send(signal.SIGCONT)
            siege.mark("the broker is gone")
            since = siege.marks[-1][0]
            before = [(cpu_s(worker), lines(worker)) for worker in crew]
            began = time.monotonic()
            await asyncio.sleep(outage_s / 4)
            await siege.stop(leaving)  # an operator's patience does not wait for a broker
            await asyncio.sleep(outage_s * 3 / 4)
            gone_s = time.monotonic() - began
            after = [(cpu_s(worker), lines(worker)) for worker in crew]
            await restart(broker, 1)
            siege.mark("the broker is back")
        used = [(c1 - c0, l1 - l0) for (c0, l0), (c1, l1) in zip(before, after, strict=True)]
        siege.mark(f"while it was gone for {gone_s:.0f} s: (CPU seconds, log lines) of each worker: {used}")
        assert all(cpu < CPU_SHARE * gone_s for cpu, _ in used), used
        assert all(count < LINES_PER_S * gone_s for _, count in used), used
        assert [worker.code for worker in crew] == [None, None], "no worker gave up"
        for worker in crew:  # a machine under load may let a probe wait too long, but the answer is never no
            said = siege.probes(worker, since=since)
            assert "200 503" in said, "alive, and not ready without its broker"
            assert not any(answer.startswith("503") for answer in said), said
        await siege.share(*crew)


async def test_one_of_three_brokers_fills_its_disk_and_dies_and_nothing_is_lost(
    small_disk: Path, lay_siege: Callable[..., Siege]
) -> None:
    with EmbeddedKafka(brokers=3, folder=small_disk.parent, properties=PROPERTIES) as brokers:
        siege = lay_siege(brokers, *REPLICATED)
        async with siege.under_way() as app:
            crew = [siege.start(), siege.start()]
            await siege.share(*crew)
            await app.reached(float(siege.dice.uniform(0.1, 0.5)))
            async with app.silent():
                await healed(brokers)
                fill(small_disk / "filler")
                siege.mark("the disk of node 1 is full")
                await until(lambda: state_of_pid(brokers.pids[1]) in "XZ", what="the broker gives up")
                log = (small_disk.parent / "node-1.log").read_text(errors="replace")
                assert "No space left on device" in log
                siege.mark("node 1 is gone")
            await app.moved(5_000)
            (small_disk / "filler").unlink()
            brokers.kill(1)
            await restart(brokers, 1)
            siege.mark("there is room again, and node 1 is back")
            await siege.share(*crew)
            assert [worker.code for worker in crew] == [None, None]


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65_536))
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(64))


async def restart(brokers: EmbeddedKafka, node: int) -> None:
    """Bring a broker back, from a thread that outlives the test: on Linux a child ends with its parent thread."""
    await asyncio.get_running_loop().run_in_executor(KEEPER, brokers.restart, node)
    await healed(brokers)


async def healed(brokers: EmbeddedKafka) -> None:
    """Wait until every replica is in sync: three brokers promise to survive the loss of one, not of two at once."""

    async def is_healed() -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
        await admin.start()
        try:
            topics = await admin.describe_topics()
        finally:
            await admin.close()
        return all(len(part["isr"]) == len(part["replicas"]) for topic in topics for part in topic["partitions"])

    await until(is_healed, what="every replica is in sync")


async def coordinator(brokers: EmbeddedKafka) -> int:
    """Return the node that coordinates the transactions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers.bootstrap)
    await admin.start()
    try:
        (described,) = await admin.describe_topics(["__transaction_state"])
    finally:
        await admin.close()
    (partition,) = described["partitions"]
    return int(partition["leader"])


def lines(worker: WorkerProcess) -> int:
    return worker.log.read_bytes().count(b"\n")


async def test_one_of_three_brokers_is_lost_for_good_and_the_work_goes_on(
    three_brokers: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(three_brokers, *REPLICATED)
    async with siege.under_way() as app:
        crew = [siege.start(), siege.start()]
        await siege.share(*crew)
        await app.reached(float(siege.dice.uniform(0.1, 0.6)))
        async with app.silent():
            await healed(three_brokers)
            lost = int(siege.dice.integers(1, 4))
            siege.mark(f"node {lost} is lost")
            three_brokers.kill(lost)
        await app.moved(5_000)
        await siege.share(*crew)
        assert [worker.code for worker in crew] == [None, None]
