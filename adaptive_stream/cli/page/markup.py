"""Text as markup: what is anybody's becomes harmless here, and nowhere else.

Owns escaping, clipping, and the words for numbers and instants. Never knows what a page holds. Called by everything
that writes a part of the page; ``Markup`` is the proof that a text was escaped.
"""

from __future__ import annotations

import datetime as dt
import html
import math
from typing import NewType

Markup = NewType("Markup", str)
"""Well-formed markup: made by ``text`` and ``element`` alone, and by joining what they made."""

NOTHING = Markup("")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LARGEST = 1e15  # beyond it a double no longer holds every integer, and digits written out would be invented
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST, _LAST = dt.datetime(dt.MINYEAR, 1, 1, tzinfo=dt.UTC), dt.datetime(dt.MAXYEAR, 12, 31, tzinfo=dt.UTC)


def printable(words: str) -> str:
    r"""Return a text with what does not print, or turns the direction of text, written as an escape sequence.

    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    if words.isprintable():
        return words
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in words)


def clipped(words: str, chars: int) -> str:
    """Return at most so many characters, with the sign that some are missing.

    >>> clipped("production", 5)
    'prod…'
    """
    return words if len(words) <= chars else f"{words[: chars - 1]}…"


def text(words: str, *, chars: int | None = None) -> Markup:
    """Return any text as markup."""
    shown = printable(words if chars is None else words[:chars])  # bounded before the work, and after it
    whole = shown if chars is None else clipped(shown if len(words) <= chars else f"{shown} ", chars)
    return Markup(html.escape(whole))


def join(parts: list[Markup], between: str = "") -> Markup:
    """Return parts one after the other."""
    return Markup(html.escape(between).join(parts))


def element(tag: str, /, *children: Markup, **attributes: str | float | None) -> Markup:
    """Return an element; ``class_`` is class, ``stroke_width`` is stroke-width, and None leaves an attribute out.

    >>> element("td", text("a < b"), class_="n")
    '<td class="n">a &lt; b</td>'
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_said(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{said}>{''.join(children)}</{tag}>" if children else f"<{tag}{said}/>")


def _said(value: str | float) -> str:
    return place(value) if isinstance(value, float) else html.escape(str(value))


def place(coordinate: float) -> str:
    """Return a coordinate to a tenth of a pixel, as short as can be.

    >>> place(12.04), place(-0.01)
    ('12', '0')
    """
    return f"{round(coordinate, 1) + 0.0:g}" if abs(coordinate) < 1e5 else f"{coordinate:.0f}"


def number(value: float | None) -> str:
    """Return a figure for a person: four decimals below 1, then fewer.

    >>> number(0.75), number(1234.5), number(12.345), number(0.00001), number(None)
    ('0.7500', '1,234', '12.35', '1.00e-05', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= LARGEST or 0 < size < 0.00095:
        return f"{value:.2e}"
    return f"{value:,.{0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 1 else 4}f}"


def share(value: float) -> str:
    """Return a share in per cent.

    >>> share(0.834)
    '83 %'
    """
    return f"{value * 100:.0f} %"


def instant(time_ms: int) -> str:
    """Return an instant in UTC for a person, to the minute.

    >>> instant(1370044800000)
    '1 Jun 2013, 00:00'
    """
    at = moment(time_ms)
    return f"{day(at)} {at.year}, {at:%H:%M}"


def stamp(time_ms: int) -> str:
    """Return an instant in UTC for a table; seconds only where there are some.

    >>> stamp(1370044800000)
    '2013-06-01 00:00'
    """
    return f"{moment(time_ms):{'%Y-%m-%d %H:%M' if time_ms % 60_000 == 0 else '%Y-%m-%d %H:%M:%S'}}"


def day(at: dt.datetime) -> str:
    """Return the day of a month."""
    return f"{at.day} {MONTHS[at.month - 1]}"


def moment(time_ms: float) -> dt.datetime:
    """Return an instant with its parts; those outside the calendar are moved to its nearest end."""
    try:
        return _EPOCH + dt.timedelta(milliseconds=time_ms)
    except OverflowError:
        return _LAST if time_ms > 0 else _FIRST
