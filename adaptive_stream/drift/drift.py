"""The drift of one fleet: inputs, outputs and losses of every series, inside one stated budget of false alarms.

Owns the table and what an alarm begins. Never sees a record, a file or a clock: it is given arrays, in record order.
Called by the fleet.

Two budgets that add up: a series has at most one false alarm of its data in ``budget_events`` predictions, and at most
one of its performance in ``budget_events`` labels.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.drift import chance
from adaptive_stream.drift.data import NEVER, POOL, Data
from adaptive_stream.drift.given import Rejected, counted
from adaptive_stream.drift.layout import Direction, Layout
from adaptive_stream.drift.performance import Performance
from adaptive_stream.drift.run import Run
from adaptive_stream.drift.verdict import Kind, data_verdict, kind_of, log10, performance_verdict
from adaptive_stream.stats.rows import Column, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from adaptive_stream.config.drift import DriftConfig
    from adaptive_stream.config.family import Feature
    from adaptive_stream.drift.given import Given
    from adaptive_stream.drift.verdict import Verdict

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]


DIRECTIONS = tuple(Direction)


class Phase(IntEnum):
    """The life of a reference."""

    GATHERING = 0
    WATCHING = 1
    ALARMED = 2


@dataclass(frozen=True, slots=True)
class Alarm:
    """Evidence that has reached the budget, with the place of the event in its run that did it."""

    place: int
    series: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class State:
    """How far the watching of one series is, in predictions or in labels."""

    phase: Phase
    gathered: int
    wanted: int
    log10_evidence: float
    log10_line: float

    def __str__(self) -> str:
        if self.phase is Phase.GATHERING:
            return f"gathering {self.gathered:,} of {self.wanted:,}"
        return self.phase.name.lower()


@dataclass(frozen=True, slots=True)
class Past:
    """One alarm of a series' history."""

    kind: Kind
    at: int
    at_ms: int
    stream: str
    direction: Direction


