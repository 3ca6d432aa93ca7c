"""From what the decoder says to a code, a sentence and a path.

Owns the reading of msgspec's messages, which are pinned by tests. Never lets the payload into a message: dead letters'
headers and logs are read by more people than the topic is. Called by the codec for bad records only: speed is no aim.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Action, AdaptationKind, AlertStatus, Trigger
from adaptive_stream.contracts.plain import NOT_FINITE, check_plain, may_hold_non_finite

if TYPE_CHECKING:
    from enum import StrEnum

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that a msgspec decoder raises for bytes that it refuses."""

_PLACE = re.compile(r" - at `(?P<key>key` in `)?(?P<path>[^`]+)`$")
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_EXPECTED = re.compile(r"Expected (?P<wanted>.+?)(, got `(?P<given>[^`]+)`)?$", re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")
_LITERAL = re.compile(rb"(?<=[\s:,\[])[-+]?(?:nan|inf(?:inity)?)(?=[\s,\]}]|$)", re.IGNORECASE)
_LITERAL_REACH = 10  # bytes around the place where msgspec stopped: "-Infinity" has 9
_ENUMS: dict[str, type[StrEnum]] = {
    "$.action": Action,
    "$.status": AlertStatus,
    "$.kind": AdaptationKind,
    "$.trigger": Trigger,
    "$.last_adaptation": AdaptationKind,
}
_FIELD = re.compile(r"\$\.(\w+)")


def refusal_of(error: Exception, body: bytes, decoder: Any = None, *, root: str = "$") -> Reject:  # noqa: ANN401 - a Decoder of either format
    """Return why a body was refused.

    Args:
        error: what the decoder raised.
        body: the bytes it was given.
        decoder: itself; used to find the path of NaN and Infinity, which are no JSON at all.
        root: the path in front of the body's own.
    """
    reject = _refusal_of(error, body, decoder)
    reject.path = root + reject.path[1:]
    return reject


def _refusal_of(error: Exception, body: bytes, decoder: Any) -> Reject:  # noqa: ANN401
    is_json = not isinstance(decoder, msgspec.msgpack.Decoder)
    if isinstance(error, RecursionError):
        return Reject(ErrorCode.TOO_DEEP, "the body is nested too deep")
    if isinstance(error, UnicodeDecodeError):
        return Reject(ErrorCode.NOT_JSON, "a text in the body is not UTF-8")
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return (_literal(text, body, decoder) if is_json else None) or Reject(
            ErrorCode.NOT_JSON, _unparsed(text, is_json)
        )
    found = _PLACE.search(text)
    path, text = (found["path"], text[: found.start()]) if found else ("$", text)
    if text == "Number out of range":
        return Reject(ErrorCode.NON_FINITE, NOT_FINITE, path=path)
    if not is_json and may_hold_non_finite(body) and _is_non_finite(body, path):
        return Reject(ErrorCode.NON_FINITE, NOT_FINITE, path=path)
    if text.startswith("Invalid value") and path == "$.kind":
        return Reject(ErrorCode.UNKNOWN_TYPE, "kind must be one of rating, correction, preference", path=path)
    if missing := _MISSING.search(text):
        return Reject(
            ErrorCode.INVALID_EVENT,
            f"the required field {missing['field']} is missing",
            path=f"{path}.{missing['field']}",
        )
    return Reject(ErrorCode.INVALID_EVENT, _sentence(text, path, is_key=bool(found and found["key"])), path=path)


def _sentence(text: str, path: str, *, is_key: bool) -> str:
    """Say what a value should have been, from msgspec's words but without the value."""
    if text.startswith("Invalid enum value"):
        allowed = _ENUMS.get(path)
        return f"must be one of {', '.join(allowed)}" if allowed else "not one of the allowed values"
    what = "a name in it" if is_key else "the value"
    if expected := _EXPECTED.match(text):
        wanted = expected["wanted"].replace("`", "")
        return f"{what} must be {wanted}" + (f", not {expected['given']}" if expected["given"] else "")
    if text == "Integer value out of range":
        return f"{what} must be an integer of at most 64 bits"
    return f"{what} does not fit the schema of this event"


def _unparsed(text: str, is_json: bool) -> str:  # noqa: FBT001 - read at one place, beside its definition
    stop = _BYTE.search(text)
    where = f" at byte {stop[1]}" if stop else ": it is cut off" if "truncated" in text else ""
    if is_json:
        return f"the body is not JSON{where}; a MessagePack body needs the header content-type: application/msgpack"
    return f"the body is not MessagePack{where}, although content-type says so"


def _literal(text: str, body: bytes, decoder: Any) -> Reject | None:  # noqa: ANN401
    """Recognise NaN and Infinity, which many encoders write although JSON has no such words."""
    stop = _BYTE.search(text)
    if stop is None:
        return None
    place = int(stop[1])
    found = _LITERAL.search(body, max(0, place - _LITERAL_REACH), place + _LITERAL_REACH)
    if found is None:
        return None
    path = "$"
    if decoder is not None:
        try:  # the same body with a number that JSON can write and no double can hold: the decoder tells where
            decoder.decode(body[: found.start()] + b"1e999" + body[found.end() :])
        except msgspec.ValidationError as error:
            at = _PLACE.search(str(error))
            path = at["path"] if at and str(error).startswith("Number out of range") else "$"
        except DECODE_ERRORS:
            pass  # broken elsewhere too
    return Reject(ErrorCode.NON_FINITE, NOT_FINITE, path=path)


def _is_non_finite(body: bytes, path: str) -> bool:
    """Tell whether NaN or an infinity stands in the field of MessagePack that a bound such as "<= 1" has refused."""
    field = _FIELD.match(path)
    try:
        event = msgspec.msgpack.decode(body)
        if field and isinstance(event, dict):
            check_plain(event.get(field[1]), path=path)
    except Reject as reject:
        return reject.code is ErrorCode.NON_FINITE
    except DECODE_ERRORS:
        pass  # the part that is ignored is broken; what was said of the other part stands
    return False
