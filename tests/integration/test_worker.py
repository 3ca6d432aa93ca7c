"""A worker's start, its probes and its end, and the broker that goes away under it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from adaptive_stream.contracts.topics import Topic
from adaptive_stream.embedded import EmbeddedKafka
from adaptive_stream.embedded.broker import _free_ports, is_alive
from adaptive_stream.runtime import topics
from adaptive_stream.runtime.failure import Fatal
from adaptive_stream.runtime.worker import Worker
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.integration.worker import dump, working

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.worker import WorkerProcess


# -- refusing to start -------------------------------------------------------------------------------------------


async def test_topics_that_are_not_partitioned_together_are_refused(
    scene: Scene, start_worker: Callable[..., WorkerProcess]
) -> None:
    uneven = Scene(bootstrap=scene.bootstrap, name=scene.name, settings=("topics.partitions=2",))
    await uneven.create(Topic.FEEDBACK)
    await scene.open()
    with pytest.raises(Fatal, match=r"feedback has 2 partitions.*same number of partitions") as refused:
        await Worker(scene.config()).run()
    assert refused.value.exit_code == 78
    worker = start_worker(scene)
    assert await worker.ended() == 78
    assert f"{scene.prefix}feedback has 2 partitions" in worker.log.read_text()


async def test_a_state_topic_that_is_not_compacted_is_refused(scene: Scene) -> None:
    await scene.create(Topic.STATE)
    await scene.open()
    with pytest.raises(Fatal, match=r"state has cleanup.policy 'delete' and must have 'compact'") as refused:
        await topics.check(scene.config())
    assert refused.value.exit_code == 78


async def test_missing_topics_are_all_named(scene: Scene) -> None:
    await scene.create(Topic.PREDICTIONS)
    with pytest.raises(Fatal) as refused:
        await Worker(scene.config()).run()
    assert refused.value.exit_code == 78
    missing = [scene.prefix + topic.value for topic in Topic if topic is not Topic.PREDICTIONS]
    assert all(f"{name} is missing" in str(refused.value) for name in missing)
    assert f"{scene.prefix}predictions is missing" not in str(refused.value)


async def test_topics_are_created_once_and_left_alone_after(scene: Scene) -> None:
    assert set(await topics.create(scene.config())) == {scene.prefix + topic.value for topic in Topic}
    assert await topics.create(scene.config()) == []
    assert set((await topics.check(scene.config())).values()) == {3}


async def test_a_broker_that_is_not_there_ends_the_start_with_69(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "PATIENCE_S", 0.1)
    (port,) = _free_ports(1)
    nowhere = Scene(bootstrap=f"127.0.0.1:{port}", name=names)
    with pytest.raises(Fatal, match="cannot be reached") as refused:
        await Worker(nowhere.config()).run()
    assert refused.value.exit_code == 69


async def test_a_taken_http_port_is_refused_with_the_setting_to_change(scene: Scene) -> None:
    await scene.open()
    async with working(scene.config()) as first:
        with pytest.raises(Fatal, match=r"cannot listen on 127\.0\.0\.1.*set http\.port") as refused:
            await Worker(scene.config(f"http.port={first.http_port}")).run()
    assert refused.value.exit_code == 78


# -- HTTP --------------------------------------------------------------------------------------------------------


async def test_probes_status_and_metrics_tell_what_the_worker_does(scene: Scene) -> None:
    await scene.open()
    await scene.publish((Topic.PREDICTIONS, prediction(number), START_MS + number) for number in range(10))
    await scene.publish((Topic.FEEDBACK, correction(number), START_MS + 10 + number) for number in range(4))
    async with working(scene.config()) as worker:
        await scene.drained()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.http_port}", timeout=30) as client:

            async def shows_all() -> bool:
                status = (await client.get("/status")).json()
                return sum(task["waiting"] for task in status["tasks"]) == 6

            await until(shows_all, what="the status shows the waiting predictions")
            live, ready = await client.get("/livez"), await client.get("/readyz")
            assert (live.status_code, live.json()) == (200, {"alive": True})
            assert (ready.status_code, ready.json()) == (200, {"ready": True})

            status = (await client.get("/status")).json()
            assert (status["group"], status["ready"]) == (scene.name, True)
            assert [task["partition"] for task in status["tasks"]] == [0, 1, 2]
            assert {task["stage"] for task in status["tasks"]} == {"running"}
            assert sum(task["positions"]["predictions"] for task in status["tasks"]) == 10

            model = (await client.get("/status/m0")).json()
            assert (model["model_id"], model["waiting"], model["feedback"]["joined"]) == ("m0", 6, 4)
            missing = await client.get("/status/m1/never/seen")
            assert missing.status_code == 404

            wanted = [
                'adaptive_stream_records_consumed_total{topic="predictions"} 10.0',
                'adaptive_stream_records_consumed_total{topic="feedback"} 4.0',
                'adaptive_stream_feedback_joined_total{outcome="joined"} 4.0',
                'adaptive_stream_tasks{stage="running"} 3.0',
                "adaptive_stream_predictions_waiting 6.0",
                'adaptive_stream_lag_records{topic="predictions"} 0.0',
            ]

            async def counts_all() -> bool:
                lines = (await client.get("/metrics")).text.splitlines()
                return set(wanted) <= set(lines)

            await until(counts_all, what="the metrics agree")


async def test_a_worker_is_not_ready_while_a_task_is_not_running(scene: Scene) -> None:
    await scene.open()
    async with (
        working(scene.config()) as worker,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{worker.http_port}", timeout=30) as client,
    ):
        worker.tasks[0].fail(None)
        assert not worker.is_ready
        assert worker.is_alive()
        await until(lambda: worker.is_ready, what="the task comes back")
        assert (await client.get("/readyz")).status_code == 200


# -- the broker goes away ----------------------------------------------------------------------------------------


async def test_an_embedded_broker_leaves_no_process_port_or_folder() -> None:
    broker = EmbeddedKafka()
    broker.start()
    folder, pid = broker.folder, broker.pids[1]
    assert folder is not None
    port = int(broker.bootstrap.rpartition(":")[2])
    try:
        assert is_alive(pid)
        assert await answers(port)
    finally:
        broker.stop()
    broker.stop()  # twice is harmless
    assert not has_process(pid)
    assert not await answers(port)
    assert not exists(folder)


async def test_a_worker_waits_for_its_broker_and_outlives_its_loss_with_every_record_counted_once(
    names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = _free_ports(1)
    scene = Scene(bootstrap=f"127.0.0.1:{port}", name=names, settings=("topics.partitions=1",))
    broker = EmbeddedKafka(port=port, folder=tmp_path / "kafka")
    # the worker asks first, the broker comes later
    monkeypatch.setattr(topics, "PATIENCE_S", 120.0)
    waiting = asyncio.create_task(topics.create(scene.config()))
    await asyncio.to_thread(broker.start)
    try:
        assert len(await waiting) == len(Topic)
        await scene.publish((Topic.PREDICTIONS, prediction(n), START_MS + n) for n in range(50))
        async with working(scene.config("kafka.call_timeout_ms=3000")) as worker:
            await scene.drained()
            pid = broker.pids[1]
            broker.kill(1)
            assert not has_process(pid)
            assert worker.is_alive(), "a worker is alive without its broker: a restart would not mend it"
            await asyncio.to_thread(broker.restart, 1)
            await scene.publish((Topic.FEEDBACK, correction(n), START_MS + 50 + n) for n in range(50))
            await scene.drained()
            await until(lambda: worker.is_ready, what="the task runs again")
            memory = worker.tasks[0].memory
            assert memory is not None
            assert memory.fleets.counters()["join"]["joined"] == 50
            state = dump(worker)
        await scene.check_journals()
        async with working(scene.config()) as worker:
            assert dump(worker) == state
    finally:
        broker.stop()
    assert exists(tmp_path / "kafka"), "a folder of the user's own is kept"


def has_process(pid: int) -> bool:
    return exists(Path(f"/proc/{pid}"))


def exists(path: Path) -> bool:
    return path.exists()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_the_report_is_plain_values(scene: Scene) -> None:
    await scene.open()
    async with working(scene.config("http.enabled=false")) as worker:
        assert worker.http_port is None
        assert json.loads(json.dumps(worker.report()))["tasks"][0]["stage"] == "running"
