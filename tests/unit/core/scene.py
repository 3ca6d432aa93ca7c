"""A stage for the tests of the core: events by short names, time in seconds, the testing driver underneath."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptive_stream.config import load
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import (
    Action,
    Adaptation,
    Alert,
    Control,
    Correction,
    Metrics,
    ModelStatus,
    Prediction,
    Preference,
    Rating,
)
from adaptive_stream.testing import Driver

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import InputEvent
    from adaptive_stream.contracts.topics import Topic
    from adaptive_stream.core.fleet import Fleet
    from adaptive_stream.core.slice import Stepped

CODEC = Codec()
START_MS = 1_600_000_000_000 // 3_600_000 * 3_600_000  # on every grid below


class Scene:
    """One family ``f`` for models whose ids begin with m; looked at every 10 seconds, a status every 20.

    Args:
        overrides: settings; one that begins with a dot is the family's.
    """

    def __init__(self, *overrides: str) -> None:
        base = [".match=[m*]", ".monitor.evaluate_every_s=10", ".monitor.status_interval_s=20"]
        named = [f"families.f{text}" if text.startswith(".") else text for text in (*base, *overrides)]
        self.driver = Driver(load([], {}, named))
        self.now_s = 0.0
        self._number = 0

    @property
    def fleet(self) -> Fleet:
        return self.driver.fleets.fleets[0]

    @property
    def now_ms(self) -> int:
        return START_MS + round(self.now_s * 1000)

    @property
    def outcomes(self) -> dict[str, int]:
        """The outcomes that occurred."""
        return {name: count for name, count in self.driver.fleets.counters()["join"].items() if count}

    @property
    def dropped(self) -> dict[str, int]:
        """What was dropped, where something was."""
        return {name: count for name, count in self.driver.fleets.counters()["dropped"].items() if count}

    def status(self, model_id: str = "m") -> ModelStatus:
        found = self.driver.fleets.status(model_id)
        assert found is not None, "some event of the model was seen"
        return found

    def send(self, *events: InputEvent) -> None:
        for event in events:
            self.driver.send(event, at_ms=self.now_ms)

    def step(self, *events: InputEvent, cuts: tuple[int, ...] = ()) -> Stepped:
        """Send the events at the present second and step them."""
        self.send(*events)
        stepped = self.driver.run(cuts=cuts)
        for output in stepped.outputs:
            CODEC.encode(output)  # plain values only
        return stepped

    def after(self, seconds: float, *events: InputEvent) -> Stepped:
        """Let time pass, as a record of some model moves it, then step the events."""
        self.now_s += seconds
        return self.step(*(events or (Metrics(model_id="m-clock", accuracy=1.0),)))

    def skip(self, topic: Topic) -> None:
        """Use up an offset, as a record does that is refused."""
        self.driver._ends[topic] += 1

    def next_id(self) -> str:
        self._number += 1
        return f"id-{self._number}"

    def correction(self, prediction_id: str, label: Any = 1.0, **fields: Any) -> Correction:  # noqa: ANN401
        return Correction(
            **{"feedback_id": self.next_id(), "model_id": "m", **fields}, prediction_id=prediction_id, label=label
        )

    def rating(self, prediction_id: str, score: float = 3.0, **fields: Any) -> Rating:  # noqa: ANN401
        return Rating(
            **{"feedback_id": self.next_id(), "model_id": "m", **fields}, prediction_id=prediction_id, score=score
        )

    def preference(self, chosen: str, rejected: str, **fields: Any) -> Preference:  # noqa: ANN401
        return Preference(
            **{"feedback_id": self.next_id(), "model_id": "m", **fields}, chosen=chosen, rejected=rejected
        )

    def order(self, action: str, **fields: Any) -> Control:  # noqa: ANN401
        return Control(**{"command_id": self.next_id(), "model_id": "m", **fields}, action=Action(action))

    def label(self, hits: int, misses: int = 0, **fields: Any) -> Stepped:  # noqa: ANN401
        """Serve predictions and label them at once; ``fields`` are the predictions'."""
        events: list[InputEvent] = []
        for place in range(hits + misses):
            made = prediction(self.next_id(), **fields)
            events += [
                made,
                self.correction(made.prediction_id, 1.0 if place < hits else 0.0, model_id=made.model_id),
            ]
        return self.step(*events)


def prediction(prediction_id: str, output: Any = 0.9, **fields: Any) -> Prediction:  # noqa: ANN401
    return Prediction(**{"model_id": "m", **fields}, prediction_id=prediction_id, output=output)


def alerts(stepped: Stepped) -> list[Alert]:
    return [output for output in stepped.outputs if isinstance(output, Alert)]


def statuses(stepped: Stepped) -> list[ModelStatus]:
    return [output for output in stepped.outputs if isinstance(output, ModelStatus)]


def adaptations(stepped: Stepped) -> list[Adaptation]:
    return [output for output in stepped.outputs if isinstance(output, Adaptation)]
