"""The core: a function from ordered records to outputs, on state that it owns.

Owns stream time, the choice of the family for each model, and the grid on which everything is evaluated. Never touches
Kafka, a clock, a thread or a log. Called by the runtime's stepper, in a restore as well as live.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Control, Metrics, OutputEvent, Prediction
from adaptive_stream.core import bulk, snapshot
from adaptive_stream.core.fleet import Fleet
from adaptive_stream.core.join import Outcome
from adaptive_stream.core.slice import Frozen, Slice, Stepped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from adaptive_stream.config.tree import Config
    from adaptive_stream.contracts.events import ModelStatus

MAX_KNOWN_MODELS = 200_000  # a cache of families by model id; emptied when full
FORMAT = 3


class _Head(msgspec.Struct, kw_only=True):
    stream_time_ms: int
    fleets: dict[str, snapshot.Head]
    cut_ms: int
    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)] = FORMAT


class Fleets:
    """All fleets of one task.

    Args:
        config: its families, in the order in which their patterns are tried.
    """

    def __init__(self, config: Config) -> None:
        self.fleets = [Fleet(config, name=name, family=family) for name, family in config.families.items()]
        self.stream_time_ms = -1
        self.cut_ms = -1  # of the newest batch that had records
        self._family_of: dict[str, Fleet] = {}
        self._strays: list[set[str]] = [set() for _ in self.fleets]

    def step(self, slice_: Slice) -> Stepped:
        """Advance by a slice. If this raises, discard the fleets and restore; the cause may be in an earlier slice.

        Returns:
            What is to be published, in order, and the places of records that were refused and changed nothing.
        """
        stepped = Stepped()
        if slice_.cut_ms >= 0:
            self.cut_ms = slice_.cut_ms
        for place, model_id in slice_.refused:
            if place == 0:
                self._refused(model_id, self.stream_time_ms)
        if not slice_.events:
            return stepped
        times = np.maximum.accumulate(np.maximum(np.array(slice_.times_ms), self.stream_time_ms))
        start, since_ms = 0, self.stream_time_ms if self.stream_time_ms >= 0 else int(times[0])
        while (place := self._crossing(times, since_ms)) < len(times):
            self._take(slice_, times, start, place, stepped)
            before_ms, since_ms = int(times[place - 1]) if place else since_ms, int(times[place])
            for fleet in self.fleets:
                stepped.outputs.extend(_ticks(fleet, before_ms, since_ms))
            start = place
        self._take(slice_, times, start, len(times), stepped)
        self.stream_time_ms = int(times[-1])
        return stepped

    def idle(self, cut_ms: int) -> list[OutputEvent]:
        """Look for silence while no records come. Replayed with the same cut time it says the same.

        Args:
            cut_ms: the journalled wall clock of a batch without records.
        """
        if self.cut_ms < 0 or self.stream_time_ms < 0:
            return []
        idle_ms = max(0, cut_ms - self.cut_ms)
        return [event for fleet in self.fleets for event in fleet.idle(now_ms=self.stream_time_ms, idle_ms=idle_ms)]

    def measure(self) -> None:
        """Measure what was taken in and is not measured yet: nobody has to wait for it, but to see that it can be."""
        for fleet in self.fleets:
            fleet.measure()

    def find_strays(self) -> None:
        """Find the models that another family covers by now than when their rows were added; after a restore."""
        for fleet, stray in zip(self.fleets, self._strays, strict=True):
            stray |= {model_id for (model_id,) in fleet.models.keys if not self._is_of(fleet, model_id)}

    @property
    def is_watching(self) -> bool:
        """Whether silence would be news: some series has served predictions."""
        return any(fleet.monitor.series.count for fleet in self.fleets)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return what only grows, over all families: feedback by outcome (early is a level), and what was dropped."""
        outcomes = np.zeros(len(Outcome), dtype=np.int64)
        dropped: dict[str, int] = {}
        for fleet in self.fleets:
            outcomes += fleet.models.col["outcomes"][: fleet.models.count].sum(axis=0)
            parts = {
                **fleet.join.dropped,
                **fleet.dropped,
                **fleet.monitor.dropped,
                **(fleet.drift.engine.dropped if fleet.drift is not None else {}),
                "feedback_ids_forgotten": fleet.join.seen.forgotten,
                "departed_ids_forgotten": fleet.join.departed.forgotten,
            }
            for what, count in parts.items():
                dropped[what] = dropped.get(what, 0) + count
        return {"join": {o.name.lower(): int(outcomes[o]) for o in Outcome}, "dropped": dropped}

    def gauges(self) -> dict[str, int]:
        """Return the levels, over all families."""
        return {
            "models": sum(fleet.models.count for fleet in self.fleets),
            "series": sum(fleet.monitor.series.count for fleet in self.fleets),
            "waiting": sum(int(fleet.models.col["waiting"][: fleet.models.count].sum()) for fleet in self.fleets),
            "held": sum(fleet.join.tail - fleet.join.head for fleet in self.fleets),
            "early": sum(len(fleet.join.early) for fleet in self.fleets),
            "entities": sum(len(fleet.join.entities) for fleet in self.fleets),
            "ring_bytes": sum(fleet.join.size_bytes for fleet in self.fleets),
        }

    def status(self, model_id: str) -> ModelStatus | None:
        """Return a model's summary as of now; None when no event of it was seen."""
        try:
            fleet = self._fleet(model_id)
        except Reject:
            return None
        row = fleet.row(model_id)
        return None if row is None else fleet.status(row, now_ms=self.stream_time_ms + 1)

    def freeze(self) -> Frozen:
        """Return a snapshot of what changed since the last one; later steps do not change it."""
        pages, directory = {}, []
        for fleet in self.fleets:
            fleet.measure()
            for name, table in snapshot.tables(fleet).items():
                prefix = f"{fleet.name}/{name}/"
                pages.update({prefix + str(number): page for number, page in table.take_dirty().items()})
                directory += [prefix + str(number) for number in range(table.page_count)]
        heads = {fleet.name: snapshot.head(fleet) for fleet in self.fleets}
        waiting = [saved.first_offset for saved in heads.values() if saved.first_offset >= 0]
        head = msgspec.msgpack.encode(_Head(stream_time_ms=self.stream_time_ms, fleets=heads, cut_ms=self.cut_ms))
        return Frozen(head=head, pages=pages, directory=directory, first_waiting_offset=min(waiting, default=None))

    def dump(self) -> bytes:
        """Return the whole state as canonical bytes: equal states, equal bytes.

        The newest cut time is left out: it is the batch's, and says nothing of what was learned from the records.
        """
        parts = [str(self.stream_time_ms).encode()]
        for fleet in self.fleets:
            fleet.measure()
            parts.append(msgspec.msgpack.encode(snapshot.head(fleet)))
            parts += snapshot.ring(fleet)
            for table in snapshot.tables(fleet).values():
                parts += [table.page(number) for number in range(table.page_count)]
        return msgspec.msgpack.encode(parts)

    # -- one slice -----------------------------------------------------------------------------------------------

    def _crossing(self, times: np.ndarray, since_ms: int) -> int:
        """Return the place of the first record before which some family has something to do."""
        return int(np.searchsorted(times, min((fleet.next_ms(since_ms) for fleet in self.fleets), default=sys.maxsize)))

    def _take(self, slice_: Slice, times: np.ndarray, start: int, stop: int, stepped: Stepped) -> None:
        """Take in the records between two crossings, and what was refused among them."""
        refused = [(place, model_id) for place, model_id in slice_.refused if start < place <= stop]
        named = {event.model_id for event in slice_.events[start:stop]} if refused else set()
        for place, model_id in refused:
            if model_id in named and self._is_new(model_id):  # the records before it say whether it is known by then
                self._take_run(slice_, times, start, place, stepped)
                start = place
            # at the time of the record before it: where slices are cut must not matter
            self._refused(model_id, int(times[place - 1]))
        self._take_run(slice_, times, start, stop, stepped)

    def _take_run(self, slice_: Slice, times: np.ndarray, start: int, stop: int, stepped: Stepped) -> None:
        """Take in records, then let every fleet work on its arrays."""
        if start == stop:
            return
        for fleet in self.fleets:
            fleet.reserve(stop - start)
        events, offsets, stamps = slice_.events, slice_.offsets, slice_.times_ms
        families = self._family_of
        for place in self._take_predictions(slice_, times, start, stop):
            event, now_ms = events[place], int(times[place])
            kind = type(event)
            try:
                fleet = families.get(event.model_id) or self._fleet(event.model_id)
                if kind is Prediction:
                    fleet.predicted(event, offset=offsets[place], time_ms=stamps[place], now_ms=now_ms)  # type: ignore[arg-type]
                elif kind is Metrics:
                    fleet.measured(event, time_ms=stamps[place])  # type: ignore[arg-type]
                elif kind is Control:
                    stepped.outputs.extend(fleet.ordered(event, time_ms=stamps[place], now_ms=now_ms))  # type: ignore[arg-type]
                    fleet.reserve(stop - place)
                else:
                    fleet.told(event, time_ms=stamps[place], now_ms=now_ms)  # type: ignore[arg-type]
            except Reject as reject:
                stepped.rejected.append((place, reject))
                self._refused(event.model_id, now_ms)
        for fleet in self.fleets:
            fleet.flush()

    def _take_predictions(self, slice_: Slice, times: np.ndarray, start: int, stop: int) -> Sequence[int]:
        """Take in all predictions at once if that changes nothing. Returns the places that are left, perhaps all."""
        parts = bulk.parts(self.fleets, slice_.events[start:stop], strays=self._strays)
        if parts is None:
            return range(start, stop)
        offsets, stamps = np.array(slice_.offsets[start:stop]), np.array(slice_.times_ms[start:stop])
        for number, part in parts.items():
            cells = times[start:stop] // self.fleets[number].grid_ms
            columns = bulk.columns(part, offsets=offsets, times_ms=stamps, cells=cells)
            self.fleets[number].take_many(part.new, columns, bulk.served(part, now_ms=times[start:stop]))
        return [place for place in range(start, stop) if type(slice_.events[place]) is not Prediction]

    def _is_new(self, model_id: str) -> bool:
        try:
            return not self._fleet(model_id).counts(model_id)
        except Reject:
            return False  # and it will never be known

    def _refused(self, model_id: str, now_ms: int) -> None:
        try:
            fleet = self._fleet(model_id)
        except Reject:
            return
        if now_ms >= 0:
            fleet.refused(model_id, now_ms=now_ms)

    def _is_of(self, fleet: Fleet, model_id: str) -> bool:
        try:
            return self._fleet(model_id) is fleet
        except Reject:
            return False

    def _fleet(self, model_id: str) -> Fleet:
        known = self._family_of.get(model_id)
        if known is not None:
            return known
        for fleet in self.fleets:
            if any(fnmatchcase(model_id, pattern) for pattern in fleet.family.match):
                if len(self._family_of) >= MAX_KNOWN_MODELS:
                    self._family_of.clear()
                self._family_of[model_id] = fleet
                return fleet
        raise Reject(ErrorCode.UNKNOWN_MODEL, "no family's match covers this model_id", path="$.model_id")


