"""All models of one family in one task, as arrays: a model is a row.

Owns the rows of its models, their join and their measurement. Never chooses which family a model belongs to. Called by
``Fleets``: record by record to take things in, by whole arrays to ``flush`` them, at grid points to ``tick``.
"""

from __future__ import annotations

import array
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Alert, Correction, Preference, Rating
from adaptive_stream.contracts.rule import FIGURES
from adaptive_stream.core import bulk
from adaptive_stream.core.answer import Answers
from adaptive_stream.core.drift import Drifts
from adaptive_stream.core.held import Held
from adaptive_stream.core.input import Inputs
from adaptive_stream.core.join import ANSWERED, CORRECTED, Join, Key, Outcome, feedback_print, prediction_print
from adaptive_stream.core.model import STOPPED
from adaptive_stream.core.report import alert_events, model_statuses
from adaptive_stream.core.taken import Taken
from adaptive_stream.monitor.monitor import Monitor
from adaptive_stream.monitor.ring import NEVER
from adaptive_stream.stats.rows import Column, Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from adaptive_stream.config import Config, Family
    from adaptive_stream.contracts.events import (
        Control,
        Feedback,
        Metrics,
        ModelStatus,
        OutputEvent,
        Prediction,
    )
    from adaptive_stream.core.slice import Slice

    Places = NDArray[np.int64]

MEASURED = "series", "time", "output", "features"  # columns of the ring that the monitor and the detectors see
OTHER = "other"  # the series of variants and channels beyond the limits


