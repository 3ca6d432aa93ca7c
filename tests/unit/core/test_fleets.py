"""The step itself: its order, its clock and the ids of what it says."""

from __future__ import annotations

import uuid

import pytest

from adaptive_stream.core.slice import Slice, Stepped
from tests.unit.core.scene import Scene, adaptations, alerts, prediction

DROP = (
    ".monitor.baseline_labels=10",
    ".monitor.pane_s=60",
    ".monitor.panes=1",
    ".alerts.AccuracyDegraded.min_count=10",
)


def up_and_down(scene: Scene) -> Stepped:
    """A model that is good, bad, good and bad again, with an order in between."""
    told = Stepped()
    for seconds, (hits, misses) in enumerate([(20, 0), (0, 400), (400, 0), (0, 400)]):
        scene.now_s = 60 * seconds + 5
        for part in (scene.label(hits, misses), scene.after(50, scene.order("freeze"))):
            told.outputs.extend(part.outputs)
    told.outputs.extend(scene.after(60).outputs)
    return told


def test_an_alert_keeps_its_id_for_its_life_and_the_next_one_has_another() -> None:
    told = alerts(up_and_down(Scene(*DROP)))
    assert [alert.status for alert in told] == ["firing", "resolved", "firing"]
    first, resolved, second = told
    assert first.alert_id == resolved.alert_id != second.alert_id
    assert first.starts_at == resolved.starts_at < second.starts_at
    assert {uuid.UUID(alert.alert_id).version for alert in told} == {5}


def test_the_same_records_give_the_same_ids() -> None:
    first, again = up_and_down(Scene(*DROP)), up_and_down(Scene(*DROP))
    assert first == again
    assert len(alerts(first)) == 3
    assert len({answer.adaptation_id for answer in adaptations(first)}) == 4


@pytest.mark.parametrize("field", ["model_id", "variant_id", "channel_id"])
def test_alerts_of_different_series_at_one_time_have_different_ids(field: str) -> None:
    scene = Scene(*DROP)
    for name in ("m1", "m2"):
        scene.label(20, **{field: name})
    scene.now_s = 60
    for name in ("m1", "m2"):
        scene.label(0, 400, **{field: name})
    told = alerts(scene.after(10))
    assert [alert.labels[field] for alert in told] == ["m1", "m2"]
    assert len({alert.starts_at for alert in told}) == 1
    assert len({alert.alert_id for alert in told}) == 2


def test_an_empty_slice_does_nothing() -> None:
    scene = Scene()
    scene.step(prediction("p"))
    before = scene.driver.fleets.dump()
    assert scene.driver.fleets.step(Slice(topics=[], offsets=[], times_ms=[], events=[])) == Stepped()
    assert scene.driver.fleets.dump() == before


def test_outputs_come_in_the_order_of_their_causes() -> None:
    scene = Scene()
    scene.step(prediction("p"))
    scene.send(scene.order("freeze"))
    scene.now_s += 25
    scene.send(scene.order("resume"), scene.order("stop"))
    kinds = [getattr(output, "kind", "status") for output in scene.driver.run().outputs]
    assert kinds == ["frozen", "status", "resumed", "applied"]


def test_a_long_gap_costs_two_looks_and_not_one_for_each_point_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    scene.step(prediction("p"))
    looks: list[int] = []
    tick = scene.fleet.tick

    def counted(*, now_ms: int, is_status_due: bool = False) -> object:
        looks.append(now_ms)
        return tick(now_ms=now_ms, is_status_due=is_status_due)

    monkeypatch.setattr(scene.fleet, "tick", counted)
    start = scene.now_ms
    scene.after(31_536_003)
    assert looks == [start + 10_000, start + 31_536_000_000]


def test_counters_and_gauges_add_up_over_families() -> None:
    scene = Scene('families.g.match=["g*"]')
    scene.step(prediction("p"), prediction("p", model_id="g"), prediction("q", model_id="g"), scene.correction("p"))
    assert scene.outcomes == {"joined": 1}
    gauges = scene.driver.fleets.gauges()
    assert (gauges["models"], gauges["series"], gauges["held"], gauges["waiting"]) == (2, 2, 3, 2)


def test_an_objective_that_changed_holds_from_the_restart_on_and_is_in_the_next_snapshot() -> None:
    scene = Scene(".monitor.baseline=0.9")
    scene.label(20)
    frozen = scene.driver.freeze()
    scene.driver.config = Scene(".monitor.baseline=0.7").driver.config
    for _ in range(2):
        scene.driver.fleets = scene.driver.thaw(frozen)
        [series] = scene.status().series
        assert series.baseline is not None
        assert (series.baseline.value, series.baseline_source, series.baseline_version) == (0.7, "stated", 2)
        frozen = scene.driver.freeze()
    assert scene.driver.thaw(frozen).dump() == scene.driver.fleets.dump()
