"""What stands around an event: content types, and CloudEvents 1.0 in binary and structured mode.

Owns which headers mean something and what a valid envelope is. Never looks inside the event. Called by the codec.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.nesting import is_json_deeper
from adaptive_stream.contracts.plain import check_utf8
from adaptive_stream.contracts.refusal import DECODE_ERRORS, refusal_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTRACT_VERSION = "v1"
SPEC_VERSION = "1.0"  # of CloudEvents
JSON_TYPES = frozenset({"application/json", "text/json"})
MSGPACK_TYPES = frozenset({"application/msgpack", "application/x-msgpack", "application/vnd.msgpack"})
STRUCTURED_TYPE = "application/cloudevents+json"
REQUIRED_HEADERS = ("ce_specversion", "ce_type", "ce_id", "ce_source")
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
_MEANT = frozenset({*REQUIRED_HEADERS, "ce_time", "content-type"})


class _Structured(msgspec.Struct):
    """A CloudEvent as one JSON object; attributes that mean nothing here are ignored."""

    specversion: str
    type: str
    id: str
    source: str
    datacontenttype: str | None = None
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw()  # empty when it is absent: msgspec takes nothing but null for ``Raw | None``
    data_base64: str | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """An event's bytes without what stood around them.

    Args:
        value: the bytes.
        is_json: JSON; otherwise MessagePack.
        path: where the event stands in the record's body.
    """

    value: bytes
    is_json: bool
    path: str = "$"


_STRUCTURED = msgspec.json.Decoder(_Structured)


def open_envelope(
    value: bytes, headers: Sequence[tuple[str, bytes | None]], *, expected_type: str, max_depth: int
) -> Body:
    """Return the event inside a record.

    Headers that mean nothing here are ignored; of a name that occurs twice the last counts, as in Kafka's own
    ``lastHeader``; one without a value counts as absent.

    Args:
        value: the record's value.
        headers: the record's headers.
        expected_type: what the topic carries, without a version, as ``adaptive.prediction``.
        max_depth: deepest nesting of a structured event, the envelope included.

    Raises:
        Reject: the envelope is not valid, or of a type, version or format that is not accepted here.
    """
    named = _named(headers)
    content_type = _media_type(named.get("content-type"), "the header content-type")
    if content_type == STRUCTURED_TYPE:
        return _open_structured(value, expected_type, max_depth)
    if any(name in named for name in REQUIRED_HEADERS):
        missing = [name for name in REQUIRED_HEADERS if not named.get(name)]
        if missing:
            raise Reject(
                ErrorCode.WRONG_ENVELOPE,
                f"CloudEvents binary mode lacks {', '.join(missing)}; add them, or send no ce_ headers at all",
            )
        _check_attributes(named["ce_type"], named["ce_specversion"], named.get("ce_time"), expected_type, inside="")
    return Body(value, is_json=_is_json(content_type))


def _named(headers: Sequence[tuple[str, bytes | None]]) -> dict[str, str]:
    """Return the headers that mean something, by their lower-case names."""
    named: dict[str, str] = {}
    for name, raw in headers:
        lower = name.lower()
        if lower in _MEANT:
            if raw is None:
                named.pop(lower, None)
                continue
            try:
                named[lower] = raw.decode()
            except UnicodeDecodeError as error:
                raise Reject(ErrorCode.WRONG_ENVELOPE, f"the header {lower} is not UTF-8") from error
    return named


def _open_structured(value: bytes, expected_type: str, max_depth: int) -> Body:
    if is_json_deeper(value, max_depth):
        raise Reject(ErrorCode.TOO_DEEP, f"the body is nested deeper than batch.max_depth = {max_depth}")
    try:
        envelope = _STRUCTURED.decode(value)
        check_utf8(value)
    except DECODE_ERRORS as error:
        reject = refusal_of(error, value, _STRUCTURED)
        if not isinstance(error, msgspec.ValidationError):
            raise reject from error
        raise Reject(
            ErrorCode.WRONG_ENVELOPE, f"not a CloudEvent in structured mode: {reject.message}", path=reject.path
        ) from error
    for attribute in ("specversion", "type", "id", "source"):
        if not getattr(envelope, attribute):
            raise Reject(ErrorCode.WRONG_ENVELOPE, f"the attribute {attribute} is empty", path=f"$.{attribute}")
    _check_attributes(envelope.type, envelope.specversion, envelope.time, expected_type, inside="$.")
    content_type = _media_type(envelope.datacontenttype, "the attribute datacontenttype", path="$.datacontenttype")
    has_data = bytes(envelope.data) not in (b"", b"null")
    if envelope.data_base64 is not None and not has_data:
        try:
            data = base64.b64decode(envelope.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Reject(ErrorCode.WRONG_ENVELOPE, "data_base64 is not base64", path="$.data_base64") from error
        if not data:
            raise Reject(ErrorCode.EMPTY, "the event in data_base64 is empty", path="$.data_base64")
        return Body(data, is_json=_is_json(content_type, path="$.datacontenttype"), path="$.data_base64")
    if not has_data or envelope.data_base64 is not None:
        raise Reject(ErrorCode.WRONG_ENVELOPE, "exactly one of data and data_base64 must be there", path="$.data")
    if not _is_json(content_type, path="$.datacontenttype"):
        raise Reject(
            ErrorCode.UNSUPPORTED_CONTENT,
            "MessagePack inside structured mode must stand in data_base64",
            path="$.datacontenttype",
        )
    return Body(bytes(envelope.data), is_json=True, path="$.data")


def _check_attributes(given: str, spec_version: str, time: str | None, expected: str, *, inside: str) -> None:
    """Check a CloudEvent's attributes. ``inside`` is the path in front of their names, empty for headers."""

    def where(attribute: str) -> str:
        return f"{inside}{attribute}" if inside else "$"

    if spec_version != SPEC_VERSION:
        raise Reject(
            ErrorCode.UNKNOWN_VERSION, f"CloudEvents specversion must be {SPEC_VERSION}", path=where("specversion")
        )
    wanted = f"{expected}.{CONTRACT_VERSION}"
    if given != wanted:
        if given == expected or given.rpartition(".")[0] == expected:
            raise Reject(ErrorCode.UNKNOWN_VERSION, f"this build speaks {wanted} on this topic", path=where("type"))
        raise Reject(ErrorCode.UNKNOWN_TYPE, f"this topic carries {wanted} only", path=where("type"))
    if time is not None:
        try:
            parse_time(time)
        except ValueError as error:
            raise Reject(ErrorCode.WRONG_ENVELOPE, f"CloudEvents time is {error}", path=where("time")) from error


def _media_type(text: str | None, place: str, *, path: str = "$") -> str | None:
    """Return the type without its parameters, lower-case; None when none is given."""
    if not text:
        return None
    media_type, _, parameters = text.partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            raise Reject(ErrorCode.UNSUPPORTED_CONTENT, f"the charset in {place} must be utf-8", path=path)
    return media_type.strip().lower()


def _is_json(media_type: str | None, *, path: str = "$") -> bool:
    if media_type is None or media_type in JSON_TYPES:
        return True
    if media_type in MSGPACK_TYPES:
        return False
    raise Reject(
        ErrorCode.UNSUPPORTED_CONTENT,
        f"the content type must be application/json, application/msgpack or {STRUCTURED_TYPE}",
        path=path,
    )
