"""Every order is obeyed or refused, and answered either way."""

from __future__ import annotations

import pytest

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.events import Action, Trigger
from tests.unit.core.scene import Scene, adaptations, prediction


def known() -> Scene:
    scene = Scene()
    scene.step(prediction("p"))
    return scene


def test_an_order_is_answered_with_what_caused_it() -> None:
    scene = known()
    stepped = scene.step(scene.order("freeze", command_id="c-7", reason="incident 42", issued_by="ana"))
    [answer] = adaptations(stepped)
    assert stepped.outputs == [answer]
    assert (answer.kind, answer.trigger, answer.model_id) == ("frozen", Trigger.CONTROL, "m")
    assert answer.caused_by == ["c-7"]
    assert answer.evidence == {"reason": "incident 42", "issued_by": "ana"}
    assert answer.at == format_time(scene.now_ms)


@pytest.mark.parametrize(
    ("there", "back", "kinds"), [("freeze", "resume", ["frozen", "resumed"]), ("stop", "start", ["applied", "applied"])]
)
def test_what_is_ordered_is_shown_until_it_is_taken_back(there: str, back: str, kinds: list[str]) -> None:
    scene = known()

    def marks() -> tuple[bool, bool]:
        return scene.status().frozen, scene.status().stopped

    assert marks() == (False, False)
    first = scene.step(scene.order(there))
    assert marks() == (there == "freeze", there == "stop")
    again = scene.step(scene.order(there))
    assert marks() == (there == "freeze", there == "stop"), "twice is as once"
    other = "stop" if there == "freeze" else "freeze"
    scene.step(scene.order(other))
    assert marks() == (True, True)
    second = scene.step(scene.order(back))
    assert marks() == (other == "freeze", other == "stop")
    assert [adaptations(stepped)[0].kind for stepped in (first, again, second)] == [kinds[0], kinds[0], kinds[1]]


def test_stopping_stops_the_score_until_the_start_and_not_a_record_longer() -> None:
    scene = known()
    scene.step(
        *(prediction(f"p{number}") for number in range(4)),
        scene.correction("p0"),
        scene.order("stop"),
        scene.correction("p1"),
        scene.correction("p2"),
        scene.order("start"),
        scene.correction("p3"),
    )
    assert scene.status().series[0].labelled == 2 + 0
    assert scene.dropped["unscored_while_stopped"] == 2
    assert scene.outcomes == {"joined": 4}


def test_an_order_for_one_model_leaves_the_others_alone() -> None:
    scene = known()
    scene.step(prediction("p", model_id="m2"), scene.order("freeze"), scene.order("stop"))
    assert (scene.status("m2").frozen, scene.status("m2").stopped, scene.status("m2").adaptations) == (False, False, 0)


@pytest.mark.parametrize("action", ["update", "retrain", "promote", "rollback", "switch"])
def test_what_cannot_be_done_is_refused_by_name(action: str) -> None:
    scene = known()
    [answer] = adaptations(scene.step(scene.order(action)))
    assert answer.kind == "rejected"
    assert answer.evidence == {"why": f"{action} needs an organ that this version does not have", "action": action}


@pytest.mark.parametrize("action", list(Action))
def test_no_action_is_ignored(action: Action) -> None:
    scene = known()
    [answer] = adaptations(scene.step(scene.order(action.value)))
    assert answer.caused_by
    assert scene.status().adaptations == 1
    assert scene.status().last_adaptation == answer.kind
    assert scene.status().last_adaptation_at == answer.at


def test_an_expired_order_is_refused_and_changes_nothing() -> None:
    scene = known()
    expired = scene.order("freeze", expires_at=format_time(scene.now_ms - 1))
    [answer] = adaptations(scene.step(expired))
    assert answer.kind == "rejected"
    assert answer.evidence == {"why": "the order had expired", "expires_at": expired.expires_at}
    assert scene.status().frozen is False
    [answer] = adaptations(scene.step(scene.order("freeze", expires_at=format_time(scene.now_ms))))
    assert answer.kind == "frozen", "up to its last millisecond it holds"


def test_an_order_for_a_model_that_nobody_saw_is_refused_and_makes_no_model() -> None:
    scene = Scene()
    [answer] = adaptations(scene.step(scene.order("freeze")))
    assert (answer.kind, answer.evidence) == ("rejected", {"why": "no event of this model was seen yet"})
    assert scene.driver.fleets.gauges()["models"] == 0


