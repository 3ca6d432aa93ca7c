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
# a rule that looks at a figure which a short stream has little of
EAGER = {
    "LatencyHigh.min_count": 3,
    "ErrorRateHigh.min_count": 3,
    "FeedbackSilent.medium": 45,
    "FeedbackSilent.min_count": 2,
    "PredictionsSilent.medium": 60,
    "PredictionsSilent.min_count": 2,
    "VolumeAnomaly.medium": 1.5,
    "VolumeAnomaly.min_count": 1,
    "DeadLetterRateHigh.min_count": 3,
    "ReportedErrorRateHigh.repeat_s": 60,
}
OF_TASK = {
    "binary": {
        "AccuracyDegraded.min_count": 3,
        "EstimatedAccuracyLow.min_count": 3,
        "EstimatedAccuracyLow.needs_evidence": "false",
        "CalibrationBroken.min_count": 3,
        "CalibrationBroken.for_s": 40,
    },
    "regression": {"ErrorIncreased.min_count": 3, "ErrorIncreased.cool_down_s": 60},
}


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
            f"{name}.monitor.status_interval_s={100 + 110 * number}",  # parts of a round fall between looks
            f"{name}.monitor.baseline_labels=10",
            f"{name}.monitor.baseline_predictions=10",
            f"{name}.monitor.auc_labels=20",
            # models of a family share a round of statuses
            f"{name}.monitor.statuses_at_once={100 if is_loose else 1}",
            f"{name}.thresholds={{app: 0.7}}",
            *(f"{name}.alerts.{rule}={value}" for rule, value in (EAGER | OF_TASK[task]).items()),
            f"{name}.features=[{{name: a}}, {{name: b, kind: categorical, levels: [x, y]}}]",
        ]
    whole = load([], {}, overrides)
    # bounds below what a file may ask for, so that a short stream gets there
    bounds = {"max_bytes": RING * 280, "max_feedback_ids": REMEMBERED}
    loose = {"max_early": 1_000, "max_feedback_ids": 100_000, "max_bytes": 2**28, "entity_limit": 0}
    eager = {"reference_predictions": 64, "reference_labels": 16, "budget_events": 4.0, "block": 4}
    families = {
        name: family.model_copy(update={"drift": family.drift.model_copy(update=eager)})
        for name, family in whole.families.items()
    }
    join = whole.join.model_copy(update=loose if is_loose else bounds)
    return whole.model_copy(update={"join": join, "families": families})


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
                failed=dice.random() < (0.6 if count * 0.7 < number < count * 0.75 else 0.02),
                confidence=dice.choice([None, dice.random()]),
                latency_ms=dice.choice([None, dice.lognormvariate(5.0 if number > count * 0.6 else 3.0, 0.5)]),
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
            values = {f"v{dice.randrange(30)}": dice.random() for _ in range(dice.choice([0, 3, 12]))}
            event = Metrics(
                model_id=model,
                channel_id=dice.choice(["web", "web", "app"]),
                accuracy=dice.choice([None, dice.random()]),
                latency_ms=dice.choice([None, 100 * dice.random()]),
                error_rate=0.2 * dice.random(),
                values=values or None,
            )
        else:
            action = dice.choice(list(Action))
            event = Control(command_id=f"c{number}", model_id=model, action=action, args=_args(dice, action))
        made.append((event, at))
    return tuple(made)


def _args(dice: random.Random, action: Action) -> dict[str, object]:
    """Return what an order says, good or wrong."""
    match action:
        case Action.SET_BASELINE:
            metric = dice.choice(["accuracy", "latency_p95_ms", "nothing", "error_rate"])
            return dice.choice([{}, {"value": 0.5}, {"metric": metric}, {"metric": metric, "value": dice.random()}])
        case Action.SILENCE:
            return {"duration_s": dice.choice([0, 30, 120, -1])}
        case Action.ACKNOWLEDGE:
            return dice.choice([{}, {"alertname": "ReportedErrorRateHigh"}, {"alertname": "none"}, {"wrong": 1}])
        case _:
            return {}


@functools.cache
def marks(seed: int, *, families: int = 1, models: int = 3) -> tuple[tuple[tuple[int, str], ...], dict[int, int]]:
    """Return what happens to a stream beside its events.

    Returns:
        Refused records, each before which place and of which model; and idle looks, at the wall clock of a batch
        without records, by the place before which they happen.
    """
    dice = random.Random(seed + 1_000)  # noqa: S311 - a seed is no secret
    stream = events(seed, families=families, models=models)
    places = sorted(dice.randrange(len(stream) + 1) for _ in range(len(stream) // 8))
    refused = tuple((place, f"m{dice.randrange(families)}-{dice.randrange(models + 1)}") for place in places)
    looks = {place: stream[place][1] + dice.choice([0, 30_000, 90_000]) for place in places[::9] if place < len(stream)}
    return refused, looks
