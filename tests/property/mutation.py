"""Bad records: one maker for each way in which a record can be refused, and mutants of good ones.

A maker knows the code and the path of what it makes by construction, not by asking the product. What a mutant is,
nobody knows beforehand: of it the tests ask agreement, and that nothing but a refusal comes of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st

from adaptive_stream.contracts.errors import ErrorCode
from adaptive_stream.contracts.topics import INPUTS, Topic
from tests.unit.contracts.example import examples
from tests.unit.contracts.generated import events, plain_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

START_MS = 1_700_000_000_000
MAX_RECORD_BYTES = 65_536  # batch.max_record_bytes, by default
FAMILIES = (
    'families.f.match=["m*"]',
    "families.f.features=[{name: a}, {name: b}, {name: c, kind: categorical, levels: [x, y]}]",
    'families.full.match=["full-*"]',
    "families.full.max_models=1",
    'families.many.match=["k*"]',
    "families.many.task=multiclass",
    "families.many.classes=[red, green, blue]",
    'families.real.match=["r*"]',
    "families.real.task=regression",
)
"""What the makers below rely on; ``full`` must hold a model in each task before the first bad record comes."""
NOT_A_RECORDS_FAULT = {ErrorCode.POISON}  # the step's own: tests/integration/test_record.py plants it

Headers = tuple[tuple[str, bytes | None], ...]
MSGPACK: Headers = (("content-type", b"application/msgpack"),)


@dataclass(frozen=True, slots=True)
class Bad:
    """A record, and why it must be refused. ``is_misplaced``: it belongs on another partition than that of its key."""

    code: ErrorCode
    path: str
    topic: Topic
    value: bytes | None
    key: bytes | None = b"m0"
    headers: Headers = ()
    time_ms: int = START_MS
    is_misplaced: bool = False


def bad_records(rng: Random, count: int) -> list[Bad]:
    """Return bad records of every code that a record can cause, in equal shares."""
    makers: dict[ErrorCode, Iterator[Bad]] = {}
    for code in ErrorCode:
        if code not in NOT_A_RECORDS_FAULT:
            known = [_of_example(example) for example in examples("invalid") if _is_input(example, code)]
            ways = [*(_always(bad) for bad in known), *(_by(maker, rng) for maker in MAKERS.get(code, ()))]
            assert ways, f"no way to make a record that is refused as {code}: add one to MAKERS"
            makers[code] = _in_turn(ways)
    return list(islice((next(made) for made in cycle(makers.values())), count))


def _is_input(example: Any, code: ErrorCode) -> bool:  # noqa: ANN401 - an Example
    return example.expected == code and example.topic in INPUTS


def _of_example(example: Any) -> Bad:  # noqa: ANN401 - an Example
    return Bad(
        code=ErrorCode(example.expected),
        path=example.path,
        topic=example.topic,
        value=example.value,
        headers=tuple(example.headers),
    )


def _always(bad: Bad) -> Iterator[Bad]:
    while True:
        yield bad


def _by(maker: Callable[[Random], Bad], rng: Random) -> Iterator[Bad]:
    while True:
        yield maker(rng)


def _in_turn(ways: Sequence[Iterator[Bad]]) -> Iterator[Bad]:
    while True:
        for way in ways:
            yield next(way)


# -- good bodies, to be spoilt -----------------------------------------------------------------------------------------


def good(rng: Random, topic: Topic, *, model: str = "m0") -> dict[str, Any]:
    """Return a body that a worker with ``FAMILIES`` accepts. Its ids are nobody else's."""
    number = rng.getrandbits(64)
    ids = {"model_id": model, "occurred_at": "2023-11-14T22:00:00Z"}
    match topic:
        case Topic.PREDICTIONS:
            features = [rng.random(), rng.randrange(9), rng.choice(["x", "y", "z", None])]
            return {**ids, "prediction_id": f"bad-{number}", "output": rng.random(), "features": features}
        case Topic.FEEDBACK:
            known = {**ids, "feedback_id": f"bad-f-{number}", "prediction_id": f"bad-{number}"}
            return rng.choice(
                [
                    {**known, "kind": "correction", "label": rng.randrange(2)},
                    {**known, "kind": "rating", "score": rng.uniform(1, 5), "scale": [1, 5]},
                ]
            )
        case Topic.METRICS:
            return {**ids, "accuracy": rng.random(), "values": {"churn": rng.random()}}
        case _:
            return {**ids, "command_id": f"bad-c-{number}", "action": "silence", "args": {"for": [rng.randrange(9)]}}


