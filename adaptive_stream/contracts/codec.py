"""Bytes to events and back: the edge where every record is parsed, once.

Owns the limits of size and depth and the order of the checks. Never touches Kafka. Called by the worker's intake, the
client and the readers of the outputs.
"""

from __future__ import annotations

import operator
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec

from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.envelope import CONTRACT_VERSION, SPEC_VERSION, Body, open_envelope
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import (
    Adaptation,
    Alert,
    Control,
    Feedback,
    InputEvent,
    Metrics,
    ModelCommand,
    ModelStatus,
    OutputEvent,
    Prediction,
    Rating,
)
from adaptive_stream.contracts.nesting import is_json_deeper, is_msgpack_deeper
from adaptive_stream.contracts.plain import check_plain, check_utf8, may_hold_non_finite
from adaptive_stream.contracts.refusal import DECODE_ERRORS, refusal_of
from adaptive_stream.contracts.rule import check_input, check_output, check_time
from adaptive_stream.contracts.topics import INPUTS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
"""What each topic carries; for feedback a union of three."""
TYPE_OF: dict[Topic, str] = {
    topic: Rating.TYPE if topic is Topic.FEEDBACK else kind.TYPE for topic, kind in CARRIES.items()
}
"""CloudEvents' type of each topic, without the version."""

# MessagePack cannot be scanned for depth cheaply: what is kept of it is judged by ``max_depth`` exactly, and in fields
# that are ignored only this holds, so that msgspec never meets Python's recursion limit, which depends on the caller.
MAX_IGNORED_DEPTH = 256


