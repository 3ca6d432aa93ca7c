"""The core alone, monitoring on: what a batch, a look and a round of statuses cost at 10 models and at 10,000."""

from __future__ import annotations

import gc
import random
import time
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.config import load
from adaptive_stream.contracts.events import Correction, Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.core.slice import Slice
from adaptive_stream.monitor.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import InputEvent
    from benchmarks.report import Report

MODELS = (10, 10_000)
PREDICTIONS, LABELS = 20_000, 2_000  # of a batch
SLICE = 1_000  # records: as the runtime cuts a batch
WARM = 6  # batches before the clock starts: every model is known, baselines are on their way
BATCHES = 8  # of each side, in turn; the medians are compared
LOOKS = 5
FEATURES = 20
START_MS = 1_700_006_400_000
RATE_S = 5_000.0  # predictions in a second of event time: no look falls into a batch


async def monitor(report: Report, _bootstrap: str, _folder: Path) -> None:
    """Measure the core with no Kafka: batches in turn, then looks and statuses of the many."""
    gc.set_threshold(50_000, 20, 100)  # as a worker has it (adaptive_stream/cli/run.py)
    sides = {models: Side(models) for models in MODELS}
    for side in sides.values():
        for _ in range(WARM):
            side.batch()
    seconds: dict[int, list[float]] = {models: [] for models in MODELS}
    for _ in range(BATCHES):
        for models, side in sides.items():
            seconds[models].append(side.batch())
    few, many = (median(seconds[models]) for models in MODELS)
    events = PREDICTIONS + LABELS
    report.add("core_10_models_per_event", few / events * 1e6, "µs")
    report.add("core_10000_models_per_event", many / events * 1e6, "µs")
    report.add("core_rate_10000_models_to_10", few / many, "ratio", goal=0.75)
    for models, side in sides.items():
        report.add(f"look_{models}_models", median(side.look() for _ in range(LOOKS)), "s")
        rounds = [side.statuses() for _ in range(LOOKS)]
        report.add(f"statuses_{models}_models", median(map(sum, rounds)), "s")
        report.add(f"statuses_{models}_models_longest_part", median(map(max, rounds)), "s")
    report.add("state_per_series_without_auc", state_bytes("auc_labels=0"), "B", goal=8_192, is_most=True)
    report.add("state_per_series_with_auc", state_bytes(), "B")


class Side:
    """Fleets with one family, and the events that go in.

    Args:
        models: how many.
    """

    def __init__(self, models: int) -> None:
        self.fleets = Fleets(config())
        self._models = models
        self._dice = random.Random(models)
        self._number = 0
        self._offsets = {Topic.PREDICTIONS: 0, Topic.FEEDBACK: 0}

    def batch(self) -> float:
        """Step one batch and return the seconds of CPU that it took."""
        slices = list(self._slices())
        started = time.process_time()
        for slice_ in slices:
            self.fleets.step(slice_)
        return time.process_time() - started

    def look(self) -> float:
        """Judge every series by every rule, as if each had news; return the seconds."""
        [fleet] = self.fleets.fleets
        fleet.monitor.series.col["is_news"][:] = 1
        started = time.process_time()
        fleet.monitor.look(now_ms=self.fleets.stream_time_ms + 1)
        return time.process_time() - started

    def statuses(self) -> list[float]:
        """Make the status of every model; return the seconds of each part of the round."""
        [fleet] = self.fleets.fleets
        fleet.models.col["is_news"][:] = 1
        made, seconds, now_ms = 0, [], self.fleets.stream_time_ms + 1
        started = time.process_time()
        made += len(fleet.tick(now_ms=now_ms, is_status_due=True))
        seconds.append(time.process_time() - started)
        while fleet.beat_ms:
            started = time.process_time()
            made += len(fleet.statuses(now_ms=now_ms))
            seconds.append(time.process_time() - started)
        assert made >= self._models, "every model has a status"
        return seconds

    def _slices(self) -> Iterator[Slice]:
        """Yield one batch: a tenth of the predictions of the batch before it gets its labels, in between."""
        events: list[tuple[Topic, int, InputEvent]] = []
        every = PREDICTIONS // LABELS
        for place in range(PREDICTIONS):
            number = self._number + place
            at = START_MS + int(number / RATE_S * 1000)
            events.append((Topic.PREDICTIONS, at, prediction(number, self._models, self._dice)))
            if place % every == 0 and number >= PREDICTIONS:
                events.append((Topic.FEEDBACK, at, correction(number - PREDICTIONS, self._models, self._dice)))
        self._number += PREDICTIONS
        for start in range(0, len(events), SLICE):
            part = events[start : start + SLICE]
            offsets = []
            for topic, _, _ in part:
                offsets.append(self._offsets[topic])
                self._offsets[topic] += 1
            yield Slice(
                topics=[topic for topic, _, _ in part],
                offsets=offsets,
                times_ms=[at for _, at, _ in part],
                events=[event for _, _, event in part],
            )


def config(*settings: str) -> Config:
    """Return one binary family with the default rules, twenty features of the models kept."""
    features = ", ".join(f"{{name: f{number}}}" for number in range(FEATURES))
    family = ['match=["m*"]', f"features=[{features}]", "max_models=20000", *settings]
    return load([], {}, [f"families.f.{setting}" for setting in family])


def model_of(number: int, models: int) -> str:
    """Return whose prediction this is: all in turn, each batch begins elsewhere, so that all have labels."""
    return f"m{(number + number // PREDICTIONS) % models}"


def prediction(number: int, models: int, dice: random.Random) -> Prediction:
    """Return the prediction of this number."""
    return Prediction(
        prediction_id=f"prediction-{number:09d}",
        model_id=model_of(number, models),
        output=dice.random(),
        latency_ms=dice.lognormvariate(3.0, 0.5),
        features=[dice.gauss(0, 1) for _ in range(FEATURES)],
    )


def correction(number: int, models: int, dice: random.Random) -> Correction:
    """Return its label."""
    return Correction(
        feedback_id=f"feedback-{number:09d}",
        prediction_id=f"prediction-{number:09d}",
        model_id=model_of(number, models),
        label=float(dice.random() < 0.5),
    )


def state_bytes(*monitor_settings: str) -> float:
    """Return what one series of a binary family takes in the table, defaults but for these."""
    settings = config(*(f"monitor.{setting}" for setting in monitor_settings))
    table = Monitor(settings.families["f"]).series
    return float(sum(np.prod(array.shape[1:], dtype=int) * array.itemsize for array in table.col.values()))