def _json(body: Any) -> bytes:  # noqa: ANN401 - anything that JSON can say
    return json.dumps(body).encode()


def _topic(rng: Random) -> Topic:
    return rng.choice(INPUTS)


# -- makers ------------------------------------------------------------------------------------------------------------


def _cut_off(rng: Random) -> Bad:
    topic = _topic(rng)
    body = _json(good(rng, topic))
    return Bad(ErrorCode.NOT_JSON, "$", topic, body[: rng.randrange(1, len(body))])


def _messagepack_cut_off(rng: Random) -> Bad:
    topic = _topic(rng)
    body = msgspec.msgpack.encode(good(rng, topic))
    return Bad(ErrorCode.NOT_JSON, "$", topic, body[: rng.randrange(1, len(body))], headers=MSGPACK)


def _two_bodies(rng: Random) -> Bad:
    topic = _topic(rng)
    return Bad(ErrorCode.NOT_JSON, "$", topic, _json(good(rng, topic)) + rng.choice([b"{}", b"]", b"x", b"\0"]))


def _noise(rng: Random) -> Bad:
    # 0xff begins neither a JSON value nor a MessagePack map
    return Bad(ErrorCode.NOT_JSON, "$", _topic(rng), b"\xff" + rng.randbytes(rng.randrange(200)))


def _half_envelope(rng: Random) -> Bad:
    topic = _topic(rng)
    whole = {"ce_specversion": b"1.0", "ce_type": b"x", "ce_id": b"1", "ce_source": b"/s"}
    del whole[rng.choice(list(whole))]
    return Bad(ErrorCode.WRONG_ENVELOPE, "$", topic, _json(good(rng, topic)), headers=tuple(whole.items()))


def _other_type(rng: Random) -> Bad:
    topic = _topic(rng)
    kind = rng.choice([b"", b"com.", b"adaptive.alert.", b"adaptive."]) + b"thing.v1"
    headers = (("ce_specversion", b"1.0"), ("ce_type", kind), ("ce_id", b"1"), ("ce_source", b"/s"))
    return Bad(ErrorCode.UNKNOWN_TYPE, "$", topic, _json(good(rng, topic)), headers=headers)


def _other_version(rng: Random) -> Bad:
    topic = _topic(rng)
    role = {Topic.PREDICTIONS: "prediction"}.get(topic, topic.value)
    headers = (
        ("ce_specversion", b"1.0"),
        ("ce_type", f"adaptive.{role}.v{rng.randrange(2, 99)}".encode()),
        ("ce_id", b"1"),
        ("ce_source", b"/s"),
        ("traceparent", None),
    )
    return Bad(ErrorCode.UNKNOWN_VERSION, "$", topic, _json(good(rng, topic)), headers=headers)


def _other_content(rng: Random) -> Bad:
    topic = _topic(rng)
    content = rng.choice(
        [b"text/xml", b"application/x-protobuf", b"avro/binary", b"x", b"application/json;charset=utf-16"]
    )
    return Bad(ErrorCode.UNSUPPORTED_CONTENT, "$", topic, _json(good(rng, topic)), headers=(("Content-Type", content),))


