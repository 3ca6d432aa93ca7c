"""Feedback finds its prediction: each outcome, and the exact account of all of them."""

from __future__ import annotations

import pytest

from adaptive_stream.core.join import Outcome, Remembered
from tests.unit.core.scene import Scene, prediction


def test_feedback_joins_its_prediction() -> None:
    scene = Scene()
    scene.step(prediction("p"), scene.correction("p"))
    assert scene.outcomes == {"joined": 1}
    assert scene.driver.fleets.gauges()["waiting"] == 0
    assert scene.status().series[0].total.value == 1


def test_feedback_of_another_model_with_the_same_prediction_id_does_not_join() -> None:
    scene = Scene()
    scene.step(prediction("p"), scene.correction("p", model_id="m2"))
    assert scene.outcomes == {"early": 1}


def test_several_feedbacks_join_one_prediction_and_the_first_correction_counts() -> None:
    scene = Scene()
    scene.step(prediction("p"), scene.rating("p", 5.0), scene.correction("p", 1.0), scene.correction("p", 0.0))
    assert scene.outcomes == {"joined": 3}
    assert scene.dropped == {"recorrected": 1}
    assert (scene.status().series[0].labelled, scene.status().series[0].total.value) == (1, 1)


def test_a_rating_is_its_share_of_the_scale() -> None:
    scene = Scene()
    scene.step(prediction("p"), scene.rating("p", 4.0), scene.rating("p", -5.0, scale=(-10.0, 10.0)))
    col = scene.fleet.monitor.series.col
    assert (col["rating_count"][0], col["rating_sum"][0]) == (2, 0.75 + 0.25)


@pytest.mark.parametrize("gap", [0, 1, 59, 60])
def test_early_feedback_waits_for_its_prediction(gap: int) -> None:
    scene = Scene("join.early_window_s=60")
    scene.step(scene.correction("p"))
    assert scene.outcomes == {"early": 1}
    scene.after(gap, prediction("p"))
    assert scene.outcomes == {"joined": 1}
    assert scene.driver.fleets.gauges()["early"] == 0
    assert scene.status().series[0].labelled == 1


def test_early_feedback_whose_prediction_never_comes_is_an_orphan() -> None:
    scene = Scene("join.early_window_s=60")
    scene.step(scene.correction("p"))
    scene.after(60)
    assert scene.outcomes == {"early": 1}
    scene.after(10)
    assert scene.outcomes == {"orphan": 1}
    scene.step(prediction("p"))
    assert scene.outcomes == {"orphan": 1}, "what was given up stays so"
    assert scene.driver.fleets.gauges()["waiting"] == 1


def test_the_oldest_early_feedback_makes_room() -> None:
    scene = Scene("join.max_early=2")
    scene.step(scene.correction("p1"), scene.correction("p2"), scene.correction("p3"))
    assert scene.outcomes == {"early": 2, "orphan": 1}
    assert scene.dropped == {"early_evicted": 1}
    scene.step(prediction("p1"), prediction("p2"), prediction("p3"))
    assert scene.outcomes == {"joined": 2, "orphan": 1}


def test_feedback_after_the_window_is_late() -> None:
    scene = Scene("join.window_s=100")
    scene.step(prediction("p"))
    scene.after(9, prediction("q"))
    scene.after(100)
    assert scene.driver.fleets.gauges()["held"] == 2
    scene.after(1, scene.correction("p"), scene.correction("q"))
    assert scene.outcomes == {"late": 2}
    assert scene.driver.fleets.gauges()["held"] == scene.driver.fleets.gauges()["waiting"] == 0
    assert scene.dropped == {"never_labelled": 2}


def test_a_prediction_that_was_answered_leaves_without_being_missed() -> None:
    scene = Scene("join.window_s=100")
    scene.step(prediction("p"), scene.rating("p"))
    scene.after(120, scene.correction("p"))
    assert scene.outcomes == {"joined": 1, "late": 1}
    assert scene.dropped == {}


