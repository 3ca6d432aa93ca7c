"""Random streams of events for the property tests, small enough to shrink."""

from __future__ import annotations

import random

from adaptive_stream.config import Config, load
from adaptive_stream.contracts.events import Action, Control, Correction, InputEvent, Metrics, Prediction, Preference, Rating

START_MS = 1_600_000_000_000


def config(*, families: int = 1, task: str = "binary", **settings: str) -> Config:
    """Small windows and small bounds, so that a short stream reaches all of them."""
    overrides = [
        "join.window_s=1000",
        "join.early_window_s=60",
        "join.max_early=5",
        "join.max_feedback_ids=64",
        "join.entity_limit=3",
        "join.entity_window_s=100",
        "join.max_entities=3",
        "join.max_bytes=65536",
    ]
    for number in range(families):
        name = f"families.f{number}"
        overrides += [
            f'{name}.match=["m{number}-*"]',
            f"{name}.task={task}",
            f"{name}.max_models=4",
            f"{name}.max_variants=2",
            f"{name}.max_channels=2",
            f"{name}.monitor.pane_s=160",
            f"{name}.monitor.panes=5",
            f"{name}.monitor.evaluate_every_s={10 + 5 * number}",
            f"{name}.monitor.status_interval_s={20 + 10 * number}",
            f"{name}.monitor.baseline_labels=10",
            f"{name}.alerts.min_labels=3",
            f"{name}.features=[{{name: a}}, {{name: b, kind: categorical, levels: [x, y]}}]",
        ]
    overrides += [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    return load([], {}, overrides)


def events(seed: int, count: int, *, families: int = 1, models: int = 3) -> list[tuple[InputEvent, int]]:
    """A stream with everything in it: good, early, late, doubled, wrong."""
    dice = random.Random(seed)
    now = START_MS
    made: list[tuple[InputEvent, int]] = []
    ids: list[tuple[str, str]] = []
    truth: dict[str, float] = {}
    for number in range(count):
        now += dice.choice([0, 0, 1, 100, 1_000, 1_000, 5_000, 30_000])
        model = f"m{dice.randrange(families)}-{dice.randrange(models)}" if dice.random() > 0.02 else "stranger"
        at = now - dice.choice([0, 0, 0, 3_000])
        kind = dice.random()
        if kind < 0.5:
            ids.append((model, f"p{number}"))
            features = [dice.random(), dice.choice(["x", "y", "z", None])] if dice.random() > 0.03 else [1.0]
            output = dice.random()
            truth[f"p{number}"] = float(output >= 0.5)
            event: InputEvent = Prediction(
                prediction_id=f"p{number}" if dice.random() > 0.03 else "p0",
                model_id=model,
                variant_id=dice.choice(["v1", "v1", "v2", "v3"]),
                channel_id=dice.choice(["web", "web", "app"]),
                output=output if dice.random() > 0.02 else 7.0,
                features=features,
                failed=dice.random() < 0.02,
            )
        elif kind < 0.93:
            model, wanted = dice.choice(ids[-12:]) if ids and dice.random() > 0.1 else (model, f"p{number + 3}")
            entity = dice.choice([None, "e1", "e2", "e3", "e4"])
            feedback_id = f"f{number}" if dice.random() > 0.05 else "f1"
            which = dice.random()
            if which < 0.7:
                is_inline = dice.random() < 0.1
                # good, but bad in the third quarter
                is_right = dice.random() < (0.1 if count / 2 < number < count * 3 / 4 else 0.98)
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
            elif which < 0.85:
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
    return made