def _missing_field(rng: Random) -> Bad:
    topic = _topic(rng)
    body = good(rng, topic)
    required = {
        Topic.PREDICTIONS: ["prediction_id", "output", "model_id"],
        Topic.FEEDBACK: ["feedback_id", "prediction_id", "model_id", "label" if "label" in body else "score"],
        Topic.METRICS: ["model_id"],
        Topic.CONTROL: ["command_id", "action", "model_id"],
    }
    name = rng.choice(required[topic])
    del body[name]
    return Bad(ErrorCode.INVALID_EVENT, f"$.{name}", topic, _json(body))


def _other_kind_of_value(rng: Random) -> Bad:
    topic = _topic(rng)
    body = good(rng, topic)
    name = rng.choice([name for name in body if name not in ("label", "output", "features", "kind", "action")])
    body[name] = rng.choice([True, [[]], [{}]]) if name != "args" else "all"
    if name in ("values", "scale"):
        body[name] = "all"
    path = f"$.{name}"
    value = msgspec.msgpack.encode(body) if (is_packed := rng.random() < 0.3) else _json(body)
    return Bad(ErrorCode.INVALID_EVENT, path, topic, value, headers=MSGPACK if is_packed else ())


def _no_object(rng: Random) -> Bad:
    return Bad(ErrorCode.INVALID_EVENT, "$", _topic(rng), _json(rng.choice([[], "x", 1, None, True, 1.5, [{}]])))


def _not_finite(rng: Random) -> Bad:
    body = good(rng, Topic.PREDICTIONS)
    place = rng.randrange(3)
    if place < 2:
        body["features"][place] = "?"
        path = f"$.features[{place}]"
    else:
        body["output"], path = "?", "$.output"
    word = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e400"])
    return Bad(ErrorCode.NON_FINITE, path, Topic.PREDICTIONS, _json(body).replace(b'"?"', word, 1))


def _not_finite_packed(rng: Random) -> Bad:
    body = good(rng, Topic.METRICS)
    name = rng.choice(["accuracy", "latency_ms", "error_rate"])
    body[name] = rng.choice([float("nan"), float("inf")])
    return Bad(ErrorCode.NON_FINITE, f"$.{name}", Topic.METRICS, msgspec.msgpack.encode(body), headers=MSGPACK)


def _too_large(rng: Random) -> Bad:
    topic = _topic(rng)
    body = _json({**good(rng, topic), "more": ""})
    more = MAX_RECORD_BYTES + 1 - len(body) + rng.choice([0, 1, 5_000, 200_000])
    return Bad(ErrorCode.TOO_LARGE, "$", topic, body.replace(b'"more": ""', b'"more": "' + b"x" * more + b'"'))


def _too_deep(rng: Random) -> Bad:
    topic = _topic(rng)
    depth = rng.choice([16, 17, 100, 2_000])  # inside the body's own object; batch.max_depth is 16
    opened, closed = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nest = opened * depth + (b"1" if opened != b"[" else b"") + closed * depth
    return Bad(ErrorCode.TOO_DEEP, "$", topic, _json(good(rng, topic))[:-1] + b',"more":' + nest + b"}")


def _empty(rng: Random) -> Bad:
    return Bad(ErrorCode.EMPTY, "$", _topic(rng), rng.choice([None, b""]), headers=rng.choice([(), MSGPACK]))


def _no_key(rng: Random) -> Bad:
    topic = _topic(rng)
    key = rng.choice([None, b"", b"\xff", b"m\xc3", rng.randbytes(9) + b"\xfe"])
    return Bad(ErrorCode.MISSING_KEY, "$", topic, _json(good(rng, topic)), key=key)


def _other_key(rng: Random) -> Bad:
    topic = _topic(rng)
    key = rng.choice([b"m1", b"M0", b"m0 ", "ḿ".encode(), b"stranger", b"m0\0"])
    return Bad(ErrorCode.KEY_MISMATCH, "$.model_id", topic, _json(good(rng, topic)), key=key)