def test_feedback_that_brings_features_and_output_needs_no_prediction() -> None:
    scene = Scene(".features=[{name: a}]")
    whole = {"features": [1.0], "output": 0.2}
    scene.step(scene.correction("p", 0.0, **whole, variant_id="v2", channel_id="app"))
    assert scene.outcomes == {"inline": 1}
    [series] = scene.status().series
    assert (series.variant_id, series.channel_id, series.labelled, series.total.value) == ("v2", "app", 1, 1)
    assert series.predictions == 0


def test_feedback_with_features_prefers_the_prediction_that_is_there() -> None:
    scene = Scene(".features=[{name: a}]")
    scene.step(prediction("p", 0.9, features=[1.0]), scene.correction("p", 1.0, features=[1.0], output=0.2))
    assert scene.outcomes == {"joined": 1}
    assert scene.status().series[0].total.value == 1, "scored by what was served"


@pytest.mark.parametrize("fields", [{"features": [1.0]}, {"output": 0.2}])
def test_half_of_an_inline_example_waits_like_any_other_feedback(fields: dict[str, object]) -> None:
    scene = Scene(".features=[{name: a}]")
    scene.step(scene.correction("p", **fields))
    assert scene.outcomes == {"early": 1}


def test_the_same_feedback_again_is_a_duplicate_whatever_it_says() -> None:
    scene = Scene()
    scene.step(
        prediction("p"),
        prediction("q"),
        scene.correction("p", 1.0, feedback_id="f"),
        scene.correction("p", 0.0, feedback_id="f"),
        scene.rating("q", feedback_id="f"),
        scene.correction("p", 1.0, feedback_id="f", model_id="m2"),
    )
    assert scene.outcomes == {"joined": 1, "duplicate": 2, "early": 1}
    assert scene.status().series[0].total.value == 1
    assert scene.driver.fleets.gauges()["waiting"] == 1


def test_an_entity_that_says_too_much_is_capped_until_the_next_window() -> None:
    scene = Scene("join.entity_limit=2", "join.entity_window_s=100")
    talk = [f"p{number}" for number in range(4)]
    scene.step(*map(prediction, talk), prediction("next"))
    scene.step(*(scene.rating(wanted, entity_id="e") for wanted in talk))
    assert scene.outcomes == {"joined": 2, "capped": 2}
    scene.step(scene.rating("p3", entity_id="another"), scene.rating("p3"), scene.rating("p3", model_id="m2"))
    assert scene.outcomes == {"joined": 4, "capped": 2, "early": 1}
    scene.after(100, scene.rating("next", entity_id="e"))
    assert scene.outcomes == {"joined": 5, "capped": 2, "early": 1}


def test_capped_feedback_may_come_again_in_a_better_window() -> None:
    scene = Scene("join.entity_limit=1", "join.entity_window_s=100")
    first, second = scene.rating("p", entity_id="e"), scene.rating("p", entity_id="e")
    scene.step(prediction("p"), first, second)
    scene.after(100, second)
    assert scene.outcomes == {"joined": 2, "capped": 1}


def test_without_a_limit_nobody_is_capped() -> None:
    scene = Scene("join.entity_limit=0")
    scene.step(prediction("p"), *(scene.rating("p", entity_id="e") for _ in range(200)))
    assert scene.outcomes == {"joined": 200}
    assert scene.driver.fleets.gauges()["entities"] == 0


def test_a_preference_needs_both_of_its_predictions() -> None:
    scene = Scene()
    scene.step(scene.preference("p", "q"))
    assert scene.outcomes == {"early": 1}
    scene.step(prediction("q"))
    assert scene.outcomes == {"early": 1}
    scene.step(prediction("p"))
    assert scene.outcomes == {"joined": 1}
    assert scene.driver.fleets.gauges()["waiting"] == 0, "both are answered"
    assert scene.status().series[0].labelled == 0, "and neither is scored"


def test_a_preference_is_late_when_one_of_the_two_is_gone() -> None:
    scene = Scene("join.window_s=100")
    scene.step(prediction("p"))
    scene.after(120, prediction("q"), scene.preference("q", "p"))
    assert scene.outcomes == {"late": 1}
    assert scene.driver.fleets.gauges()["waiting"] == 1


