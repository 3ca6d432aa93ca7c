"""A state partition that no broker leads, as after the loss of its disk: named in the log, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from adaptive_stream.contracts.topics import COMPACTED, INPUTS, OUTPUTS, Topic
from adaptive_stream.embedded import EmbeddedKafka
from tests.integration.scene import START_MS, Scene, prediction, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from adaptive_stream.contracts.events import Prediction
    from tests.integration.worker import WorkerProcess

ALONE = 3  # the node that has the state and nothing else
COUNT = 40


async def test_a_state_partition_without_a_broker_is_named_and_its_work_goes_on_when_it_is_back(
    names: str, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    with EmbeddedKafka(brokers=3, folder=tmp_path / "kafka") as kafka:
        scene = Scene(kafka.bootstrap, names, settings=("topics.partitions=1", "kafka.call_timeout_ms=3000"))
        await placed(scene)
        worker = start_worker(scene)
        async with scene.publisher() as publisher:  # that knows the brokers before one is gone
            await publisher.send_many(Topic.PREDICTIONS, timed(range(COUNT)))
            await scene.drained()
            kafka.kill(ALONE)
            await publisher.send_many(Topic.PREDICTIONS, timed(range(COUNT, 2 * COUNT)))

        def is_named() -> bool:
            failures = [str(line) for line in worker.lines() if line.get("event") == "task_failed"]
            return any(f"no broker leads {scene.prefix}state-0" in failure for failure in failures)

        await until(is_named, what="the log names the partition that nobody leads")
        kafka.restart(ALONE)
        await scene.drained()
        await scene.check_journals()
        assert worker.code is None, "it waited"


def timed(numbers: range) -> list[tuple[Prediction, int]]:
    return [(prediction(number), START_MS + number) for number in numbers]


async def placed(scene: Scene) -> None:
    """Create the topics with one copy: the state on a node of its own."""
    config = scene.config().topics
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.bootstrap)
    await admin.start()
    try:
        for topic in (*INPUTS, *OUTPUTS, Topic.DEAD_LETTERS, Topic.STATE):
            node = ALONE if topic is Topic.STATE else 1
            policy = "compact" if topic in COMPACTED else "delete"
            settings = {"min.insync.replicas": "1", "retention.ms": "-1", "cleanup.policy": policy}
            made = NewTopic(config.name(topic), -1, -1, {0: [node]}, settings)
            await admin.create_topics([made])
    finally:
        await admin.close()
