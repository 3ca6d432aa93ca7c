"""All that is measured of one fleet's series, and when it becomes an alert.

Owns the table of the series: one variant of one model on one channel is a row. Never sees a record: it is given
arrays. Called by the fleet.

Internally every task has a *score* in [0, 1], higher is better: 1 for a hit in classification; for regression one minus
the absolute error over ``tolerance``, errors above it counting as it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.contracts.figure import REPORTED
from adaptive_stream.monitor import alert
from adaptive_stream.monitor.alert import Stage, Turns
from adaptive_stream.monitor.baseline import Baselines, place_of
from adaptive_stream.monitor.figures import Figure, Window
from adaptive_stream.monitor.flow import Flow
from adaptive_stream.monitor.tally import HISTORY, Tally
from adaptive_stream.stats.rows import Column, Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from adaptive_stream.config.family import Family
    from adaptive_stream.config.rule import Rule
    from adaptive_stream.contracts.events import Metrics
    from adaptive_stream.monitor.figures import Evidence

MAX_VALUES = 16  # free figures of one series; further names are counted as dropped


@dataclass(frozen=True, slots=True)
class Looked:
    """What one look found of one rule."""

    name: str
    rule: Rule
    series: NDArray[np.int64]  # those looked at
    figure: Figure
    baseline: NDArray[np.float64]
    turns: Turns  # places among ``series``


class Monitor:
    """The measurement of one fleet.

    Args:
        family: its thresholds, panes, baseline and rules.

    Attributes:
        drift: gives what other organs know of a drift; None where it is not watched.
        series: the table; its keys are (model, variant, channel).
        values: free figures that tools reported, by series; bounded by name.
        dropped: what did not fit.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self.tally = Tally(family)
        self.baselines = Baselines(family.monitor, self.tally)
        self.flow = Flow(self.tally)
        self.rules = [(name, rule) for name, rule in family.alerts.items() if rule.enabled]
        self.drift: Evidence | None = None
        self.values: dict[int, dict[str, float]] = {}
        self.dropped = {"pane_expired": 0, "reported_values": 0, "columns_reset": 0}
        self.series = Rows(
            [
                Column("row", "<i4"),
                *self.tally.columns(),
                *self.baselines.columns(),
                *self.flow.columns(),
                *alert.columns(len(self.rules)),
                Column("is_news", "|u1"),  # something changed since the last look
            ]
        )
        self._thresholds = np.zeros(0)
        ages = [rule.first_level * 1000 for _, rule in self.rules if rule.metric.endswith("_age_s")]
        self._patience_ms = min(ages, default=np.inf)

    def add(self, key: tuple[str, str, str], *, row: int) -> int:
        """Begin a series."""
        series = self.series.add(key)
        self.series.col["row"][series] = row
        self.baselines.state(self.series, series)
        return series

    # -- events ------------------------------------------------------------------------------------------------------

    def serve(
        self,
        series: NDArray[np.int64],
        columns: Mapping[str, NDArray[np.float64]],
        *,
        times_ms: NDArray[np.int64],
        now_ms: NDArray[np.int64],
    ) -> None:
        """Measure predictions: ``output`` (NaN: failed), ``confidence`` and ``latency`` (NaN: not given)."""
        times_ms = np.minimum(times_ms, now_ms)
        self.tally.serve(self.series, series, columns, self._threshold(series), times_ms=times_ms, now_ms=now_ms)
        self.baselines.learn_served(self.series, series, columns)
        self.flow.predicted(self.series, series, now_ms)
        self._note(series)

    def label(
        self,
        series: NDArray[np.int64],
        outputs: NDArray[np.float64],
        labels: NDArray[np.float64],
        *,
        times_ms: NDArray[np.int64],
        now_ms: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Measure labelled examples, in record order: test, then train. Returns the score of each.

        Args:
            series: of each example.
            outputs: what was predicted; never NaN.
            labels: what was true.
            times_ms: of the predictions.
            now_ms: stream time when each label came.
        """
        examples = self.tally.examples(outputs, labels, self._threshold(series))
        pairs = outputs, labels
        late = self.tally.label(self.series, series, examples, pairs, times_ms=times_ms, now_ms=now_ms)
        self.dropped["pane_expired"] += late
        self.baselines.learn_labels(self.series, series, examples, pairs, now_ms=now_ms)
        self.flow.labelled(self.series, series, now_ms)
        self._note(series)
        return examples["score"]

    def rate(self, series: NDArray[np.int64], shares: NDArray[np.float64], *, now_ms: NDArray[np.int64]) -> None:
        """Add ratings, each as its share of the scale."""
        np.add.at(self.series.col["rating_count"], series, 1)
        np.add.at(self.series.col["rating_sum"], series, shares)
        self.flow.labelled(self.series, series, now_ms)
        self.series.touch(series)

    def prefer(self, series: NDArray[np.int64], *, now_ms: NDArray[np.int64]) -> None:
        """Note preferences: feedback that says which was better, not how good."""
        self.flow.labelled(self.series, series, now_ms)
        self.series.touch(series)

    def report(self, series: int, event: Metrics) -> None:
        """Take in what a tool measured; the first figure of each name is its baseline."""
        col = self.series.col
        for place, name in enumerate(REPORTED):
            figure = getattr(event, name)
            if figure is None:
                continue
            count = col["reported_count"][series, place]
            col["reported"][series, place, count % HISTORY] = figure
            col["reported_count"][series, place] = count + 1
            at = place_of(f"reported_{name}")
            if np.isnan(col["baselines"][series, at]):
                col["baselines"][series, at] = figure
        held = self.values.setdefault(series, {}) if event.values else {}
        for name, value in (event.values or {}).items():
            if name in held or len(held) < MAX_VALUES:
                held[name] = value
            else:
                self.dropped["reported_values"] += 1
        self._note(np.array([series]))

    def refuse(self, series: NDArray[np.int64], now_ms: NDArray[np.int64]) -> None:
        """Count records that went to the dead letters."""
        places, slot = self.flow.refused.turn(self.series, series, now_ms, now_ms)
        self.flow.refused.count(self.series, "refused", (series[places], slot))
        self._note(series)

    # -- figures -----------------------------------------------------------------------------------------------------

    def window(self, series: NDArray[np.int64], *, now_ms: int, idle_ms: int = 0) -> Window:
        """Return the figures of these series over the windows that end at ``now_ms``."""
        return Window(self.tally, self.flow, self.series, series, now_ms=now_ms, idle_ms=idle_ms, drift=self.drift)

    def look(self, *, now_ms: int, idle_ms: int = 0) -> list[Looked]:
        """Advance the alerts of every series with news, a life under way, or a silence that is too long."""
        self.baselines.trust(self.series)
        col, count = self.series.col, self.series.count
        last, label = col["last_prediction_ms"][:count], col["last_label_ms"][:count]
        oldest = np.minimum(last, np.where(label < 0, col["first_ms"][:count], label))
        is_silent = (last >= 0) & (now_ms + idle_ms - oldest > self._patience_ms)
        looked = np.flatnonzero(
            col["is_news"][:count].astype(bool) | (col["stage"][:count] > 0).any(axis=1) | is_silent
        )
        if not len(looked):
            return []
        found = self.window(looked, now_ms=now_ms, idle_ms=idle_ms)
        results = []
        for place, (name, rule) in enumerate(self.rules):
            if rule.metric not in found:
                continue  # a figure that this kind of task does not have
            figure, baseline = found[rule.metric], self.baseline(rule, looked)
            is_settled = alert.settled(self.series, looked, place, rule)
            judged = alert.judge(rule, figure, baseline, is_settled=is_settled)
            turns = alert.look(self.series, looked, place, judged=judged, rule=rule, now_ms=now_ms)
            results.append(Looked(name, rule, looked, figure, baseline, turns))
        col["is_news"][looked] = 0
        self.series.touch(looked)
        return results

    def baseline(self, rule: Rule, series: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return what a rule compares with, NaN where there is none."""
        if rule.compare == "absolute":
            return np.full(len(series), np.nan)
        found: NDArray[np.float64] = self.series.col["baselines"][series, place_of(rule.metric)]
        return found

    def rule_place(self, name: str) -> int | None:
        """Return the place of a rule in the columns of the lives."""
        return next((place for place, (found, _) in enumerate(self.rules) if found == name), None)

    def is_open(self, series: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say which series have an alert that is not over."""
        opened: NDArray[np.bool_] = (self.series.col["stage"][series] != Stage.OK).any(axis=1)
        return opened

    # -- orders ------------------------------------------------------------------------------------------------------

    def order_baselines(
        self, series: NDArray[np.int64], values: Mapping[str, NDArray[np.float64]], *, now_ms: int
    ) -> None:
        """Set baselines by an operator's order."""
        self.baselines.order(self.series, series, values, now_ms=now_ms)
        self._note(series)

    def relearn_baselines(self, series: NDArray[np.int64]) -> None:
        """Learn baselines anew: by an operator's order, or after a promotion."""
        self.baselines.begin(self.series, series)
        self._note(series)

    def acknowledge(self, series: NDArray[np.int64], rules: NDArray[np.int64]) -> list[str]:
        """Mark the firing alerts among these as known: they are not told again. Returns their names."""
        grid = np.ix_(series, rules)
        is_firing = self.series.col["stage"][grid] == Stage.FIRING
        self.series.col["acknowledged"][grid] |= is_firing.astype(np.uint8)
        self.series.touch(series)
        return [self.rules[place][0] for place in rules[is_firing.any(axis=0)].tolist()]

    def silence(self, series: NDArray[np.int64], rules: NDArray[np.int64], *, until_ms: int) -> None:
        """Tell no beginning of these alerts until a time, nor that one goes on or grows worse; their lives go on."""
        self.series.col["silenced_ms"][np.ix_(series, rules)] = until_ms
        self._note(series)

    # -- state -------------------------------------------------------------------------------------------------------

    def restate(self) -> None:
        """Compare series that came back with what the configuration states by now."""
        self._note(self.baselines.restate(self.series))

    def adapt(
        self, rules: list[str], *, pane_s: int, panes: int, classes: list[str]
    ) -> Callable[[str, NDArray[Any]], NDArray[Any] | None]:
        """Return what brings columns of an earlier configuration into the present one.

        Lives follow the names of their rules; panes of another length or number begin anew, and are counted.

        Args:
            rules: in the order of their places then.
            pane_s: the length of a pane then.
            panes: how many there were: coarse panes and volumes are shares and multiples of the whole window.
            classes: in the order of the confusion matrix then.
        """
        held = {name: place for place, name in enumerate(rules)}
        lives, rings = {*alert.LIVES, *alert.NOTICES}, (self.tally.served, self.tally.arrived, self.tally.coarse)
        prefixes = *(f"{ring.name}_" for ring in (*rings, self.flow.refused)), "volume_"
        is_other_grid = (pane_s, panes) != (self._family.monitor.pane_s, self._family.monitor.panes)
        others = f"{self.tally.coarse.name}_matrix" if classes not in ([], self._family.classes) else ""
        fills = {name: fill for name, (_, fill) in (alert.LIVES | alert.NOTICES).items()}

        def adapt(name: str, values: NDArray[Any]) -> NDArray[Any] | None:
            if name in lives:
                found = np.full((len(values), len(self.rules)), fills[name], dtype=values.dtype)
                for place, (rule, _) in enumerate(self.rules):
                    if rule in held:
                        found[:, place] = values[:, held[rule]]
                return found
            is_other_ring = is_other_grid and name.startswith(prefixes)
            if values.shape[1:] != self.series.col[name].shape[1:] or is_other_ring or name == others:
                self.dropped["columns_reset"] += 1
                return None
            return values

        return adapt

    def _threshold(self, series: NDArray[np.int64]) -> NDArray[np.float64]:
        if (
            len(self._thresholds) < self.series.count
        ):  # by channel, as the configuration has it; not a part of the state
            family = self._family
            known = [family.thresholds.get(channel, family.threshold) for _, _, channel in self.series.keys]
            self._thresholds = np.array(known)
        found: NDArray[np.float64] = self._thresholds[series]
        return found

    def _note(self, series: NDArray[np.int64]) -> None:
        self.series.col["is_news"][series] = 1
        self.series.touch(series)
