"""What a run of records has brought, one by one, until it is written into arrays at once.

Owns the lists of one run. Never decides anything. Filled and emptied by the fleet.
"""

from __future__ import annotations

import array
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.contracts.events import Prediction


class Taken:
    """The lists of one run.

    Args:
        width: values of a prediction that are kept.

    Attributes:
        offsets: of the predictions; what else is known of them stands at the same place of the other lists.
        features: of the predictions, flat.
        examples: (sequence, label, stream time, series, output): of an inline example the sequence is -1, of a joined
            one the series and the output are found in the ring.
        rated: (sequence, share of the scale, stream time).
        preferred: (sequence, stream time).
        outcomes: (row, outcome, by how much); -1 counts those that wait.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self.offsets: list[int] = []
        self._times: list[int] = []
        self._nows: list[int] = []
        self._confidences: list[float] = []
        self._latencies: list[float] = []
        self._rows: list[int] = []
        self._serieses: list[int] = []
        self._outputs: list[float] = []
        self.features = array.array("d")
        self.examples: list[tuple[int, float, int, int, float]] = []
        self.rated: list[tuple[int, float, int]] = []
        self.preferred: list[tuple[int, int]] = []
        self.outcomes: list[tuple[int, int, int]] = []

    def predicted(
        self, event: Prediction, *, offset: int, time_ms: int, now_ms: int, at: tuple[int, int], output: float
    ) -> None:
        """Append a prediction whose features are here already; ``at`` is its row and its series."""
        row, series = at
        self.offsets.append(offset)
        self._times.append(time_ms)
        self._nows.append(now_ms)
        self._confidences.append(np.nan if event.confidence is None else event.confidence)
        self._latencies.append(np.nan if event.latency_ms is None else event.latency_ms)
        self._rows.append(row)
        self._serieses.append(series)
        self._outputs.append(output)

    def drop_features(self) -> None:
        """Forget the newest features: their prediction is refused."""
        del self.features[len(self.features) - self._width :]

    def columns(self, *, grid_ms: int) -> dict[str, NDArray[np.generic]]:
        """Return the ring's columns of the predictions."""
        columns: dict[str, NDArray[np.generic]] = {
            "offset": np.array(self.offsets),
            "time": np.array(self._times),
            "arrival": np.array(self._nows) // grid_ms,
            "row": np.array(self._rows),
            "series": np.array(self._serieses),
            "output": np.array(self._outputs),
        }
        if self._width:
            columns["features"] = np.frombuffer(self.features).reshape(len(self.offsets), self._width)
        return columns

    def served(self) -> dict[str, NDArray[np.generic]]:
        """Return what the monitor wants to know of them beside the ring's columns."""
        return {
            "confidence": np.array(self._confidences),
            "latency": np.array(self._latencies),
            "now": np.array(self._nows),
        }
