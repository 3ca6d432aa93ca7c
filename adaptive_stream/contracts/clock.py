"""Instants as text and as milliseconds since the epoch.

Owns the two directions of RFC 3339. Never reads the host's clock. Called wherever an event carries an instant.
"""

from __future__ import annotations

import datetime as dt
import re

TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
"""The shape of an instant, for JSON Schema too. ``fromisoformat`` alone takes week dates, bare dates and more."""

_SHAPE = re.compile(TIME_PATTERN)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ASKED = "not an RFC 3339 date and time with offset, such as 2013-06-01T00:00:00Z"


def parse_time(text: str) -> int:
    """Return the milliseconds since the epoch of an RFC 3339 date and time with offset; finer parts are cut off.

    Raises:
        ValueError: it is not one, or no such day or hour exists; leap seconds (``:60``) are refused too, because no
            clock that stamps events gives them.

    >>> parse_time("2013-06-01T02:00:00+02:00")
    1370044800000
    """
    if _SHAPE.match(text) is None or text[-1] == "\n":  # "$" also matches before a last line break
        raise ValueError(_ASKED)
    if not text.isupper():
        text = text.upper()
    try:
        passed = dt.datetime.fromisoformat(text) - _EPOCH
    except (ValueError, OverflowError) as error:
        raise ValueError(_ASKED) from error
    return passed.days * 86_400_000 + passed.seconds * 1_000 + passed.microseconds // 1_000


def format_time(time_ms: int) -> str:
    """Return the instant in UTC, with milliseconds only when there are some.

    >>> format_time(1370044800000)
    '2013-06-01T00:00:00Z'
    """
    instant = _EPOCH + dt.timedelta(milliseconds=time_ms)
    return f"{instant.isoformat(timespec='milliseconds' if time_ms % 1000 else 'seconds')[:-6]}Z"
