"""What is taken in is measured in large passes, and nobody who asks can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.contracts.events import Correction, ModelStatus
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core import held
from adaptive_stream.core.held import Held
from adaptive_stream.core.slice import Slice
from tests.unit.core.scene import START_MS, Scene, prediction

if TYPE_CHECKING:
    from adaptive_stream.core.fleets import Fleets


def fed(fleets: Fleets, *, first: int, count: int) -> None:
    """Step a slice of predictions, each with its label."""
    made = [prediction(f"p{number}") for number in range(first, first + count)]
    told = [
        Correction(feedback_id=f"f{one.prediction_id}", prediction_id=one.prediction_id, model_id="m", label=1.0)
        for one in made
    ]
    fleets.step(
        Slice(
            topics=[Topic.PREDICTIONS] * count + [Topic.FEEDBACK] * count,
            offsets=[*range(first, first + count)] * 2,
            times_ms=[START_MS + 1] * 2 * count,  # between two points of the grid
            events=[*made, *told],
        )
    )


def measured(fleets: Fleets) -> tuple[int, int]:
    """Return predictions and labels that the detectors have seen."""
    drift = fleets.fleets[0].drift
    assert drift is not None
    return tuple(int(drift.engine.table.col[name][:1].sum()) for name in ("events", "labels"))  # type: ignore[return-value]


def test_what_is_held_is_measured_when_it_is_much_or_asked_for() -> None:
    scene = Scene()
    fleets = scene.driver.fleets
    fed(fleets, first=0, count=10)
    assert measured(fleets) == (0, 0)
    fleets.measure()
    assert measured(fleets) == (10, 10)
    fed(fleets, first=10, count=held.MOST)
    assert measured(fleets) == (10 + held.MOST, 10 + held.MOST), "at once"


@pytest.mark.parametrize("asked", ["freeze", "dump", "status", "statuses"])
def test_who_asks_or_saves_sees_everything(asked: str) -> None:
    scene = Scene()
    fleets = scene.driver.fleets
    fed(fleets, first=0, count=10)
    if asked in {"status", "statuses"}:
        fleets.fleets[0].models.col["is_due"][0] = 1  # a round of statuses goes on between two points of the grid
        round_ = fleets.fleets[0].statuses(now_ms=START_MS + 2) if asked == "statuses" else [fleets.status("m")]
        [status] = [each for each in round_ if isinstance(each, ModelStatus)]
        assert [series.predictions for series in status.series] == [10]
    else:
        getattr(fleets, asked)()
    assert measured(fleets) == (10, 10)


def test_runs_are_taken_in_order_and_once() -> None:
    runs = Held()
    for part in ([], [1, 2], [3]):
        runs.add({"series": np.array(part, dtype=np.int64)})
    assert runs.take()["series"].tolist() == [1, 2, 3]
    assert runs.is_empty
