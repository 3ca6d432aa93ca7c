"""Drift through a real Kafka: a worker that is killed finds the same change at the same record, and tells it once."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.events import Alert, Correction, ModelStatus, Prediction
from adaptive_stream.contracts.topics import Topic
from tests.integration.scene import START_MS, Scene
from tests.integration.worker import WorkerProcess, dump, working

if TYPE_CHECKING:
    from pathlib import Path

    from adaptive_stream.contracts.events import InputEvent

    Timed = tuple[Topic, InputEvent, int]

WATCHED = (
    "families.f.features=[{name: temp}, {name: wind}, {name: origin, kind: categorical, levels: [EWR, JFK, LGA]}]",
    "families.f.monitor.evaluate_every_s=60",
    "families.f.monitor.status_interval_s=60",
    "families.f.monitor.baseline_labels=100000",
    "families.f.drift.reference_predictions=800",
    "families.f.drift.reference_labels=400",
    "state.snapshot_interval_s=1",
)
BEFORE, AFTER = 3_000, 1_200


def story() -> list[Timed]:
    """Predictions a second apart, each labelled at once; from one moment on it is warmer, and the model errs."""
    dice, told = random.Random(11), []  # noqa: S311 - no secret
    for number in range(BEFORE + AFTER):
        is_new = number >= BEFORE
        at = START_MS + number * 1_000
        features = [dice.gauss(1.0 if is_new else 0.0, 1), dice.expovariate(1), dice.choice(["EWR", "JFK", "LGA"])]
        name = f"p{number}"
        served = Prediction(prediction_id=name, model_id="m0", output=0.9, confidence=0.9, features=features)
        hit = float(dice.random() < (0.55 if is_new else 0.9))
        told.append((Topic.PREDICTIONS, served, at))
        told.append((Topic.FEEDBACK, Correction(feedback_id=name, prediction_id=name, model_id="m0", label=hit), at))
    return told


async def test_a_killed_worker_tells_a_drift_once_with_what_moved_and_since_when(scene: Scene, tmp_path: Path) -> None:
    one = replace(scene, settings=(*scene.settings, "topics.partitions=1"), family=(*scene.family, *WATCHED))
    await one.open()
    events = story()
    cut = 2 * (BEFORE + 60)  # the evidence has begun to grow, and is no alarm yet
    worker = WorkerProcess(one, folder=tmp_path, number=0)
    await one.publish(events[:cut])
    await one.drained()
    worker.kill()
    await worker.ended()
    async with working(one.config()) as again:
        await one.publish(events[cut:])
        await one.drained()
        states = dump(again)
    async with working(one.config()) as restored:  # from the state topic alone
        await one.drained()
        assert dump(restored) == states
    found = await one.read(Topic.ALERTS, Topic.MODEL_STATUS)
    told = [msgspec.json.decode(record.value, type=Alert) for record in found[Topic.ALERTS]]
    moved, worse = (
        [a for a in told if a.labels["alertname"] == name and a.status.value == "firing"][-1]
        for name in ("DataDrift", "PerformanceDrift")
    )
    assert moved.labels["severity"] == "high", "the performance drifted too"
    for name in ("DataDrift", "PerformanceDrift"):
        assert len({a.alert_id for a in told if a.labels["alertname"] == name}) == 1, "one life, told once"
    assert moved.evidence["kind"] == "covariate"
    [leading, *_] = moved.evidence["streams"]
    assert (leading["name"], leading["change"]) == ("temp", "up")
    since_s = (parse_time(leading["since"]) - START_MS) / 1_000
    assert abs(since_s - BEFORE) < 100, "the change is dated within a hundred predictions"
    assert worse.evidence["streams"][0]["change"] == "up"
    last = msgspec.json.decode(found[Topic.MODEL_STATUS][-1].value, type=ModelStatus)
    drift = last.series[0].drift
    assert drift is not None
    is_open = {"covariate": drift.data.alarmed_at, "performance": drift.performance.alarmed_at}
    known = {past.kind for past in drift.history} | {kind for kind, at in is_open.items() if at is not None}
    assert known == {"covariate", "performance"}, "what is over is history, what is not is open"


async def test_every_worker_begins_with_the_reference_of_the_file(scene: Scene, tmp_path: Path) -> None:
    dice, file = random.Random(5), tmp_path / "training.csv"  # noqa: S311 - no secret
    rows = [f"{dice.choice(['EWR', 'JFK', 'LGA'])},{dice.expovariate(1)},{dice.gauss(0, 1)}\n" for _ in range(2_000)]
    file.write_text("origin,wind,temp\n" + "".join(rows), encoding="utf-8")
    settings = (*scene.settings, "topics.partitions=1")
    watched = (*scene.family, *WATCHED, f"families.f.drift.reference_file={file}")
    one = replace(scene, settings=settings, family=watched)
    await one.open()
    events = story()[2 * BEFORE :]  # warm from the first on
    worker = WorkerProcess(one, folder=tmp_path, number=0)
    await one.publish(events[:20])
    await one.drained()
    worker.kill()
    await worker.ended()
    async with working(one.config()) as again:
        await one.publish(events[20:])
        await one.drained()
        states = dump(again)
    async with working(one.config()) as restored:
        await one.drained()
        assert dump(restored) == states
    found = await one.read(Topic.ALERTS)
    told = [msgspec.json.decode(record.value, type=Alert) for record in found[Topic.ALERTS]]
    first = next(alert for alert in told if alert.labels["alertname"] == "DataDrift")
    [leading, *_] = first.evidence["streams"]
    assert (leading["name"], leading["change"]) == ("temp", "up")
    assert parse_time(first.starts_at) < START_MS + (BEFORE + 200) * 1_000, "nothing had to be gathered"
