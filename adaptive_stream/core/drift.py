"""The drift of a fleet's series as people are told of it: instants for numbers of events, words for codes.

Owns the alarms that are not over, and what a status and an alert say of drift. Never judges: the
detectors do. Called by the fleet with whole arrays, in record order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from adaptive_stream.contracts.clock import format_time, parse_time
from adaptive_stream.contracts.drift import (
    DriftedStream,
    DriftState,
    DriftStatus,
    DriftWatch,
    PastDrift,
)
from adaptive_stream.core.finding import Alarmed, advice, further, numbers, said, streams_of
from adaptive_stream.core.input import Inputs
from adaptive_stream.core.recovery import back
from adaptive_stream.drift.drift import Drift, Phase
from adaptive_stream.drift.given import Rejected
from adaptive_stream.drift.performance import SHIFTS, WEIGHTS
from adaptive_stream.drift.verdict import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from adaptive_stream.config.family import Family
    from adaptive_stream.drift.drift import Alarm, State
    from adaptive_stream.drift.given import Given
    from adaptive_stream.monitor.monitor import Monitor

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

# Powers of ten before an alarm at which a status names the streams that lead. Evidence of nothing is about as large as
# the number of events seen, so that far from the line a name would be a rumour.
NEAR = 0.5
OVER = 1.001  # an alarm's evidence as a share of the line: beyond it, whatever rounding did
URGENT = 1.0  # what a drift of the data has more that the performance may have drifted for
SAID, CLEAR = 3, 0.05  # streams that a summary names, and the share of the evidence from which on it does
AGAIN = 2  # alarms of one stream among those remembered, from which on it may come and go
AT_ONCE = 256  # open alarms whose states are asked for: that copies the evidence of every bet
# a status shows histograms, an alert's evidence does not
PICTURES = ("edges", "levels", "before", "since_counts")


class Drifts:
    """The drift of one fleet.

    Args:
        family: its features, its task and the settings of drift.
        monitor: says when the predictions of a series came.

    Attributes:
        engine: the detectors.
        alarms: by series and whether it is the performance's; at most two of a series.
    """

    def __init__(self, family: Family, monitor: Monitor) -> None:
        self.engine = Drift(
            family.drift,
            features=family.features,
            stated_loss=_stated_loss(family),
            classes=len(family.classes),
            names=family.classes,
        )
        self.engine.first = _first_reference(family, self.engine)
        self.alarms: dict[tuple[int, bool], Alarmed] = {}
        self._monitor = monitor
        self._classes = family.classes

    # -- events ------------------------------------------------------------------------------------------------------

    def observe(self, series: Places, columns: Mapping[str, Array], *, now_ms: Places) -> None:
        """Watch predictions: ``features`` (absent: the family keeps none), ``output`` and ``confidence``."""
        features = columns.get("features", np.zeros((len(series), 0)))
        alarms = self.engine.observe(series, features, columns["output"], columns["confidence"], now_ms=now_ms)
        self._remember(alarms, now_ms)

    def losses(self, series: Places, losses: Array, *, now_ms: Places) -> None:
        """Watch the losses of labelled predictions, in the order of the labels."""
        self._remember(self.engine.losses(series, losses, now_ms=now_ms), now_ms)

    def _remember(self, alarms: Sequence[Alarm], now_ms: Places) -> None:
        for alarm in alarms:
            verdict, at_ms = alarm.verdict, int(now_ms[alarm.place])
            is_performance, leading = verdict.kind is Kind.PERFORMANCE, verdict.findings[0]
            made = Alarmed(
                series=alarm.series,
                is_performance=is_performance,
                is_gain=is_performance and leading.direction == "down",
                kind=verdict.kind.value,
                severity=verdict.severity.value,
                at_ms=at_ms,
                affected=list(verdict.affected),
                streams=streams_of(verdict, self._classes),
                numbers=numbers(verdict),
                before=leading.effect.before if is_performance and leading.direction == "up" else None,
                risen=leading.effect.since or 0.0,
                worth=float(self.engine.performance.worth(np.float32(leading.correlation))),
                counted_ms=at_ms,
            )
            opened = self.alarms.get((alarm.series, is_performance))
            if is_performance and opened is not None and not opened.is_gain:
                made = self._going_on(opened, made)
            self.alarms[alarm.series, is_performance] = made

    def _going_on(self, opened: Alarmed, made: Alarmed) -> Alarmed:
        """Return an open alarm of a risen loss after one more: it goes on, whatever the loss does on its way back."""
        if self.engine.performance.stated is not None:
            return msgspec.structs.replace(made, at_ms=opened.at_ms)  # the objective is still missed
        if opened.before is None:
            return made  # of a snapshot from before it was remembered
        if made.is_gain or made.risen <= opened.risen:
            return opened  # whether it is back, the panes say
        return further(opened, made)

    def rereference(self, series: Places) -> None:
        """Gather new references: a risen loss is accepted, alarms of the data stay until theirs is complete."""
        for one in series.tolist():
            self.engine.rereference(one)
            opened = self.alarms.get((one, True))
            if opened is not None and opened.before is not None and self.engine.performance.stated is None:
                del self.alarms[one, True]

    def restore(self, alarms: Sequence[Alarmed], dropped: Mapping[str, int], *, now_ms: int) -> None:
        """Go on from a snapshot whose pages are loaded; series that it did not watch begin to be."""
        reset = self.engine.dropped["drift_reset"]
        self.engine.dropped |= dropped
        self.engine.dropped["drift_reset"] += reset
        for key in self._monitor.series.keys[self.engine.table.count :]:
            model_id, variant_id, channel_id = key
            self.engine.add((model_id, variant_id, channel_id), now_ms=now_ms)
        self.engine.restored(now_ms=now_ms)
        self.alarms = {
            (alarm.series, alarm.is_performance): alarm for alarm in alarms if alarm.series not in self.engine.reset
        }

    def settle(self, *, now_ms: int) -> None:
        """Date the fresh alarms, and forget those that are over.

        Both at looks: in between, what the panes hold depends on where slices are cut.
        """
        for key, alarm in self.alarms.items():
            if not alarm.is_dated:
                alarm.streams = self._dated(alarm.streams, alarm.numbers, *key, now_ms=now_ms)
                alarm.is_dated = True
        keys, risen = sorted(self.alarms), list[Alarmed]()
        for some in (keys[start : start + AT_ONCE] for start in range(0, len(keys), AT_ONCE)):
            states = self.engine.states(np.array([series for series, _ in some]))
            for place, key in enumerate(some):
                state, alarm = states[key[1]][place], self.alarms[key]
                if state.phase is Phase.ALARMED:
                    continue  # it is kept until somebody decides
                if alarm.before is not None and self.engine.performance.stated is None:
                    risen.append(alarm)
                # against a stated objective losses are judged at once; the alarm lasts as long as a reference would
                elif state.phase is Phase.WATCHING and state.gathered >= state.wanted:
                    del self.alarms[key]
        for alarm in back(risen, self._monitor, now_ms=now_ms):
            self.engine.performance.begin(self.engine.table, alarm.series)  # the reference of what is back
            self.engine.table.touch([alarm.series])
            del self.alarms[alarm.series, True]

    # -- what is told ------------------------------------------------------------------------------------------------

    def evidence(self, series: Places) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the events behind the evidence, and the evidence itself as a share of the way to an alarm.

        A drift of the data that may have brought one of the performance has ``URGENT`` more.
        """
        col = self.engine.table.col
        data, performance, line = self.engine.evidence(series)
        is_worse = self._is_worse(series)
        share = {
            "data_drift": np.maximum(data / line, 0.0),
            "performance_drift": np.where(is_worse, np.maximum(performance / line, 0.0), 0.0),
            "performance_gain": np.where(is_worse, 0.0, np.maximum(performance / line, 0.0)),
        }
        share = {name: np.minimum(values, 1.0) for name, values in share.items()}  # beyond it only an alarm
        alarmed: dict[str, list[int]] = {name: [] for name in share}
        for (one, _), alarm in self.alarms.items():
            name = "data_drift" if not alarm.is_performance else "performance_gain" if alarm.is_gain else None
            alarmed[name or "performance_drift"].append(one)
        for name, those in alarmed.items():
            share[name][np.isin(series, those)] = OVER
        share["data_drift"][np.isin(series, [one for one in series.tolist() if self._is_urgent(one)])] += URGENT
        labels, events = col["labels"][series].astype(np.float64), col["events"][series].astype(np.float64)
        return {"data_drift": events, "performance_drift": labels, "performance_gain": labels}, share

    def _is_urgent(self, series: int) -> bool:
        """Say whether the data of a series drifted no later than its performance: it may be why."""
        data, loss = self.alarms.get((series, False)), self.alarms.get((series, True))
        if data is None or loss is None or loss.is_gain:
            return False
        begun, latest = data.streams[0].since_low, loss.streams[0].since_high
        return begun is None or (latest is not None and parse_time(begun) <= parse_time(latest))

    def _is_worse(self, series: Places) -> NDArray[np.bool_]:
        strongest = np.argmax(self.engine.table.col["loss_evidence"][series] * WEIGHTS, axis=1)
        is_worse: NDArray[np.bool_] = SHIFTS[strongest] > 0
        return is_worse

    def statuses(self, series: Places, *, now_ms: int) -> list[DriftStatus]:
        """Return what is known of the drift of these series."""
        data, losses = self.engine.states(series)
        return [
            DriftStatus(
                data=self._watch(one, data[place], is_performance=False, now_ms=now_ms),
                performance=self._watch(one, losses[place], is_performance=True, now_ms=now_ms),
                history=self._past(one),
            )
            for place, one in enumerate(series.tolist())
        ]

    def _watch(self, series: int, state: State, *, is_performance: bool, now_ms: int) -> DriftWatch:
        alarm, col = self.alarms.get((series, is_performance)), self.engine.table.col
        streams = alarm.streams if alarm is not None else []
        if alarm is None and state.phase is Phase.WATCHING and state.log10_evidence > state.log10_line - NEAR:
            engine = self.engine
            verdict = engine.performance_verdict(series) if is_performance else engine.data_verdict(series)
            streams = self._dated(
                streams_of(verdict, self._classes), numbers(verdict), series, is_performance, now_ms=now_ms
            )
            streams = [stream for stream in streams if stream.events]  # of no event since nothing can be said
        at_ms = int(col["losses_at" if is_performance else "reference_at"][series])
        begun = int(col["labels_begun" if is_performance else "begun"][series])
        seen = int(col["labels" if is_performance else "events"][series]) - begun
        taken = self.engine.performance.wanted if is_performance else self.engine.data.taken
        if is_performance and self.engine.performance.stated is not None:
            taken = 0  # losses are judged from the first on
        is_gathering = state.phase is Phase.GATHERING
        is_risen = alarm is not None and alarm.before is not None and not is_gathering  # and not back yet
        return DriftWatch(
            state=DRIFT_STATES[state.phase] if not is_risen else DriftState.DRIFTED,
            seen=state.gathered if is_gathering else max(0, seen - taken),
            wanted=state.wanted,
            evidence=round(state.log10_evidence, 3) if not is_gathering else 0.0,
            alarm_line=round(state.log10_line, 3),
            reference_at=format_time(at_ms) if at_ms >= 0 else None,
            reference_version=int(col["reference_version"][series]) if not is_performance else 0,
            alarmed_at=format_time(alarm.at_ms) if alarm is not None else None,
            autocorrelation=float(col["loss_lag"][series]) or None if is_performance else None,
            streams=streams,
        )

    def _past(self, series: int) -> list[PastDrift]:
        """Return the alarms of a series that are over: the engine remembers the open ones among them."""
        opened = [alarm for key in ((series, False), (series, True)) if (alarm := self.alarms.get(key)) is not None]
        is_open = {(alarm.kind, alarm.at_ms) for alarm in opened}
        risen = self.alarms.get((series, True))
        # what the loss did since belongs to the alarm that is open
        since_ms = risen.at_ms if risen is not None and risen.before is not None else math.inf
        return [
            PastDrift(at=format_time(past.at_ms), kind=past.kind.value, name=past.stream, change=past.direction.value)
            for past in self.engine.history(series)
            if (past.kind.value, past.at_ms) not in is_open
            and not (past.kind is Kind.PERFORMANCE and past.at_ms >= since_ms)
        ]

    # -- alerts ------------------------------------------------------------------------------------------------------

    def alarm(self, series: int, metric: str) -> Alarmed | None:
        """Return the alarm that an alert rule's figure tells of, while it is not over."""
        return self.alarms.get((series, metric != "data_drift"))

    def told(self, alarm: Alarmed) -> dict[str, Any]:
        """Return an alarm as plain evidence."""
        streams = [
            {name: value for name, value in msgspec.to_builtins(stream).items() if name not in PICTURES}
            for stream in alarm.streams
        ]
        return {
            "kind": alarm.kind,
            "effect": alarm.severity,
            "streams": streams,
            "affected": alarm.affected,
            "recommendation": advice(alarm) + self._comes_and_goes(alarm),
            "budget_events": self.engine.config.budget_events,
        }

    def _comes_and_goes(self, alarm: Alarmed) -> str:
        """Return where to look when one stream of the data drifts again."""
        name, kind = alarm.streams[0].name, Kind(alarm.kind)
        at = [past.at for past in self.engine.history(alarm.series) if (past.kind, past.stream) == (kind, name)]
        if kind is Kind.PERFORMANCE or len(at) < AGAIN:
            return ""
        apart = (at[-1] - at[-2]) % (1 << 32)
        return f"; {name} drifted {apart:,} predictions before, too: if it comes and goes, see drift.design_effect"

    def words(self, alarm: Alarmed, model_id: str) -> str:
        """Return an alarm in a sentence."""
        # of a projection nobody knows what it is; the features beside it say the same in words
        named = [stream for stream in alarm.streams if not stream.name.startswith("projection_")] or alarm.streams
        clear = [stream for stream in named if stream.share >= CLEAR] or named[:1]
        moved = "; ".join(said(stream) for stream in clear[:SAID])
        since = clear[0].since
        what = {"covariate": "inputs", "label": "outputs", "performance": "performance"}[alarm.kind]
        return f"the {what} of {model_id} drifted: {moved}" + (f", since about {since}" if since is not None else "")

    # -- dates -------------------------------------------------------------------------------------------------------

    def _dated(
        self,
        streams: list[DriftedStream],
        numbers: list[tuple[int, int, int]],
        series: int,
        is_performance: bool,  # noqa: FBT001 - a part of the alarms' key
        *,
        now_ms: int,
    ) -> list[DriftedStream]:
        """Return findings with the instants at which the events of these numbers came."""
        ring, count = ("arrived", "labels") if is_performance else ("served", "events")
        newest = int(self.engine.table.col[count][series])
        found = []
        for stream, some in zip(streams, numbers, strict=True):
            since, low, high = (self._span(series, ring, ago=newest - number, now_ms=now_ms) for number in some)
            found.append(
                msgspec.structs.replace(
                    stream,
                    since=None if since is None else _instant(since.at_ms),
                    # the ends of panes, so that the interval is as wide as what is known
                    since_low=None if low is None else _instant(low.start_ms),
                    since_high=None if high is None else _instant(high.end_ms),
                )
            )
        return found

    def _span(self, series: int, ring: str, *, ago: int, now_ms: int) -> _Span | None:
        """Return when a series had so many events fewer, from the counts of its panes; None: before the window."""
        col, pane_ms = self._monitor.series.col, self._monitor.tally.served.pane_ms
        numbers = col[f"{ring}_pane"][series]
        counts = col[f"{ring}_{'n' if ring == 'arrived' else 'predictions'}"][series]
        first_ms = int(col["first_ms"][series])
        left = max(0, ago)
        for place in np.argsort(-numbers, kind="stable").tolist():
            start_ms, count = int(numbers[place]) * pane_ms, int(counts[place])
            if start_ms < 0 or not count:
                continue
            end_ms = min(start_ms + pane_ms, now_ms)
            if start_ms < first_ms < end_ms:
                start_ms = first_ms  # the series begins inside its first pane
            if left <= count:
                return _Span(start_ms, round(end_ms - (end_ms - start_ms) * left / count), end_ms)
            left -= count
        return None


