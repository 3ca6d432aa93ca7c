"""A year of flights: what counts stays the same, whatever happens to the workers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import uuid
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

import adaptive_stream.demo
from adaptive_stream.config import load
from adaptive_stream.contracts.events import Alert, Metrics, ModelStatus
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.demo import app, flights
from tests.integration.scene import Scene, until
from tests.integration.worker import working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from adaptive_stream.contracts.events import InputEvent
    from tests.integration.worker import WorkerProcess

    Timed = tuple[Topic, InputEvent, int]

THINNED = 10  # every tenth flight: the year in a few seconds
MODELS = 3  # one model for each airport would be uneven; the flights are dealt out instead
DAYS_AT_ONCE = 3  # published together: far below the join's week
SHIPPED = Path(adaptive_stream.demo.__file__).with_name("worker.yaml")


def demo_family() -> tuple[str, ...]:
    """The demo's own family, with bounds for fewer labels a model."""
    family = load([SHIPPED], {}).families["flights"].model_dump(mode="json")
    family["monitor"]["baseline_labels"] = 800
    family["monitor"]["evaluate_every_s"] = 6 * 3600
    family["alerts"]["AccuracyDegraded"]["min_count"] = 100
    return (f"families.flights={json.dumps(family)}",)


FAMILY = demo_family()
SETTINGS = ("kafka.group_instance_id=alone", "batch.max_batch_records=2000", "state.commit_bytes=1048576")


