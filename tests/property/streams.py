"""Random streams of events for the property tests, small enough to shrink, each made once."""

from __future__ import annotations

import functools
import random

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
LENGTH = 480  # of a thick stream, some nine minutes; a thin one has a third of the events in as much time
RING = 36  # waiting predictions; more come within the window of the join where the stream is thick
REMEMBERED = 56  # ids
MODELS, SERIES = 4, 9  # rows of a family, series of a model: two variants and channels, and other
EARLY, ENTITIES = 5, 3


@functools.cache
def config(*, families: int = 1, task: str = "binary", is_loose: bool = False) -> Config:
    """Return small windows and small bounds, so that a short stream reaches all of them.

    Args:
        families: how many, each with other grids of time.
        task: of all families.
        is_loose: leave out the bounds that the models of a family share; without them they do not notice each other.
    """
    overrides = [
        "join.window_s=300",
        "join.early_window_s=60",
        f"join.max_early={EARLY}",
        "join.entity_limit=3",
        "join.entity_window_s=100",
        f"join.max_entities={ENTITIES}",
    ]
    for number in range(families):
        name = f"families.f{number}"
        overrides += [
            f'{name}.match=["m{number}-*"]',
            f"{name}.task={task}",
            f"{name}.max_models={MODELS}",
            f"{name}.max_variants=2",
            f"{name}.max_channels=2",
            f"{name}.monitor.pane_s=90",
            f"{name}.monitor.panes=3",
            f"{name}.monitor.evaluate_every_s={20 + 10 * number}",
            f"{name}.monitor.status_interval_s={40 + 20 * number}",
            f"{name}.monitor.baseline_labels=10",
            f"{name}.alerts.AccuracyDegraded.min_count=3",
            f"{name}.features=[{{name: a}}, {{name: b, kind: categorical, levels: [x, y]}}]",
        ]
    whole = load([], {}, overrides)
    # bounds below what a file may ask for, so that a short stream gets there
    bounds = {"max_bytes": RING * 280, "max_feedback_ids": REMEMBERED}
    loose = {"max_early": 1_000, "max_feedback_ids": 100_000, "max_bytes": 2**28, "entity_limit": 0}
    return whole.model_copy(update={"join": whole.join.model_copy(update=loose if is_loose else bounds)})


@functools.cache
def events(seed: int, *, families: int = 1, models: int = 3) -> Stream:
    """Return a stream with everything in it: good, early, late, doubled, wrong.

    Where the seed is odd it is thick, and most of it is about one series, so that there is evidence for an alert.
    """
    dice = random.Random(seed)  # noqa: S311 - a seed is no secret
    is_thick = seed % 2 == 1
    count = LENGTH if is_thick else LENGTH // 3
    steps_ms = [0, 0, 1, 100, 1_000, 1_000, 2_000, 4_000 if is_thick else 30_000]
    now = START_MS
    made: list[tuple[InputEvent, int]] = []
    ids: list[tuple[str, str]] = []
    truth: dict[str, float] = {}
    for number in range(count):
        now += dice.choice(steps_ms)
        model = f"m{dice.randrange(families)}-{dice.randrange(models)}" if dice.random() > 0.02 else "stranger"
        if is_thick and dice.random() < 0.85:
            model = "m0-0"
        at = now - dice.choice([0, 0, 0, 3_000])
        kind = dice.random()
        if kind < 0.45:
            ids.append((model, f"p{number}"))
            features = [dice.random(), dice.choice(["x", "y", "z", None])] if dice.random() > 0.03 else [1.0]
            output = dice.random()
            truth[f"p{number}"] = float(output >= 0.5)
            event: InputEvent = Prediction(
                prediction_id=f"p{number}" if dice.random() > 0.06 else "p0",
                model_id=model,
                variant_id=dice.choice(["v1"] * (9 if is_thick else 2) + ["v2", "v3"]),
                channel_id=dice.choice(["web"] * (9 if is_thick else 2) + ["app", "tv"]),
                output=output if dice.random() > 0.02 else 7.0,
                features=features,
                failed=dice.random() < 0.02,
            )
        elif kind < 0.93:
            recent = ids[-12:] if dice.random() < 0.9 else ids
            model, wanted = dice.choice(recent) if recent and dice.random() > 0.1 else (model, f"p{number + 3}")
            entity = dice.choice([None] * 6 + ["e1", "e2", "e3", "e4"])
            feedback_id = f"f{number}" if dice.random() > 0.05 else "f1"
            which = dice.random()
            if which < 0.8:
                is_inline = dice.random() < 0.1
                is_bad_time = count * 0.2 < number < count * 0.6
                is_right = dice.random() < (0.05 if is_bad_time else 0.98)
                label = abs(truth.get(wanted, 1.0) - (not is_right))
                event = Correction(
                    feedback_id=feedback_id,
                    prediction_id=wanted,
                    model_id=model,
                    label=label if dice.random() > 0.02 else 5.0,
                    entity_id=entity,
                    features=[0.5, "x"] if is_inline else None,
                    output=0.7 if is_inline else None,
                )
            elif which < 0.9:
                event = Rating(
                    feedback_id=feedback_id, prediction_id=wanted, model_id=model, score=3.0, entity_id=entity
                )
            else:
                other = dice.choice(ids)[1] if ids else "p1"
                event = Preference(feedback_id=feedback_id, model_id=model, chosen=wanted, rejected=other)
        elif kind < 0.97:
            event = Metrics(model_id=model, accuracy=dice.random())
        else:
            event = Control(command_id=f"c{number}", model_id=model, action=dice.choice(list(Action)))
        made.append((event, at))
    return tuple(made)
