"""Random streams of events for the property tests, small enough to shrink, each made once."""

from __future__ import annotations

import functools

import numpy as np

from adaptive_stream.config import Config, load
from adaptive_stream.contracts.events import (
    Action,
    Control,
    Correction,
    InputEvent,
    Metrics,
    Prediction,
    Preference,
    Rating,
)

Stream = tuple[tuple[InputEvent, int], ...]  # events and the times of their records

START_MS = 1_600_000_000_000
LENGTH = 140  # some 600 s: enough for each window below to end
RING = 24  # predictions, below what the window holds
REMEMBERED = 16
LOOSE = {"entity_limit": 0, "max_early": 1_000, "max_feedback_ids": 100_000, "max_bytes": 2**28}
"""Bounds that the models of a family share are out of reach: without them a model does not notice the others."""


@functools.cache
def config(*, families: int = 1, task: str = "binary", is_loose: bool = False) -> Config:
    """Small windows and small bounds, so that a short stream reaches all of them."""
    overrides = [
        "join.window_s=300",
        "join.early_window_s=60",
        "join.max_early=5",
        "join.entity_limit=3",
        "join.entity_window_s=100",
        "join.max_entities=3",
    ]
    for number in range(families):
        name = f"families.f{number}"
        overrides += [
            f'{name}.match=["m{number}-*"]',
            f"{name}.task={task}",
            f"{name}.max_models=4",
            f"{name}.max_variants=2",
            f"{name}.max_channels=2",
            f"{name}.monitor.pane_s=60",
            f"{name}.monitor.panes=3",
            f"{name}.monitor.evaluate_every_s={20 + 10 * number}",
            f"{name}.monitor.status_interval_s={40 + 20 * number}",
            f"{name}.monitor.baseline_labels=10",
            f"{name}.alerts.min_labels=3",
            f"{name}.alerts.drop=0.02",
            f"{name}.alerts.drop_high=0.04",
            f"{name}.features=[{{name: a}}, {{name: b, kind: categorical, levels: [x, y]}}]",
        ]
    whole = load([], {}, overrides)
    # below what a file may ask for, so that a short stream gets there; the odd families' rings have room for the window
    small = LOOSE if is_loose else {"max_bytes": RING * 280, "max_feedback_ids": REMEMBERED}
    return whole.model_copy(update={"join": whole.join.model_copy(update=small)})


@functools.cache
def events(seed: int, count: int = LENGTH, *, families: int = 1, models: int = 3) -> Stream:
    """Return a stream with everything in it: good, early, late, doubled, wrong."""
    dice = np.random.default_rng(seed)

    def pick(*choices: object) -> object:
        return choices[dice.integers(len(choices))]

    now = START_MS
    made: list[tuple[InputEvent, int]] = []
    ids: list[tuple[str, str]] = []
    truth: dict[str, float] = {}
    for number in range(count):
        now += int(str(pick(0, 0, 1, 100, 1_000, 1_000, 2_000, 30_000)))
        model = f"m{dice.integers(families)}-{dice.integers(models)}" if dice.random() > 0.02 else "stranger"
        at = now - int(str(pick(0, 0, 0, 3_000)))
        kind = dice.random()
        if kind < 0.5:
            output = float(dice.random())
            event = _prediction(f"p{number}", model, output, pick=pick, dice=dice)
            ids.append((model, event.prediction_id))
            truth[event.prediction_id] = float(output >= 0.5)
            made.append((event, at))
            continue
        if kind < 0.93:
            which = dice.random()
            recent = ids[-12:] if which < 0.7 else ids
            wanted = recent[dice.integers(len(recent))] if recent and dice.random() > 0.1 else (model, f"p{number + 3}")
            # good, but bad in the third quarter
            is_right = dice.random() < (0.1 if count / 2 < number < count * 3 / 4 else 0.98)
            label = abs(truth.get(wanted[1], 1.0) - (not is_right))
            made.append((_feedback(f"f{number}", wanted, label, ids=ids, pick=pick, dice=dice), at))
        elif kind < 0.97:
            made.append((Metrics(model_id=model, accuracy=float(dice.random())), at))
        else:
            action = list(Action)[dice.integers(len(Action))]
            made.append((Control(command_id=f"c{number}", model_id=model, action=action), at))
    return tuple(made)