class Fleet:
    """One family's models in one task.

    Args:
        config: for the bounds of the join and of time.
        name: of the family.
        family: its settings.
    """

    def __init__(self, config: Config, *, name: str, family: Family) -> None:
        self.name = name
        self.family = family
        self._earliest_ms = parse_time(config.time.earliest)
        self._skew_ms = config.time.max_future_skew_s * 1000
        self.inputs = Inputs(family)
        self.grid_ms = family.monitor.evaluate_every_s * 1000
        self._status_ms = family.monitor.status_interval_s * 1000
        self.join = Join(config.join, features=len(family.features), grid_ms=self.grid_ms)
        self.monitor = Monitor(family)
        self.drift = Drifts(family, self.monitor) if family.drift.enabled else None
        self.monitor.drift = self.drift.evidence if self.drift is not None else None
        self.models = Rows(
            [
                Column("outcomes", "<i8", (len(Outcome),)),
                Column("waiting", "<i8"),
                Column("flags", "|u1"),
                Column("reported", "<f8", (len(FIGURES),), np.nan),
                Column("adaptations", "<i8"),
                Column("adaptation_kind", "|i1", (), NEVER),
                Column("adaptation_at", "<i8", (), NEVER),
                Column("is_news", "|u1"),  # something changed since the last status
                Column("is_due", "|u1"),  # its status belongs to the round under way
            ]
        )
        self.beat_ms = 0  # stream time between two parts of a round of statuses; 0: no round is under way
        self.answers = Answers(self)
        self.dropped = {"series_folded": 0, "unscored_while_stopped": 0, "waiting_misfit": 0}
        self._variants: dict[int, tuple[set[str], set[str]]] = {}
        self._series: dict[tuple[int, str, str], int] = {}
        self._first_series: dict[int, int] = {}  # by row: where what has no series of its own is counted
        self._unmeasured, self._unscored = Held(), Held()  # predictions, and labelled ones
        self._begin_run()

    def _begin_run(self) -> None:
        """Empty the buffers between two flushes."""
        self._first = self.join.tail
        self._taken = Taken(self.inputs.width)

    # -- rows ----------------------------------------------------------------------------------------------------

    def row(self, model_id: str) -> int | None:
        """Return the model's row, None if there is none yet."""
        return self.models.index.get((model_id,))

    def admit(self, model_id: str) -> int:
        """Return the model's row, a new one if there is none.

        Raises:
            Reject: the family's limit is reached.
        """
        row = self.row(model_id)
        if row is None:
            if self.models.count >= self.family.max_models:
                raise Reject(
                    ErrorCode.TOO_MANY_MODELS,
                    f"family {self.name} holds max_models {self.family.max_models} in this task already",
                )
            row = self.models.add((model_id,))
        return row

    def series(self, row: int, variant: str, channel: str, *, now_ms: int) -> int:
        """Return the series, a new one if there is none; beyond the limits of a model, the one named other."""
        key = (row, variant, channel)
        found = self._series.get(key)
        if found is not None:
            return found
        variants, channels = self._variants.setdefault(row, (set(), set()))
        if variant not in variants and len(variants) >= self.family.max_variants:
            variant = OTHER
        if channel not in channels and len(channels) >= self.family.max_channels:
            channel = OTHER
        if (row, variant, channel) != key:
            self.dropped["series_folded"] += 1
            if (row, variant, channel) in self._series:
                return self._series[row, variant, channel]
        variants.add(variant)
        channels.add(channel)
        found = self.monitor.add((self.models.keys[row][0], variant, channel), row=row)
        if self.drift is not None:
            self.drift.engine.add((self.models.keys[row][0], variant, channel), now_ms=now_ms)
        self._series[row, variant, channel] = found
        self._first_series.setdefault(row, found)
        return found

    def reindex(self) -> None:
        """Rebuild the look-ups from the tables, after a restore."""
        for number, (model_id, variant, channel) in enumerate(self.monitor.series.keys):
            row = self.models.index[model_id,]
            self._series[row, variant, channel] = number
            self._first_series.setdefault(row, number)
            variants, channels = self._variants.setdefault(row, (set(), set()))
            variants.add(variant)
            channels.add(channel)
        self._begin_run()

    # -- records -------------------------------------------------------------------------------------------------

    def predicted(self, event: Prediction, *, offset: int, time_ms: int, now_ms: int) -> None:
        """Take in a prediction. Raises Reject, and then nothing has changed."""
        if event.occurred_at is not None:
            time_ms = self._occurred(event.occurred_at, time_ms)
        output = self.inputs.output(event.output) if not event.failed else np.nan
        row = self.row(event.model_id)
        key = (row, event.prediction_id) if row is not None else None
        if key is not None and key in self.join.index:
            self.join.dropped["duplicate_predictions"] += 1
            return
        if self.inputs.width:
            self.inputs.append(event.features, self._taken.features)
        try:
            row = self.admit(event.model_id) if row is None else row
        except Reject:
            self._taken.drop_features()
            raise
        key = (row, event.prediction_id)
        series = self.series(row, event.variant_id, event.channel_id, now_ms=now_ms)
        self._taken.predicted(event, offset=offset, time_ms=time_ms, now_ms=now_ms, at=(row, series), output=output)
        for silent in self.join.insert(key):
            self._waits(silent, -1)
        if self.join.early_by_key and key in self.join.early_by_key:
            for _, waited in self.join.arrived(key):
                self._count(row, Outcome.EARLY, -1)
                if self._fits(waited):
                    self._meet(waited, row, now_ms=now_ms)
                else:
                    self._count(row, Outcome.ORPHAN)
                    self.dropped["waiting_misfit"] += 1

    def told(self, event: Feedback, *, time_ms: int, now_ms: int) -> None:
        """Take in feedback. Raises Reject, and then nothing has changed."""
        if event.occurred_at is not None:
            self._occurred(event.occurred_at, time_ms)
        self._check(event)
        row = self.admit(event.model_id)
        fingerprint = feedback_print(event.model_id, event.feedback_id)
        if fingerprint in self.join.seen:
            self._count(row, Outcome.DUPLICATE)
            return
        if event.entity_id is not None and self.join.is_capped(row, event.entity_id, now_ms=now_ms):
            self._count(row, Outcome.CAPPED)
            return
        self.join.seen.add(fingerprint)
        self._meet(event, row, now_ms=now_ms)

    def _check(self, event: Feedback) -> None:
        """Raise Reject where feedback is not of the family's task and inputs."""
        if type(event) is Correction:
            self.inputs.label(event.label)
            if event.output is not None:
                self.inputs.output(event.output)
            if event.features is not None and self.inputs.width:
                self.inputs.append(event.features, array.array("d"))

    def _fits(self, event: Feedback) -> bool:
        """Say whether feedback that was taken in earlier is still of the family's task and inputs."""
        try:
            self._check(event)
        except Reject:
            return False
        return True

    def _meet(self, event: Feedback, row: int, *, now_ms: int) -> None:
        """Join feedback with its prediction, or decide what becomes of it."""
        wanted = (event.chosen, event.rejected) if isinstance(event, Preference) else (event.prediction_id,)
        sequences = []
        for prediction_id in wanted:
            key = (row, prediction_id)
            sequence = self.join.index.get(key)
            if sequence is None:
                self._miss(event, key, now_ms=now_ms)
                return
            sequences.append(sequence)
        self._count(row, Outcome.JOINED)
        for sequence in sequences:
            flags = ANSWERED | CORRECTED if type(event) is Correction else ANSWERED
            before = self.join.answer(sequence, flags=flags)
            if not before:
                self._waits(row, -1)
            if type(event) is Correction:
                if before & CORRECTED:
                    self.join.dropped["recorrected"] += 1
                else:
                    self._taken.examples.append((sequence, self.inputs.label(event.label), now_ms, -1, np.nan))
            elif type(event) is Rating:
                low, high = event.scale
                self._taken.rated.append((sequence, (event.score - low) / (high - low), now_ms))
            else:
                self._taken.preferred.append((sequence, now_ms))

    def _miss(self, event: Feedback, key: Key, *, now_ms: int) -> None:
        """The prediction is not in the ring: it is gone, it is not needed, or it may still come."""
        row = key[0]
        if type(event) is Correction and event.features is not None and event.output is not None:
            series = self.series(row, event.variant_id or "default", event.channel_id or "default", now_ms=now_ms)
            output, label = self.inputs.output(event.output), self.inputs.label(event.label)
            self._taken.examples.append((-1, label, now_ms, series, output))
            self._count(row, Outcome.INLINE)
        elif prediction_print(key) in self.join.departed:
            self._count(row, Outcome.LATE)
        else:
            self._count(row, Outcome.EARLY)
            for pushed in self.join.wait(key, event, since_ms=now_ms):
                self._orphan(pushed)

    def measured(self, event: Metrics, *, time_ms: int) -> None:
        """Take in what a tool measured: the newest figure of each name is shown in the status. Raises Reject."""
        if event.occurred_at is not None:
            self._occurred(event.occurred_at, time_ms)
        row = self.admit(event.model_id)
        for place, name in enumerate(FIGURES):
            figure = getattr(event, name)
            if figure is not None:
                self.models.col["reported"][row, place] = figure
        self.monitor.report(self.series(row, event.variant_id, event.channel_id, now_ms=time_ms), event)
        self._note(row)

    def counts(self, model_id: str) -> bool:
        """Say whether a model has a series, on which its dead letters are counted."""
        return self.row(model_id) in self._first_series

    def refused(self, model_id: str, *, now_ms: int) -> None:
        """Count a record of a model that became a dead letter; of one that is not known nothing is counted."""
        row = self.row(model_id)
        series = None if row is None else self._first_series.get(row)
        if series is not None:
            self.monitor.refuse(np.array([series]), np.array([now_ms]))

    def ordered(self, event: Control, *, time_ms: int, now_ms: int) -> list[OutputEvent]:
        """Obey an operator's order; whatever came before it counts already. Raises Reject."""
        if event.occurred_at is not None:
            self._occurred(event.occurred_at, time_ms)
        self.flush()
        self.measure()
        return self.answers.answer(event, now_ms=now_ms)

    # -- arrays --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was taken in since the last flush into the arrays, and complete what was joined."""
        taken = self._taken
        if taken.offsets:
            self._write_predictions(self._first, taken.columns(grid_ms=self.grid_ms), taken.served())
        if taken.outcomes:
            rows, kinds, amounts = _arrays(taken.outcomes)
            is_waiting = kinds < 0
            np.add.at(self.models.col["waiting"], rows[is_waiting], amounts[is_waiting])
            counted = ~is_waiting
            np.add.at(self.models.col["outcomes"], (rows[counted], kinds[counted]), amounts[counted])
            self.models.col["is_news"][rows] = 1
            self.models.touch(rows)
        if taken.examples:
            self._complete(*_arrays(taken.examples))
        if taken.rated:
            sequences, shares, now_ms = _arrays(taken.rated)
            self.monitor.rate(self._series_of(sequences), shares, now_ms=now_ms)
        if taken.preferred:
            sequences, now_ms = _arrays(taken.preferred)
            self.monitor.prefer(self._series_of(sequences), now_ms=now_ms)
        self._begin_run()

    def measure(self) -> None:
        """Show the monitor and the detectors what was taken in since; before anybody asks them or saves them."""
        if not self._unmeasured.is_empty:
            columns = self._unmeasured.take()
            series, now_ms = columns["series"], columns["now"]
            self.monitor.serve(series, columns, times_ms=columns["time"], now_ms=now_ms)
            if self.drift is not None:
                self.drift.observe(series, columns, now_ms=now_ms)
        if not self._unscored.is_empty:
            columns = self._unscored.take()
            series, now_ms = columns["series"], columns["now"]
            scores = self.monitor.label(
                series, columns["output"], columns["label"], times_ms=columns["time"], now_ms=now_ms
            )
            if self.drift is not None:
                self.drift.losses(series, 1.0 - scores, now_ms=now_ms)

    def _series_of(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        return self.join.col["series"][self.join.slots(sequences)].astype(np.int64)

    def take_many(
        self, new: dict[Key, int], columns: Mapping[str, NDArray[Any]], served: Mapping[str, NDArray[Any]]
    ) -> None:
        """Take in predictions that were checked already, all at once (core.bulk)."""
        first = self.join.tail
        for silent in self.join.insert_many(new):
            self._waits(silent, -1)
        self._write_predictions(first, columns, served)
        self._first = self.join.tail

    def _write_predictions(
        self, first: int, columns: Mapping[str, NDArray[Any]], served: Mapping[str, NDArray[Any]]
    ) -> None:
        rows = columns["row"]
        self.join.write(first, columns)
        np.add.at(self.models.col["waiting"], rows, 1)
        self.models.col["is_news"][rows] = 1
        self.models.touch(rows)
        self._unmeasured.add({**served, **{name: columns[name] for name in MEASURED if name in columns}})
        if self._unmeasured.is_full:
            self.measure()

    def _complete(
        self,
        sequences: Places,
        labels: NDArray[np.float64],
        now_ms: Places,
        series: Places,
        outputs: NDArray[np.float64],
    ) -> None:
        """Complete joined and inline examples, in the order in which they came: the ring may forget them soon."""
        is_joined = sequences >= 0
        slots, col = self.join.slots(sequences[is_joined]), self.join.col
        series[is_joined], outputs[is_joined] = col["series"][slots], col["output"][slots]
        times = now_ms.copy()
        times[is_joined] = col["time"][slots]
        rows = self.monitor.series.col["row"][series]
        is_stopped = self.models.col["flags"][rows] & STOPPED > 0
        self.dropped["unscored_while_stopped"] += int(is_stopped.sum())
        keep = ~np.isnan(outputs) & ~is_stopped
        part = {"series": series, "output": outputs, "label": labels, "time": np.minimum(times, now_ms), "now": now_ms}
        self._unscored.add({name: values[keep] for name, values in part.items()})
        if self._unscored.is_full:
            self.measure()
        self._note_many(rows)

    def put_back(self, slice_: Slice, places: list[int]) -> None:
        """Take waiting predictions in again, in a restore: they are counted already, their series are there."""
        events = [slice_.events[place] for place in places]
        part = bulk.part(self, events, list(range(len(events)))) if events else None
        if part is None or self.join.overflow(len(events)):  # as when one has a time of its own
            for event, place in zip(events, places, strict=True):
                self._put_back_one(event, offset=slice_.offsets[place], time_ms=slice_.times_ms[place])  # type: ignore[arg-type]  # a prediction
        else:
            offsets, times = np.array(slice_.offsets)[places], np.array(slice_.times_ms)[places]
            first = self.join.tail
            self.join.insert_many(part.new)
            self.join.write(first, bulk.columns(part, offsets=offsets, times_ms=times, cells=np.zeros_like(offsets)))
        self._first = self.join.tail

    def _put_back_one(self, event: Prediction, *, offset: int, time_ms: int) -> None:
        if event.occurred_at is not None:  # it was believed once, whatever the limits are by now
            time_ms = min(parse_time(event.occurred_at), time_ms)
        row = self.admit(event.model_id)
        output, features = np.nan, np.full((1, self.inputs.width), np.nan)
        try:
            output = output if event.failed else self.inputs.output(event.output)
            features = self.inputs.stack([event.features]) if self.inputs.width else features
        except Reject:  # the family's inputs or its task are others by now
            self.dropped["waiting_misfit"] += 1
        columns = {
            "offset": np.array([offset]),
            "time": np.array([time_ms]),
            "arrival": np.array([0]),  # filled in at the end
            "row": np.array([row]),
            "series": np.array([self.series(row, event.variant_id, event.channel_id, now_ms=time_ms)]),
            "output": np.array([output]),
        }
        if self.inputs.width:
            columns["features"] = features
        first = self.join.tail
        self.join.insert((row, event.prediction_id))
        self.join.write(first, columns)

    def reserve(self, count: int) -> None:
        """Make room for this many predictions before the next flush."""
        self.join.reserve(count)

    # -- the grid of stream time ---------------------------------------------------------------------------------

    def tick(self, *, now_ms: int, is_status_due: bool = False) -> list[OutputEvent]:
        """Expire, look at the alerts and publish what is due. Everything taken in is flushed already.

        Args:
            now_ms: a point of the grid.
            is_status_due: a status was due since the last tick already.
        """
        for row in self.join.expire(now_ms=now_ms):
            self._waits(row, -1)
        for row in self.join.expire_early(now_ms=now_ms):
            self._orphan(row)
        self.flush()
        outputs = self._alerts(now_ms=now_ms)
        if is_status_due or now_ms % self._status_ms == 0:
            col, count = self.models.col, self.models.count
            if self.beat_ms:  # the last round did not end: too few records came
                outputs += self.statuses(now_ms=now_ms, parts=count)
            col["is_due"][:count] |= col["is_news"][:count]
            due = int(col["is_due"][:count].sum())
            self.beat_ms = max(1, self._status_ms // -(-due // self.family.monitor.statuses_at_once)) if due else 0
            outputs += self.statuses(now_ms=now_ms)
        return outputs

    def next_ms(self, before_ms: int) -> int:
        """Return the first time after this one at which there is something to do."""
        grid = (before_ms // self.grid_ms + 1) * self.grid_ms
        return min(grid, (before_ms // self.beat_ms + 1) * self.beat_ms) if self.beat_ms else grid

    def statuses(self, *, now_ms: int, parts: int = 1) -> list[OutputEvent]:
        """Publish the next parts of the round of statuses: many at once would hold up the records behind them."""
        self.measure()
        col, count = self.models.col, self.models.count
        rows = np.flatnonzero(col["is_due"][:count])
        some = rows[: self.family.monitor.statuses_at_once * parts]
        self.beat_ms = self.beat_ms if len(some) < len(rows) else 0
        made = model_statuses(self, some, now_ms=now_ms)
        col["is_due"][some] = col["is_news"][some] = 0
        self.models.touch(rows)
        return [*made]

    def idle(self, *, now_ms: int, idle_ms: int) -> list[OutputEvent]:
        """Look at the alerts while no records come.

        Args:
            now_ms: stream time, which stands still.
            idle_ms: for how long, by the journalled cut times.
        """
        outputs = self._alerts(now_ms=now_ms, idle_ms=idle_ms)
        rows = np.unique([self.models.index[alert.model_id,] for alert in outputs if isinstance(alert, Alert)])
        return [*outputs, *model_statuses(self, rows.astype(np.int64), now_ms=now_ms)]

    def _alerts(self, *, now_ms: int, idle_ms: int = 0) -> list[OutputEvent]:
        outputs: list[OutputEvent] = []
        self.measure()
        if self.drift is not None:
            self.drift.settle(now_ms=now_ms)
        for looked in self.monitor.look(now_ms=now_ms, idle_ms=idle_ms):
            told = list(alert_events(self, looked, now_ms=now_ms))
            outputs += told
            if told:
                turns = looked.turns
                changed = np.r_[turns.fired, turns.escalated, turns.resolved]
                self._note_many(self.monitor.series.col["row"][looked.series[changed]])
        return outputs

    def status(self, row: int, *, now_ms: int) -> ModelStatus:
        """Return the summary of one model."""
        self.measure()
        return model_statuses(self, np.array([row]), now_ms=now_ms)[0]

    def note_adaptation(self, row: int, *, kind: int, now_ms: int) -> None:
        """Count an adaptation of a model."""
        col = self.models.col
        col["adaptations"][row] += 1
        col["adaptation_kind"][row] = kind
        col["adaptation_at"][row] = now_ms
        self._note(row)

    # -- small things --------------------------------------------------------------------------------------------

    def _occurred(self, text: str, time_ms: int) -> int:
        occurred = parse_time(text)
        if occurred < self._earliest_ms or occurred > time_ms + self._skew_ms:
            raise Reject(
                ErrorCode.ABSURD_TIME,
                "occurred_at is before time.earliest, or more than time.max_future_skew_s after the record's time",
                path="$.occurred_at",
            )
        return min(occurred, time_ms)

    def _count(self, row: int, outcome: Outcome, amount: int = 1) -> None:
        self._taken.outcomes.append((row, int(outcome), amount))

    def _waits(self, row: int, amount: int) -> None:
        self._taken.outcomes.append((row, -1, amount))

    def _orphan(self, row: int) -> None:
        self._count(row, Outcome.EARLY, -1)
        self._count(row, Outcome.ORPHAN)

    def _note(self, row: int) -> None:
        self.models.col["is_news"][row] = 1
        self.models.touch([row])

    def _note_many(self, rows: Any) -> None:  # noqa: ANN401 - an integer array of either width
        self.models.col["is_news"][rows] = 1
        self.models.touch(rows)


def _arrays(tuples: Iterable[tuple[Any, ...]]) -> list[NDArray[Any]]:
    return [np.array(part) for part in zip(*tuples, strict=True)]
