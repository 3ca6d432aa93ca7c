"""Many predictions at once: the quick way through a slice whose records are as records nearly always are.

Owns the conditions under which taking in all predictions of a slice before its other records changes nothing, to the
bit. Where one of them does not hold nothing has changed, and the fleets go record by record. Called by ``Fleets``.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.contracts.errors import Reject
from adaptive_stream.contracts.events import Control, Metrics, Prediction, Preference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptive_stream.contracts.events import Feedback, InputEvent
    from adaptive_stream.core.fleet import Fleet
    from adaptive_stream.core.join import Key


OCCURRED, FAILED = operator.attrgetter("occurred_at"), operator.attrgetter("failed")
CONFIDENCE, LATENCY = operator.attrgetter("confidence"), operator.attrgetter("latency_ms")
SERIES, ID = operator.attrgetter("model_id", "variant_id", "channel_id"), operator.attrgetter("prediction_id")


@dataclass(slots=True)
class Part:
    """The predictions of one fleet in a slice, parsed and not yet taken in."""

    places: list[int]
    new: dict[Key, int]  # the sequence numbers that they will have
    series: NDArray[np.int64]
    rows: NDArray[np.int64]
    outputs: NDArray[np.float64]
    confidences: NDArray[np.float64]  # NaN where none is given
    latencies: NDArray[np.float64]
    features: NDArray[np.float64] | None

    @property
    def first(self) -> int:
        """The sequence number of the first."""
        return next(iter(self.new.values()))


def parts(
    fleets: Sequence[Fleet], events: Sequence[InputEvent], *, strays: Sequence[set[str]]
) -> dict[int, Part] | None:
    """Parse the predictions among the events, by the number of their fleet. None: go record by record.

    Args:
        fleets: in the order of their patterns.
        events: of a slice, or of a part of it, in order.
        strays: models of each fleet that are no longer its own: it has a row of them, another family covers them, or
            none. Every other row is of a model that the patterns give to its fleet, so that nothing need be matched.
    """
    kinds = [type(event) for event in events]
    if Control in kinds:
        return None  # what an order concerns is decided by what came before it
    places = [place for place, kind in enumerate(kinds) if kind is Prediction]
    found: dict[int, Part] = {}
    for number, (fleet, stray) in enumerate(zip(fleets, strays, strict=True)):
        mine = places if len(fleets) == 1 else [p for p in places if (events[p].model_id,) in fleet.models.index]
        if stray:
            mine = [place for place in mine if events[place].model_id not in stray]
        made = part(fleet, events, mine) if mine else None
        if mine and made is None:
            return None
        if made is not None:
            found[number] = made
    if sum(len(made.places) for made in found.values()) != len(places):
        return None  # a model is seen for the first time by the fleet that it belongs to, or belongs to none
    others = [
        (place, event) for place, (event, kind) in enumerate(zip(events, kinds, strict=True)) if kind is not Prediction
    ]
    for number, made in found.items():
        if not _is_in_order(fleets[number], made, others):
            return None
    return found


def part(fleet: Fleet, events: Sequence[InputEvent], places: list[int]) -> Part | None:
    """Parse the predictions at these places, all of one fleet. None: go one by one.

    Args:
        fleet: of their models; it stays as it is.
        events: of a slice.
        places: of the predictions among them.
    """
    mine: list[Prediction] = [events[place] for place in places]  # type: ignore[misc]  # places of predictions
    if any(map(OCCURRED, mine)):
        return None
    try:
        series = np.array([*map(fleet.monitor.series.index.__getitem__, map(SERIES, mine))])
    except KeyError:
        return None  # a series is seen for the first time, or is folded into another
    rows = fleet.monitor.series.col["row"][series].astype(np.int64)
    join, count = fleet.join, len(mine)
    new = dict(zip(zip(rows.tolist(), map(ID, mine), strict=True), range(join.tail, join.tail + count), strict=True))
    if len(new) < count or not join.index.keys().isdisjoint(new):
        return None  # an id is there already
    if join.early_by_key and not join.early_by_key.keys().isdisjoint(new):
        return None  # feedback waits for one of them
    inputs = fleet.inputs
    try:
        if any(map(FAILED, mine)):
            outputs = np.array([np.nan if event.failed else inputs.output(event.output) for event in mine])
        else:
            outputs = inputs.outputs([event.output for event in mine])
        features = inputs.stack([event.features for event in mine]) if inputs.width else None
    except Reject:
        return None
    return Part(
        places=places,
        new=new,
        series=series,
        rows=rows,
        outputs=outputs,
        confidences=_given(list(map(CONFIDENCE, mine))),
        latencies=_given(list(map(LATENCY, mine))),
        features=features,
    )


def _given(values: list[float | None]) -> NDArray[np.float64]:
    if values.count(None) == len(values):
        return np.full(len(values), np.nan)
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _is_in_order(fleet: Fleet, part: Part, others: Sequence[tuple[int, InputEvent]]) -> bool:
    """Say whether no feedback can tell that the predictions after it are there already, or that some have left."""
    leaving = fleet.join.overflow(len(part.new))
    if leaving > fleet.join.tail - fleet.join.head:
        return False
    stays_from = fleet.join.head + leaving
    for place, event in others:
        if type(event) is Metrics:
            continue
        row = fleet.row(event.model_id)
        for prediction_id in _wanted(event):  # type: ignore[arg-type]  # no prediction, no metrics, no order
            sequence = part.new.get((row, prediction_id)) if row is not None else None
            if sequence is not None and part.places[sequence - part.first] > place:
                return False
            if leaving and sequence is None:
                known = fleet.join.index.get((row, prediction_id)) if row is not None else None
                if known is None or known < stays_from:
                    return False
    return True


def _wanted(event: Feedback) -> tuple[str, ...]:
    return (event.chosen, event.rejected) if isinstance(event, Preference) else (event.prediction_id,)


def served(part: Part, *, now_ms: NDArray[np.int64]) -> dict[str, NDArray[np.generic]]:
    """Return what the monitor wants to know beside the ring's columns; ``now_ms`` is the slice's stream time."""
    return {"confidence": part.confidences, "latency": part.latencies, "now": now_ms[part.places]}


def columns(
    part: Part, *, offsets: NDArray[np.int64], times_ms: NDArray[np.int64], cells: NDArray[np.int64]
) -> dict[str, NDArray[np.generic]]:
    """Return the ring's columns of the predictions. The arrays are the slice's: offset, time, grid cell of arrival."""
    made: dict[str, NDArray[np.generic]] = {
        "offset": offsets[part.places],
        "time": times_ms[part.places],
        "arrival": cells[part.places],
        "row": part.rows,
        "series": part.series,
        "output": part.outputs,
    }
    if part.features is not None:
        made["features"] = part.features
    return made
