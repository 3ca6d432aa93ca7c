"""A fleet as bytes and back.

Owns the format of the head: the small state that is not in tables. Never decides when. Called by ``Fleets``.
The waiting predictions themselves are not here: their offsets and marks are, they are re-read from their topic.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Annotated, Self

import msgspec
import numpy as np

from adaptive_stream.contracts.events import Feedback
from adaptive_stream.core.finding import Alarmed  # noqa: TC001 - msgspec reads it when it runs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from adaptive_stream.core.fleet import Fleet
    from adaptive_stream.core.join import Remembered
    from adaptive_stream.core.slice import Slice
    from adaptive_stream.stats.rows import Rows

FORMAT = 4
OLDEST_FORMAT = 3  # offsets as one bit each from the first on, arrivals as differences of eight bytes
LEAP = 255
BEYOND = np.iinfo(np.int64).max  # above every offset


class Rising(msgspec.Struct, array_like=True):
    """Whole numbers that never fall: their count bounds the bytes, however far they lie apart."""

    first: int
    steps: bytes  # from each number to the next, the first from itself, a byte each: what is narrow is deflated soon
    leaps: bytes  # the steps that a byte does not hold, in order, where it says LEAP; deflated

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> Self:
        """Return numbers as they are saved."""
        steps = np.diff(numbers, prepend=numbers[:1])
        assert steps.min(initial=0) >= 0, "a ring is in the order of its offsets, and of its arrivals"
        short = np.minimum(steps, LEAP).astype(np.uint8)
        return cls(
            first=int(numbers[0]) if len(numbers) else 0,
            steps=zlib.compress(short.tobytes(), 1),
            leaps=zlib.compress(steps[short == LEAP].tobytes(), 1),
        )

    def numbers(self) -> NDArray[np.int64]:
        """Return the numbers."""
        steps = np.frombuffer(zlib.decompress(self.steps), dtype=np.uint8).astype(np.int64)
        steps[steps == LEAP] = np.frombuffer(zlib.decompress(self.leaps), dtype="<i8")
        steps[:1] += self.first
        return np.cumsum(steps, out=steps)  # in place: of a million numbers, fresh pages cost more than the sum


class Head(msgspec.Struct, kw_only=True):
    """The state of one fleet that is not in tables."""

    ring: tuple[int, int]  # sequence numbers of the oldest waiting prediction and of the next one
    first_offset: int  # of the oldest waiting prediction
    offsets: Rising | bytes  # of those that wait; bytes: of the oldest format
    flags: bytes  # their marks, in order; deflated
    arrivals: Rising | bytes  # cells of their arrivals in the grid of then; bytes: of the oldest format
    grid_ms: int = 0  # the oldest format does not say
    early: list[tuple[int, int, tuple[int, str], bytes]]  # number, since_ms, awaited (row, prediction), event
    next_early: int
    entities: list[tuple[int, str, int]]
    entity_window: int
    seen: tuple[int, int, int]  # count, cursor, forgotten
    departed: tuple[int, int, int]
    join_dropped: dict[str, int]
    dropped: dict[str, int]
    monitor_dropped: dict[str, int]
    rules: list[str]  # whose lives the series table holds, in the order of their places
    pane_s: int
    panes: int
    values: dict[int, dict[str, float]]
    beat_ms: int
    drift_alarms: list[Alarmed]
    drift_dropped: dict[str, int]
    classes: list[str] = []  # whose confusion matrix the series table holds; an earlier head does not say
    format: Annotated[int, msgspec.Meta(ge=OLDEST_FORMAT, le=FORMAT)] = FORMAT

    def __post_init__(self) -> None:
        """Refuse a head that lacks what its format has."""
        if self.format > OLDEST_FORMAT and self.grid_ms <= 0:
            raise ValueError("grid_ms is missing")


def tables(fleet: Fleet) -> dict[str, Rows]:
    """Return the fleet's tables by the names of their pages; a later organ adds its own here."""
    found = {
        "models": fleet.models,
        "series": fleet.monitor.series,
        "seen": fleet.join.seen.rows,
        "departed": fleet.join.departed.rows,
    }
    return found if fleet.drift is None else {**found, "drift": fleet.drift.engine.table}


