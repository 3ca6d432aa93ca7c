"""Scales and where their ticks stand.

Owns the choice of round numbers and of natural units of time. Never draws. Called by the plots.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptive_stream.cli.page.markup import MONTHS, day, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Words = Callable[[dt.datetime], str]

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
WEEK_MS = 7 * DAY_MS
MONDAY_MS = 4 * DAY_MS  # the epoch was a Thursday
CLOCK_MS = (
    *(seconds * 1_000 for seconds in (1, 5, 15, 30)),
    *(minutes * MINUTE_MS for minutes in (1, 5, 15, 30)),
    *(hours * HOUR_MS for hours in (1, 3, 6, 12)),
)
DAYS_MS = (DAY_MS, 2 * DAY_MS, WEEK_MS, 2 * WEEK_MS)
MONTH_STEPS = (1, 2, 3, 6)
YEAR_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)
SPANS_MS = (*CLOCK_MS, *DAYS_MS)  # what bars may be summed over
MAX_DRAWN = 1e100  # the ends of a scale are subtracted and divided: beyond this that is no longer sure to be finite


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map from values to pixels; what lies outside is drawn on the edge.

    Args:
        low, high: of the values, with low < high.
        start, end: the pixels of the two.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis; ``context`` is what changed above it, as the year above months."""

    at: float
    label: str
    context: str = ""


def is_drawable(value: float | None) -> bool:
    """Say whether a value has a place on a scale."""
    return value is not None and abs(value) <= MAX_DRAWN  # false for NaN


def extent(values: Sequence[float], *, is_from_zero: bool = False, floor: float | None = None) -> tuple[float, float]:
    """Return the ends of a scale for drawable values, with room around them; never of no width.

    >>> extent([0.0, 10.0], is_from_zero=True)
    (0.0, 10.5)
    """
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if is_from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    least = max(abs(low), abs(high)) * 0.002 or 1.0  # ticks differ within four digits
    room = max((high - low) * 0.05, least)
    low, high = (low if is_from_zero and low == 0 else low - room), high + room
    return (low if floor is None else max(low, min(floor, high - room))), high


def value_ticks(low: float, high: float, *, about: int) -> list[Tick]:
    """Return ticks at 1, 2 or 5 times a power of ten, about so many and never more than twice as many.

    >>> [tick.label for tick in value_ticks(0.0, 1.0, about=4)]
    ['0', '0.2', '0.4', '0.6', '0.8', '1.0']
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough * 0.8), 10 * power)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [Tick(count * step, _figure(count * step, step)) for count in range(first, min(last, first + 2 * about) + 1)]


def _figure(value: float, step: float) -> str:
    if abs(value) < step / 2:
        return "0"
    if abs(value) >= 1e6 or step < 1e-4:
        return f"{value:.4g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return f"{value:,.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def time_ticks(low_ms: float, high_ms: float, *, about: int = 7) -> list[Tick]:
    """Return ticks at natural units of UTC: at most about so many.

    >>> [tick.label for tick in time_ticks(1370044800000, 1370131200000)]
    ['00:00', '06:00', '12:00', '18:00', '00:00']
    """
    rough = (high_ms - low_ms) / about
    for step in CLOCK_MS:
        if step >= rough:
            return _contextual(_multiples(low_ms, high_ms, step, 0), _clock if step >= MINUTE_MS else _seconds, _date)
    for step in DAYS_MS:
        if step >= rough:
            return _contextual(_multiples(low_ms, high_ms, step, MONDAY_MS if step >= WEEK_MS else 0), day, _year)
    months = rough / (30 * DAY_MS)
    for count in MONTH_STEPS:
        if count >= months:
            return _contextual(_months(low_ms, high_ms, count), _month, _year)
    years = next((count for count in YEAR_STEPS if count * 12 >= months), YEAR_STEPS[-1])
    return _contextual(_months(low_ms, high_ms, 12 * years), _year, lambda _: "")


def _contextual(instants: Iterator[float], name: Words, context: Words) -> list[Tick]:
    made: list[Tick] = []
    said = ""
    for at in instants:
        found = context(moment(at))
        made.append(Tick(at, name(moment(at)), found if found != said else ""))
        said = found
    return made


def _multiples(low_ms: float, high_ms: float, step: int, origin: int) -> Iterator[float]:
    count = math.ceil((low_ms - origin) / step)
    while count * step + origin <= high_ms:
        yield float(count * step + origin)
        count += 1


def _months(low_ms: float, high_ms: float, step: int) -> Iterator[float]:
    first = moment(low_ms)
    month = -(-(first.year * 12 + first.month - 1) // step) * step
    while month // 12 <= dt.MAXYEAR:
        at = dt.datetime(max(month // 12, dt.MINYEAR), month % 12 + 1, 1, tzinfo=dt.UTC).timestamp() * 1000
        if at > high_ms:
            return
        if at >= low_ms:
            yield at
        month += step


def _seconds(at: dt.datetime) -> str:
    return f"{at:%H:%M:%S}"


def _clock(at: dt.datetime) -> str:
    return f"{at:%H:%M}"


def _date(at: dt.datetime) -> str:
    return f"{day(at)} {at.year}"


def _month(at: dt.datetime) -> str:
    return MONTHS[at.month - 1]


def _year(at: dt.datetime) -> str:
    return str(at.year)
