"""A fleet as bytes and back: every part returns, and bytes that are not a snapshot are refused."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.events import Metrics
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.snapshot import Rising
from adaptive_stream.testing.driver import thaw
from tests.unit.core.scene import Scene, prediction

if TYPE_CHECKING:
    from pathlib import Path

    from adaptive_stream.core.slice import Frozen

SETTINGS = (
    ".features=[{name: a}, {name: b, kind: categorical, levels: [x]}]",
    ".monitor.baseline_labels=10",
    ".monitor.pane_s=60",
    ".alerts.AccuracyDegraded.min_count=3",
    ".max_variants=1",
    "join.window_s=300",
    "join.early_window_s=600",
    "join.entity_limit=2",
)
SERVED = {"features": [1.5, "x"]}


def lived_in() -> Scene:
    """Something in every part: rows, series, panes, alerts, ring, early, entities, memory, counters."""
    scene = Scene(*SETTINGS)
    scene.label(12, 0, **SERVED)
    scene.step(prediction("forgotten", **SERVED), Metrics(model_id="m", latency_ms=3.0), scene.order("freeze"))
    scene.after(60)
    scene.label(0, 300, **SERVED)
    scene.after(300)
    scene.step(
        *(prediction(f"w{n}", model_id=f"m{n % 3}", variant_id=f"v{n % 2}", features=[n, None]) for n in range(40)),
        scene.rating("w0", model_id="m0", entity_id="e"),
        scene.correction("w3", model_id="m0", entity_id="e"),
        scene.correction("w6", model_id="m0", entity_id="e"),
        scene.correction("unborn", entity_id="e", features=[None, "x"], details="waits"),
        scene.preference("w9", "unborn", model_id="m0"),
        scene.order("stop", model_id="m1"),
    )
    return scene


def test_every_part_comes_back() -> None:
    scene = lived_in()
    fleet = scene.fleet
    again = scene.driver.thaw(scene.driver.freeze()).fleets[0]
    assert again.models.keys == fleet.models.keys
    assert again.models.index == fleet.models.index
    assert again.models.count == fleet.models.count == 5
    for name in fleet.models.col:
        np.testing.assert_array_equal(again.models.col[name][:5], fleet.models.col[name][:5])
    for name in fleet.monitor.series.col:
        count = fleet.monitor.series.count
        np.testing.assert_array_equal(again.monitor.series.col[name][:count], fleet.monitor.series.col[name][:count])
    assert fleet.monitor.series.col["stage"].max() > 0, "an alert is under way"
    assert (again.join.head, again.join.tail) == (fleet.join.head, fleet.join.tail) == (13, 353)
    assert again.join.index == fleet.join.index
    sequences = np.arange(fleet.join.head, fleet.join.tail)
    for name in fleet.join.col:
        here, there = again.join.slots(sequences), fleet.join.slots(sequences)
        np.testing.assert_array_equal(again.join.col[name][here], fleet.join.col[name][there])
    assert again.join.early == fleet.join.early
    assert again.join.early_by_key == fleet.join.early_by_key
    assert len(fleet.join.early) == 2
    assert (again.join.entities, again.join.entity_window) == (fleet.join.entities, fleet.join.entity_window)
    for name in ("seen", "departed"):
        mine, theirs = getattr(again.join, name), getattr(fleet.join, name)
        assert (mine._set, mine.count, mine.cursor) == (theirs._set, theirs.count, theirs.cursor)
        assert mine.count > 0
    assert (again.dropped, again.join.dropped) == (fleet.dropped, fleet.join.dropped)
    assert (again.monitor.dropped, again._series, again._variants) == (
        fleet.monitor.dropped,
        fleet._series,
        fleet._variants,
    )
    thawed = scene.driver.thaw(scene.driver.freeze())
    assert thawed.stream_time_ms == scene.driver.fleets.stream_time_ms
    assert thawed.dump() == scene.driver.fleets.dump()
    assert (thawed.counters(), thawed.gauges()) == (scene.driver.fleets.counters(), scene.driver.fleets.gauges())


def test_what_came_back_goes_on_as_if_nothing_had_been() -> None:
    scene, twin = lived_in(), lived_in()
    twin.driver.fleets = twin.driver.thaw(twin.driver.freeze())
    for each in (scene, twin):
        each.send(prediction("unborn", model_id="m0", **SERVED), prediction("unborn", **SERVED))
        each.send(each.correction("w12", model_id="m0"), each.correction("forgotten"))
        each.send(each.order("start", model_id="m1"), each.correction("w4", model_id="m1"))
    assert scene.step() == twin.step()
    assert scene.after(400) == twin.after(400)
    assert scene.driver.fleets.dump() == twin.driver.fleets.dump()


def test_fleets_that_saw_nothing_come_back_too() -> None:
    scene = Scene()
    frozen = scene.driver.freeze()
    assert frozen.first_waiting_offset is None
    assert frozen.directory == []
    assert scene.driver.thaw(frozen).dump() == scene.driver.fleets.dump() == Scene().driver.fleets.dump()


def test_a_snapshot_is_untouched_by_later_steps() -> None:
    scene = lived_in()
    frozen, before = scene.driver.freeze(), scene.driver.fleets.dump()
    pages = dict(scene.driver.pages)
    waiting = list(scene.driver.predictions)
    scene.label(50, 50, **SERVED)
    scene.after(1_000)
    assert thaw(scene.driver.config, frozen.head, pages, waiting).dump() == before


def test_only_what_changed_is_in_the_next_snapshot() -> None:
    scene = Scene()
    for number in range(200):
        scene.send(prediction(f"p{number}", model_id=f"m{number}"))
    scene.step()
    first = scene.driver.freeze()
    assert sorted(first.pages) == sorted(first.directory)
    assert len([page for page in first.directory if page.startswith("f/models/")]) == 4
    assert scene.driver.freeze().pages == {}
    scene.step(Metrics(model_id="m70", accuracy=1.0))
    second = scene.driver.freeze()
    assert list(second.pages) == ["f/models/1", "f/series/1"]
    assert second.directory == first.directory
    assert scene.driver.thaw(second).dump() == scene.driver.fleets.dump()


@pytest.mark.parametrize("kind", ["prediction", "correction", "rating", "early", "duplicate", "metrics", "order"])
def test_whatever_one_record_changes_is_in_the_next_snapshot(kind: str) -> None:
    scene = Scene()
    scene.step(prediction("p"), prediction("q"), scene.rating("q", feedback_id="f"))
    scene.driver.freeze()
    before = scene.driver.fleets.dump()
    scene.step(
        {
            "prediction": prediction("r"),
            "correction": scene.correction("p"),
            "rating": scene.rating("p"),
            "early": scene.rating("r"),
            "duplicate": scene.rating("q", feedback_id="f"),
            "metrics": Metrics(model_id="m", accuracy=1.0),
            "order": scene.order("freeze"),
        }[kind]
    )
    assert scene.driver.fleets.dump() != before
    assert scene.driver.thaw(scene.driver.freeze()).dump() == scene.driver.fleets.dump()


def test_the_log_is_needed_from_the_oldest_waiting_prediction_of_any_family() -> None:
    scene = Scene('families.g.match=["g*"]', "join.window_s=100", "families.g.monitor.evaluate_every_s=10")
    scene.step(prediction("p0"), prediction("g0", model_id="g"))
    scene.after(60, prediction("p1"), prediction("g1", model_id="g"), prediction("p2"))
    assert scene.driver.freeze().first_waiting_offset == 0
    scene.after(60)
    frozen = scene.driver.freeze()
    assert frozen.first_waiting_offset == 2
    thawed = scene.driver.thaw(frozen)
    assert [list(fleet.join.index.values()) for fleet in thawed.fleets] == [[1, 2], [1]]


def test_a_family_that_is_gone_is_forgotten_and_a_fresh_one_starts_empty() -> None:
    old = Scene('families.g.match=["g*"]')
    old.step(prediction("p"), prediction("p", model_id="g"))
    frozen = old.driver.freeze()
    scene = Scene('families.h.match=["h*"]')
    thawed = thaw(scene.driver.config, frozen.head, old.driver.pages, old.driver.predictions)
    assert [(fleet.name, fleet.models.count) for fleet in thawed.fleets] == [("f", 1), ("h", 0)]


def test_waiting_predictions_that_the_log_has_lost_are_left_out() -> None:
    scene = Scene()
    scene.step(*(prediction(f"p{number}") for number in range(5)), scene.correction("p3"))
    frozen = scene.driver.freeze()
    left = [kept for kept in scene.driver.predictions if kept[0] >= 2]
    thawed = thaw(scene.driver.config, frozen.head, scene.driver.pages, left)
    join = thawed.fleets[0].join
    assert list(join.index) == [(0, "p2"), (0, "p3"), (0, "p4")]
    assert join.col["flags"][join.slots(np.arange(join.head, join.tail))].tolist() == [0, 3, 0]


def test_what_is_lost_in_the_middle_shifts_no_mark_and_no_time_of_the_others() -> None:
    scene = Scene("join.window_s=600")
    for number in range(5):
        scene.after(60, prediction(f"p{number}"))
    scene.step(scene.correction("p1"), scene.rating("p3"))
    frozen = scene.driver.freeze()
    for gone in range(5):
        other = Scene("join.window_s=600")
        left = [kept for kept in scene.driver.predictions if kept[0] != gone]
        other.driver.fleets = thaw(scene.driver.config, frozen.head, scene.driver.pages, left)
        other.now_s = scene.now_s
        names = {f"p{number}" for number in range(5) if number != gone}
        join, before = other.fleet.join, scene.fleet.join
        for name in names:
            here, there = (ring.index[0, name] % len(ring.keys) for ring in (join, before))
            for column in ("flags", "arrival", "time", "offset"):
                assert join.col[column][here] == before.col[column][there]
        unanswered = names - {"p1", "p3"}
        assert (other.status().waiting, other.dropped["waiting_lost"]) == (len(unanswered), 1)
        other.step(*(other.correction(name, feedback_id=f"again-{name}") for name in sorted(names)))
        assert other.dropped.get("recorrected", 0) == (gone != 1), "what is scored is scored once"


def in_the_oldest_format(head: bytes) -> bytes:
    """Return a snapshot's head as builds up to format 3 wrote it: a bit an offset, eight bytes a difference."""
    whole = msgspec.msgpack.decode(head)
    for fleet in whole["fleets"].values():
        offsets, arrivals = (msgspec.convert(fleet[name], Rising).numbers() for name in ("offsets", "arrivals"))
        bits = np.zeros(int(offsets[-1] - offsets[0]) + 1 if len(offsets) else 0, dtype=np.uint8)
        bits[offsets - offsets[:1]] = 1
        fleet["offsets"] = zlib.compress(np.packbits(bits).tobytes(), 1)
        fleet["arrivals"] = zlib.compress(np.diff(arrivals, prepend=0).tobytes(), 1)
        del fleet["grid_ms"]
        fleet["format"] = 3
    return msgspec.msgpack.encode(whole)