@pytest.fixture(scope="module")
def year() -> list[list[Timed]]:
    """The year as the app publishes it, in portions of a few days."""
    whole = flights.load()
    thinned = dataclasses.replace(
        whole,
        ts_s=whole.ts_s[::THINNED],
        label_ts_s=whole.label_ts_s[::THINNED],
        label=whole.label[::THINNED],
        numbers={name: column[::THINNED] for name, column in whole.numbers.items()},
        codes={name: column[::THINNED] for name, column in whole.codes.items()},
    )
    days: dict[int, list[Timed]] = defaultdict(list)
    last_s = 0
    for until_s, predictions, corrections in app.chunks(thinned, seed=1, is_paced=True):
        portion = days[until_s // (DAYS_AT_ONCE * 86_400)]
        portion += [(Topic.PREDICTIONS, dealt(event), at) for event, at in predictions]
        portion += [(Topic.FEEDBACK, dealt(event), at) for event, at in corrections]
        last_s = until_s
    ends = [Metrics(model_id=f"{app.MODEL_ID}-{model}", values={"end": 1.0}) for model in range(MODELS)]
    last = [(Topic.METRICS, end, (last_s + app.AFTER_S) * 1000) for end in ends]
    return [*days.values(), last]


def dealt(event: InputEvent) -> InputEvent:
    """Give the event to one of several models, by the number of its flight."""
    number = int(event.prediction_id.rpartition("-")[2])
    return msgspec.structs.replace(event, model_id=f"{app.MODEL_ID}-{number % MODELS}")


def parts(year: list[list[Timed]], count: int) -> Iterator[list[Timed]]:
    """Cut the year into as many parts."""
    for number in range(count):
        portions = year[number * len(year) // count : (number + 1) * len(year) // count]
        yield [timed for portion in portions for timed in portion]


@dataclasses.dataclass
class Ledger:
    """What the outputs say about the year."""

    panes: dict[tuple[str, str], tuple[int, float]]  # of each model and day: labelled, accuracy; the last word counts
    last: dict[str, ModelStatus]
    alerts: list[tuple[str, str, str]]

    @property
    def counts(self) -> dict[str, tuple[dict[str, int], int, list[tuple[int, int]]]]:
        """Feedback by outcome, waiting, and predictions and labels by series, of each model at the end."""
        return {
            model: (status.feedback, status.waiting, [(s.predictions, s.labelled) for s in status.series])
            for model, status in self.last.items()
        }

    @property
    def joined(self) -> int:
        return sum(status.feedback["joined"] for status in self.last.values())


async def ledger(scene: Scene) -> Ledger:
    found = await scene.read(Topic.MODEL_STATUS, Topic.ALERTS)
    made = Ledger({}, {}, [])
    for record in found[Topic.MODEL_STATUS]:
        status = msgspec.json.decode(record.value, type=ModelStatus)
        made.last[status.model_id] = status
        for series in status.series:
            for pane in series.panes:
                made.panes[status.model_id, pane.starts_at] = (pane.labelled, pane.value)
    for record in found[Topic.ALERTS]:
        alert = msgspec.json.decode(record.value, type=Alert)
        made.alerts.append((alert.model_id, alert.status.value, alert.ends_at or alert.starts_at))
    return made


async def opened(kafka: str, name: str, *settings: str) -> Scene:
    scene = Scene(bootstrap=kafka, name=name, settings=(*SETTINGS, *settings), family=FAMILY)
    await scene.open()
    return scene


@pytest.fixture(scope="module")
def undisturbed(kafka: str, year: list[list[Timed]]) -> tuple[dict[str, list[bytes]], Ledger]:
    """The outputs of one worker that starts when the whole year is there, and what they say."""

    async def run() -> tuple[dict[str, list[bytes]], Ledger]:
        scene = await opened(kafka, f"year-{uuid.uuid4().hex[:8]}")
        await scene.publish(timed for portion in year for timed in portion)
        async with working(scene.config()):
            await scene.drained()
        return await scene.bodies(), await ledger(scene)

    bodies, found = asyncio.run(run())
    assert {status for _, status, _ in found.alerts} == {"firing", "resolved"}, "the year has alerts that come and go"
    labels = sum(topic is Topic.FEEDBACK for portion in year for topic, _, _ in portion)
    assert found.joined == labels == sum(labelled for labelled, _ in found.panes.values())
    return bodies, found


async def test_kills_and_restarts_change_no_week_and_no_alert(
    kafka: str,
    names: str,
    year: list[list[Timed]],
    undisturbed: tuple[dict[str, list[bytes]], Ledger],
    start_worker: Callable[..., WorkerProcess],
) -> None:
    scene = await opened(kafka, names)
    for part in parts(year, 3):
        await scene.publish(part)
        before, _ = await scene.offsets()
        worker = start_worker(scene)
        await progress(scene, beyond=sum(before.values()) + len(part) // 4)
        worker.kill()
        assert worker.code == -signal.SIGKILL
    last = start_worker(scene)
    await scene.drained()
    last.send(signal.SIGTERM)
    assert await last.ended() == 0
    await scene.check_journals()
    assert (await scene.bodies(), await ledger(scene)) == undisturbed


async def progress(scene: Scene, *, beyond: int) -> None:
    """Wait until the group has committed more than so many records."""

    async def is_further() -> bool:
        committed, _ = await scene.offsets()
        return sum(committed.values()) > beyond

    await until(is_further, what="the worker commits")


async def test_a_worker_that_runs_along_joins_as_many_as_one_that_starts_at_the_end(
    kafka: str,
    names: str,
    year: list[list[Timed]],
    undisturbed: tuple[dict[str, list[bytes]], Ledger],
) -> None:
    scene = await opened(kafka, names)
    async with working(scene.config()), scene.publisher() as publisher:
        await publish_along(publisher, year)
        await scene.drained()
    found = await ledger(scene)
    _, late = undisturbed
    assert found.counts == late.counts
    assert found.panes == late.panes


async def test_a_second_worker_joins_and_leaves_and_nothing_is_lost_or_doubled(
    kafka: str,
    names: str,
    year: list[list[Timed]],
    undisturbed: tuple[dict[str, list[bytes]], Ledger],
) -> None:
    scene = await opened(kafka, names, "kafka.group_instance_id=null")  # a static member leaves only by its timeout
    thirds = [year[: len(year) // 3], year[len(year) // 3 : 2 * len(year) // 3], year[2 * len(year) // 3 :]]
    async with working(scene.config()) as first, scene.publisher() as publisher:
        await publish_along(publisher, thirds[0])
        # not drained: what is on its way when the second worker comes must arrive once
        async with working(scene.config()) as second:
            await until(
                lambda: len(first.tasks) + len(second.tasks) == 3 and first.is_ready, what="they share the work"
            )
            await publish_along(publisher, thirds[1])
            await until(lambda: consumed(second) > 0, what="the second worker commits its share")
        await publish_along(publisher, thirds[2])
        await scene.drained()
        assert len(first.tasks) == 3
    await scene.check_journals()
    found = await ledger(scene)
    _, alone = undisturbed
    assert found.counts == alone.counts
    assert found.panes == alone.panes


def consumed(worker: object) -> float:
    return (
        worker.telemetry.registry.get_sample_value("adaptive_stream_records_consumed_total", {"topic": "predictions"})
        or 0.0
    )


async def publish_along(publisher: object, portions: Sequence[list[Timed]]) -> None:
    """Publish portion by portion, as the app does while the worker runs."""
    for portion in portions:
        for topic in (Topic.PREDICTIONS, Topic.FEEDBACK, Topic.METRICS):
            pairs = [(event, at) for wanted, event, at in portion if wanted is topic]
            if pairs:
                await publisher.send_many(topic, pairs)
