"""A crash at any step of a batch is invisible: outputs and state are those of an undisturbed run."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from adaptive_stream.contracts.events import Action, Control
from adaptive_stream.contracts.topics import Topic
from tests.integration.scene import START_MS, Scene, correction, prediction
from tests.integration.worker import dump, working

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptive_stream.contracts.events import InputEvent
    from tests.integration.worker import WorkerProcess

SETTINGS = (
    "kafka.group_instance_id=alone",  # a restart takes the partitions over without waiting for the dead member
    "batch.max_batch_records=40",
    "batch.slice_records=15",
    "state.snapshot_interval_s=0.1",
)
MODELS = 5
PREDICTIONS = 600
PLACES = (
    "fence:after:2",
    "cut:after:5",
    "step:after:5",
    "begin:before:5",
    "begin:after:5",
    "produce:before:5",
    "produce:after:5",
    "offsets:before:5",
    "offsets:after:5",
    "commit:before:5",
    "commit:after:5",
    "chunks:before:2",
    "chunks:after:2",
    "checkpoint:before:2",
    "checkpoint:after:2",
)


def stream() -> list[tuple[Topic, InputEvent, int]]:
    """Predictions with their truth, a drop in accuracy, orders, and strangers for the dead letters. No two times equal."""
    made: list[tuple[Topic, InputEvent, int]] = []
    for number in range(PREDICTIONS):
        model, at = f"m{number % MODELS}", START_MS + 10_000 * number
        made.append((Topic.PREDICTIONS, prediction(number, model=model), at))
        label = float(not (PREDICTIONS // 3 < number < PREDICTIONS * 2 // 3))
        made.append((Topic.FEEDBACK, correction(number, model=model, label=label), at + 70_001))
        if number % 50 == 49:
            action = Action.FREEZE if number % 100 == 99 else Action.RESUME
            made.append((Topic.CONTROL, Control(command_id=f"c{number}", action=action, model_id=model), at + 3))
            made.append((Topic.PREDICTIONS, prediction(number, model="stranger"), at + 5))
    return sorted(made, key=lambda timed: timed[2])


@pytest.fixture(scope="module")
def undisturbed(kafka: str) -> tuple[dict[str, list[bytes]], dict[int, bytes]]:
    """Outputs and state of a run without a crash."""

    async def run() -> tuple[dict[str, list[bytes]], dict[int, bytes]]:
        scene = Scene(bootstrap=kafka, name=f"undisturbed-{uuid.uuid4().hex[:8]}", settings=SETTINGS)
        await scene.open()
        await scene.publish(stream())
        async with working(scene.config()) as worker:
            await scene.drained()
            state = dump(worker)
        await scene.check_journals()
        return await scene.bodies(), state

    bodies, state = asyncio.run(run())
    read = {name.partition("/")[0] for name in bodies}
    assert read == {"alerts", "adaptations", "model-status", "dead-letters"}, "the stream reaches every kind of output"
    return bodies, state


@pytest.mark.parametrize("place", PLACES)
async def test_a_kill_at_a_step_of_a_batch_is_invisible(
    place: str,
    kafka: str,
    names: str,
    undisturbed: tuple[dict[str, list[bytes]], dict[int, bytes]],
    start_worker: Callable[..., WorkerProcess],
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=SETTINGS)
    await scene.open()
    await scene.publish(stream())
    assert await start_worker(scene, kill_at=place).ended() == -9
    committed, ends = await scene.offsets()
    assert committed != ends, "the process died before its work was done"
    async with working(scene.config()) as worker:
        await scene.drained()
        state = dump(worker)
    await scene.check_journals()
    assert (await scene.bodies(), state) == undisturbed


async def test_kills_in_the_middle_of_restores_are_invisible(
    kafka: str,
    names: str,
    undisturbed: tuple[dict[str, list[bytes]], dict[int, bytes]],
    start_worker: Callable[..., WorkerProcess],
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=SETTINGS)
    await scene.open()
    await scene.publish(stream())
    # each one finds the remains of those before it
    for place in ("offsets:after:9", "replay:before:2", "step:after:3", "replay:after:3", "commit:before:4"):
        assert await start_worker(scene, kill_at=place).ended() == -9, place
    async with working(scene.config()) as worker:
        await scene.drained()
        state = dump(worker)
    await scene.check_journals()
    assert (await scene.bodies(), state) == undisturbed
