"""A record that the core refuses has its code, leaves no trace, and its neighbours never notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.errors import ErrorCode
from adaptive_stream.contracts.events import Metrics, Prediction
from adaptive_stream.testing.driver import topic_of
from tests.unit.core.scene import START_MS, Scene, adaptations, prediction

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import InputEvent

FEATURES = ".features=[{name: a}, {name: b, kind: categorical, levels: [x, '7']}]"
GOOD = [1.0, "x"]
BINARY = (FEATURES,)
MULTICLASS = (FEATURES, ".task=multiclass", ".classes=[red, green]")
REGRESSION = (FEATURES, ".task=regression")


def guess(output: Any = 0.9, *, features: Any = GOOD, prediction_id: str = "bad", **fields: Any) -> Prediction:  # noqa: ANN401
    return prediction(prediction_id, output, features=features, **fields)


def truth(label: Any = 1.0, **fields: Any) -> InputEvent:  # noqa: ANN401
    return Scene().correction("p", label, feedback_id="bad", **fields)


def opinion(**fields: Any) -> InputEvent:  # noqa: ANN401
    return Scene().rating("p", feedback_id="bad", **fields)


CASES: list[tuple[tuple[str, ...], InputEvent, str, str]] = [
    (BINARY, guess(model_id="x"), "unknown_model", "$.model_id"),
    (BINARY, truth(model_id="x"), "unknown_model", "$.model_id"),
    (BINARY, opinion(model_id="x"), "unknown_model", "$.model_id"),
    (BINARY, Scene().preference("p", "q", model_id="x"), "unknown_model", "$.model_id"),
    (BINARY, Metrics(model_id="x", accuracy=1.0), "unknown_model", "$.model_id"),
    (BINARY, Scene().order("freeze", model_id="x"), "unknown_model", "$.model_id"),
    ((*BINARY, ".max_models=1"), guess(model_id="m2"), "too_many_models", "$"),
    ((*BINARY, ".max_models=1"), truth(model_id="m2"), "too_many_models", "$"),
    ((*BINARY, ".max_models=1"), opinion(model_id="m2"), "too_many_models", "$"),
    ((*BINARY, ".max_models=1"), Metrics(model_id="m2", accuracy=1.0), "too_many_models", "$"),
    (BINARY, guess(features=None), "wrong_dimension", "$.features"),
    (BINARY, guess(features=[1.0]), "wrong_dimension", "$.features"),
    (BINARY, guess(features=[1.0, "x", 2.0]), "wrong_dimension", "$.features"),
    (BINARY, guess(features={"a": 1.0}), "wrong_dimension", "$.features"),
    (BINARY, guess(features={"a": 1.0, "c": "x"}), "wrong_dimension", "$.features"),
    (BINARY, guess(features={"a": 1.0, "b": "x", "c": 1.0}), "wrong_dimension", "$.features"),
    (BINARY, truth(features=[1.0], output=0.5), "wrong_dimension", "$.features"),
    (BINARY, guess(features=["1", "x"]), "invalid_feature", "$.features[0]"),
    (BINARY, guess(features={"b": "x", "a": "1"}), "invalid_feature", "$.features[0]"),
    (BINARY, guess(features=["1", "x"], model_id="m-fresh"), "invalid_feature", "$.features[0]"),
    (BINARY, truth(features=["1", "x"], output=0.5), "invalid_feature", "$.features[0]"),
    (BINARY, Metrics(model_id="m", accuracy=1.0, occurred_at="1970-01-01T00:00:00Z"), "absurd_time", "$.occurred_at"),
    (BINARY, Scene().order("freeze", occurred_at="2099-01-01T00:00:00Z"), "absurd_time", "$.occurred_at"),
    (BINARY, guess(1.01), "invalid_output", "$.output"),
    (BINARY, guess(-0.01), "invalid_output", "$.output"),
    (BINARY, guess("late"), "invalid_output", "$.output"),
    (BINARY, guess([0.4, 0.6]), "invalid_output", "$.output"),
    (BINARY, truth(2.0), "invalid_output", "$.label"),
    (BINARY, truth("1"), "invalid_output", "$.label"),
    (BINARY, truth(features=GOOD, output=1.5), "invalid_output", "$.output"),
    (MULTICLASS, guess("blue"), "invalid_output", "$.output"),
    (MULTICLASS, guess(1.0), "invalid_output", "$.output"),
    (MULTICLASS, guess([1.0]), "invalid_output", "$.output"),
    (MULTICLASS, guess([0.5, -0.5]), "invalid_output", "$.output"),
    (MULTICLASS, truth("blue"), "invalid_output", "$.label"),
    (MULTICLASS, truth(2.0), "invalid_output", "$.label"),
    (MULTICLASS, truth(0.5), "invalid_output", "$.label"),
    (MULTICLASS, truth(True), "invalid_output", "$.label"),
    (REGRESSION, guess("high"), "invalid_output", "$.output"),
    (REGRESSION, guess([1.0, 2.0]), "invalid_output", "$.output"),
    (REGRESSION, truth("high"), "invalid_output", "$.label"),
    (REGRESSION, truth(True), "invalid_output", "$.label"),
    (BINARY, guess(occurred_at="1999-12-31T23:59:59Z"), "absurd_time", "$.occurred_at"),
    (BINARY, guess(occurred_at="2100-01-01T00:00:00Z"), "absurd_time", "$.occurred_at"),
    (BINARY, truth(occurred_at="1970-01-01T00:00:00Z"), "absurd_time", "$.occurred_at"),
    (BINARY, opinion(occurred_at="2100-01-01T00:00:00Z"), "absurd_time", "$.occurred_at"),
]


def neighbours(scene: Scene, settings: tuple[str, ...]) -> tuple[list[InputEvent], list[InputEvent]]:
    output, label = ("green", "green") if settings is MULTICLASS else (0.9, 1.0)
    before = [guess(output, prediction_id="p"), scene.rating("p"), scene.rating("early")]
    after = [
        guess(output, prediction_id="q", variant_id="v2", features=[2.0, None]),
        scene.correction("p", label),
        scene.correction("q", label),
    ]
    return before, after


@pytest.mark.parametrize(("settings", "bad", "code", "path"), CASES)
def test_a_refused_record_has_its_code_and_leaves_no_trace_but_its_count(
    settings: tuple[str, ...], bad: InputEvent, code: str, path: str
) -> None:
    with_it, without = Scene(*settings), Scene(*settings)
    before, after = neighbours(with_it, settings)
    stepped = with_it.step(*before, bad, *after)
    begun = without.step(*before)
    without.skip(topic_of(bad))
    without.driver.fleets._refused(bad.model_id, without.now_ms)  # that it was refused is all that stays of it
    clean = without.step(*after)
    [(place, reject)] = stepped.rejected
    assert (place, str(reject.code), reject.path) == (len(before), code, path)
    assert clean.rejected == []
    assert stepped.outputs == begun.outputs + clean.outputs
    assert with_it.driver.fleets.dump() == without.driver.fleets.dump()
    assert (with_it.fleet._variants, with_it.fleet._series) == (without.fleet._variants, without.fleet._series)
    assert with_it.outcomes == {"joined": 3, "early": 1}


def test_every_code_of_the_core_is_among_the_cases() -> None:
    # the others are the codec's and the runtime's
    assert {code for _, _, code, _ in CASES} == {
        ErrorCode.UNKNOWN_MODEL,
        ErrorCode.TOO_MANY_MODELS,
        ErrorCode.WRONG_DIMENSION,
        ErrorCode.INVALID_FEATURE,
        ErrorCode.INVALID_OUTPUT,
        ErrorCode.ABSURD_TIME,
    }


def test_no_reason_echoes_the_payload() -> None:
    private = "4929-1234"
    scene = Scene(*BINARY)
    stepped = scene.step(
        guess(private),
        guess(features=[private, "x"]),
        guess(features={private: 1.0, "b": "x"}),
        truth(private),
        guess(model_id=f"x{private}"),
    )
    assert len(stepped.rejected) == 5
    assert not any(private in reject.message or private in reject.path for _, reject in stepped.rejected)


def test_an_order_to_one_model_too_many_is_answered_not_refused() -> None:
    scene = Scene(".max_models=1")
    stepped = scene.step(prediction("p"), scene.order("freeze", model_id="m2"))
    assert stepped.rejected == []
    assert [answer.kind for answer in adaptations(stepped)] == ["rejected"]
    assert scene.driver.fleets.gauges()["models"] == 1


def test_refusals_name_their_places_in_the_slice() -> None:
    scene = Scene(*BINARY)
    stepped = scene.step(guess(2.0), guess(prediction_id="p"), guess(3.0), scene.correction("p"), truth(9.0))
    assert [place for place, _ in stepped.rejected] == [0, 2, 4]
    assert scene.outcomes == {"joined": 1}


# -- what is accepted --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "kept"),
    [
        ([1.5, "x"], [1.5, 0]),
        ({"b": "x", "a": 1.5}, [1.5, 0]),
        ([1.5, "7"], [1.5, 1]),
        ([1.5, 7.0], [1.5, 1]),
        ({"a": 1.5, "b": 7.0}, [1.5, 1]),
        ([1.5, "unheard of"], [1.5, 2]),
        ([1.5, 0.0], [1.5, 2]),
        ([None, None], [None, None]),
    ],
)
def test_features_are_kept_as_numbers_and_levels_as_their_codes(features: Any, kept: list[float | None]) -> None:  # noqa: ANN401
    scene = Scene(*BINARY)
    scene.step(guess(features=features))
    found = [None if value != value else value for value in scene.fleet.join.col["features"][0].tolist()]  # noqa: PLR0124
    assert found == kept


def test_a_family_without_features_takes_any() -> None:
    scene = Scene()
    stepped = scene.step(*(guess(features=f, prediction_id=str(f)) for f in (None, [1.0], {"z": "x"})))
    assert stepped.rejected == []
    assert scene.driver.fleets.gauges()["held"] == 3


@pytest.mark.parametrize(
    ("settings", "output", "label", "score"),
    [
        ((".threshold=0.3",), 0.3, 1.0, 1),
        ((".threshold=0.3",), 0.29, 1.0, 0),
        ((".threshold=0.3",), 0.29, False, 1),
        ((".threshold=0.3",), 1.0, False, 0),
        ((".task=multiclass", ".classes=[red, green, blue]"), "green", "green", 1),
        ((".task=multiclass", ".classes=[red, green, blue]"), "green", 1.0, 1),
        ((".task=multiclass", ".classes=[red, green, blue]"), "green", "blue", 0),
        ((".task=multiclass", ".classes=[red, green, blue]"), [0.1, 0.2, 0.7], "blue", 1),
        ((".task=multiclass", ".classes=[red, green, blue]"), [0.4, 0.4, 0.2], "red", 1),
        ((".task=regression", ".tolerance=20"), 105.0, 100.0, 0.75),
        ((".task=regression", ".tolerance=20"), 95.0, 100.0, 0.75),
        ((".task=regression", ".tolerance=20"), 300.0, 100.0, 0),
        ((".task=regression", ".tolerance=20"), 1e308, -1e308, 0),
    ],
)
def test_a_label_scores_its_prediction(settings: tuple[str, ...], output: Any, label: Any, score: float) -> None:  # noqa: ANN401
    scene = Scene(*settings)
    assert scene.step(prediction("p", output), scene.correction("p", label)).rejected == []
    assert scene.fleet.monitor.series.col["score_sum"][0] == score


def test_the_event_says_when_it_happened_within_the_limits() -> None:
    scene = Scene("time.max_future_skew_s=60")
    assert (
        scene.step(
            guess(prediction_id="past", features=None, occurred_at="2000-01-01T00:00:00Z"),
            guess(prediction_id="ahead", features=None, occurred_at="2020-09-13T12:01:00Z"),
        ).rejected
        == []
    )
    assert format_time(START_MS) == "2020-09-13T12:00:00Z"
    assert scene.fleet.join.col["time"][:2].tolist() == [946_684_800_000, START_MS]
    stepped = scene.step(guess(features=None, occurred_at="2020-09-13T12:01:00.001Z"))
    assert [str(reject.code) for _, reject in stepped.rejected] == ["absurd_time"]


def test_a_feature_beyond_every_float_is_kept_as_the_largest_of_its_sign() -> None:
    scene = Scene(".features=[{name: a}, {name: b}]")
    scene.step(prediction("p", features=[1e300, -1e300]))
    kept = scene.fleet.join.col["features"][scene.fleet.join.slots(np.array([0]))]
    assert kept.tolist() == [[float(np.finfo(np.float32).max), float(np.finfo(np.float32).min)]]