class Codec:
    """Decode and encode the events of every topic. Holds no state; one may serve all tasks.

    Args:
        max_record_bytes: most bytes of an input's body. Outputs are bounded by the broker's own limit.
        max_depth: deepest nesting of arrays and objects in a body, an envelope included.
    """

    def __init__(self, *, max_record_bytes: int = 65536, max_depth: int = 16) -> None:
        self._max_record_bytes = max_record_bytes
        self._max_depth = max_depth
        self._json = {topic: msgspec.json.Decoder(kind) for topic, kind in CARRIES.items()}
        self._msgpack = {topic: msgspec.msgpack.Decoder(kind) for topic, kind in CARRIES.items()}
        self._quick = {topic: self._json[topic].decode for topic in INPUTS}
        self._to_json = msgspec.json.Encoder()
        self._to_msgpack = msgspec.msgpack.Encoder()

    def decode(self, topic: Topic, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> InputEvent:
        """Return the event of an input topic.

        Raises:
            Reject: with the code, what is wrong and where. Nothing else, whatever the bytes.
        """
        # Bare JSON is the hot path: one decode, a length, two counts that bound the depth, one attribute.
        if (
            headers
            or not value
            or len(value) > self._max_record_bytes
            or value.count(b"[") + value.count(b"{") > self._max_depth
        ):
            event, root = self._decode_enveloped(topic, value, headers, self._max_record_bytes)
        else:
            try:
                event, root = self._quick[topic](value), "$"
                if not value.isascii():
                    check_utf8(value)
            except DECODE_ERRORS as error:
                raise refusal_of(error, value, self._json[topic]) from error
        if type(event) is Prediction:
            if event.occurred_at is not None:
                check_time(event.occurred_at, f"{root}.occurred_at")
        else:
            check_input(event, root=root, max_depth=self._max_depth)
        return event  # type: ignore[no-any-return]  # one of the union, by topic

    def decode_many(
        self,
        topics: Sequence[Topic],
        values: Sequence[bytes | None],
        headers: Sequence[Sequence[tuple[str, bytes | None]]],
    ) -> list[InputEvent]:
        """Return the events of many records, as ``decode`` would one by one, at a fraction of the cost.

        Raises:
            Reject: one of them is refused; it is not said which.
        """
        if any(headers) or not self._are_plain(values):
            return [self.decode(*record) for record in zip(topics, values, headers, strict=True)]
        try:
            decoders = map(self._quick.__getitem__, topics)
            events = [decode(value) for decode, value in zip(decoders, values, strict=True)]  # type: ignore[arg-type]
        except DECODE_ERRORS as error:
            raise Reject(ErrorCode.INVALID_EVENT, "one of many records is refused") from error
        for event in events:
            if type(event) is not Prediction:
                check_input(event, root="$", max_depth=self._max_depth)
            elif event.occurred_at is not None:
                check_time(event.occurred_at, "$.occurred_at")
        return events

    def decode_again(self, topic: Topic, values: Sequence[bytes | None]) -> list[InputEvent]:
        """Return the events of bare JSON bodies that ``decode`` has accepted before: nothing is checked once more.

        Raises:
            Reject: one of them was never accepted by this build; it is not said which.
        """
        try:
            return [*map(self._quick[topic], [value or b"" for value in values])]
        except DECODE_ERRORS as error:
            raise Reject(ErrorCode.INVALID_EVENT, "one of many records is refused") from error

    def _are_plain(self, values: Sequence[bytes | None]) -> bool:
        """Say whether all bodies are small, flat and ASCII: what the decoder alone can judge."""
        if not all(values) or max(map(len, values)) > self._max_record_bytes:  # type: ignore[arg-type]  # none is None
            return False
        brackets = map(operator.add, _counts(values, b"["), _counts(values, b"{"))
        return max(brackets) <= self._max_depth and all(map(bytes.isascii, values))  # type: ignore[arg-type]

    def decode_output(
        self, topic: Topic, value: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> OutputEvent:
        """Return the event of an output topic.

        Raises:
            Reject: as ``decode``.
        """
        event, root = self._decode_enveloped(topic, value, headers, None)
        check_output(event, root=root, max_depth=self._max_depth)
        return event  # type: ignore[no-any-return]  # one of the union, by topic

    def is_too_large(self, value: bytes | None) -> bool:
        """Say whether a body is larger than the limit, as ``decode`` would."""
        return value is not None and len(value) > self._max_record_bytes

    def encode(self, event: InputEvent | OutputEvent) -> bytes:
        """Return the event as plain JSON.

        NaN and the infinities become null, JSON's only word for them: among features that means missing, and where a
        number is required the receiver refuses it. The publisher's encoder refuses it before.
        """
        return self._to_json.encode(event)

    def encode_msgpack(self, event: InputEvent | OutputEvent) -> bytes:
        """Return the event as MessagePack; send it with the header ``content-type: application/msgpack``."""
        return self._to_msgpack.encode(event)

    def headers(
        self,
        event: InputEvent | OutputEvent,
        *,
        source: str,
        event_id: str,
        time_ms: int,
        content_type: str = "application/json",
    ) -> list[tuple[str, bytes]]:
        """Return the headers of CloudEvents' binary mode.

        Args:
            event: what the record carries.
            source: who produces it, as a URI reference; not empty.
            event_id: unique for the source; not empty.
            time_ms: when it happened, in milliseconds since the epoch.
            content_type: of the body.
        """
        return [
            ("content-type", content_type.encode()),
            ("ce_specversion", SPEC_VERSION.encode()),
            ("ce_id", event_id.encode()),
            ("ce_source", source.encode()),
            ("ce_type", f"{event.TYPE}.{CONTRACT_VERSION}".encode()),
            ("ce_time", format_time(time_ms).encode()),
        ]

    def _decode_enveloped(
        self,
        topic: Topic,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]],
        max_bytes: int | None,
    ) -> tuple[Any, str]:
        """Return the event of a record that is large, deep or has headers, and the path in front of its fields."""
        if not value:
            raise Reject(ErrorCode.EMPTY, "the record has no body; a tombstone has no meaning here")
        if max_bytes is not None and len(value) > max_bytes:
            raise Reject(
                ErrorCode.TOO_LARGE,
                f"the body has {len(value)} bytes, more than batch.max_record_bytes = {max_bytes}; send less",
            )
        body = open_envelope(value, headers, expected_type=TYPE_OF[topic], max_depth=self._max_depth)
        return self._decode_body(topic, body), body.path

    def _decode_body(self, topic: Topic, body: Body) -> Any:  # noqa: ANN401 - one of the unions, by topic
        if (
            is_json_deeper(body.value, self._max_depth)
            if body.is_json
            else is_msgpack_deeper(body.value, max(MAX_IGNORED_DEPTH, self._max_depth))
        ):
            raise Reject(
                ErrorCode.TOO_DEEP,
                f"the body is nested deeper than batch.max_depth = {self._max_depth}",
                path=body.path,
            )
        decoder = self._json[topic] if body.is_json else self._msgpack[topic]
        try:
            event = decoder.decode(body.value)
            if body.is_json:
                check_utf8(body.value)
        except DECODE_ERRORS as error:
            raise refusal_of(error, body.value, decoder, root=body.path) from error
        if not body.is_json and may_hold_non_finite(body.value):
            check_plain(event, path=body.path)
        return event


def _counts(values: Sequence[bytes | None], part: bytes) -> Iterator[int]:
    return map(bytes.count, values, repeat(part))  # type: ignore[arg-type]  # none is None; a map never enters bytecode