def _ticks(fleet: Fleet, before_ms: int, now_ms: int) -> Iterator[OutputEvent]:
    """Evaluate at the first grid point after the earlier record and at the last one up to the later: two at most."""
    grid_ms, status_ms = fleet.grid_ms, fleet.family.monitor.status_interval_s * 1000
    first, last = (before_ms // grid_ms + 1) * grid_ms, now_ms // grid_ms * grid_ms
    if first <= last:
        yield from fleet.tick(now_ms=first)
    if first < last:
        # a status that is due in the gap is published at its end
        yield from fleet.tick(now_ms=last, is_status_due=last // status_ms > first // status_ms)
    if fleet.beat_ms:
        since_ms = last if last // status_ms > before_ms // status_ms else before_ms  # when a round began in the gap
        parts = now_ms // fleet.beat_ms - since_ms // fleet.beat_ms
        if parts:
            yield from fleet.statuses(now_ms=now_ms // fleet.beat_ms * fleet.beat_ms, parts=parts)


class Thawing:
    """Fleets on their way back: the snapshot first, then the predictions that still wait, run by run.

    Args:
        config: the same; a family that is gone is forgotten, a new one starts empty.
        head: of the snapshot.
        pages: all of them.

    Raises:
        msgspec.DecodeError: the bytes are not of this format.
    """

    def __init__(self, config: Config, head: bytes, pages: Mapping[str, bytes]) -> None:
        saved = msgspec.msgpack.decode(head, type=_Head)
        self._fleets = Fleets(config)
        self._fleets.stream_time_ms, self._fleets.cut_ms = saved.stream_time_ms, saved.cut_ms
        self._returning = [
            snapshot.restore(
                fleet, saved.fleets[fleet.name], _pages_of(fleet.name, pages), now_ms=max(0, saved.stream_time_ms)
            )
            for fleet in self._fleets.fleets
            if fleet.name in saved.fleets
        ]
        for fleet in self._fleets.fleets:
            fleet.monitor.restate()

    def wants(self, offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which of the predictions at these offsets wait."""
        wanted = np.zeros(len(offsets), dtype=bool)
        for returning in self._returning:
            wanted |= returning.wants(offsets)
        return wanted

    def take(self, slice_: Slice) -> None:
        """Put the predictions of a slice back that wait; slices come in the order of their offsets."""
        offsets = np.array(slice_.offsets, dtype=np.int64)
        for returning in self._returning:
            returning.take(slice_, np.flatnonzero(returning.wants(offsets)))

    def finish(self) -> Fleets:
        """Return fleets equal to those that were frozen."""
        for returning in self._returning:
            returning.finish()
        self._fleets.find_strays()
        return self._fleets


def _pages_of(fleet: str, pages: Mapping[str, bytes]) -> dict[str, list[bytes]]:
    """Group one fleet's pages by table, in the order of their numbers."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    for key, page in pages.items():
        name, table, number = key.rsplit("/", 2)
        if name == fleet:
            found.setdefault(table, []).append((int(number), page))
    return {table: [page for _, page in sorted(numbered)] for table, numbered in found.items()}
