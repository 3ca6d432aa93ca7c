"""What the worker does about an operator's order, and what it answers.

Owns the meaning of each action. Never ignores an order: each one is answered by an adaptation, if only to say why not.
Called by the fleet.
"""

from __future__ import annotations

import sys
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptive_stream.config.rule import is_share
from adaptive_stream.contracts.clock import format_time, parse_time
from adaptive_stream.contracts.events import Action, Adaptation, AdaptationKind, Trigger
from adaptive_stream.core.model import FROZEN, STOPPED
from adaptive_stream.monitor.baseline import PLACE

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import Control, OutputEvent
    from adaptive_stream.core.fleet import Fleet

MAX_SILENCE_S = 31_536_000
NAMESPACE = uuid.UUID("5d0f8f0a-6a7e-5b0c-8d52-1f4be9d6a6ff")  # of adaptation ids; any constant would do
KINDS = list(AdaptationKind)  # a kind's place here is its number in the models table: the enum only grows

ARGS: dict[Action, frozenset[str]] = {
    **dict.fromkeys((Action.FREEZE, Action.RESUME, Action.STOP, Action.START), frozenset()),
    Action.SET_BASELINE: frozenset({"value", "metric", "relearn", "reference"}),
    Action.ACKNOWLEDGE: frozenset({"alertname", "variant_id", "channel_id"}),
    Action.SILENCE: frozenset({"alertname", "variant_id", "channel_id", "duration_s"}),
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
            case Action.ACKNOWLEDGE:
                return self._acknowledge(event, row)
            case Action.SILENCE:
                return self._silence(event, row, now_ms=now_ms)
            case _:
                return AdaptationKind.REJECTED, {
                    "why": f"{event.action.value} needs an organ that this version does not have",
                    "action": event.action.value,
                }

    def _set_baseline(self, event: Control, row: int, *, now_ms: int) -> tuple[AdaptationKind, dict[str, Any]]:
        monitor = self._fleet.monitor
        series = np.flatnonzero(monitor.series.col["row"][: monitor.series.count] == row)
        if "reference" in event.args:
            return self._take_reference(event, series)
        if "relearn" in event.args:
            return self._relearn(event, series)
        metric, stated = event.args.get("metric", monitor.baselines.main), event.args.get("value")
        window = monitor.window(series, now_ms=now_ms + 1)
        known = [name for name in PLACE if name in window]
        if metric not in known:
            return AdaptationKind.REJECTED, {"why": f"args.metric must be one of {', '.join(known)}"}
        if stated is not None:
            is_number = isinstance(stated, int | float) and not isinstance(stated, bool)
            if not is_number or not 0 <= stated <= (1.0 if is_share(metric) else sys.float_info.max):
                return AdaptationKind.REJECTED, {"why": "args.value must be a number in the range of the metric"}
            values = {metric: np.full(len(series), float(stated))}
        else:
            found = window.some((metric,) if "metric" in event.args else known)
            is_known = found[metric].n > 0
            values = {name: figure.value[is_known] for name, figure in found.items()}
            series = series[is_known]
        if not len(series):
            return AdaptationKind.REJECTED, {"why": f"nothing in the window tells the {metric}; give args.value"}
        monitor.order_baselines(series, values, now_ms=now_ms)
        shown = {
            "/".join(monitor.series.keys[place][1:]): float(value)
            for place, value in zip(series.tolist(), values[metric], strict=True)
        }
        named = {"metric": metric} if "metric" in event.args else {}
        return AdaptationKind.BASELINE_SET, {**named, "baselines": shown}

    def _relearn(self, event: Control, series: np.ndarray) -> tuple[AdaptationKind, dict[str, Any]]:
        if event.args != {"relearn": True}:
            return AdaptationKind.REJECTED, {"why": "args.relearn is true, and stands alone"}
        if not len(series):
            return AdaptationKind.REJECTED, {"why": "nothing is measured of this model"}
        self._fleet.monitor.relearn_baselines(series)
        settings = self._fleet.family.monitor
        return AdaptationKind.BASELINE_SET, {
            "relearn": True,
            "series": self._named(series),
            "effect": f"baselines come from the next {settings.baseline_labels} labels and"
            f" {settings.baseline_predictions} predictions; what the configuration states stays",
        }

    def _named(self, series: np.ndarray) -> list[str]:
        return ["/".join(self._fleet.monitor.series.keys[place][1:]) for place in series.tolist()]

    def _take_reference(self, event: Control, series: np.ndarray) -> tuple[AdaptationKind, dict[str, Any]]:
        drift = self._fleet.drift
        if event.args != {"reference": True}:
            return AdaptationKind.REJECTED, {"why": "args.reference is true, and stands alone"}
        if drift is None or not len(series):
            return AdaptationKind.REJECTED, {"why": "no series of this model is watched for drift"}
        drift.rereference(series)
        return AdaptationKind.BASELINE_SET, {
            "reference": True,
            "series": self._named(series),
            "effect": "what comes next is the reference of drift; alarms of drift are over when it is complete",
        }

    def _chosen(self, event: Control, row: int) -> tuple[np.ndarray, np.ndarray] | str:
        """Return the series and the rules that an order is about, or what is wrong with it."""
        monitor, args = self._fleet.monitor, event.args
        keys = enumerate(monitor.series.keys)
        owners = monitor.series.col["row"]
        wanted = args.get("variant_id"), args.get("channel_id")
        series = [
            number
            for number, (_, variant, channel) in keys
            if owners[number] == row and wanted[0] in (None, variant) and wanted[1] in (None, channel)
        ]
        if not series:
            return "no series of this model has that variant_id and channel_id"
        name = args.get("alertname")
        places = [place for place, (rule, _) in enumerate(monitor.rules) if name in (None, rule)]
        if not places:
            return f"args.alertname must be one of {', '.join(rule for rule, _ in monitor.rules)}"
        return np.array(series), np.array(places)

    def _acknowledge(self, event: Control, row: int) -> tuple[AdaptationKind, dict[str, Any]]:
        chosen = self._chosen(event, row)
        if isinstance(chosen, str):
            return AdaptationKind.REJECTED, {"why": chosen}
        names = self._fleet.monitor.acknowledge(*chosen)
        if not names:
            return AdaptationKind.REJECTED, {"why": "no such alert is firing"}
        return AdaptationKind.APPLIED, {
            "action": "acknowledge",
            "alerts": names,
            "effect": "not told again until it ends",
        }

    def _silence(self, event: Control, row: int, *, now_ms: int) -> tuple[AdaptationKind, dict[str, Any]]:
        duration_s = event.args.get("duration_s")
        if (
            not isinstance(duration_s, float | int)
            or isinstance(duration_s, bool)
            or not 0 <= duration_s <= MAX_SILENCE_S
        ):
            why = f"args.duration_s must be a number from 0 (ends a silence) to {MAX_SILENCE_S}"
            return AdaptationKind.REJECTED, {"why": why}
        chosen = self._chosen(event, row)
        if isinstance(chosen, str):
            return AdaptationKind.REJECTED, {"why": chosen}
        until_ms = now_ms + round(duration_s * 1000)
        self._fleet.monitor.silence(*chosen, until_ms=until_ms)
        return AdaptationKind.APPLIED, {"action": "silence", "until": format_time(until_ms)}


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