def test_a_snapshot_in_the_oldest_format_comes_back_whole() -> None:
    scene = lived_in()
    frozen = scene.driver.freeze()
    head = in_the_oldest_format(frozen.head)
    assert thaw(scene.driver.config, head, scene.driver.pages, scene.driver.predictions).dump() == (
        scene.driver.fleets.dump()
    )
    empty = Scene()
    nothing = in_the_oldest_format(empty.driver.freeze().head)
    assert thaw(empty.driver.config, nothing, {}, []).dump() == empty.driver.fleets.dump()


def test_predictions_that_wait_take_no_room_for_the_offsets_between_them() -> None:
    scene = Scene()
    for number in range(3):
        scene.driver._ends[Topic.PREDICTIONS] = number << 40  # a byte for each offset would be a terabyte
        scene.step(prediction(f"p{number}"))
    frozen = scene.driver.freeze()
    assert len(frozen.head) < 2_000
    assert scene.driver.thaw(frozen).dump() == scene.driver.fleets.dump()


@pytest.mark.parametrize(
    "numbers",
    [[], [7], [7, 7, 7], [0, 1, 2], [5, 5 + 254, 5 + 254 + 255, 5 + 254 + 255 + 256, 2**62], [-3, 0, 2**40]],
)
def test_numbers_that_never_fall_come_back_however_far_they_lie_apart(numbers: list[int]) -> None:
    saved = msgspec.msgpack.encode(Rising.of(np.array(numbers, dtype=np.int64)))
    assert msgspec.msgpack.decode(saved, type=Rising).numbers().tolist() == numbers


