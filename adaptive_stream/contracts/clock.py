"""Instants as text and as milliseconds since the epoch.

Owns the two directions of RFC 3339. Never reads the host's clock. Called wherever an event carries an instant.
"""

from __future__ import annotations

import datetime as dt
import re

_SHAPE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def parse_time(text: str) -> int:
    """Return the milliseconds since the epoch of an RFC 3339 date and time with offset.

    Raises:
        ValueError: it is not one.

    >>> parse_time("2013-06-01T02:00:00+02:00")
    1370044800000
    """
    if _SHAPE.fullmatch(text) is None:
        raise ValueError("not an RFC 3339 date and time with offset, as 2013-06-01T00:00:00Z")
    return (dt.datetime.fromisoformat(text.upper()) - _EPOCH) // dt.timedelta(milliseconds=1)


def format_time(time_ms: int) -> str:
    """Return the instant in UTC, with milliseconds only when there are some.

    >>> format_time(1370044800000)
    '2013-06-01T00:00:00Z'
    """
    instant = _EPOCH + dt.timedelta(milliseconds=time_ms)
    return instant.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace("+00:00", "Z")
