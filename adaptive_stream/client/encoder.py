"""An app's event to bytes, refused here for whatever the worker would refuse it for.

Owns what Python has and JSON has not: NaN, the infinities, numpy's scalars and arrays. Never sends. Used by the
publisher.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from adaptive_stream.contracts.codec import CARRIES, Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.plain import NOT_FINITE, check_plain
from adaptive_stream.contracts.topics import INPUTS, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adaptive_stream.contracts.events import InputEvent

MAX_RECORD_BYTES, MAX_DEPTH = 65_536, 16  # the worker's own, unless batch.max_record_bytes and .max_depth say otherwise
# all that msgspec raises for what JSON cannot say
_UNSAYABLE = TypeError, ValueError, OverflowError, msgspec.MsgspecError


class Encoder:
    """Encode events of the input topics.

    Args:
        max_record_bytes: most bytes of a body; as ``batch.max_record_bytes`` of the worker.
        max_depth: deepest nesting; as ``batch.max_depth`` of the worker.
    """

    def __init__(self, *, max_record_bytes: int = MAX_RECORD_BYTES, max_depth: int = MAX_DEPTH) -> None:
        self._codec = Codec(max_record_bytes=max_record_bytes, max_depth=max_depth)
        self._to_json = msgspec.json.Encoder(enc_hook=_plain)

    def encode(self, topic: Topic, event: InputEvent) -> bytes:
        """Return the event as JSON.

        Raises:
            Reject: UNKNOWN_TYPE where the topic does not take it, else as the worker's codec, with the path of what is
                wrong.
        """
        self.check_topic(topic)
        if not isinstance(event, CARRIES[topic]):
            raise Reject(ErrorCode.UNKNOWN_TYPE, f"the topic {topic} does not carry {type(event).__name__}")
        body = self.encode_checked(event)
        if b"null" in body:  # what is not finite became null, JSON's only word for it
            _check_finite(event)
        self._codec.decode(topic, body)
        return body

    def check_topic(self, topic: Topic) -> None:
        """Check that a topic takes events of apps.

        Raises:
            Reject: UNKNOWN_TYPE.
        """
        if topic not in INPUTS:
            raise Reject(ErrorCode.UNKNOWN_TYPE, f"events are sent to one of {', '.join(INPUTS)}")

    def encode_checked(self, event: InputEvent) -> bytes:
        """Return an event as JSON that is known to be valid, at a third of the cost.

        Raises:
            Reject: JSON cannot say it.
        """
        try:
            return self._to_json.encode(event)
        except RecursionError as error:
            raise Reject(ErrorCode.TOO_DEEP, "the event is nested too deep") from error
        except _UNSAYABLE as error:
            raise _refusal_of(error, event) from error


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays, and what is like them, as Python's own, without a look at numpy itself."""
    convert = getattr(value, "tolist", None)
    plain = value if convert is None else convert()
    if type(plain) is type(value):  # numpy.longdouble has no counterpart and returns itself
        raise TypeError(f"{type(value).__name__} is no type of JSON; convert it to float, int, str, list or dict")
    return plain


def _refusal_of(error: Exception, event: InputEvent) -> Reject:
    """Return why an event cannot be encoded, with the field that is to blame."""
    words = "a text has half a character in it (a lone surrogate)" if isinstance(error, UnicodeError) else str(error)
    for name, written in zip(event.__struct_fields__, event.__struct_encode_fields__, strict=True):
        try:
            msgspec.json.encode(getattr(event, name), enc_hook=_plain)
        except _UNSAYABLE:
            return Reject(ErrorCode.INVALID_EVENT, words, path=f"$.{written}")
    return Reject(ErrorCode.INVALID_EVENT, words)


def _check_finite(event: InputEvent) -> None:
    """Refuse NaN and the infinities, except NaN among the features: there it means missing, as null does."""
    fields: dict[str, Any] = msgspec.to_builtins(event, enc_hook=_plain)
    features = fields.pop("features", None)  # thousands of them, often with null: told apart without a walk
    if isinstance(features, dict):
        listed: Iterable[tuple[Any, Any]] = features.items()
    else:
        listed = enumerate(features if isinstance(features, list | tuple) else ())
    for place, value in listed:
        if isinstance(value, float) and math.isinf(value):
            where = "..." if isinstance(features, dict) else place
            raise Reject(ErrorCode.NON_FINITE, NOT_FINITE, path=f"$.features[{where}]")
    for name, value in fields.items():
        check_plain(value, path=f"$.{name}")
