"""A small fleet that is watched, and events for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.config.family import Feature
from adaptive_stream.drift.drift import Alarm, Drift

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

LEVELS = [f"l{number}" for number in range(12)]
FEATURES = [Feature(name="a"), Feature(name="b"), Feature(name="c", kind="categorical", levels=LEVELS)]
REFERENCE = 600


def drift(
    *,
    series: int = 1,
    features: Sequence[Feature] = FEATURES,
    stated: float | None = None,
    classes: int = 0,
    **settings: Any,  # noqa: ANN401 - of the configuration
) -> Drift:
    given = {"reference_predictions": REFERENCE, "reference_labels": 400, **settings}
    made = Drift(DriftConfig(**given), features=features, stated_loss=stated, classes=classes)
    for number in range(series):
        made.add(("m", "v", f"c{number}"))
    return made


def values(dice: np.random.Generator, size: int) -> Array:
    return np.stack(
        [dice.normal(0, 1, size), dice.lognormal(0, 1, size), dice.integers(0, 4, size).astype(float)], axis=1
    )


def feed(
    made: Drift, features: Array, *, outputs: Array | None = None, confidences: Array | None = None, series: int = 0
) -> list[Alarm]:
    size = len(features)
    absent = np.full(size, np.nan)
    return made.observe(
        np.full(size, series),
        features,
        absent if outputs is None else outputs,
        absent if confidences is None else confidences,
        now_ms=(made.table.col["events"][series] + np.arange(size)) * 1_000,
    )


def lose(made: Drift, losses: Array, *, series: int = 0) -> list[Alarm]:
    return made.losses(np.full(len(losses), series), losses, now_ms=np.arange(len(losses), dtype=np.int64) * 1_000)
