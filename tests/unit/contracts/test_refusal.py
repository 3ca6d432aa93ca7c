"""What is said of a bad record. The words are msgspec's at heart, so these tests pin what is read out of them."""

from __future__ import annotations

import enum
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_stream.contracts.codec import CARRIES, TYPE_OF, Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Action
from adaptive_stream.contracts.refusal import _ENUMS
from adaptive_stream.contracts.topics import INPUTS, Topic
from tests.unit.contracts.generated import records

codec = Codec()
MSGPACK = [("content-type", b"application/msgpack")]
STRUCTURED = [("content-type", b"application/cloudevents+json")]
PAYLOAD = "hunter2-\u00e9"
JUNK = "a MessagePack body needs the header content-type: application/msgpack"
NOT_FINITE = "a number is not finite or too large for 64 bits; leave it out, or send null where that is allowed"


def refused(topic: Topic, body: Any, headers: Any = ()) -> Reject:  # noqa: ANN401 - bytes, or any JSON
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Reject) as caught:
        (codec.decode if topic in INPUTS else codec.decode_output)(topic, value, headers)
    return caught.value


def prediction(**fields: object) -> dict[str, object]:
    return {"prediction_id": "p", "model_id": "m", "output": 0.5, **fields}


def order(**fields: object) -> dict[str, object]:
    return {"command_id": "c", "model_id": "m", "action": "stop", **fields}


@pytest.mark.parametrize(
    ("body", "code", "path", "message"),
    [
        (b"hello", "not_json", "$", f"the body is not JSON at byte 0; {JUNK}"),
        (b'{"prediction_id":', "not_json", "$", f"the body is not JSON: it is cut off; {JUNK}"),
        (b'"\xff"', "invalid_event", "$", "the value must be object, not str"),
        (b'{"prediction_id":"\xff"}', "not_json", "$", "a text in the body is not UTF-8"),
        (b'{"prediction_id":"p","output":NaN}', "non_finite", "$.output", NOT_FINITE),
        (b'{"prediction_id":"p","ignored":[1,{"a":Infinity}]}', "non_finite", "$", NOT_FINITE),
        (b'{"prediction_id":"p","features":{"a":-inf}}', "non_finite", "$.features[...]", NOT_FINITE),
        (b'{"prediction_id":"p","output":1e999}', "non_finite", "$.output", NOT_FINITE),
        ([], "invalid_event", "$", "the value must be object, not array"),
        ({}, "invalid_event", "$.prediction_id", "the required field prediction_id is missing"),
        (prediction(model_id=None), "invalid_event", "$.model_id", "the value must be str, not null"),
        (prediction(model_id=""), "invalid_event", "$.model_id", "the value must be str of length >= 1"),
        (prediction(model_id="m" * 257), "invalid_event", "$.model_id", "the value must be str of length <= 256"),
        (prediction(confidence=2), "invalid_event", "$.confidence", "the value must be float <= 1.0"),
        (prediction(latency_ms=-1), "invalid_event", "$.latency_ms", "the value must be float >= 0.0"),
        (prediction(propensity=0), "invalid_event", "$.propensity", "the value must be float > 0.0"),
        (
            prediction(features=[[]]),
            "invalid_event",
            "$.features[0]",
            "the value must be float | str | null, not array",
        ),
        (prediction(features={"": 1}), "invalid_event", "$.features", "a name in it must be str of length >= 1"),
        (prediction(features=[0] * 4097), "invalid_event", "$.features", "the value must be array of length <= 4096"),
        (
            prediction(occurred_at="noon"),
            "invalid_event",
            "$.occurred_at",
            "not an RFC 3339 date and time with offset, such as 2013-06-01T00:00:00Z",
        ),
    ],
)
def test_a_bad_prediction_is_refused_in_words_that_say_what_and_where(
    body: object, code: str, path: str, message: str
) -> None:
    reject = refused(Topic.PREDICTIONS, body)
    assert (reject.code, reject.path, reject.message) == (code, path, message)


def test_an_unknown_action_is_answered_with_those_that_there_are() -> None:
    reject = refused(Topic.CONTROL, order(action="explode"))
    assert (reject.path, reject.message) == ("$.action", f"must be one of {', '.join(Action)}")
    assert refused(Topic.CONTROL, order(action=5)).message == "the value must be str, not int"


def test_an_unknown_kind_of_feedback_is_answered_with_those_that_there_are() -> None:
    reject = refused(Topic.FEEDBACK, {"kind": "vote"})
    assert reject.code is ErrorCode.UNKNOWN_TYPE
    assert (reject.path, reject.message) == ("$.kind", "kind must be one of rating, correction, preference")
    assert refused(Topic.FEEDBACK, {}).message == "the required field kind is missing"