def _stranger(rng: Random) -> Bad:
    topic = _topic(rng)
    model = rng.choice(["stranger", "M0", " m0", "é", "q" * 256])
    return Bad(ErrorCode.UNKNOWN_MODEL, "$.model_id", topic, _json(good(rng, topic, model=model)), key=model.encode())


def _one_too_many(rng: Random) -> Bad:
    model = f"full-{rng.getrandbits(40)}"
    body = good(rng, Topic.METRICS, model=model)
    return Bad(ErrorCode.TOO_MANY_MODELS, "$", Topic.METRICS, _json(body), key=model.encode())


def _other_width(rng: Random) -> Bad:
    body = good(rng, Topic.PREDICTIONS)
    body["features"] = rng.choice(
        [
            None,
            [],
            [1, 2],
            [1, 2, "x", 4],
            {"a": 1, "b": 2},
            {"a": 1, "b": 2, "d": 3},
            {"a": 1, "b": 2, "c": "x", "d": 3},
        ]
    )
    return Bad(ErrorCode.WRONG_DIMENSION, "$.features", Topic.PREDICTIONS, _json(body))


def _word_for_a_number(rng: Random) -> Bad:
    body = good(rng, Topic.PREDICTIONS)
    place = rng.randrange(2)
    body["features"][place] = rng.choice(["", "1", "NaN", "x"])
    if rng.random() < 0.3:
        body["features"] = dict(zip("abc", body["features"], strict=True))
    return Bad(ErrorCode.INVALID_FEATURE, f"$.features[{place}]", Topic.PREDICTIONS, _json(body))


def _unfit_output(rng: Random) -> Bad:
    model, output = rng.choice(
        [
            ("m0", 1.5),
            ("m0", -0.1),
            ("m0", "yes"),
            ("m0", [0.2, 0.8]),
            ("k0", "violet"),
            ("k0", 1),
            ("k0", [0.5, 0.5]),
            ("k0", [0.5, 0.5, 1.5]),
            ("r0", "7"),
            ("r0", [7.0]),
        ]
    )
    body = {**good(rng, Topic.PREDICTIONS, model=model), "output": output}
    return Bad(ErrorCode.INVALID_OUTPUT, "$.output", Topic.PREDICTIONS, _json(body), key=model.encode())


def _unfit_label(rng: Random) -> Bad:
    model, label = rng.choice(
        [("m0", 2), ("m0", "1"), ("m0", 0.5), ("k0", 3), ("k0", 0.5), ("k0", "violet"), ("r0", True), ("r0", "7")]
    )
    number = rng.getrandbits(64)
    body = {
        "kind": "correction",
        "feedback_id": f"bad-f-{number}",
        "prediction_id": f"bad-{number}",
        "model_id": model,
        "label": label,
    }
    return Bad(ErrorCode.INVALID_OUTPUT, "$.label", Topic.FEEDBACK, _json(body), key=model.encode())


def _unset_clock(rng: Random) -> Bad:
    topic = _topic(rng)
    time_ms = rng.choice([0, 1, 86_400_000, 946_684_799_999])  # the last instant before time.earliest
    return Bad(ErrorCode.ABSURD_TIME, "$", topic, _json(good(rng, topic)), time_ms=time_ms)


