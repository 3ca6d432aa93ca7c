"""A day of events at fifty times its speed, with everything on: the worker's memory stays what it is."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from adaptive_stream.client import Publisher
from adaptive_stream.contracts.events import Action, Control, Metrics, Preference, Rating
from adaptive_stream.contracts.topics import Topic
from benchmarks.stage import (
    START_MS,
    Progress,
    Stage,
    correction,
    free_port,
    is_labelled,
    metric,
    prediction,
    resident_bytes,
    stopped,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adaptive_stream.contracts.events import InputEvent
    from benchmarks.report import Report

SPEED = 50
DAY_S = 86_400
STEP_S = 20  # event time that is published at once
RATE_S = 100  # predictions in a second of event time
DELAY_S = 600  # between a prediction and its label
MODELS = 60
TENTHS = 10
SETTINGS = (  # limits that the first tenth of the day reaches, so that the rest must live inside them
    "topics.partitions=3",
    "batch.max_buffer_bytes=1048576",
    "kafka.max_partition_fetch_bytes=262144",
    "join.window_s=3600",
    "join.max_feedback_ids=20000",
    "join.early_window_s=900",
    "join.max_early=500",
    "join.entity_window_s=3600",
    "join.max_entities=1000",
    "families.f.monitor.pane_s=300",
    "families.f.monitor.evaluate_every_s=60",
    "families.f.monitor.status_interval_s=60",
    "state.snapshot_interval_s=10",
)


async def day(report: Report, bootstrap: str, folder: Path) -> None:
    """Publish a day, and compare the resident memory at its end with that after its first tenth."""
    port = free_port()
    stage = Stage(bootstrap, folder, partitions=3, settings=(*SETTINGS, f"http.port={port}"))
    await stage.open()
    config = stage.config()
    worker = stage.worker(config)
    resident: list[int] = []
    with stopped([worker]):
        async with (
            Progress(stage, config.kafka.group) as progress,
            Publisher(bootstrap, prefix=stage.prefix) as publisher,
            AIOKafkaProducer(bootstrap_servers=bootstrap) as raw,
        ):
            dice, sent, started = random.Random(1), 0, time.monotonic()
            for since in range(0, DAY_S, STEP_S):
                for topic, events in step(since, dice):
                    sent += await publisher.send_many(topic, events, is_checked=True)
                sent += await litter(raw, stage, dice)
                await asyncio.sleep(max(0.0, started + (since + STEP_S) / SPEED - time.monotonic()))
                if (since + STEP_S) % (DAY_S // TENTHS) == 0:
                    await progress.reach(sent)
                    resident.append(resident_bytes(worker.pid))
                    print(f"  {len(resident)}/{TENTHS} of the day: {resident[-1] / 1e6:.1f} MB resident", flush=True)
            elapsed = time.monotonic() - started
        assert metric(port, "adaptive_stream_step_failures_total") == 0, "nothing failed on the way"
    report.add("day_records", sent, "1")
    report.add("day_speed", DAY_S / elapsed, "x")
    report.add("day_resident_after_a_tenth", resident[0] / 1e6, "MB")
    report.add("day_resident_at_the_end", resident[-1] / 1e6, "MB")
    report.add("day_growth", resident[-1] / resident[0], "ratio", goal=1.1, is_most=True)


def step(since_s: int, dice: random.Random) -> Iterator[tuple[Topic, list[tuple[InputEvent, int]]]]:
    """Yield what happens in one step: predictions, labels of old ones, ratings, preferences, metrics, orders."""
    numbers = range(since_s * RATE_S, (since_s + STEP_S) * RATE_S)
    yield Topic.PREDICTIONS, [(prediction(n, MODELS, dice), at(n)) for n in numbers]
    old = [n - DELAY_S * RATE_S for n in numbers if n >= DELAY_S * RATE_S]
    told: list[tuple[InputEvent, int]] = [
        (correction(n, MODELS, dice), at(n + DELAY_S * RATE_S)) for n in old if is_labelled(n, MODELS)
    ]
    for number in numbers:
        chance = dice.random()
        if chance < 0.02:  # half of them for predictions that are yet to come, some for such that never do
            told.append((rating(number + dice.randrange(-STEP_S, STEP_S) * RATE_S * 40, number, dice), at(number)))
        elif chance < 0.025 and number > 2 * MODELS:
            told.append((preference(number), at(number)))
    yield Topic.FEEDBACK, sorted(told, key=lambda pair: pair[1])
    last = at(numbers[-1])
    if since_s % 60 == 0:
        yield Topic.METRICS, [(Metrics(model_id=f"m{n}", accuracy=dice.random()), last) for n in range(MODELS)]
    if since_s % 600 == 0:
        action, model = dice.choice([Action.FREEZE, Action.RESUME, Action.SET_BASELINE]), f"m{dice.randrange(MODELS)}"
        yield Topic.CONTROL, [(Control(command_id=f"c{since_s}", action=action, model_id=model), last)]


def rating(number: int, by: int, dice: random.Random) -> Rating:
    """Return one person's rating of the prediction of a number."""
    return Rating(
        feedback_id=f"rating-{by:09d}",
        prediction_id=f"prediction-{number:09d}",
        model_id=f"m{number % MODELS}",
        score=float(dice.randrange(1, 6)),
        entity_id=f"entity-{dice.randrange(3000)}",
    )


def preference(number: int) -> Preference:
    """Return a preference between two recent predictions of one model."""
    return Preference(
        feedback_id=f"preference-{number:09d}",
        model_id=f"m{number % MODELS}",
        chosen=f"prediction-{number - MODELS:09d}",
        rejected=f"prediction-{number - 2 * MODELS:09d}",
    )


def at(number: int) -> int:
    """Return the time of the prediction of a number."""
    return START_MS + number * 1000 // RATE_S


async def litter(raw: AIOKafkaProducer, stage: Stage, dice: random.Random) -> int:
    """Publish what is no event, a few a second. Returns how many."""
    bodies = [b"", b"{", dice.randbytes(200), b'{"model_id":"m1"}', b"[" * 50]
    topics = (Topic.PREDICTIONS, Topic.FEEDBACK, Topic.METRICS, Topic.CONTROL)
    for body in bodies:
        await raw.send(stage.prefix + dice.choice(topics).value, body, key=b"m1", partition=dice.randrange(3))
    await raw.flush()
    return len(bodies)
