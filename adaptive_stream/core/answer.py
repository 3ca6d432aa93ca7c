"""What the worker does about an operator's order, and what it answers.

Owns the meaning of each action. Never ignores an order: each one is answered by an adaptation, if only to say why not.
Called by the fleet.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.contracts.clock import format_time, parse_time
from adaptive_stream.contracts.events import Action, Adaptation, AdaptationKind, Trigger
from adaptive_stream.core.model import FROZEN, STOPPED

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import Control, OutputEvent
    from adaptive_stream.core.fleet import Fleet

NAMESPACE = uuid.UUID("5d0f8f0a-6a7e-5b0c-8d52-1f4be9d6a6ff")  # of adaptation ids; any constant would do
KINDS = list(AdaptationKind)  # a kind's place here is its number in the models table: the enum only grows

ARGS: dict[Action, frozenset[str]] = {
    **dict.fromkeys((Action.FREEZE, Action.RESUME, Action.STOP, Action.START), frozenset()),
    Action.SET_BASELINE: frozenset({"value"}),
}
"""What is obeyed, and the names that each takes in ``args``."""


class Answers:
    """Obey and answer the orders of one fleet.

    Args:
        fleet: whose models are ordered about.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def answer(self, event: Control, *, now_ms: int) -> list[OutputEvent]:
        """Obey an order and return the adaptation that says so."""
        row = self._fleet.row(event.model_id)
        if row is None:
            return [_adaptation(event, AdaptationKind.REJECTED, {"why": "no event of this model was seen yet"}, now_ms)]
        if event.expires_at is not None and parse_time(event.expires_at) < now_ms:
            kind, evidence = AdaptationKind.REJECTED, {"why": "the order had expired", "expires_at": event.expires_at}
        elif event.action in ARGS and not event.args.keys() <= ARGS[event.action]:
            known = ", ".join(sorted(ARGS[event.action])) or "no args"
            why = f"{event.action.value} takes {known}, and nothing else; a misspelt one must not be ignored"
            kind, evidence = AdaptationKind.REJECTED, {"why": why}
        else:
            kind, evidence = self._obey(event, row, now_ms=now_ms)
        self._fleet.note_adaptation(row, kind=KINDS.index(kind), now_ms=now_ms)
        return [_adaptation(event, kind, evidence, now_ms)]

    def _obey(self, event: Control, row: int, *, now_ms: int) -> tuple[AdaptationKind, dict[str, Any]]:
        flags = self._fleet.models.col["flags"]
        match event.action:
            case Action.FREEZE:
                flags[row] |= FROZEN
                return AdaptationKind.FROZEN, {}
            case Action.RESUME:
                flags[row] &= ~FROZEN & 0xFF
                return AdaptationKind.RESUMED, {}
            case Action.STOP:
                flags[row] |= STOPPED
                return AdaptationKind.APPLIED, {"action": "stop", "effect": "labels are joined and not scored"}
            case Action.START:
                flags[row] &= ~STOPPED & 0xFF
                return AdaptationKind.APPLIED, {"action": "start"}
            case Action.SET_BASELINE:
                return self._set_baseline(event, row, now_ms=now_ms)
            case _:
                return AdaptationKind.REJECTED, {
                    "why": f"{event.action.value} needs an organ that this version does not have",
                    "action": event.action.value,
                }

    def _set_baseline(self, event: Control, row: int, *, now_ms: int) -> tuple[AdaptationKind, dict[str, Any]]:
        monitor = self._fleet.monitor
        series = np.flatnonzero(monitor.series.col["row"][: monitor.series.count] == row)
        stated = event.args.get("value")
        if stated is not None:
            is_number = isinstance(stated, int | float) and not isinstance(stated, bool)
            if not is_number or not 0 <= stated <= (np.inf if self._fleet.family.task == "regression" else 1):
                return AdaptationKind.REJECTED, {"why": "args.value must be a number in the range of the metric"}
            values = np.full(len(series), monitor.score_of_figure(float(stated)))
        else:
            windows = monitor.windows(series, now_ms=now_ms + 1)
            series, values = series[windows.n > 0], windows.mean[windows.n > 0]
        if not len(series):
            return AdaptationKind.REJECTED, {"why": "no label is in the window; give args.value"}
        monitor.set_baseline(series, values, now_ms=now_ms)
        shown = {
            "/".join(monitor.series.keys[place][1:]): monitor.figure(float(value))
            for place, value in zip(series.tolist(), values, strict=True)
        }
        return AdaptationKind.BASELINE_SET, {"baselines": shown}


def _adaptation(event: Control, kind: AdaptationKind, evidence: dict[str, Any], now_ms: int) -> Adaptation:
    if event.reason:
        evidence = {**evidence, "reason": event.reason}
    if event.issued_by:
        evidence = {**evidence, "issued_by": event.issued_by}
    return Adaptation(
        adaptation_id=str(uuid.uuid5(NAMESPACE, f"{event.model_id}\0{event.command_id}")),
        kind=kind,
        model_id=event.model_id,
        trigger=Trigger.CONTROL,
        evidence=evidence,
        at=format_time(now_ms),
        caused_by=[event.command_id],
    )