def head(fleet: Fleet) -> Head:
    """Return the head of a fleet that has measured everything."""
    join = fleet.join
    slots = join.slots(np.arange(join.head, join.tail))
    offsets = join.col["offset"][slots]
    return Head(
        ring=(join.head, join.tail),
        first_offset=int(offsets[0]) if len(offsets) else -1,
        offsets=Rising.of(offsets),
        flags=zlib.compress(join.col["flags"][slots].tobytes(), 1),
        arrivals=Rising.of(join.col["arrival"][slots]),
        grid_ms=fleet.grid_ms,
        early=[(n, since, key, msgspec.msgpack.encode(event)) for n, (since, key, event) in join.early.items()],
        next_early=join.next_early,
        entities=[(row, entity, count) for (row, entity), count in join.entities.items()],
        entity_window=join.entity_window,
        seen=_cursors(join.seen),
        departed=_cursors(join.departed),
        join_dropped=join.dropped,
        dropped=fleet.dropped,
        monitor_dropped=fleet.monitor.dropped,
        rules=[name for name, _ in fleet.monitor.rules],
        pane_s=fleet.family.monitor.pane_s,
        panes=fleet.family.monitor.panes,
        values=fleet.monitor.values,
        beat_ms=fleet.beat_ms,
        drift_alarms=[alarm for _, alarm in sorted(fleet.drift.alarms.items())] if fleet.drift is not None else [],
        drift_dropped=fleet.drift.engine.dropped if fleet.drift is not None else {},
        classes=fleet.family.classes,
    )


def restore(fleet: Fleet, saved: Head, pages: Mapping[str, list[bytes]], *, now_ms: int) -> Waiting:
    """Fill a fresh fleet; the waiting predictions follow through what is returned. ``now_ms``: the stream time then."""
    for name, table in tables(fleet).items():
        adapt = None
        if name == "series":
            adapt = fleet.monitor.adapt(saved.rules, pane_s=saved.pane_s, panes=saved.panes, classes=saved.classes)
        elif fleet.drift is not None and name == "drift":
            adapt = fleet.drift.engine.adapt()
        table.load(pages.get(name, []), adapt=adapt)
    if fleet.drift is not None:
        fleet.drift.restore(saved.drift_alarms, saved.drift_dropped, now_ms=now_ms)
    join = fleet.join
    join.head = join.tail = saved.ring[0]
    join.seen.restore(count=saved.seen[0], cursor=saved.seen[1], forgotten=saved.seen[2])
    join.departed.restore(count=saved.departed[0], cursor=saved.departed[1], forgotten=saved.departed[2])
    for number, since, key, event in saved.early:
        join.early[number] = (since, key, msgspec.msgpack.decode(event, type=Feedback))
        join.early_by_key.setdefault(key, []).append(number)
    join.next_early = saved.next_early
    join.entities = {(row, entity): count for row, entity, count in saved.entities}
    join.entity_window = saved.entity_window
    join.dropped |= saved.join_dropped
    fleet.dropped |= saved.dropped
    reset = fleet.monitor.dropped["columns_reset"]
    fleet.monitor.dropped |= saved.monitor_dropped
    fleet.monitor.dropped["columns_reset"] += reset
    fleet.monitor.values, fleet.beat_ms = saved.values, saved.beat_ms
    fleet.reindex()
    return Waiting(fleet, saved, now_ms=now_ms)


