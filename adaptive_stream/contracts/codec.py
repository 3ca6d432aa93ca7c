"""Bytes to events and back: the edge where every record is parsed, once.

Owns the envelopes (bare, CloudEvents binary and structured), the content types, the limits of size and depth, and the
rules that span fields. Never touches Kafka. Called by the worker's intake, the client and the readers.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from adaptive_stream.contracts.clock import format_time, parse_time
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import (
    Adaptation,
    Alert,
    Control,
    Correction,
    Feedback,
    InputEvent,
    Metrics,
    ModelCommand,
    ModelStatus,
    OutputEvent,
    Prediction,
    Preference,
    Rating,
)
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTRACT_VERSION = "v1"
SPEC_VERSION = "1.0"  # of CloudEvents
JSON_TYPES = frozenset({"application/json", "text/json"})
MSGPACK_TYPES = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})
STRUCTURED_TYPE = "application/cloudevents+json"
CARRIES: dict[Topic, Any] = {
    Topic.PREDICTIONS: Prediction,
    Topic.FEEDBACK: Feedback,
    Topic.METRICS: Metrics,
    Topic.CONTROL: Control,
    Topic.ALERTS: Alert,
    Topic.ADAPTATIONS: Adaptation,
    Topic.MODEL_COMMANDS: ModelCommand,
    Topic.MODEL_STATUS: ModelStatus,
}
TYPE_OF: dict[Topic, str] = {
    topic: "adaptive.feedback" if topic is Topic.FEEDBACK else kind.TYPE for topic, kind in CARRIES.items()
}
FIGURES = (
    "accuracy",
    "precision",
    "recall",
    "f1_score",
    "latency_ms",
    "memory_usage_mb",
    "prediction_confidence",
    "error_rate",
)

_PATH = re.compile(r" - at `([^`]+)`")
_NON_FINITE = re.compile(rb"(?<![\w\"])-?(NaN|Infinity)\b")
_OPENING = re.compile(rb"[\[{]")


class _Envelope(msgspec.Struct):
    """A structured CloudEvent."""

    specversion: str
    type: str
    id: str
    source: str
    data: msgspec.Raw
    datacontenttype: str = "application/json"
    time: str | None = None


class Codec:
    """Decode and encode the events of every topic.

    Args:
        max_record_bytes: most bytes of a body.
        max_depth: deepest nesting of arrays and objects in a body.
    """

    def __init__(self, *, max_record_bytes: int = 65536, max_depth: int = 16) -> None:
        self._max_record_bytes = max_record_bytes
        self._max_depth = max_depth
        self._json = {topic: msgspec.json.Decoder(kind) for topic, kind in CARRIES.items()}
        self._msgpack = {topic: msgspec.msgpack.Decoder(kind) for topic, kind in CARRIES.items()}
        self._envelope = msgspec.json.Decoder(_Envelope)
        self._encoder = msgspec.json.Encoder()
        self._encode_msgpack = msgspec.msgpack.Encoder()

    def decode(self, topic: Topic, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> InputEvent:
        """Return the event of an input topic.

        Raises:
            Reject: with the code, what is wrong and where. Nothing else, whatever the bytes.
        """
        if value is None or len(value) > self._max_record_bytes or headers:
            event = self._decode_enveloped(topic, value, headers)
        else:
            try:
                event = self._json[topic].decode(value)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise self._explain(error, value) from error
        kind = type(event)
        if kind is Prediction:
            if event.occurred_at is not None:
                _check_time(event.occurred_at, "$.occurred_at")
        else:
            self._check_rules(event, value or b"")
        return event  # type: ignore[no-any-return]

    def decode_output(
        self, topic: Topic, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> OutputEvent:
        """Return the event of an output topic. Raises Reject."""
        return self._decode_enveloped(topic, value, headers)  # type: ignore[no-any-return]

    def encode(self, event: InputEvent | OutputEvent) -> bytes:
        """Return the event as plain JSON."""
        return self._encoder.encode(event)

    def encode_msgpack(self, event: InputEvent | OutputEvent) -> bytes:
        """Return the event as MessagePack; send it with the header ``content-type: application/msgpack``."""
        return self._encode_msgpack.encode(event)

    def headers(
        self, event: InputEvent | OutputEvent, *, source: str, event_id: str, time_ms: int
    ) -> list[tuple[str, bytes]]:
        """Return the headers of CloudEvents' binary mode."""
        return [
            ("content-type", b"application/json"),
            ("ce_specversion", SPEC_VERSION.encode()),
            ("ce_id", event_id.encode()),
            ("ce_source", source.encode()),
            ("ce_type", f"{event.TYPE}.{CONTRACT_VERSION}".encode()),
            ("ce_time", format_time(time_ms).encode()),
        ]

    def _decode_enveloped(self, topic: Topic, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Any:  # noqa: ANN401 - one of the unions, by topic
        if not value:
            raise Reject(ErrorCode.EMPTY, "the record has no body; a tombstone has no meaning here")
        if len(value) > self._max_record_bytes:
            raise Reject(
                ErrorCode.TOO_LARGE,
                f"the body has {len(value)} bytes, more than batch.max_record_bytes {self._max_record_bytes}",
            )
        named = self._named(headers)
        content_type = named.get("content-type", "application/json").split(";")[0].strip().lower()
        try:
            if content_type == STRUCTURED_TYPE:
                envelope = self._open(value)
                _check_type(topic, envelope.type, envelope.specversion)
                value, content_type = bytes(envelope.data), envelope.datacontenttype.split(";")[0].strip().lower()
                if content_type not in JSON_TYPES:
                    raise Reject(ErrorCode.UNSUPPORTED_CONTENT, "structured mode carries JSON data", path="$.data")
            elif "ce_specversion" in named or "ce_type" in named:
                missing = [name for name in ("ce_specversion", "ce_type", "ce_id", "ce_source") if not named.get(name)]
                if missing:
                    raise Reject(ErrorCode.WRONG_ENVELOPE, f"CloudEvents binary mode lacks {', '.join(missing)}")
                _check_type(topic, named["ce_type"], named["ce_specversion"])
            if content_type in JSON_TYPES:
                return self._json[topic].decode(value)
            if content_type in MSGPACK_TYPES:
                return _finite(self._msgpack[topic].decode(value), "$")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._explain(error, value) from error
        raise Reject(
            ErrorCode.UNSUPPORTED_CONTENT,
            f"content type must be application/json, application/msgpack or {STRUCTURED_TYPE}",
        )

    def _named(self, headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
        """Return the headers that mean something, lower-cased; the last of a name counts."""
        named: dict[str, str] = {}
        for name, raw in headers:
            lower = name.lower().replace("-", "_") if name.lower().startswith("ce") else name.lower()
            if lower == "content_type":
                lower = "content-type"
            if lower != "content-type" and not lower.startswith("ce_"):
                continue
            try:
                named[lower] = (raw or b"").decode()
            except UnicodeDecodeError as error:
                raise Reject(ErrorCode.WRONG_ENVELOPE, f"the header {lower} is not UTF-8") from error
        return named

    def _open(self, value: bytes) -> _Envelope:
        try:
            return self._envelope.decode(value)
        except msgspec.ValidationError as error:
            path = _PATH.search(str(error))
            raise Reject(
                ErrorCode.WRONG_ENVELOPE,
                "not a CloudEvent in structured mode: specversion, type, id, source and data are needed",
                path=path.group(1) if path else "$",
            ) from error

    def _explain(self, error: Exception, value: bytes) -> Reject:
        """Turn what msgspec says into a code, a message and a path. Off the fast path: only bad records come here."""
        text = str(error)
        path = _PATH.search(text)
        where = path.group(1) if path else "$"
        what = _PATH.sub("", text)
        if isinstance(error, RecursionError) or _depth(value) > self._max_depth:
            return Reject(ErrorCode.TOO_DEEP, f"the body is nested deeper than batch.max_depth {self._max_depth}")
        if _NON_FINITE.search(value) or "out of range" in text:
            return Reject(ErrorCode.NON_FINITE, "a number is not finite; leave it out or send null", path=where)
        if isinstance(error, msgspec.ValidationError):
            if where.endswith(".kind") or "`kind`" in what or where == "$.type":
                return Reject(ErrorCode.UNKNOWN_TYPE, "kind must be rating, correction or preference", path="$.kind")
            # msgspec echoes an unknown enum value; the payload must not reach a header
            what = re.sub(r"^Invalid enum value .*", "not one of the allowed values", what)
            return Reject(ErrorCode.INVALID_EVENT, what[:300], path=where)
        return Reject(ErrorCode.NOT_JSON, "the body does not parse; see content-type for the formats that are accepted")

    def _check_rules(self, event: Any, value: bytes) -> None:  # noqa: ANN401 - one of the unions
        """Check what spans fields or hides in free-form parts."""
        if event.occurred_at is not None:
            _check_time(event.occurred_at, "$.occurred_at")
        match event:
            case Rating(score=score, scale=(low, high)):
                if not low < high:
                    raise Reject(ErrorCode.INVALID_EVENT, "scale must be [low, high] with low < high", path="$.scale")
                if not low <= score <= high:
                    raise Reject(ErrorCode.INVALID_EVENT, "score is outside its scale", path="$.score")
            case Preference(chosen=chosen, rejected=rejected):
                if chosen == rejected:
                    raise Reject(ErrorCode.INVALID_EVENT, "chosen and rejected are the same", path="$.rejected")
            case Metrics():
                if not event.values and all(getattr(event, name) is None for name in FIGURES):
                    raise Reject(ErrorCode.INVALID_EVENT, "at least one figure is needed")
            case Control():
                if event.expires_at is not None:
                    _check_time(event.expires_at, "$.expires_at")
                if event.args and _depth(value) > self._max_depth:
                    raise Reject(ErrorCode.TOO_DEEP, f"deeper than batch.max_depth {self._max_depth}", path="$.args")
            case Correction():
                pass


def _check_type(topic: Topic, given: str, spec_version: str) -> None:
    if spec_version != SPEC_VERSION:
        raise Reject(ErrorCode.UNKNOWN_VERSION, f"CloudEvents specversion must be {SPEC_VERSION}")
    expected = TYPE_OF[topic]
    name, _, suffix = given.rpartition(".")
    if re.fullmatch(r"v\d+", suffix) is None:
        name, suffix = given, CONTRACT_VERSION
    if name != expected:
        raise Reject(ErrorCode.UNKNOWN_TYPE, f"this topic carries {expected}.{CONTRACT_VERSION}", path="$.type")
    if suffix != CONTRACT_VERSION:
        raise Reject(ErrorCode.UNKNOWN_VERSION, f"this build speaks {expected}.{CONTRACT_VERSION}", path="$.type")


def _check_time(text: str, path: str) -> None:
    try:
        parse_time(text)
    except (ValueError, OverflowError) as error:
        raise Reject(ErrorCode.INVALID_EVENT, "not an RFC 3339 date and time with offset", path=path) from error


def _depth(value: bytes) -> int:
    """Return an upper bound of the nesting: exact for valid JSON without brackets in strings."""
    if len(_OPENING.findall(value)) == 0:
        return 0
    depth = deepest = 0
    is_text = is_escaped = False
    for byte in value:
        if is_text:
            if is_escaped:
                is_escaped = False
            elif byte == 0x5C:
                is_escaped = True
            elif byte == 0x22:
                is_text = False
        elif byte == 0x22:
            is_text = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _finite(value: Any, path: str) -> Any:  # noqa: ANN401 - walks any decoded value
    """Refuse what MessagePack can carry and JSON cannot: NaN and the infinities, anywhere."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Reject(ErrorCode.NON_FINITE, "a number is not finite; leave it out or send null", path=path)
    elif isinstance(value, dict):
        for key, item in value.items():
            _finite(item, f"{path}.{key}" if isinstance(key, str) else path)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            _finite(item, f"{path}[{place}]")
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            _finite(getattr(value, name), f"{path}.{name}")
    return value
