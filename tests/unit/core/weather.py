"""A model whose inputs and hits are drawn: what the tests of drift through the core begin with."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from adaptive_stream.contracts.events import Correction
from tests.unit.core.scene import Scene, alerts, prediction

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import InputEvent
    from adaptive_stream.core.slice import Stepped

SETTINGS = (
    ".features=[{name: temp}, {name: wind}, {name: origin, kind: categorical, levels: [EWR, JFK, LGA]}]",
    ".drift.reference_predictions=800",
    ".drift.reference_labels=400",
    ".monitor.baseline_labels=10000",
)


class Weather(Scene):
    """A model whose inputs and hits are drawn, one prediction a tenth of a second, each labelled at once."""

    def __init__(self, *overrides: str) -> None:
        super().__init__(*SETTINGS, *overrides)
        self._dice = random.Random(7)  # noqa: S311 - no secret

    def serve(self, count: int, *, shift: float = 0.0, accuracy: float = 0.9, missing: float = 0.0) -> list[InputEvent]:
        events: list[InputEvent] = []
        for _ in range(count):
            temp = None if self._dice.random() < missing else self._dice.gauss(shift, 1)
            features = [temp, self._dice.expovariate(1), self._dice.choice(("EWR", "JFK", "LGA"))]
            made = prediction(self.next_id(), features=features, confidence=0.5 + self._dice.random() / 2)
            hit = float(self._dice.random() < accuracy)
            events += [made, Correction(
                feedback_id=self.next_id(), prediction_id=made.prediction_id, model_id="m", label=hit
            )]  # fmt: skip
        return events

    def days(self, count: int, *, shift: float = 0.0, accuracy: float = 0.9, missing: float = 0.0) -> Stepped:
        """Serve and label, a hundred in every ten seconds, and return all that was said."""
        told = self.step()
        for _ in range(0, count, 100):
            told.outputs.extend(
                self.after(10, *self.serve(100, shift=shift, accuracy=accuracy, missing=missing)).outputs
            )
        return told


def named(told: Stepped, name: str) -> list[str]:
    return [alert.status.value for alert in alerts(told) if alert.labels["alertname"] == name]
