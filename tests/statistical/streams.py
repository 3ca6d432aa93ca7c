"""Streams through the real monitor, many at once: each is a series, each step is one look.

A model's confidence is drawn and the label from it, so that the model is calibrated and its accuracy known. There is a
prediction every 30 seconds of event time on average: the default window of a day holds some 2,800 labels.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptive_stream.config import load
from adaptive_stream.contracts.events import Metrics
from adaptive_stream.monitor.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptive_stream.config import Family

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

START_MS = 1_700_006_400_000  # midnight
LOOK_MS, DAY_MS = 300_000, 86_400_000
A_LOOK = 10  # predictions of a stream between two looks, on average
SPREAD = 3.0  # of the confidences: a Beta with so many observations behind it
FAILED = 0.01  # share of predictions that fail
LATENCY_MS, LATENCY_SHAPE = 20.0, 0.5
TOLD_LABELS = 4_000  # behind each accuracy that a tool reports


def family(*settings: str) -> Family:
    """Return a binary family with the default panes and rules."""
    return load([], {}, ['families.f.match=["m*"]', *(f"families.f.{setting}" for setting in settings)]).families["f"]


class Run(NamedTuple):
    """Predictions of one look, of which the labels come later."""

    series: Places
    outputs: Array
    times_ms: Places
    labels: Array


class Streams:
    """Series of one family, fed as the fleet feeds them.

    Args:
        accuracies: of each series, above one half.
        seed: of all chance.
        settings: of the family.
        lag: looks that a label is late.

    Attributes:
        first: of each rule, how many labels each series had when its alert fired first; NaN where it never did.
    """

    def __init__(self, accuracies: Array, *, seed: Sequence[int], settings: Sequence[str] = (), lag: int = 12) -> None:
        self.monitor = Monitor(family(*settings))
        self.count = len(accuracies)
        self.accuracies = accuracies
        for number in range(self.count):
            self.monitor.add((f"m{number}", "v1", "web"), row=number)
        self.everyone = np.arange(self.count)
        self.now_ms = START_MS
        self.first = {name: np.full(self.count, np.nan) for name, _ in self.monitor.rules}
        self._dice = np.random.default_rng(list(seed))
        self._lag = lag
        self._late: deque[Run] = deque()

    @property
    def labelled(self) -> Array:
        """How many labels each series has had."""
        return self.monitor.series.col["labelled"][: self.count].astype(np.float64)

    def step(self, *, drop: Array | float = 0.0, accuracies: Array | None = None) -> None:
        """Advance to the next look.

        Args:
            drop: what the accuracy is below what the confidence says: the concept has changed.
            accuracies: of the inputs that come, with the confidence that fits them: the inputs have changed.
        """
        drops = np.broadcast_to(np.asarray(drop, dtype=np.float64), self.count)
        run = self._predict(self.accuracies if accuracies is None else accuracies, drops)
        self._late.append(run)
        if len(self._late) > self._lag:
            self._label(self._late.popleft())
        if (self.now_ms - START_MS) % DAY_MS == 0:
            self._tell(drops)
        self.now_ms += LOOK_MS
        for looked in self.monitor.look(now_ms=self.now_ms):
            fired = looked.series[looked.turns.fired]
            first = self.first[looked.name]
            first[fired] = np.fmin(first[fired], self.labelled[fired])

    def _predict(self, accuracies: Array, drops: Array) -> Run:
        dice = self._dice
        series = dice.permutation(np.repeat(self.everyone, dice.poisson(A_LOOK, self.count)))
        size = len(series)
        times_ms = self.now_ms + np.arange(size) * LOOK_MS // size
        truth = accuracies[series]
        confidence = (1 + dice.beta(SPREAD * (2 * truth - 1), SPREAD * (2 - 2 * truth))) / 2
        is_positive = dice.random(size) < 0.5
        is_hit = (dice.random(size) < confidence) & (dice.random(size) >= drops[series] / truth)
        outputs = np.where(is_positive, confidence, 1 - confidence)
        labels = np.where(is_hit == (outputs >= 0.5), 1.0, 0.0)
        is_failed = dice.random(size) < FAILED
        latency = dice.lognormal(np.log(LATENCY_MS), LATENCY_SHAPE, size)
        columns = {
            "output": np.where(is_failed, np.nan, outputs),
            "confidence": np.full(size, np.nan),
            "latency": latency,
        }
        self.monitor.serve(series, columns, times_ms=times_ms, now_ms=times_ms)
        served = ~is_failed
        return Run(series[served], outputs[served], times_ms[served], labels[served])

    def _label(self, run: Run) -> None:
        size = len(run.series)
        now_ms = self.now_ms + np.arange(size) * LOOK_MS // size
        self.monitor.label(run.series, run.outputs, run.labels, times_ms=run.times_ms, now_ms=now_ms)

    def _tell(self, drops: Array) -> None:
        """Let a tool report once a day what it measured."""
        for number, accuracy in enumerate((self.accuracies - drops).tolist()):
            share = self._dice.binomial(TOLD_LABELS, accuracy) / TOLD_LABELS
            report = Metrics(model_id=f"m{number}", accuracy=share, latency_ms=LATENCY_MS, error_rate=FAILED)
            self.monitor.report(number, report)
