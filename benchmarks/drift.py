"""The drift engine alone: cost an event at 10 series and at 10,000, set-up; beside River's detectors."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.config.family import Feature
from adaptive_stream.core.held import MOST
from adaptive_stream.drift.drift import Drift
from benchmarks.pace import paced

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.pace import Paced
    from benchmarks.report import Report

SERIES = (10, 10_000)
FEATURES = 20
BATCH = MOST  # as a worker feeds them
BATCHES, LOSS_BATCHES = 40, 200  # of the latter each takes two milliseconds
ROUND = 2_000  # series that are brought to their references at once
PEER = "ADAPTIVE_STREAM_BENCH_PEER"  # an interpreter that has river
BEFORE, AFTER, RUNS = 5_000, 10_000, 200


async def drift(report: Report, _bootstrap: str, _folder: Path) -> None:
    """Measure the engine with no Kafka."""
    started = time.process_time()
    made = fleet(1)
    report.add("drift_set_up", (time.process_time() - started) * 1e3, "ms", goal=50, is_most=True)
    size = sum(np.prod(array.shape[1:], dtype=int) * array.itemsize for array in made.table.col.values())
    report.add("drift_state_per_series", float(size), "B", goal=10_000, is_most=True)
    for count in SERIES:
        side = warmed(count)
        for name, cost, goal in (("drift", data_cost(side, count), 2.5), ("loss", loss_cost(side, count), 0.3)):
            side_name = f"{name}_{count}_series"
            report.add(f"{side_name}_per_event", cost.any_pace / BATCH * 1e6, "µs", goal=goal, is_most=True)
            report.add(f"{side_name}_undisturbed", cost.undisturbed / BATCH * 1e6, "µs")
            report.add(f"{side_name}_undisturbed_share", cost.share, "share")
            report.add(f"{side_name}_shortest_loop", cost.loop * 1e3, "ms")
        del side
    report.add("error_delay_ours", error_delay(), "labels", goal=260, is_most=True)
    if os.environ.get(PEER):
        peer = Path(__file__).with_name("detectors.py")
        for name, value in theirs(peer).items():
            report.add(f"river_{name}", value, "µs" if "cost" in name else "labels" if "delay" in name else "/1e5")


def theirs(peer: Path) -> dict[str, float]:
    """Return what River's detectors do."""
    done = subprocess.run([os.environ[PEER], str(peer)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def fleet(count: int) -> Drift:
    """Return series that nothing was seen of."""
    made = Drift(DriftConfig(), features=[Feature(name=f"f{number}") for number in range(FEATURES)])
    for number in range(count):
        made.add((f"m{number}", "v", "c"))
    return made


def warmed(count: int) -> Drift:
    """Return series that have their references."""
    made, dice = fleet(count), np.random.default_rng(1)
    wanted = made.config.reference_predictions + made.config.block
    for first in range(0, count, ROUND):
        some = np.arange(first, min(first + ROUND, count))
        a_turn = max(1, 200_000 // len(some))
        for _ in range(-(-wanted // a_turn)):
            feed(made, np.tile(some, a_turn), dice)
    losses = np.tile(np.arange(count), 1_100)
    for part in np.array_split(losses, -(-len(losses) // 500_000)):
        made.losses(part, (dice.random(len(part)) < 0.1).astype(float), now_ms=np.zeros(len(part), dtype=np.int64))
    return made


def feed(made: Drift, series: NDArray[np.int64], dice: np.random.Generator) -> float:
    """Feed one event of each of these and return the seconds of CPU."""
    size = len(series)
    values, outputs, now_ms = dice.standard_normal((size, FEATURES)), dice.random(size), np.zeros(size, dtype=np.int64)
    started = time.process_time()
    made.observe(series, values, outputs, outputs, now_ms=now_ms)
    return time.process_time() - started


def data_cost(made: Drift, count: int) -> Paced:
    """Return what a batch of events costs, of series at random."""
    dice = np.random.default_rng(2)
    return paced(lambda: feed(made, dice.integers(0, count, BATCH), dice), wanted=BATCHES)


def loss_cost(made: Drift, count: int) -> Paced:
    """Return what a batch of labels costs."""
    dice, now_ms = np.random.default_rng(3), np.zeros(BATCH, dtype=np.int64)

    def batch() -> float:
        series, losses = dice.integers(0, count, BATCH), (dice.random(BATCH) < 0.1).astype(float)
        started = time.process_time()
        made.losses(series, losses, now_ms=now_ms)
        return time.process_time() - started

    return paced(batch, wanted=LOSS_BATCHES)


def error_delay() -> float:
    """Return the mean delay of an error that rises from .10 to .20, at one false alarm in 1e6."""
    made, dice = Drift(DriftConfig(after_alarm="keep"), features=[]), np.random.default_rng(4)
    for number in range(RUNS):
        made.add((f"m{number}", "v", "c"))
    for first in range(0, BEFORE + AFTER, 100):
        losses = (dice.random(100 * RUNS) < (0.1 if first < BEFORE else 0.2)).astype(float)
        made.losses(np.tile(np.arange(RUNS), 100), losses, now_ms=np.zeros(len(losses), dtype=np.int64))
    at = made.table.col["performance_alarm_at"][:RUNS]
    return float((at[at > BEFORE] - BEFORE).mean())