class _Span(NamedTuple):
    """The part of a pane in which a series had events, and an instant in it as if they came evenly."""

    start_ms: int
    at_ms: int
    end_ms: int


def _instant(at_ms: int) -> str:
    """Return an instant in whole seconds: of less an estimate knows nothing."""
    return format_time(at_ms // 1000 * 1000)


DRIFT_STATES = {
    Phase.GATHERING: DriftState.GATHERING,
    Phase.WATCHING: DriftState.WATCHING,
    Phase.ALARMED: DriftState.DRIFTED,
}


def _stated_loss(family: Family) -> float | None:
    """Return the mean loss that a stated objective leaves."""
    stated = family.monitor.baseline
    if stated is None:
        return None
    return stated / family.tolerance if family.task == "regression" else 1.0 - stated


def _first_reference(family: Family, engine: Drift) -> Given | None:
    """Return the reference of the family's file, coded as its predictions are."""
    rows = family.drift.rows
    if rows is None:
        return None
    inputs = Inputs(family)
    outputs = confidences = None
    if rows.outputs is not None:
        outputs = np.array([np.nan if output is None else inputs.output(output) for output in rows.outputs])
    if rows.confidences is not None:
        confidences = np.array(rows.confidences, dtype=np.float64)  # None becomes NaN
    features = inputs.stack([*rows.features]) if inputs.width else np.zeros((len(rows.features), 0))
    found = engine.count(features, outputs=outputs, confidences=confidences)
    assert not isinstance(found, Rejected), "the loader has checked the rows"
    return found