@pytest.mark.parametrize(
    "change",
    [
        ".alerts.Mine={metric: accuracy, medium: 0.5, min_count: 10}",
        ".alerts.AccuracyDegraded.enabled=false",
        ".monitor.evaluate_every_s=20",
        ".monitor.evaluate_every_s=5",
        ".monitor.pane_s=120",
        ".monitor.panes=10",
        ".monitor.auc_labels=100",
        ".drift.reference_predictions=4000",
        ".drift.projections=1",
        ".drift.history=5",
        ".drift.enabled=false",
        ".features=[{name: a}, {name: b, kind: categorical, levels: [x, y]}]",
    ],
)
def test_what_another_configuration_made_of_a_snapshot_is_saved_whole(change: str) -> None:
    scene = lived_in()
    first = scene.driver.freeze()
    pages, config = dict(scene.driver.pages), Scene(*SETTINGS, change).driver.config
    once = thaw(config, first.head, pages, scene.driver.predictions)
    second = once.freeze()
    pages |= second.pages
    twice = thaw(config, second.head, {key: pages[key] for key in second.directory}, scene.driver.predictions)
    assert twice.dump() == once.dump()
    assert twice.freeze().pages == {}, "nothing is brought into the present configuration twice"


@pytest.mark.slow
@pytest.mark.parametrize("is_oldest", [False, True])
@pytest.mark.parametrize(("before_s", "after_s"), [(10, 10), (10, 300), (300, 10), (10, 7), (7, 10), (300, 240)])
def test_a_grid_that_changed_moves_the_end_of_no_window_by_more_than_a_cell(
    before_s: int, after_s: int, *, is_oldest: bool
) -> None:
    window_s = 3_600
    bounds = f"join.window_s={window_s}", "join.early_window_s=60"

    def made(grid_s: int) -> Scene:
        return Scene(*bounds, f".monitor.evaluate_every_s={grid_s}", f".monitor.status_interval_s={84 * grid_s}")

    old, scene = made(before_s), made(after_s)
    came = {f"p{number}": 137.0 * number for number in range(12)}
    for name, at in came.items():
        old.now_s = at
        old.step(prediction(name))
    frozen = old.driver.freeze()
    head = in_the_oldest_format(frozen.head) if is_oldest else frozen.head
    driver = scene.driver
    driver.fleets = thaw(driver.config, head, old.driver.pages, old.driver.predictions)
    driver.pages, driver.predictions = dict(old.driver.pages), list(old.driver.predictions)
    driver._ends = dict(old.driver._ends)
    assert scene.fleet.join.index == old.fleet.join.index
    again = driver.freeze()
    assert driver.thaw(again).dump() == driver.fleets.dump(), "what was converted is saved in the present grid"

    scene.now_s = old.now_s
    late_s = before_s + 2 * after_s  # a cell of then, one of now, and up to the next look
    while scene.now_s < max(came.values()) + window_s + late_s:
        scene.after(after_s, prediction(f"at{scene.now_s}"))
        arrivals = scene.fleet.join.col["arrival"][
            scene.fleet.join.slots(np.arange(scene.fleet.join.head, scene.fleet.join.tail))
        ]
        assert (np.diff(arrivals) >= 0).all()
        held = {name for _, name in scene.fleet.join.index}
        assert held >= {name for name, at in came.items() if at + window_s >= scene.now_s}, "none leaves too early"
        assert not held & {name for name, at in came.items() if at + window_s + late_s < scene.now_s}
    scene.step(*(scene.correction(name) for name in came))
    assert scene.outcomes == {"late": 12}
    assert (driver.freeze().first_waiting_offset or 0) >= len(came), "the log is needed no longer than the window"


