"""Workers are killed, stopped, woken and moved under load: the ledger does not notice."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.integration.scene import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptive_stream.embedded import EmbeddedKafka
    from tests.chaos.siege import Siege
    from tests.integration.worker import WorkerProcess

KILLS = 8
SNAPSHOT_CRASHES = 6
PATIENT = (  # the worker's own defaults: where nothing is broken, a machine that stands still for seconds is no fault
    "kafka.session_timeout_ms=30000",
    "kafka.rebalance_timeout_ms=60000",
    "kafka.request_timeout_ms=90000",
    "kafka.transaction_timeout_ms=60000",
    "kafka.call_timeout_ms=30000",
)
FIRST, LAST = 0.05, 0.9  # shares of the stream between which something happens


async def test_workers_that_are_killed_at_random_instants_lose_and_double_nothing(
    broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(broker)
    async with siege.under_way() as app:
        # a static member that comes back takes its partitions over at once; one without a name after the session
        crew = {slot: siege.start(instance=slot) for slot in ("a", "b", "")}
        killed = 0
        for share in sorted(siege.dice.uniform(FIRST, LAST, KILLS)):
            await app.reached(share)
            await siege.instant(0.5)
            for slot in siege.dice.choice(list(crew), size=siege.dice.integers(1, 3), replace=False).tolist():
                siege.mark(f"SIGKILL to {crew[slot].log.stem}")
                crew[slot].kill()
                assert crew[slot].code == -signal.SIGKILL
                crew[slot] = siege.start(instance=slot)
                killed += 1
            if siege.dice.random() < 1 / 3:  # a second blow meets a start, a rebalance or a restore
                await siege.instant(6.0)
                slot = str(siege.dice.choice(list(crew)))
                siege.mark(f"SIGKILL to {crew[slot].log.stem}")
                crew[slot].kill()
                crew[slot] = siege.start(instance=slot)
                killed += 1
        assert killed >= KILLS


@pytest.mark.parametrize("place", ["", "offsets:after:25:SIGSTOP", "commit:before:25:SIGSTOP"])
async def test_a_zombie_that_wakes_after_its_session_commits_nothing(
    place: str, broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(broker)
    async with siege.under_way() as app:
        zombie = siege.start(place=place)
        if not place:
            await app.reached(FIRST)
            await siege.instant(1.0)
            zombie.send(signal.SIGSTOP)
        await siege.still(zombie)
        siege.mark("SIGSTOP")
        heir = siege.start()
        await siege.share(heir)
        await app.moved()
        siege.mark("SIGCONT")
        zombie.send(signal.SIGCONT)
        await siege.share(heir, zombie)
    assert all(worker.code == 0 for worker in (heir, zombie)), "neither was lost on the way"
    if place:
        failures = [line for line in zombie.lines() if line.get("event") == "task_failed"]
        assert failures, "it woke in the middle of a transaction that was not its own any more"


async def test_a_worker_that_is_told_to_leave_under_load_leaves_nothing_to_do_again(
    broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(broker, *PATIENT)
    async with siege.under_way() as app:
        crew = [siege.start(), siege.start()]
        await siege.share(*crew)
        for share in sorted(siege.dice.uniform(FIRST, LAST, 5)):
            await app.reached(share)
            await siege.instant(0.5)
            leaving = crew.pop(int(siege.dice.integers(len(crew))))
            crew.append(siege.start())
            await siege.stop(leaving)
    assert await siege.aborted() == 0, "no batch was begun and stepped a second time"


async def test_scaling_out_and_in_under_load_moves_the_partitions_and_nothing_else(
    broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(broker)
    async with siege.under_way() as app:
        crew: list[WorkerProcess] = []
        for wanted in (1, 3, 2, 5, 1):
            crew += [siege.start() for _ in range(wanted - len(crew))]
            leaving = [crew.pop(int(siege.dice.integers(len(crew)))) for _ in range(len(crew) - wanted)]
            await asyncio.gather(*(siege.stop(worker) for worker in leaving))
            await siege.share(*crew)
            siege.mark(f"{wanted} share the work")
            await app.moved(2_000)


async def test_a_rebalance_during_a_restore_ends_with_every_partition_restored(
    broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    # without a snapshot every restore steps the whole journal again
    siege = lay_siege(broker, "state.snapshot_interval_s=3600", "state.journal_ring=1000000")
    async with siege.under_way() as app:
        for turn in range(2):
            former = siege.start()
            await app.reached(0.2 * (turn + 1))
            siege.mark("SIGKILL")
            former.kill()
            restoring = siege.start(place=f"replay:before:{int(siege.dice.integers(1, 7))}:SIGSTOP")
            await siege.still(restoring)
            siege.mark("one stands still in a restore, another joins")
            joining = siege.start()
            await preparing(siege)
            restoring.send(signal.SIGCONT)
            siege.mark("SIGCONT")
            await siege.share(restoring, joining)
            third = siege.start(place="replay:before:1")  # dies in its first restore
            assert await third.ended() == -signal.SIGKILL
            await siege.share(restoring, joining)
            restoring.kill()
            joining.kill()
        siege.start()


async def preparing(siege: Siege) -> None:
    """Wait until the group waits for a member to join again."""
    admin = AIOKafkaAdminClient(bootstrap_servers=siege.scene.bootstrap)
    await admin.start()
    try:

        async def is_preparing() -> bool:
            described = await admin.describe_consumer_groups([siege.scene.name])
            return "PreparingRebalance" in repr(described)

        await until(is_preparing, what="the group prepares a rebalance")
    finally:
        await admin.close()


async def test_a_transaction_that_outlives_its_timeout_is_done_again_by_its_own_worker(
    broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(
        broker, "kafka.session_timeout_ms=60000", "kafka.request_timeout_ms=70000", "kafka.transaction_timeout_ms=1500"
    )
    async with siege.under_way():
        # at each of them the broker holds the records: the transaction is open
        for place in ("offsets:before:20:SIGSTOP", "offsets:after:20:SIGSTOP", "commit:before:20:SIGSTOP"):
            worker = siege.start(place=place, instance="alone")
            await siege.still(worker)
            siege.mark(f"stands still at {place}")
            await siege.closed()
            siege.mark("SIGCONT")
            worker.send(signal.SIGCONT)
            await worker.said("task_failed")
            await siege.share(worker)
            await siege.stop(worker)
        siege.start(instance="alone")


async def test_a_crash_between_the_chunks_of_a_snapshot_leaves_the_one_before_it_whole(
    broker: EmbeddedKafka, lay_siege: Callable[..., Siege]
) -> None:
    siege = lay_siege(broker, "state.snapshot_interval_s=0.3", "state.commit_bytes=16384")
    async with siege.under_way():
        for turn in range(SNAPSHOT_CRASHES):
            what, side = ("chunks", "chunks", "checkpoint")[turn % 3], ("before", "after")[turn % 2]
            place = f"{what}:{side}:{int(siege.dice.integers(1, 12))}"
            siege.mark(f"SIGKILL at {place}")
            assert await siege.start(place=place, instance="alone").ended() == -signal.SIGKILL, place
        siege.start(instance="alone")
