"""A crash at any step of a batch is invisible: outputs and state are those of an undisturbed run."""

from __future__ import annotations

import asyncio
import signal
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
    "batch.max_batch_records=20",
    "batch.slice_records=15",
    "state.snapshot_interval_s=0.1",
    "state.journal_ring=16",  # a snapshot falls due every eight batches at the latest, however fast the machine is
    "state.commit_bytes=20000",  # a snapshot takes two or three commits, and a run takes several snapshots
)
MODELS = 5
PREDICTIONS = 900
# each kill finds the remains of those before it; a process does several batches before it dies
PLACES = {
    "before-the-transaction": ("fence:after:2", "cut:after:5", "step:after:5"),
    "at-its-begin": ("begin:before:5", "begin:after:5", "produce:before:5"),
    "in-its-middle": ("produce:after:5", "offsets:before:5", "offsets:after:5"),
    "at-its-end": ("commit:before:5", "commit:after:5"),
    "in-a-snapshot": ("chunks:before:3", "chunks:after:3", "checkpoint:before:2", "checkpoint:after:1"),
    "in-a-restore": ("offsets:after:9", "replay:before:2", "step:after:3", "replay:after:3", "commit:before:4"),
}


def stream() -> list[tuple[Topic, InputEvent, int]]:
    """Predictions with their truth, a drop in accuracy, orders, strangers for the dead letters; no two times equal."""
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


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
async def test_kills_at_the_steps_of_a_batch_are_invisible(
    places: tuple[str, ...],
    kafka: str,
    names: str,
    undisturbed: tuple[dict[str, list[bytes]], dict[int, bytes]],
    start_worker: Callable[..., WorkerProcess],
) -> None:
    scene = Scene(bootstrap=kafka, name=names, settings=SETTINGS)
    await scene.open()
    await scene.publish(stream())
    for place in places:
        assert await start_worker(scene, kill_at=place).ended() == -signal.SIGKILL, place
    committed, ends = await scene.offsets()
    assert committed != ends, "the last process died before the work was done"
    async with working(scene.config()) as worker:
        await scene.drained()
        state = dump(worker)
    await scene.check_journals()
    assert (await scene.bodies(), state) == undisturbed