def test_the_same_command_again_has_the_same_answers_id_and_another_model_another() -> None:
    scene = known()
    scene.step(prediction("p", model_id="m2"))
    orders = [scene.order("freeze", command_id="c", model_id=model) for model in ("m", "m", "m2")]
    first, again, other = adaptations(scene.step(*orders))
    assert first.adaptation_id == again.adaptation_id != other.adaptation_id
    assert first.adaptation_id == adaptations(known().step(scene.order("freeze", command_id="c")))[0].adaptation_id


# -- baselines ---------------------------------------------------------------------------------------------------------


def test_a_baseline_is_set_to_what_the_window_shows() -> None:
    scene = Scene()
    scene.label(6, 2, variant_id="v1", channel_id="web")
    scene.label(1, 1, variant_id="v2", channel_id="app")
    scene.step(prediction("unlabelled", variant_id="v3"))
    [answer] = adaptations(scene.step(scene.order("set_baseline")))
    assert (answer.kind, answer.evidence) == ("baseline_set", {"baselines": {"v1/web": 0.75, "v2/app": 0.5}})
    baselines = {series.variant_id: series.baseline for series in scene.status().series}
    assert {name: found and found.value for name, found in baselines.items()} == {"v1": 0.75, "v2": 0.5, "v3": None}


def test_a_baseline_is_set_to_what_is_stated_for_all_series() -> None:
    scene = Scene()
    scene.step(prediction("p", variant_id="v1"), prediction("q", variant_id="v2"))
    [answer] = adaptations(scene.step(scene.order("set_baseline", args={"value": 0.9})))
    assert answer.evidence == {"baselines": {"v1/default": 0.9, "v2/default": 0.9}}
    [series, _] = scene.status().series
    assert series.baseline is not None
    assert (series.baseline.value, series.baseline_set_at) == (0.9, format_time(scene.now_ms))


def test_the_baseline_of_an_error_is_stated_in_the_units_of_the_label() -> None:
    scene = Scene(".task=regression", ".tolerance=20")
    scene.step(prediction("p", 3.0))
    [answer] = adaptations(scene.step(scene.order("set_baseline", args={"value": 5})))
    assert answer.evidence == {"baselines": {"default/default": 5.0}}


@pytest.mark.parametrize("value", [1.2, -0.1, "0.9", True, [0.9]])
def test_a_baseline_that_is_no_score_is_refused(value: object) -> None:
    scene = known()
    [answer] = adaptations(scene.step(scene.order("set_baseline", args={"value": value})))
    assert answer.kind == "rejected"
    assert answer.evidence == {"why": "args.value must be a number in the range of the metric"}
    assert scene.status().series[0].baseline is None


@pytest.mark.parametrize(
    ("action", "args"),
    [("set_baseline", {"valeu": 0.9}), ("set_baseline", {"value": 0.9, "for": "v1"}), ("freeze", {"hours": 3})],
)
def test_an_arg_that_is_not_known_refuses_the_order_rather_than_being_ignored(
    action: str, args: dict[str, object]
) -> None:
    scene = known()
    before = scene.status()
    [answer] = adaptations(scene.step(scene.order(action, args=args)))
    assert answer.kind == "rejected"
    assert "misspelt" in answer.evidence["why"]
    assert (scene.status().series, scene.status().frozen) == (before.series, before.frozen)


def test_without_labels_in_the_window_a_baseline_must_be_stated() -> None:
    scene = Scene(".monitor.pane_s=60", ".monitor.panes=2", ".monitor.evaluate_every_s=10")
    scene.label(5)
    scene.after(180)
    [answer] = adaptations(scene.step(scene.order("set_baseline")))
    assert (answer.kind, answer.evidence) == (
        "rejected",
        {"why": "nothing in the window tells the accuracy; give args.value"},
    )


def test_labels_that_come_with_the_order_count_already() -> None:
    scene = Scene()
    ids = [str(number) for number in range(4)]
    stepped = scene.step(
        *map(prediction, ids),
        *(scene.correction(wanted, float(wanted != "3")) for wanted in ids),
        scene.order("set_baseline"),
        scene.correction("0", 0.0),
    )
    assert adaptations(stepped)[0].evidence == {"baselines": {"default/default": 0.75}}