def _absurd_occurrence(rng: Random) -> Bad:
    topic = rng.choice([Topic.PREDICTIONS, Topic.FEEDBACK])
    at = rng.choice(
        ["1970-01-01T00:00:00Z", "1999-12-31T23:59:59.999Z", "2031-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    )
    body = {**good(rng, topic), "occurred_at": at}
    return Bad(ErrorCode.ABSURD_TIME, "$.occurred_at", topic, _json(body))


def _moved_in_vain(rng: Random) -> Bad:
    topic = _topic(rng)
    headers = (("x", b"\x00"), ("as_repartitioned", b"1"))
    return Bad(ErrorCode.WRONG_PARTITION, "$", topic, _json(good(rng, topic)), headers=headers, is_misplaced=True)


MAKERS: dict[ErrorCode, tuple[Callable[[Random], Bad], ...]] = {
    ErrorCode.NOT_JSON: (_cut_off, _messagepack_cut_off, _two_bodies, _noise),
    ErrorCode.WRONG_ENVELOPE: (_half_envelope,),
    ErrorCode.UNKNOWN_TYPE: (_other_type,),
    ErrorCode.UNKNOWN_VERSION: (_other_version,),
    ErrorCode.UNSUPPORTED_CONTENT: (_other_content,),
    ErrorCode.INVALID_EVENT: (_missing_field, _other_kind_of_value, _no_object),
    ErrorCode.NON_FINITE: (_not_finite, _not_finite_packed),
    ErrorCode.TOO_LARGE: (_too_large,),
    ErrorCode.TOO_DEEP: (_too_deep,),
    ErrorCode.EMPTY: (_empty,),
    ErrorCode.MISSING_KEY: (_no_key,),
    ErrorCode.KEY_MISMATCH: (_other_key,),
    ErrorCode.UNKNOWN_MODEL: (_stranger,),
    ErrorCode.TOO_MANY_MODELS: (_one_too_many,),
    ErrorCode.WRONG_DIMENSION: (_other_width,),
    ErrorCode.INVALID_FEATURE: (_word_for_a_number,),
    ErrorCode.INVALID_OUTPUT: (_unfit_output, _unfit_label),
    ErrorCode.ABSURD_TIME: (_unset_clock, _absurd_occurrence),
    ErrorCode.WRONG_PARTITION: (_moved_in_vain,),
}


# -- mutants -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mutant:
    """A good record that was changed blindly; it may be good still."""

    topic: Topic
    value: bytes
    key: bytes
    headers: Headers = ()
    time_ms: int = START_MS


def flipped(rng: Random, *, model: str) -> Mutant:
    """Return a good record with one to four of its bytes changed, taken out, doubled or put elsewhere."""
    topic = _topic(rng)
    body = good(rng, topic, model=model)
    is_packed = rng.random() < 0.3
    value = bytearray(msgspec.msgpack.encode(body) if is_packed else _json(body))
    for _ in range(rng.randrange(1, 5)):
        place = rng.randrange(len(value))
        end = min(len(value), place + rng.randrange(1, 9))
        match rng.randrange(6):
            case 0:
                value[place] ^= 1 << rng.randrange(8)
            case 1:
                value[place] = rng.randrange(256)
            case 2:
                value[place] = rng.choice(b'{}[]",:\\0123456789-+.eEtfnNI \n\0\x7f\x80\xc0\xff')
            case 3:
                value[place:place] = value[place:end]
            case 4 if end - place < len(value):
                del value[place:end]
            case _:
                value[place:place] = rng.randbytes(end - place)
    return Mutant(topic, bytes(value), model.encode(), headers=MSGPACK if is_packed else ())


@st.composite
def bent(draw: st.DrawFn, *, model: str) -> Mutant:
    """Any event whose structure was changed: fields gone, renamed, doubled, of another kind, of another event."""
    topic = draw(st.sampled_from(INPUTS))
    body = msgspec.to_builtins(draw(events(topic)))
    body["model_id"] = model
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(body))) if body else "model_id"
        match draw(st.integers(0, 5)):
            case 0:
                body.pop(name, None)
            case 1:
                body[name] = draw(plain_json)
            case 2:
                body[draw(st.text(max_size=4))] = body.get(name)
            case 3:
                body[name] = [body.get(name)]
            case 4:
                body |= msgspec.to_builtins(draw(events(draw(st.sampled_from(INPUTS)))))
            case _:
                body = {"data": body, **body}
    is_packed = draw(st.booleans())
    value = msgspec.msgpack.encode(body) if is_packed else msgspec.json.encode(body)
    return Mutant(topic, value, model.encode(), headers=MSGPACK if is_packed else ())