def test_a_prediction_sent_twice_counts_once_and_the_first_stays() -> None:
    scene = Scene()
    scene.step(prediction("p", 0.9), prediction("p", 0.1, variant_id="v2"), scene.correction("p", 1.0))
    assert scene.dropped == {"duplicate_predictions": 1}
    [series] = scene.status().series
    assert (series.variant_id, series.predictions, series.total.value) == ("default", 1, 1)


def test_a_prediction_that_failed_joins_and_is_not_scored() -> None:
    scene = Scene()
    scene.step(prediction("p", failed=True), scene.correction("p"))
    assert scene.outcomes == {"joined": 1}
    [series] = scene.status().series
    assert (series.predictions, series.labelled) == (1, 0)
    assert scene.fleet.monitor.series.col["failed"][0] == 1


def test_a_model_that_is_stopped_joins_and_is_not_scored() -> None:
    scene = Scene()
    scene.step(prediction("p"), scene.order("stop"), scene.correction("p"))
    assert scene.outcomes == {"joined": 1}
    assert scene.dropped == {"unscored_while_stopped": 1}
    assert scene.status().series[0].labelled == 0


def test_every_outcome_is_accounted_for_by_model() -> None:
    scene = Scene("join.window_s=100", "join.early_window_s=20", "join.entity_limit=1", ".features=[{name: a}]")
    scene.step(prediction("old", features=[1.0]), scene.rating("never"))
    scene.after(
        120,
        prediction("p", features=[1.0]),
        scene.correction("p", feedback_id="f", entity_id="e"),
        scene.correction("p", feedback_id="f"),
        scene.correction("p", entity_id="e"),
        scene.correction("old"),
        scene.correction("none", features=[1.0], output=0.5),
        scene.rating("comes"),
        scene.rating("comes", model_id="m2"),
    )
    assert scene.outcomes == {
        "joined": 1,
        "inline": 1,
        "early": 2,
        "late": 1,
        "orphan": 1,
        "duplicate": 1,
        "capped": 1,
    }
    assert scene.status("m").feedback == {outcome.name.lower(): 1 for outcome in Outcome}
    assert {name: n for name, n in scene.status("m2").feedback.items() if n} == {"early": 1}


# -- the memory of what was seen ---------------------------------------------------------------------------------------


def test_the_newest_are_remembered_and_the_oldest_forgotten() -> None:
    memory = Remembered(4)
    for fingerprint in range(10):
        memory.add(fingerprint)
        assert fingerprint in memory
    assert [n for n in range(10) if n in memory] == [6, 7, 8, 9]
    assert memory.forgotten == 6


def test_what_is_added_twice_is_there_until_it_is_forgotten_and_a_restore_agrees() -> None:
    memory = Remembered(4)
    for fingerprint in (1, 2, 1, 3, 4, 5, 6):
        memory.add(fingerprint)
        again = Remembered(4)
        for number in range(memory.rows.page_count):
            again.rows.load([memory.rows.page(number)])
        again.restore(count=memory.count, cursor=memory.cursor, forgotten=memory.forgotten)
        assert [n for n in range(10) if n in again] == [n for n in range(10) if n in memory]
    assert [n for n in range(10) if n in memory] == [3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7, 8, 9, 13, 20])
@pytest.mark.parametrize("limit", [3, 7, 8, 9, 12, 5_000])
def test_another_limit_keeps_the_newest_and_holds_from_the_restore_on(count: int, limit: int) -> None:
    memory = Remembered(8)
    for fingerprint in range(count):
        memory.add(fingerprint)
    memory = restored(memory, limit)
    kept = min(count, 8, limit)
    for number in range(2 * limit + 1):
        expected = range(max(count - kept, count + number - limit), count + number)
        assert memory.forgotten == expected.start
        assert memory._set == set(expected)
        if number in {0, 1, limit}:
            again = restored(memory, limit)
            assert again._set == memory._set
            assert again.rows.page(0) == memory.rows.page(0)
            memory = again
        memory.add(count + number)


def restored(memory: Remembered, limit: int) -> Remembered:
    made = Remembered(limit)
    made.rows.load([memory.rows.page(number) for number in range(memory.rows.page_count)])
    made.restore(count=memory.count, cursor=memory.cursor, forgotten=memory.forgotten)
    return made
