"""The codec: every event there and back, and nothing but a Reject for everything else."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adaptive_stream.contracts.codec import MAX_IGNORED_DEPTH, TYPE_OF, Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Control, Correction, Metrics, Prediction
from adaptive_stream.contracts.topics import INPUTS, OUTPUTS, Topic
from tests.unit.contracts.generated import inputs, plain_json, records

codec = Codec()
Headers = Sequence[tuple[str, bytes | None]]

MSGPACK = [("content-type", b"application/msgpack")]
STRUCTURED = [("content-type", b"application/cloudevents+json")]
PREDICTION = b'{"prediction_id":"p","model_id":"m","output":0.5}'

content_types = st.sampled_from(
    ["application/json", "application/msgpack", "application/cloudevents+json", "text/json; charset=utf-8", "avro", ""]
).map(str.encode)
header_names = st.sampled_from(
    ["content-type", "Content-Type", "ce_specversion", "ce_type", "ce_id", "ce_source", "ce_time", "ce_other", "trace"]
)
header_values = st.none() | st.binary(max_size=8) | content_types | st.sampled_from([b"1.0", b"adaptive.feedback.v1"])
header_lists = st.lists(st.tuples(header_names, header_values), max_size=6)
bodies = (
    st.none()
    | st.binary(max_size=64)
    | plain_json.map(msgspec.json.encode)
    | plain_json.map(msgspec.msgpack.encode)
    | inputs.map(lambda record: codec.encode(record[1]))
)


def decode(topic: Topic, value: bytes | None, headers: Headers = ()) -> Any:  # noqa: ANN401 - an event of any kind
    return (codec.decode if topic in INPUTS else codec.decode_output)(topic, value, headers)


def verdict(topic: Topic, value: bytes | None, headers: Headers = ()) -> Any:  # noqa: ANN401 - an event of any kind
    """Return the event, or why there is none."""
    try:
        return decode(topic, value, headers)
    except Reject as reject:
        return reject.code, reject.path, reject.message


@settings(max_examples=50)
@given(records())
def test_every_event_is_equal_after_json_messagepack_and_each_mode_of_cloudevents(record: tuple[Topic, Any]) -> None:
    topic, event = record
    as_json, as_msgpack = codec.encode(event), codec.encode_msgpack(event)
    headers = codec.headers(event, source="/test", event_id="e-1", time_ms=0)
    envelope = {"specversion": "1.0", "type": f"{TYPE_OF[topic]}.v1", "id": "e-1", "source": "/test"}
    whole = msgspec.json.encode({**envelope, "data": msgspec.Raw(as_json)})
    wrapped = {
        **envelope,
        "datacontenttype": "application/msgpack",
        "data_base64": base64.b64encode(as_msgpack).decode(),
    }
    assert decode(topic, as_json) == event
    assert decode(topic, as_json, headers) == event
    assert decode(topic, as_msgpack, MSGPACK) == event
    assert decode(topic, whole, STRUCTURED) == event
    assert decode(topic, msgspec.json.encode(wrapped), STRUCTURED) == event


@settings(max_examples=50)
@given(topic=st.sampled_from(INPUTS), value=bodies)
@example(topic=Topic.PREDICTIONS, value=b"[" * 17)
@example(topic=Topic.PREDICTIONS, value=PREDICTION[:-1] + b',"x":' + b"[" * 17 + b"]" * 17 + b"}")
@example(topic=Topic.PREDICTIONS, value=PREDICTION[:-1] + b',"features":[1,"{{{{{{{{{{{{{{{{{{"]}')
def test_the_short_way_without_headers_says_what_the_long_way_says(topic: Topic, value: bytes | None) -> None:
    assert verdict(topic, value) == verdict(topic, value, [("content-type", b"application/json")])


@settings(max_examples=150)
@given(topic=st.sampled_from((*INPUTS, *OUTPUTS)), value=bodies, headers=header_lists)
@example(topic=Topic.PREDICTIONS, value=b"[" * 60_000, headers=[])
@example(topic=Topic.PREDICTIONS, value=b'{"a":' * 10_000, headers=STRUCTURED)
@example(topic=Topic.PREDICTIONS, value=b"\x91" * 60_000, headers=MSGPACK)
@example(topic=Topic.CONTROL, value=b"\xdf\xff\xff\xff\xff", headers=MSGPACK)
@example(topic=Topic.CONTROL, value=b"\x81\xa4args\xc7\x0c\xff" + bytes(12), headers=MSGPACK)
@example(topic=Topic.ALERTS, value=b"\xff", headers=STRUCTURED)
def test_whatever_the_bytes_and_headers_decode_returns_or_rejects(topic: Topic, value: bytes, headers: Headers) -> None:
    match verdict(topic, value, headers):
        case ErrorCode(), path, message:
            assert path.startswith("$")
            assert message
        case event:
            assert TYPE_OF[topic] == event.TYPE


@settings(max_examples=50)
@given(record=inputs, place=st.integers(0), junk=st.binary(min_size=1, max_size=3))
def test_an_event_with_damaged_bytes_is_returned_or_rejected(
    record: tuple[Topic, Any], place: int, junk: bytes
) -> None:
    topic, event = record
    for value, headers in ((codec.encode(event), ()), (codec.encode_msgpack(event), MSGPACK)):
        at = place % len(value)
        outcome = verdict(topic, value[:at] + junk + value[at + len(junk) :], headers)
        assert isinstance(outcome, tuple) or TYPE_OF[topic] == outcome.TYPE


@pytest.mark.parametrize("topic", INPUTS)
@pytest.mark.parametrize("value", [None, b""])
def test_a_tombstone_is_empty(topic: Topic, value: bytes | None) -> None:
    assert verdict(topic, value)[0] is ErrorCode.EMPTY


def test_a_record_of_exactly_the_limit_passes_and_one_byte_more_is_too_large() -> None:
    largest = PREDICTION.ljust(65536)
    assert isinstance(decode(Topic.PREDICTIONS, largest), Prediction)
    assert isinstance(decode(Topic.PREDICTIONS, largest, [("content-type", b"application/json")]), Prediction)
    for headers in ([], MSGPACK, STRUCTURED, [("ce_id", b"")]):
        code, path, message = verdict(Topic.PREDICTIONS, largest + b" ", headers)
        assert (code, path) == (ErrorCode.TOO_LARGE, "$")
        assert "65537 bytes" in message
        assert "batch.max_record_bytes = 65536" in message


def test_the_limit_of_size_is_for_inputs_alone() -> None:
    large = b'{"command_id":"k","model_id":"m","epoch":1,"serve":{}}'.ljust(200_000)
    assert decode(Topic.MODEL_COMMANDS, large).epoch == 1


@pytest.mark.parametrize("limit", [2, 5, 16, 40])
def test_the_limit_of_depth_is_exact_in_every_format(limit: int) -> None:
    bounded = Codec(max_depth=limit)

    def order(layers: int) -> dict[str, Any]:
        """An order whose body has that many layers: itself, its args, and lists in them."""
        inner: Any = None
        for _ in range(layers - 2):
            inner = [inner]
        return {"command_id": "c", "model_id": "m", "action": "stop", "args": {"a": inner}}

    for value, headers in ((msgspec.json.encode, []), (msgspec.msgpack.encode, MSGPACK)):
        assert isinstance(bounded.decode(Topic.CONTROL, value(order(limit)), headers), Control)
        with pytest.raises(Reject) as refused:
            bounded.decode(Topic.CONTROL, value(order(limit + 1)), headers)
        assert refused.value.code is ErrorCode.TOO_DEEP


def test_a_field_of_messagepack_that_is_ignored_may_be_deeper_but_never_so_deep_that_the_callers_stack_matters() -> (
    None
):
    body = msgspec.msgpack.encode({"prediction_id": "p", "model_id": "m", "output": 1, "x": 0})
    head, beyond = body.removesuffix(b"\x00"), MAX_IGNORED_DEPTH
    assert isinstance(decode(Topic.PREDICTIONS, head + b"\x91" * (beyond - 1) + b"\x00", MSGPACK), Prediction)
    for layers in (beyond, 60_000):
        value = head + b"\x91" * layers + b"\x00"
        assert verdict(Topic.PREDICTIONS, value, MSGPACK)[0] is ErrorCode.TOO_DEEP
        assert "batch.max_depth" in verdict(Topic.PREDICTIONS, value, MSGPACK)[2]


def test_nan_is_written_as_null_and_so_means_missing_among_features_and_nothing_in_an_output() -> None:
    among_features = Prediction(prediction_id="p", model_id="m", output=1, features=[math.nan, -math.inf, 2.0])
    assert decode(Topic.PREDICTIONS, codec.encode(among_features)).features == [None, None, 2.0]
    as_output = Prediction(prediction_id="p", model_id="m", output=math.nan)
    assert verdict(Topic.PREDICTIONS, codec.encode(as_output))[:2] == (ErrorCode.INVALID_EVENT, "$.output")
    assert verdict(Topic.PREDICTIONS, codec.encode_msgpack(as_output), MSGPACK)[0] is ErrorCode.NON_FINITE


def test_numbers_are_strict_but_integers_are_numbers() -> None:
    event = decode(
        Topic.FEEDBACK, b'{"kind":"correction","feedback_id":"f","prediction_id":"p","model_id":"m","label":1}'
    )
    assert event == Correction(feedback_id="f", prediction_id="p", model_id="m", label=1.0)
    assert decode(Topic.METRICS, b'{"model_id":"m","values":{"a":18446744073709551616}}') == Metrics(
        model_id="m", values={"a": 2.0**64}
    )


def test_the_last_of_a_header_counts_and_names_have_no_case() -> None:
    value = codec.encode_msgpack(Metrics(model_id="m", accuracy=1.0))
    twice = [("content-type", b"avro"), ("Content-Type", b"Application/MsgPack")]
    assert decode(Topic.METRICS, value, twice) == Metrics(model_id="m", accuracy=1.0)
    assert verdict(Topic.METRICS, value, twice[::-1])[0] is ErrorCode.UNSUPPORTED_CONTENT
    assert verdict(Topic.METRICS, value, [*twice, ("content-type", None)])[0] is ErrorCode.NOT_JSON


def test_the_headers_of_an_output_are_those_of_cloudevents() -> None:
    event = Prediction(prediction_id="p", model_id="m", output=1)
    headers = codec.headers(event, source="/w", event_id="e", time_ms=1370044800001, content_type="application/msgpack")
    assert headers == [
        ("content-type", b"application/msgpack"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"e"),
        ("ce_source", b"/w"),
        ("ce_type", b"adaptive.prediction.v1"),
        ("ce_time", b"2013-06-01T00:00:00.001Z"),
    ]