@pytest.mark.parametrize(("before_s", "after_s"), [(10, 300), (300, 10)])
def test_labels_join_right_after_a_restart_with_another_grid(before_s: int, after_s: int) -> None:
    def made(grid_s: int) -> Scene:
        return Scene("join.window_s=3600", f".monitor.evaluate_every_s={grid_s}", ".monitor.status_interval_s=600")

    old, scene = made(before_s), made(after_s)
    for number in range(5):
        old.step(prediction(f"p{number}"))
        old.now_s += 60
    frozen = old.driver.freeze()
    scene.driver.fleets = thaw(scene.driver.config, frozen.head, old.driver.pages, old.driver.predictions)
    scene.now_s = 900
    scene.after(0)
    scene.step(*(scene.correction(f"p{number}") for number in range(5)))
    assert scene.outcomes == {"joined": 5}
    assert scene.dropped == {}


def test_cells_of_two_grids_that_the_oldest_format_mixed_leave_within_a_window() -> None:
    scene = Scene("join.window_s=600", ".monitor.evaluate_every_s=300", ".monitor.status_interval_s=600")
    for number in range(4):
        scene.after(60, prediction(f"p{number}"))
    cell = scene.now_ms // 300_000
    scene.after(300)
    whole = msgspec.msgpack.decode(in_the_oldest_format(scene.driver.freeze().head))
    fleet = whole["fleets"]["f"]
    mixed = np.array([cell * 30] * 2 + [cell] * 2)  # a restart from 10 s to 300 s lies between them
    fleet["arrivals"] = zlib.compress(np.diff(mixed, prepend=0).tobytes(), 1)
    head = msgspec.msgpack.encode(whole)
    scene.driver.fleets = thaw(scene.driver.config, head, scene.driver.pages, scene.driver.predictions)
    sequences = np.arange(4)
    assert scene.fleet.join.col["arrival"][scene.fleet.join.slots(sequences)].tolist() == [cell + 1] * 4
    assert scene.driver.thaw(scene.driver.freeze()).dump() == scene.driver.fleets.dump()
    scene.after(1_200)
    assert scene.driver.fleets.gauges()["held"] == 0


