"""The app-simulator: a process of its own that serves a model and later learns the truth.

Owns the year of flights as it happens: a prediction at each scheduled departure, a correction when the outcome is
known, for cancelled flights never. Shares nothing with the worker but Kafka. Started by the demo, or by hand:
``python -m adaptive_stream.demo.app --bootstrap localhost:9092``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.client import Publisher
from adaptive_stream.contracts.events import Correction, InputEvent, Metrics, Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.demo import flights as data
from adaptive_stream.demo import model as serving

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL_ID, VARIANT_ID, CHANNEL_ID = "late-flights", "january", "web"
CHUNK_EVENTS = 4_000
CHUNK_S = 6 * 3600  # with --speed: event time that is published at once
JITTER_S = 30  # the truth reaches the app a little after it is known; the seed decides how much
AFTER_S = 2 * 86_400  # a last metrics record moves stream time past the last status


def chunks(
    flights: data.Flights, *, seed: int, is_paced: bool
) -> Iterator[tuple[int, list[tuple[InputEvent, int]], list[tuple[InputEvent, int]]]]:
    """Yield the year in order of time: (epoch seconds at the end, predictions, corrections), each with its time."""
    probability = serving.fit(flights, seed=seed).predict(flights)
    known = np.flatnonzero(flights.label >= 0)
    jitter = np.random.default_rng(seed).integers(0, JITTER_S, len(flights.ts_s))
    told_s = flights.label_ts_s + jitter
    flight = np.r_[np.arange(len(flights.ts_s)), known]
    is_label = np.r_[np.zeros(len(flights.ts_s), bool), np.ones(len(known), bool)]
    times = np.r_[flights.ts_s, told_s[known]]
    order = np.lexsort((is_label, times))
    rows = _features(flights)
    ends = _cuts(times[order], is_paced=is_paced)
    for first, stop in zip([0, *ends[:-1]], ends, strict=True):
        predictions: list[tuple[InputEvent, int]] = []
        corrections: list[tuple[InputEvent, int]] = []
        for place in order[first:stop].tolist():
            number, time_ms = int(flight[place]), int(times[place]) * 1000
            if is_label[place]:
                corrections.append((_correction(number, int(flights.label[number])), time_ms))
            else:
                predictions.append((_prediction(number, float(probability[number]), rows[number]), time_ms))
        yield int(times[order[stop - 1]]), predictions, corrections


def _cuts(times: np.ndarray, *, is_paced: bool) -> list[int]:
    if not is_paced:
        return [*range(CHUNK_EVENTS, len(times), CHUNK_EVENTS), len(times)]
    turns = np.flatnonzero(np.diff(times // CHUNK_S)) + 1
    return [*turns.tolist(), len(times)]


def _features(flights: data.Flights) -> list[list[float | str | None]]:
    columns: list[list[float | str | None]] = []
    for name in serving.FEATURES:
        if name in flights.codes:
            levels = flights.levels[name]
            columns.append([levels[code] for code in flights.codes[name].tolist()])
        else:
            values = flights.numbers[name]
            columns.append([None if np.isnan(value) else value for value in values.tolist()])
    return [list(row) for row in zip(*columns, strict=True)]


def _prediction(number: int, probability: float, features: list[float | str | None]) -> Prediction:
    return Prediction(
        prediction_id=f"flight-{number}",
        model_id=MODEL_ID,
        variant_id=VARIANT_ID,
        channel_id=CHANNEL_ID,
        features=features,
        output=round(probability, 6),
        confidence=round(max(probability, 1 - probability), 6),
    )


def _correction(number: int, label: int) -> Correction:
    return Correction(
        feedback_id=f"outcome-{number}", prediction_id=f"flight-{number}", model_id=MODEL_ID, label=float(label)
    )


async def serve(bootstrap: str, *, prefix: str, seed: int, speed: float) -> None:
    """Publish the year."""
    flights = data.load()
    async with Publisher(bootstrap, prefix=prefix, max_batch_size=262_144) as publisher:
        started, first_s = time.monotonic(), int(flights.ts_s[0])
        until_s = first_s
        for until_s, predictions, corrections in chunks(flights, seed=seed, is_paced=speed > 0):
            if speed > 0:
                await asyncio.sleep(max(0.0, started + (until_s - first_s) / speed - time.monotonic()))
            await publisher.send_many(Topic.PREDICTIONS, predictions)
            await publisher.send_many(Topic.FEEDBACK, corrections)
        last = Metrics(model_id=MODEL_ID, variant_id=VARIANT_ID, values={"flights": float(len(flights.ts_s))})
        await publisher.send_many(Topic.METRICS, [(last, (until_s + AFTER_S) * 1000)])


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description="Serve a year of flights as an app would.")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--prefix", default="adaptive.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--speed", type=float, default=0.0, help="event time runs this many times real time; 0: at once"
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments.bootstrap, prefix=arguments.prefix, seed=arguments.seed, speed=arguments.speed))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
