"""What Python can say and the contract cannot is refused or converted before it is sent, and the place is named."""

# ruff: noqa: ANN401 - an app may give anything
from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from adaptive_stream.client.encoder import Encoder
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Action, Control, Correction, InputEvent, Metrics, Prediction, Rating
from adaptive_stream.contracts.schema import EXAMPLES
from adaptive_stream.contracts.topics import INPUTS, Topic

NAN, INF = float("nan"), float("inf")


def predicted(**fields: Any) -> Prediction:
    return Prediction(**{"prediction_id": "p", "model_id": "m", "output": 0.5, **fields})


def ordered(args: dict[str, Any]) -> Control:
    return Control(command_id="c", action=Action.FREEZE, model_id="m", args=args)


def refused(topic: Topic, event: InputEvent, encoder: Encoder | None = None) -> tuple[ErrorCode, str]:
    with pytest.raises(Reject) as reject:
        (encoder or Encoder()).encode(topic, event)
    return reject.value.code, reject.value.path


@pytest.mark.parametrize("topic", INPUTS)
def test_what_is_encoded_is_read_as_it_was(topic: Topic) -> None:
    for event in EXAMPLES[topic]:
        assert Codec().decode(topic, Encoder().encode(topic, event)) == event  # type: ignore[arg-type]
        assert Encoder().encode_checked(event) == Codec().encode(event)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({"output": np.float64(0.2)}, {"output": 0.2}),
        ({"output": np.float32(0.5), "failed": np.bool_(True)}, {"output": 0.5, "failed": True}),
        ({"output": np.array([0.2, 0.8])}, {"output": [0.2, 0.8]}),
        ({"features": list(np.array([1.0, 2.0]))}, {"features": [1.0, 2.0]}),
        ({"features": np.array([1.0, np.nan])}, {"features": [1.0, None]}),
        ({"features": {"age": np.int64(3)}}, {"features": {"age": 3.0}}),
        ({"features": [NAN, None, "x"]}, {"features": [None, None, "x"]}),
        ({"features": {"a": NAN}}, {"features": {"a": None}}),
    ],
)
def test_numpys_values_go_as_pythons_and_nan_among_features_as_missing(
    fields: dict[str, Any], plain: dict[str, Any]
) -> None:
    body = Encoder().encode(Topic.PREDICTIONS, predicted(**fields))
    assert Codec().decode(Topic.PREDICTIONS, body) == predicted(**plain)


@pytest.mark.parametrize(
    ("topic", "event", "path"),
    [
        (Topic.PREDICTIONS, predicted(output=NAN), "$.output"),
        (Topic.PREDICTIONS, predicted(output=[0.1, NAN]), "$.output[1]"),
        (Topic.PREDICTIONS, predicted(confidence=NAN), "$.confidence"),
        (Topic.PREDICTIONS, predicted(latency_ms=np.float64(INF)), "$.latency_ms"),
        (Topic.PREDICTIONS, predicted(features=[1.0, INF]), "$.features[1]"),
        (Topic.PREDICTIONS, predicted(features={"a": -INF}), "$.features[...]"),
        (Topic.FEEDBACK, Rating(feedback_id="f", prediction_id="p", model_id="m", score=NAN), "$.score"),
        (Topic.FEEDBACK, Correction(feedback_id="f", prediction_id="p", model_id="m", label=INF), "$.label"),
        (Topic.METRICS, Metrics(model_id="m", values={"a": NAN}), "$.values[...]"),
        (Topic.CONTROL, ordered({"a": [NAN]}), "$.args[...][0]"),
    ],
)
def test_what_is_not_finite_is_refused_where_it_stands(topic: Topic, event: InputEvent, path: str) -> None:
    assert refused(topic, event) == (ErrorCode.NON_FINITE, path)


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (predicted(prediction_id="half \ud800"), "$.prediction_id"),
        (predicted(output=object()), "$.output"),
        (predicted(output=np.longdouble(0.5)), "$.output"),
        (predicted(features={1j: 1.0}), "$.features"),
        (predicted(features=np.zeros((2, 2))), "$.features[0]"),
        (predicted(model_id=None), "$.model_id"),
        (predicted(features="null"), "$.features"),
        (predicted(prediction_id=""), "$.prediction_id"),
    ],
)
def test_what_json_or_the_contract_cannot_say_is_refused_in_words(event: InputEvent, path: str) -> None:
    assert refused(Topic.PREDICTIONS, event) == (ErrorCode.INVALID_EVENT, path)


def test_a_number_too_long_and_an_order_too_deep_are_refused() -> None:
    assert refused(Topic.CONTROL, ordered({"a": 2**70})) == (ErrorCode.INVALID_EVENT, "$.args[...]")
    deep: dict[str, Any] = {}
    for _ in range(50_000):
        deep = {"a": deep}
    assert refused(Topic.CONTROL, ordered(deep))[0] is ErrorCode.TOO_DEEP
    assert refused(Topic.CONTROL, ordered({"a": {"b": {}}}), Encoder(max_depth=2))[0] is ErrorCode.TOO_DEEP


@pytest.mark.parametrize("topic", [Topic.FEEDBACK, Topic.STATE, Topic.ALERTS, "prediction"])
def test_a_topic_takes_only_what_it_carries(topic: Any) -> None:
    assert refused(topic, predicted())[0] is ErrorCode.UNKNOWN_TYPE


def test_a_topic_may_be_given_by_its_name() -> None:
    name: Any = "predictions"
    assert msgspec.json.decode(Encoder().encode(name, predicted()))["prediction_id"] == "p"


def test_the_limit_of_size_is_the_workers() -> None:
    large = predicted(features=["x" * 100] * 1000)
    assert refused(Topic.PREDICTIONS, large)[0] is ErrorCode.TOO_LARGE
    assert len(Encoder(max_record_bytes=200_000).encode(Topic.PREDICTIONS, large)) > 100_000
