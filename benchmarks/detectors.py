"""What River's detectors do on the streams of ``benchmarks.drift``: false alarms, delays, cost.

Run by an interpreter that has River (``make bench`` makes one): ``detectors.py``, prints one JSON object. Imports
nothing of the product.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from river.drift import ADWIN, KSWIN, PageHinkley

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[[], Any]

RUNS, BEFORE, AFTER = 20, 5_000, 10_000
STATIONARY = 200_000
WIDTH = 20
ERROR: dict[str, Make] = {"adwin": ADWIN, "page_hinkley": PageHinkley}
DATA: dict[str, Make] = {"adwin": ADWIN, "page_hinkley": PageHinkley, "kswin": lambda: KSWIN(seed=1)}
KSWIN_SHARE = 20  # KSWIN takes 0.1 ms a value: a part of the events must do


def main() -> None:
    """Measure, and print."""
    found: dict[str, float] = {}
    for name, make in ERROR.items():
        found[f"error_false_alarms_{name}"] = alone(make, STATIONARY)
        found[f"error_delay_{name}"] = delay(make)
    for name, make in DATA.items():
        events = STATIONARY // (KSWIN_SHARE if name == "kswin" else 10)
        alarms, seconds = together(make, events)
        found[f"data_false_alarms_{name}"] = alarms
        found[f"data_cost_{name}"] = seconds
    print(json.dumps(found))


def alone(make: Make, events: int) -> float:
    """Return false alarms in 1e5 labels at an error of .10."""
    dice, detector, alarms = np.random.default_rng(1), make(), 0
    for loss in (dice.random(events) < 0.1).astype(float).tolist():
        detector.update(loss)
        alarms += detector.drift_detected
    return alarms / events * 1e5


def delay(make: Make) -> float:
    """Return the mean delay of .10 > .20 after 5,000 labels; what was not found counts as 10,000."""
    dice, total = np.random.default_rng(2), 0
    for _ in range(RUNS):
        detector = make()
        for loss in (dice.random(BEFORE) < 0.1).astype(float).tolist():
            detector.update(loss)
        after = (dice.random(AFTER) < 0.2).astype(float).tolist()
        total += next((number for number, loss in enumerate(after, start=1) if is_found(detector, loss)), AFTER)
    return total / RUNS


def is_found(detector: Any, loss: float) -> bool:  # noqa: ANN401 - ships no types
    """Feed one value."""
    detector.update(loss)
    return bool(detector.drift_detected)


def together(make: Make, events: int) -> tuple[float, float]:
    """Return false alarms in 1e5 events of 20 stationary features, a detector each, and microseconds an event."""
    dice, detectors, alarms = np.random.default_rng(3), [make() for _ in range(WIDTH)], 0
    values = dice.standard_normal((events, WIDTH)).tolist()
    started = time.process_time()
    for row in values:
        for detector, value in zip(detectors, row, strict=True):
            detector.update(value)
            alarms += detector.drift_detected
    return alarms / events * 1e5, (time.process_time() - started) / events * 1e6


if __name__ == "__main__":
    main()