@pytest.mark.slow
def test_a_quiet_page_that_began_anew_forgets_no_alarm_of_another() -> None:
    drift = ".features=[{name: a}]", ".drift.budget_events=1000"
    old = Scene(*drift, ".drift.reference_predictions=520")
    old.step(*(prediction(f"q{n}", model_id=f"m{n}", features=[0.0]) for n in range(70)))
    frozen, scene = old.driver.freeze(), Scene(*drift, ".drift.reference_predictions=512")
    driver = scene.driver
    driver.fleets = thaw(driver.config, frozen.head, old.driver.pages, old.driver.predictions)
    driver.pages, driver.predictions = dict(old.driver.pages), list(old.driver.predictions)
    driver._ends = dict(old.driver._ends)  # an offset stands for one record
    dice = np.random.default_rng(1)
    for number in range(1_100):
        shift = 3.0 * (number > 700)
        scene.step(prediction(f"p{number}", model_id="m0", features=[dice.normal(shift, 1)]))
    assert list(scene.fleet.drift.alarms) == [(0, False)]
    saved = driver.freeze()
    again = thaw(driver.config, saved.head, {key: driver.pages[key] for key in saved.directory}, driver.predictions)
    assert list(again.fleets[0].drift.alarms) == [(0, False)]
    assert again.dump() == driver.fleets.dump()


def test_what_was_believed_once_comes_back_whatever_is_believable_now() -> None:
    old = Scene("time.max_future_skew_s=600")
    old.step(
        prediction("past", occurred_at="2001-01-01T00:00:00Z"),
        prediction("future", occurred_at=format_time(old.now_ms + 300_000)),
    )
    frozen = old.driver.freeze()
    for change in ("time.earliest=2010-01-01T00:00:00Z", "time.max_future_skew_s=60"):
        config = Scene(change).driver.config
        again = thaw(config, frozen.head, old.driver.pages, old.driver.predictions)
        assert again.dump() == old.driver.fleets.dump()


def test_feedback_that_waits_and_fits_no_more_is_dropped_and_its_prediction_is_taken() -> None:
    old = Scene(".task=multiclass", ".classes=[a, b, c]")
    old.step(prediction("p0", output="a"), old.correction("p1", label="c"))
    frozen = old.driver.freeze()
    scene = Scene(".task=multiclass", ".classes=[a, b]")
    scene.driver.fleets = thaw(scene.driver.config, frozen.head, old.driver.pages, old.driver.predictions)
    stepped = scene.send(prediction("p1", output="a"))
    assert not scene.driver.run().rejected
    assert stepped is None
    assert scene.outcomes == {"orphan": 1}
    assert scene.fleet.dropped["waiting_misfit"] == 1
    assert scene.driver.fleets.gauges()["waiting"] == 2


def test_classes_in_another_order_begin_their_matrix_and_their_drift_anew() -> None:
    multiclass = ".task=multiclass", ".drift.reference_predictions=512"
    old = Scene(*multiclass, ".classes=[a, b, c]")
    for number in range(20):
        made = prediction(f"p{number}", output="a")
        old.step(made, old.correction(f"p{number}", label="a"))
    frozen = old.driver.freeze()
    for classes, is_same in (("[a, b, c]", True), ("[b, a, c]", False)):
        config = Scene(*multiclass, f".classes={classes}").driver.config
        fleet = thaw(config, frozen.head, old.driver.pages, old.driver.predictions).fleets[0]
        assert (fleet.drift.engine.dropped["drift_reset"] == 0) is is_same
        assert bool(fleet.monitor.series.col["coarse_matrix"].any()) is is_same


