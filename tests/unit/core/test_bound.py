"""Everything held is bounded: ten times too much arrives, memory stays, and what was dropped is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from adaptive_stream.contracts.events import Metrics
from adaptive_stream.core import fleets as fleets_module
from adaptive_stream.core.join import BYTES_PER_PREDICTION
from adaptive_stream.monitor.monitor import MAX_VALUES
from tests.unit.core.scene import Scene, prediction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adaptive_stream.contracts.events import InputEvent

RING = 65_536 // BYTES_PER_PREDICTION
TIGHT = (
    "join.max_bytes=65536",
    "join.max_early=7",
    "join.max_feedback_ids=64",
    "join.max_entities=5",
    "join.entity_window_s=31536000",
    "join.early_window_s=31536000",
    "join.window_s=31536000",
    ".max_models=4",
    ".max_variants=2",
    ".max_channels=2",
    ".monitor.panes=3",
)


def sizes(holder: Any, seen: set[int] | None = None) -> Iterator[tuple[str, int]]:  # noqa: ANN401
    """Yield the size of every container and array reachable from the project's objects."""
    seen = set() if seen is None else seen
    for name, value in vars(holder).items():
        if id(value) in seen:
            continue
        seen.add(id(value))
        if hasattr(value, "nbytes"):
            yield name, value.nbytes
        elif hasattr(value, "__len__") and not isinstance(value, str):
            yield name, len(value)
            for part in value.values() if isinstance(value, dict) else ():
                if hasattr(part, "nbytes"):
                    yield name, part.nbytes
        elif type(value).__module__.startswith("adaptive_stream.") and hasattr(value, "__dict__"):
            yield from sizes(value, seen)


def held(scene: Scene) -> int:
    """Return about how much the fleets hold, in elements and bytes."""
    return sum(size for fleet in scene.driver.fleets.fleets for _, size in sizes(fleet))


def flood(scene: Scene, start: int, stop: int) -> None:
    """Different models, variants, entities and ids in every record, half of them with an answer, half early."""
    for number in range(start, stop):
        model = f"m{number % 8}"
        batch: list[InputEvent] = [
            prediction(f"p{number}", model_id=model, variant_id=f"v{number}", channel_id=f"c{number}"),
            scene.correction(f"p{number}", model_id=model, entity_id=f"e{number}"),
            scene.correction(f"never-{number}", model_id=model),
        ]
        scene.now_s += 1
        scene.send(*batch)
    scene.step(cuts=(50,))


@pytest.mark.slow
def test_ten_times_too_much_leaves_no_more_than_the_bounds() -> None:
    scene = Scene(*TIGHT)
    flood(scene, 0, 10 * RING)
    fleet = scene.fleet
    gauges = scene.driver.fleets.gauges()
    assert gauges["models"] == 4
    assert gauges["held"] == len(fleet.join.index) == RING
    assert gauges["ring_bytes"] <= 65_536
    assert gauges["early"] == sum(map(len, fleet.join.early_by_key.values())) == 7
    assert gauges["entities"] == len(fleet.join.entities) == 5
    assert gauges["series"] == len(fleet._series) <= 4 * 3 * 3
    assert len(fleet.join.seen._set) == len(fleet.join.departed._set) == 64
    assert sum(key is not None for key in fleet.join.keys) == RING


@pytest.mark.slow
def test_memory_stays_where_it_was_when_the_bounds_were_reached() -> None:
    scene = Scene(*TIGHT)
    flood(scene, 0, 3 * RING)
    full = held(scene)
    flood(scene, 3 * RING, 10 * RING)
    assert held(scene) == full


@pytest.mark.slow
def test_the_measure_of_memory_sees_what_grows() -> None:
    loose, tight = Scene(), Scene(*TIGHT)
    for scene in (loose, tight):
        flood(scene, 0, 2 * RING)
    assert held(loose) > 2 * held(tight)


@pytest.mark.slow
def test_all_that_was_dropped_is_counted() -> None:
    scene = Scene(*TIGHT)
    flood(scene, 0, 10 * RING)
    served = 10 * RING // 2  # the other models are refused
    assert scene.dropped == {
        "ring_evicted": served - RING,
        "early_evicted": served - 7,
        "entities_uncounted": served - 5,
        "series_folded": served - 4 * 2,
        "feedback_ids_forgotten": 2 * served - 64,
        "departed_ids_forgotten": served - RING - 64,
    }
    assert scene.outcomes == {"joined": served, "early": 7, "orphan": served - 7}


def test_predictions_pushed_out_without_an_answer_are_missed_and_their_feedback_is_late() -> None:
    scene = Scene(*TIGHT)
    scene.step(*(prediction(f"p{number}") for number in range(RING + 3)))
    assert scene.dropped == {"ring_evicted": 3, "never_labelled": 3}
    assert scene.driver.fleets.gauges()["waiting"] == RING
    scene.step(*(scene.correction(f"p{number}") for number in range(5)))
    assert scene.outcomes == {"late": 3, "joined": 2}


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_a_ring_smaller_than_a_slice_scores_all_that_was_joined(cut: int) -> None:
    scene = Scene(*TIGHT)
    for number in range(3 * RING):
        scene.send(prediction(f"p{number}", 0.9), scene.correction(f"p{number}", float(number % 4 > 0)))
    scene.step(cuts=(cut,))
    [series] = scene.status().series
    assert (series.labelled, series.total.value) == (3 * RING, 1 - -(-3 * RING // 4) / (3 * RING))


def test_features_count_in_the_size_of_the_ring() -> None:
    names = ", ".join(f"{{name: x{number}}}" for number in range(68))
    scene = Scene("join.max_bytes=65536", f".features=[{names}]")
    scene.step(*(prediction(f"p{number}", features=[0.0] * 68) for number in range(RING)))
    assert scene.driver.fleets.gauges()["held"] == 65_536 // (BYTES_PER_PREDICTION + 4 * 68)


def test_the_choice_of_a_family_is_remembered_for_so_many_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleets_module, "MAX_KNOWN_MODELS", 10)
    scene = Scene(*TIGHT)
    stepped = scene.step(*(prediction("p", model_id=f"m{number}") for number in range(100)))
    assert len(stepped.rejected) == 96
    assert len(scene.driver.fleets._family_of) <= 10
    scene.step(*(prediction("p", model_id=f"x{number}") for number in range(100)))
    assert len(scene.driver.fleets._family_of) <= 10


def test_free_figures_beyond_their_number_are_counted() -> None:
    scene = Scene()
    scene.step(
        *(Metrics(model_id="m", values={f"figure-{number}": float(number)}) for number in range(10 * MAX_VALUES))
    )
    scene.step(Metrics(model_id="m", values={"figure-0": -1.0}))
    [series] = scene.status().series
    assert (len(series.values), series.values["figure-0"]) == (MAX_VALUES, -1.0)
    assert scene.dropped["reported_values"] == 9 * MAX_VALUES