class Waiting:
    """The way back of the waiting predictions: those at the saved offsets are taken in again."""

    def __init__(self, fleet: Fleet, saved: Head, *, now_ms: int) -> None:
        self._fleet = fleet
        self._saved = saved
        self._now_ms = now_ms
        offsets = _offsets(saved)
        fleet.reserve(len(offsets))  # at once: a ring that grows is copied
        self._offsets = np.append(offsets, BEYOND)  # so that every search ends at some offset

    def wants(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which of the predictions at these offsets wait in this fleet."""
        is_waiting: NDArray[np.bool_] = self._offsets[np.searchsorted(self._offsets, offsets)] == offsets
        return is_waiting

    def take(self, slice_: Slice, places: NDArray[np.int64]) -> None:
        """Put those at these places back."""
        self._fleet.put_back(slice_, places.tolist())

    def finish(self) -> None:
        """Mark those that were answered, and count those that did not come: the caller chose to go on without them."""
        join = self._fleet.join
        slots = join.slots(np.arange(join.head, join.tail))
        flags = np.frombuffer(zlib.decompress(self._saved.flags), dtype=np.uint8)
        arrivals = self._arrivals()
        lost = len(flags) - len(slots)
        if lost:  # by offset: retention takes the oldest, but a build may refuse any that another one has accepted
            came = np.searchsorted(self._offsets, join.col["offset"][slots])
            flags, arrivals = flags[came], arrivals[came]
        join.col["flags"][slots], join.col["arrival"][slots] = flags, arrivals
        # counted before the snapshot already
        join.dropped |= self._saved.join_dropped
        misfit = self._fleet.dropped["waiting_misfit"]
        self._fleet.dropped |= self._saved.dropped | {"waiting_misfit": misfit}
        if lost:
            join.dropped["waiting_lost"] += lost
            models = self._fleet.models
            waiting = join.col["row"][slots][join.col["flags"][slots] == 0]
            models.col["waiting"][: models.count] = np.bincount(waiting, minlength=models.count)
            models.touch(np.arange(models.count))
        else:
            assert (join.head, join.tail) == self._saved.ring, "every waiting prediction came back"

    def _arrivals(self) -> NDArray[np.int64]:
        """Return the cells of the arrivals in the present grid, the latest that they can be: no window is cut short."""
        saved, then_ms, grid_ms = self._saved.arrivals, self._saved.grid_ms, self._fleet.grid_ms
        if isinstance(saved, Rising):
            cells = saved.numbers()
        else:
            cells = np.cumsum(np.frombuffer(zlib.decompress(saved), dtype="<i8"))
        if then_ms == grid_ms or not len(cells):
            return cells
        then_ms = then_ms or self._likely_grid_ms(int(cells[-1]))
        last_ms = np.minimum((cells + 1) * then_ms - 1, self._now_ms)  # nothing has come after the snapshot
        # in the oldest format the cells of two grids may stand side by side: it did not convert them
        latest: NDArray[np.int64] = np.maximum.accumulate(last_ms // grid_ms)
        return latest

    def _likely_grid_ms(self, newest: int) -> int:
        """Return the grid of a head that does not say it: the present one, if the newest cell can be of it.

        A grid is of whole seconds, and so many cells have gone by since 1970 that the number of one tells their size.
        """
        present_ms = self._fleet.grid_ms
        age_ms = self._now_ms - newest * present_ms
        if newest <= 0 or 0 <= age_ms <= self._fleet.join.window_ms + 2 * present_ms:
            return present_ms
        return max(1, self._now_ms // (newest * 1000)) * 1000


def _offsets(saved: Head) -> NDArray[np.int64]:
    if isinstance(saved.offsets, Rising):
        return saved.offsets.numbers()
    packed = np.frombuffer(zlib.decompress(saved.offsets), dtype=np.uint8)
    places = np.flatnonzero(packed)  # few, where those that wait lie far apart: only theirs are unpacked
    rows, bits = np.nonzero(np.unpackbits(packed[places, np.newaxis], axis=1))
    return saved.first_offset + 8 * places[rows] + bits


def _cursors(remembered: Remembered) -> tuple[int, int, int]:
    return remembered.count, remembered.cursor, remembered.forgotten


def ring(fleet: Fleet) -> Iterator[bytes]:
    """Yield the waiting predictions as canonical bytes, oldest first, for comparisons."""
    join = fleet.join
    slots = join.slots(np.arange(join.head, join.tail))
    for name in sorted(join.col):
        yield name.encode()
        yield join.col[name][slots].tobytes()
    yield msgspec.msgpack.encode([join.keys[slot] for slot in slots.tolist()])