def test_an_order_is_not_undone_by_the_reference_file(tmp_path: Path) -> None:
    file, dice = tmp_path / "training.csv", np.random.default_rng(1)
    rows = "\n".join(f"{a},{output}" for a, output in zip(dice.normal(size=600), dice.random(600), strict=True))
    file.write_text(f"a,output\n{rows}\n", encoding="utf-8")
    settings = ".features=[{name: a}]", ".drift.reference_predictions=520"
    scene = Scene(*settings, f".drift.reference_file={file}")
    scene.step(scene.correction("x", features=[0.0], output=0.5))
    scene.step(scene.order("set_baseline", args={"reference": True}))
    again = scene.driver.thaw(scene.driver.freeze())
    assert again.dump() == scene.driver.fleets.dump()
    # of a series that begins with the file the reference is dated, too
    old = Scene(*settings[:1], ".drift.enabled=false")
    old.step(prediction("p", features=[0.0]))
    fresh = thaw(scene.driver.config, old.driver.freeze().head, old.driver.pages, old.driver.predictions)
    watch = fresh.status("m").series[0].drift.data
    assert watch.reference_at == format_time(old.driver.fleets.stream_time_ms)


@pytest.fixture(scope="module")
def frozen() -> tuple[Scene, Frozen]:
    scene = lived_in()
    return scene, scene.driver.freeze()


def tampered(scene: Scene, frozen: Frozen, *, head: bytes | None = None, pages: dict[str, bytes] | None = None) -> None:
    thaw(
        scene.driver.config,
        frozen.head if head is None else head,
        scene.driver.pages if pages is None else pages,
        scene.driver.predictions,
    )


def test_a_head_of_another_version_is_refused(frozen: tuple[Scene, Frozen]) -> None:
    whole = msgspec.msgpack.decode(frozen[1].head)
    fleet = whole["fleets"]["f"]
    tampered(*frozen, head=msgspec.msgpack.encode(whole))
    for other in ({**whole, "format": 1}, {**whole, "fleets": {"f": {**fleet, "format": 1}}}):
        with pytest.raises(msgspec.DecodeError, match="format"):
            tampered(*frozen, head=msgspec.msgpack.encode(other))


def test_a_head_that_is_cut_or_lacks_a_part_is_refused(frozen: tuple[Scene, Frozen]) -> None:
    head = frozen[1].head
    for wrong in (b"", head[:-1], head[: len(head) // 2], b"\x00" + head):
        with pytest.raises(msgspec.DecodeError):
            tampered(*frozen, head=wrong)
    whole = msgspec.msgpack.decode(head)
    for name in whole["fleets"]["f"]:
        if name not in {"format", "classes"}:  # an earlier head has no classes, and is read
            part = {key: value for key, value in whole["fleets"]["f"].items() if key != name}
            with pytest.raises(msgspec.DecodeError, match=name):
                tampered(*frozen, head=msgspec.msgpack.encode({**whole, "fleets": {"f": part}}))


def test_a_page_that_is_damaged_missing_or_of_another_version_is_refused() -> None:
    scene = Scene()
    scene.step(*(prediction("p", model_id=f"m{number}") for number in range(200)))
    frozen = scene.driver.freeze()
    pages = scene.driver.pages
    other = msgspec.msgpack.encode({**msgspec.msgpack.decode(pages["f/models/1"]), "format": 2})
    for wrong in (
        {**pages, "f/models/1": pages["f/models/1"][:-1]},
        {**pages, "f/models/1": other},
        {**pages, "f/models/1": pages["f/models/2"]},
        {key: page for key, page in pages.items() if key != "f/models/1"},
    ):
        with pytest.raises(msgspec.DecodeError):
            tampered(scene, frozen, pages=wrong)
    tampered(scene, frozen)


def test_waiting_predictions_that_no_longer_fit_the_family_come_back_without_what_does_not_fit() -> None:
    scene = Scene(".features=[{name: a}, {name: b}]")
    scene.step(*(prediction(f"p{number}", features=[1.0, 2.0]) for number in range(5)))
    other = Scene(".features=[{name: a}]")
    other.driver.pages, other.driver.predictions = scene.driver.pages, scene.driver.predictions
    other.driver.fleets = other.driver.thaw(scene.driver.freeze())
    assert other.dropped == {"waiting_misfit": 5, "drift_reset": 1}
    assert other.status().waiting == 5
    other.step(other.correction("p3"))
    assert other.status().series[0].labelled == 1, "its output is scored all the same"