class Drift:
    """The watching of one fleet.

    Args:
        config: of the family's drift.
        features: of the family's models.
        stated_loss: the mean loss that is promised, None where it is learned.
        classes: of the output, 0 where it is a number or a probability.
        names: of the classes.

    Attributes:
        table: a row a series; its keys are (model, variant, channel).
        dropped: what could not be used.
        reset: series that were read back and begin anew, because of other streams than then.
        first: the reference that every series begins with; None: each gathers its own.
    """

    def __init__(
        self,
        config: DriftConfig,
        *,
        features: Sequence[Feature],
        stated_loss: float | None = None,
        classes: int = 0,
        names: Sequence[str] = (),
    ) -> None:
        self.config = config
        self.layout = Layout(config, features=features, classes=classes)
        self.data = Data(config, self.layout)
        self.performance = Performance(config, stated=stated_loss)
        self.dropped = {"drift_width": 0, "drift_loss_not_finite": 0, "drift_reset": 0}
        watching = [
            Column("layout", "<u4"),  # first: what is read back must have been written with the same streams and bets
            Column("seed", "<u8"),
            *self.data.columns(),
            *self.performance.columns(),
        ]
        history = [
            # one ring for the data and one for the performance, so that nothing depends on which was fed first
            Column("history_count", "<i4", (2,)),
            Column("history_stream", "<i2", (2, config.history)),
            Column("history_at", "<u4", (2, config.history)),
            Column("history_ms", "<i8", (2, config.history), NEVER),
            Column("history_direction", "<u1", (2, config.history)),
        ]
        self.first: Given | None = None
        self.table = Rows([*watching, *history])
        shapes = [(column.name, column.dtype, column.shape) for column in watching]
        # how many events a reference takes decides where its blocks begin: of another size its series begin anew, too
        taken = self.data.sampled, self.data.wanted, self.performance.wanted
        self._print = zlib.crc32(repr((shapes, self.layout.names, self.layout.levels, [*names], taken)).encode())
        self.reset = set[int]()  # rows of a snapshot that began anew

    def add(self, key: tuple[str, str, str], *, now_ms: int = 0) -> int:
        """Begin a series, with the first reference if there is one, and return its row."""
        series = self.table.add(key)
        self._new(series)
        if self.first is not None:
            self.data.adopt(self.table, series, self.first, now_ms=now_ms)
        return series

    def _new(self, series: int) -> None:
        self.table.col["layout"][series] = self._print
        self.table.col["seed"][series] = chance.seed(self.table.keys[series])

    # -- events ------------------------------------------------------------------------------------------------------

    def observe(
        self, series: Places, features: Array, outputs: Array, confidences: Array, *, now_ms: Places
    ) -> list[Alarm]:
        """Watch predictions, in record order.

        Args:
            series: of each.
            features: (n, features), the number of its level where one is categorical; NaN where missing.
            outputs: NaN where the model failed; the class where there are classes.
            confidences: NaN where none was given.
            now_ms: stream time when each came.

        Returns:
            Alarms, in record order. Events of another width than the family's are counted as dropped.
        """
        if not self.config.enabled or not len(series):
            return []
        if features.shape != (len(series), self.layout.features):
            self.dropped["drift_width"] += len(series)
            return []
        values = np.empty((len(series), self.layout.columns), dtype=np.float32)
        with np.errstate(over="ignore"):  # beyond single precision a value is as extreme as infinity
            values[:, :-2], values[:, -2], values[:, -1] = features, outputs, confidences
        run, alarms = Run(series), list[Alarm]()
        while run.is_left:
            for place, one in self.data.step(self.table, run, values, now_ms):
                alarms.append(Alarm(place, one, data_verdict(self.data, self.table, one)))
                self._note(alarms[-1], int(now_ms[place]))
        self.table.touch(run.series)
        return sorted(alarms, key=lambda alarm: alarm.place)

    def losses(self, series: Places, losses: Array, *, now_ms: Places) -> list[Alarm]:
        """Watch the losses of labelled examples, in [0, 1], in the order of the labels; returns alarms in it.

        A loss that is no number counts as dropped; one outside the range as its nearer end.
        """
        if not self.config.enabled or not len(series):
            return []
        values = np.minimum(np.maximum(losses, 0.0), 1.0).astype(np.float32)
        places, is_number = np.arange(len(values)), ~np.isnan(values)
        if not is_number.all():
            places = np.flatnonzero(is_number)
            self.dropped["drift_loss_not_finite"] += len(values) - len(places)
            series, values, now_ms = series[places], values[places], now_ms[places]
            if not len(places):
                return []
        run, alarms = Run(series), list[Alarm]()
        while run.is_left:
            for place, one in self.performance.step(self.table, run, values, now_ms):
                verdict = performance_verdict(self.performance, self.table, one)
                alarms.append(Alarm(int(places[place]), one, verdict))
                self._note(alarms[-1], int(now_ms[place]))
        self.table.touch(run.series)
        return sorted(alarms, key=lambda alarm: alarm.place)

    def _note(self, alarm: Alarm, now_ms: int) -> None:
        """Remember an alarm, and begin anew where the configuration says so."""
        col, series, verdict = self.table.col, alarm.series, alarm.verdict
        ring = int(verdict.kind is Kind.PERFORMANCE)
        if ring and self._goes_on(series, verdict):
            last = (int(col["history_count"][series, ring]) - 1) % self.config.history
            col["history_at"][series, ring, last] = verdict.at % (1 << 32)
        else:
            self._write(series, ring, verdict, now_ms)
        if self.config.after_alarm == "rereference":
            (self.performance if verdict.kind is Kind.PERFORMANCE else self.data).begin(self.table, series)

    def _goes_on(self, series: int, verdict: Verdict) -> bool:
        """Say whether an objective that is stated is still missed: evidence begins anew at once, and is soon enough."""
        col, count = self.table.col, int(self.table.col["history_count"][series, 1])
        if self.performance.stated is None or not count:
            return False
        last = (count - 1) % self.config.history
        return verdict.at - int(col["history_at"][series, 1, last]) < self.performance.wanted

    def _write(self, series: int, ring: int, verdict: Verdict, now_ms: int) -> None:
        col, leading = self.table.col, verdict.findings[0]
        slot = int(col["history_count"][series, ring]) % self.config.history
        stream = self.layout.names.index(leading.stream) if verdict.kind is not Kind.PERFORMANCE else NEVER
        values = stream, verdict.at % (1 << 32), now_ms, DIRECTIONS.index(leading.direction)
        for name, value in zip(("stream", "at", "ms", "direction"), values, strict=True):
            col[f"history_{name}"][series, ring, slot] = value
        col["history_count"][series, ring] += 1

    # -- what is known -----------------------------------------------------------------------------------------------

    def evidence(self, series: Places) -> tuple[Array, Array, float]:
        """Return log10 of the evidence on data and on performance, and of the line at which either is an alarm."""
        col = self.table.col
        data = self.data.total(col["evidence"][series])
        performance = self.performance.total(col["loss_evidence"][series])
        logs = [np.log10(np.maximum(one, 1e-12)).astype(np.float64) for one in (data, performance)]
        return logs[0], logs[1], log10(self.config.budget_events)

    def states(self, series: Places) -> tuple[list[State], list[State]]:
        """Return how far the watching of these series is: of inputs and outputs, and of losses."""
        col = self.table.col
        data, losses, line = self.evidence(series)
        parts = (
            (data, "events", "begun", "data_alarm_at", self.config.reference_predictions, self.data),
            (losses, "labels", "labels_begun", "performance_alarm_at", self.performance.wanted, self.performance),
        )
        found = []
        for logs, count, begun, alarm, wanted, part in parts:
            gathered = np.minimum(col[count][series] - col[begun][series], wanted).tolist()
            is_ready, is_alarmed = part.is_watching(self.table, series).tolist(), (col[alarm][series] >= 0).tolist()
            phases = [_phase(is_ready=r, is_alarmed=a) for r, a in zip(is_ready, is_alarmed, strict=True)]
            each = zip(phases, gathered, logs.tolist(), strict=True)
            found.append([State(phase, seen, wanted, log, line) for phase, seen, log in each])
        return found[0], found[1]

    def data_state(self, series: int) -> State:
        """Return how far the watching of a series' inputs and outputs is."""
        return self.states(np.array([series]))[0][0]

    def performance_state(self, series: int) -> State:
        """Return how far the watching of a series' losses is."""
        return self.states(np.array([series]))[1][0]

    def data_verdict(self, series: int) -> Verdict:
        """Return what is known of a series' inputs and outputs, alarm or not."""
        return data_verdict(self.data, self.table, series)

    def performance_verdict(self, series: int) -> Verdict:
        """Return what is known of a series' losses, alarm or not."""
        return performance_verdict(self.performance, self.table, series)

    def history(self, series: int) -> list[Past]:
        """Return the newest alarms of a series, of data and of performance each, the oldest of them first."""
        col, kept = self.table.col, self.config.history
        found = []
        for ring, count in enumerate(col["history_count"][series].tolist()):
            for number in range(max(0, count - kept), count):
                stream, at, at_ms, direction = (
                    col[f"history_{name}"][series, ring, number % kept] for name in ("stream", "at", "ms", "direction")
                )
                if at_ms < 0:
                    continue  # forgotten while the history was shorter
                name = "loss" if ring else self.layout.names[stream]
                kind = Kind.PERFORMANCE if ring else kind_of(self.layout, name)
                found.append(Past(kind, int(at), int(at_ms), name, DIRECTIONS[direction]))
        return sorted(found, key=lambda past: past.at_ms)

    # -- orders ------------------------------------------------------------------------------------------------------

    def rereference(self, series: int) -> None:
        """Gather the references of a series anew, from its next event: by an order, or after a promotion."""
        self.data.begin(self.table, series)
        self.performance.begin(self.table, series)
        self.table.touch([series])

    def set_reference(
        self, series: int, features: Array, *, outputs: Array | None, confidences: Array | None, now_ms: int
    ) -> Rejected | None:
        """Give a series a reference of rows that were read from a file; what they lack is not watched.

        Args:
            series: whose.
            features: (n, features), coded as those of predictions.
            outputs: of the same rows, if there are any.
            confidences: of the same rows, if there are any.
            now_ms: stream time.

        Returns:
            Why nothing was changed, or None.
        """
        found = self.count(features, outputs=outputs, confidences=confidences)
        if isinstance(found, Rejected):
            return found
        self.data.begin(self.table, series)
        self.data.adopt(self.table, series, found, now_ms=now_ms)
        self.table.touch([series])
        return None

    def count(self, features: Array, *, outputs: Array | None, confidences: Array | None) -> Given | Rejected:
        """Count rows, as in ``set_reference``, into what a series can adopt."""
        return counted(self.layout, features, outputs, confidences, least=self.data.wanted, most=POOL)

    # -- state -------------------------------------------------------------------------------------------------------

    def adapt(self) -> Callable[[str, NDArray[Any]], NDArray[Any] | None]:
        """Return what brings a page of an earlier configuration into the present one.

        Streams that are others than then cannot be compared: their series gather anew, and are counted.
        """
        is_same, row = np.zeros(0, dtype=np.bool_), 0
        counts: Places = np.zeros((0, 2), dtype=np.int64)

        def adapt(name: str, values: NDArray[Any]) -> NDArray[Any] | None:
            nonlocal is_same, row, counts
            if name == "layout":
                is_same = values == self._print
                if not is_same.all():  # a page is written whole: its rows are of one configuration
                    self.dropped["drift_reset"] += len(values)
                    self.reset.update(range(row, row + len(values)))
                row += len(values)
                return np.full_like(values, self._print)
            if name == "history_count":  # before the rings
                counts = values.astype(np.int64)
            if not (name == "seed" or is_same.all()):
                return None
            if name.startswith("history_") and name != "history_count":
                fill = NEVER if name == "history_ms" else 0
                return _resized(values, counts, self.config.history, fill=fill)
            return values

        return adapt

    def restored(self, *, now_ms: int) -> None:
        """Begin what the present configuration begins, once the pages of an earlier one are loaded."""
        col, count = self.table.col, self.table.count
        if self.config.after_alarm == "rereference":  # it was to be kept then
            for one in np.flatnonzero(col["data_alarm_at"][:count] >= 0).tolist():
                self.data.begin(self.table, one)
                self.table.touch([one])
            for one in np.flatnonzero(col["performance_alarm_at"][:count] >= 0).tolist():
                self.performance.begin(self.table, one)
                self.table.touch([one])
        if self.first is not None:
            for one in sorted(self.reset):
                self.data.adopt(self.table, one, self.first, now_ms=now_ms)
                self.table.touch([one])


def _resized(rings: NDArray[Any], counts: Places, size: int, *, fill: int) -> NDArray[Any]:
    """Return rings (n, 2, old size) of which so many were written, with what is newest in them, as (n, 2, size)."""
    old = rings.shape[-1]
    found = np.full((*rings.shape[:-1], size), fill, dtype=rings.dtype)
    for back in range(1, min(old, size) + 1):
        number = np.maximum(counts - back, 0)[..., None]  # of fewer the first is written again, where it stands
        np.put_along_axis(found, number % size, np.take_along_axis(rings, number % old, axis=-1), axis=-1)
    return found


def _phase(*, is_ready: bool, is_alarmed: bool) -> Phase:
    if is_alarmed:
        return Phase.ALARMED
    return Phase.WATCHING if is_ready else Phase.GATHERING
