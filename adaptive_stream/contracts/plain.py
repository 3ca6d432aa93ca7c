"""What a decoded value may be made of: what JSON can say, whatever the format it came in.

Owns the check of numbers and names in free-form parts and in MessagePack, which has NaN, bytes and keys of any type.
Never changes a value. Called by the codec.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from adaptive_stream.contracts.errors import ErrorCode, Reject

NOT_FINITE = "a number is not finite or too large for 64 bits; leave it out, or send null where that is allowed"
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**64 - 1  # what MessagePack, and msgspec's encoders, can carry

# the first bytes of every MessagePack double and float that is NaN or infinite
_SUSPECT = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]|\xca[\x7f\xff][\x80-\xff]")


def may_hold_non_finite(body: bytes) -> bool:
    """Tell whether a MessagePack body may hold NaN or an infinity; False is certain and costs a tenth of the walk."""
    return _SUSPECT.search(body) is not None


def check_utf8(body: bytes) -> None:
    """Check that a JSON body is UTF-8 as a whole: msgspec skips what it ignores without a look at its texts.

    Raises:
        UnicodeDecodeError: it is not. Nothing is built of a body in ASCII, as nearly all are.
    """
    if not body.isascii():
        body.decode()


def check_plain(value: Any, *, path: str, layers: int = 1 << 20) -> None:  # noqa: ANN401 - walks any decoded value
    """Check that a value is finite, named by strings, and of integers that fit 64 bits.

    Args:
        value: structs, mappings, sequences and scalars.
        path: where it stands. Names inside mappings are left out of it: they may be anybody's.
        layers: how many layers of containers it may have.

    Raises:
        Reject: it is not.
    """
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Reject(ErrorCode.NON_FINITE, NOT_FINITE, path=path)
    elif isinstance(value, int):
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            raise Reject(ErrorCode.INVALID_EVENT, "the value must be an integer of at most 64 bits", path=path)
    elif not isinstance(value, dict | list | tuple | msgspec.Struct):
        raise Reject(ErrorCode.INVALID_EVENT, "bytes, dates and extensions of MessagePack are not accepted", path=path)
    elif layers < 1:
        raise Reject(ErrorCode.TOO_DEEP, "the value is nested too deep", path=path)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str):
                raise Reject(ErrorCode.INVALID_EVENT, "a name in it must be str", path=path)
            check_plain(item, path=f"{path}[...]", layers=layers - 1)
    elif isinstance(value, msgspec.Struct):
        for name, written in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            check_plain(getattr(value, name), path=f"{path}.{written}", layers=layers - 1)
    else:
        for place, item in enumerate(value):
            check_plain(item, path=f"{path}[{place}]", layers=layers - 1)
