"""Run the core without a broker: events in, outputs out.

Owns a small log: it gives offsets, keeps the order and remembers the predictions, as Kafka would. Never waits. For
tests of a configuration, of an own model's events, and of the project itself.

>>> from adaptive_stream.config import load
>>> from adaptive_stream.contracts.events import Correction, Prediction
>>> driver = Driver(load([], {}, ['families.f.match=["m"]']))
>>> driver.send(Prediction(prediction_id="p", model_id="m", output=0.9), at_ms=1_000_000_000_000)
>>> driver.send(Correction(feedback_id="f", prediction_id="p", model_id="m", label=1.0), at_ms=1_000_000_001_000)
>>> driver.run().rejected
[]
>>> driver.fleets.counters()["join"]["joined"]
1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptive_stream.contracts.events import Control, Metrics, Prediction
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.core.fleets import Fleets, Thawing
from adaptive_stream.core.slice import Frozen, Slice, Stepped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import InputEvent


class Driver:
    """Fleets with a log in memory.

    Args:
        config: as for a worker.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fleets = Fleets(config)
        self.predictions: list[tuple[int, int, Prediction]] = []
        self.pages: dict[str, bytes] = {}
        self._ends = dict.fromkeys(INPUTS, 0)
        self._pending: list[tuple[Topic, int, int, InputEvent]] = []

    def send(self, event: InputEvent, *, at_ms: int) -> None:
        """Append an event to its topic; it is stepped by the next ``run``."""
        topic = topic_of(event)
        offset = self._ends[topic]
        self._ends[topic] += 1
        if isinstance(event, Prediction):
            self.predictions.append((offset, at_ms, event))
        self._pending.append((topic, offset, at_ms, event))

    def run(self, *, cuts: Sequence[int] = ()) -> Stepped:
        """Step all that was sent, in the order of sending.

        Args:
            cuts: how many records each slice takes, cyclically; one slice for all when empty.
        """
        stepped = Stepped()
        done, turn = 0, 0
        while done < len(self._pending):
            size = max(1, cuts[turn % len(cuts)]) if cuts else len(self._pending)
            part = self._pending[done : done + size]
            result = self.fleets.step(
                Slice(
                    topics=[topic for topic, _, _, _ in part],
                    offsets=[offset for _, offset, _, _ in part],
                    times_ms=[at_ms for _, _, at_ms, _ in part],
                    events=[event for _, _, _, event in part],
                )
            )
            stepped.outputs.extend(result.outputs)
            stepped.rejected.extend((done + place, reject) for place, reject in result.rejected)
            done, turn = done + len(part), turn + 1
        self._pending = []
        self.fleets.measure()
        return stepped

    def freeze(self) -> Frozen:
        """Take a snapshot and keep its pages, as the state topic would."""
        frozen = self.fleets.freeze()
        self.pages.update(frozen.pages)
        return frozen

    def thaw(self, frozen: Frozen) -> Fleets:
        """Return new fleets from the snapshot and the log."""
        first = frozen.first_waiting_offset
        waiting = [] if first is None else [p for p in self.predictions if p[0] >= first]
        pages = {key: self.pages[key] for key in frozen.directory}
        return thaw(self.config, frozen.head, pages, waiting)


def thaw(
    config: Config, head: bytes, pages: Mapping[str, bytes], waiting: Sequence[tuple[int, int, Prediction]]
) -> Fleets:
    """Return new fleets from a snapshot and the (offset, time_ms, event) of predictions, those that wait among them."""
    thawing = Thawing(config, head, pages)
    thawing.take(
        Slice(
            topics=[Topic.PREDICTIONS] * len(waiting),
            offsets=[offset for offset, _, _ in waiting],
            times_ms=[time_ms for _, time_ms, _ in waiting],
            events=[event for _, _, event in waiting],
        )
    )
    return thawing.finish()


def topic_of(event: InputEvent) -> Topic:
    """Return the topic that carries an event."""
    match event:
        case Prediction():
            return Topic.PREDICTIONS
        case Metrics():
            return Topic.METRICS
        case Control():
            return Topic.CONTROL
        case _:
            return Topic.FEEDBACK