def test_a_long_integer_is_named_for_what_it_is() -> None:
    reject = refused(Topic.CONTROL, order(args={"a": [2**64]}))
    assert (reject.code, reject.path) == (ErrorCode.INVALID_EVENT, "$.args[...][0]")
    assert reject.message == "the value must be an integer of at most 64 bits"


def test_a_body_that_is_not_messagepack_is_not_called_json() -> None:
    cut = msgspec.msgpack.encode(prediction())[:-1]
    assert refused(Topic.PREDICTIONS, cut, MSGPACK).message == (
        "the body is not MessagePack: it is cut off, although content-type says so"
    )
    unused = msgspec.msgpack.encode(prediction(x=None)).replace(b"\xa1x\xc0", b"\xa1x\xc1")
    assert refused(Topic.PREDICTIONS, unused, MSGPACK).code is ErrorCode.NOT_JSON


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("topic", "body", "path"),
    [
        (Topic.PREDICTIONS, lambda x: prediction(output=x), "$.output"),
        (Topic.PREDICTIONS, lambda x: prediction(output=[0.1, x]), "$.output[1]"),
        (Topic.PREDICTIONS, lambda x: prediction(confidence=x), "$.confidence"),
        (Topic.PREDICTIONS, lambda x: prediction(features=[0, x]), "$.features[1]"),
        (Topic.PREDICTIONS, lambda x: prediction(features={"a": x}), "$.features[...]"),
        (Topic.CONTROL, lambda x: order(args={"a": [{"b": x}]}), "$.args[...][0][...]"),
    ],
)
def test_a_number_that_is_not_finite_is_found_in_messagepack(topic: Topic, body: Any, path: str, number: float) -> None:  # noqa: ANN401
    reject = refused(topic, msgspec.msgpack.encode(body(number)), MSGPACK)
    assert (reject.code, reject.path) == (ErrorCode.NON_FINITE, path)


@pytest.mark.parametrize("single", [b"\x7f\xc0\x00\x00", b"\x7f\x80\x00\x00", b"\xff\x80\x00\x00", b"\xff\xff\xff\xff"])
def test_a_number_of_single_precision_that_is_not_finite_is_found_too(single: bytes) -> None:
    value = msgspec.msgpack.encode(prediction(output=0.0)).replace(b"\xcb" + bytes(8), b"\xca" + single)
    assert value.count(b"\xca" + single) == 1
    reject = refused(Topic.PREDICTIONS, value, MSGPACK)
    assert (reject.code, reject.path) == (ErrorCode.NON_FINITE, "$.output")


def test_the_allowed_values_are_known_for_every_enum_at_the_top_of_an_event() -> None:
    found = {
        f"$.{field.encode_name}": kind.cls
        for topic in CARRIES
        for struct in [msgspec.inspect.type_info(CARRIES[topic])]
        for cls in (struct.types if isinstance(struct, msgspec.inspect.UnionType) else [struct])
        for field in cls.fields
        for kind in getattr(field.type, "types", [field.type])
        if isinstance(kind, msgspec.inspect.EnumType) and issubclass(kind.cls, enum.StrEnum)
    }
    assert found == _ENUMS


@settings(max_examples=100)
@given(record=records(), choice=st.integers(0, 1000), how=st.sampled_from(["text", "name", "type", "header", "bytes"]))
def test_no_message_and_no_path_holds_a_part_of_the_payload(record: tuple[Topic, Any], choice: int, how: str) -> None:
    topic, event = record
    body = json.loads(codec.encode(event))
    name = sorted(body)[choice % len(body)]
    headers: list[tuple[str, bytes]] = []
    if how == "text":
        body[name] = PAYLOAD
    elif how == "name":
        body[name] = {PAYLOAD: [{PAYLOAD: PAYLOAD}]}
    elif how == "type":
        body = {
            "specversion": PAYLOAD if choice % 2 else "1.0",
            "type": PAYLOAD,
            "id": PAYLOAD,
            "source": PAYLOAD,
            "data": body,
        }
        headers = STRUCTURED
    elif how == "header":
        envelope = {
            "ce_specversion": "1.0",
            "ce_type": f"{TYPE_OF[topic]}.v1",
            "ce_id": "e",
            "ce_source": "/s",
            "ce_time": "",
        }
        envelope[sorted(envelope)[choice % len(envelope)]] = PAYLOAD
        headers = [*((key, text.encode()) for key, text in envelope.items()), ("content-type", PAYLOAD.encode())]
    value = json.dumps(body, ensure_ascii=False).encode()
    if how == "bytes":
        at = choice % len(value)
        value = value[:at] + PAYLOAD.encode() + value[at:]
    for forms in ((value, headers), (msgspec.msgpack.encode(body), headers or MSGPACK)):
        try:
            (codec.decode if topic in INPUTS else codec.decode_output)(topic, *forms)
        except Reject as reject:
            said = f"{reject.message} {reject.path} {reject}"
        else:
            said = ""
        assert "hunter" not in said
