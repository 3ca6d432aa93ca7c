"""What the topics hold of one model, put together: the present from its newest status, the past from all of them.

Owns the merging of panes and of alerts' lives, and the bounds of both. Never decodes, never shows. Filled by the verb
``report`` record by record, in the order of the log; read by everything that draws.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.events import AlertStatus
from adaptive_stream.contracts.field import Severity

if TYPE_CHECKING:
    from adaptive_stream.contracts.events import Adaptation, Alert, ModelStatus, OpenAlert, PaneFigures, SeriesStatus

MAX_PANES = 10_000  # of a series: more than a year of hours
MAX_HELD = 1_000  # alerts and adaptations, each; older ones are counted
MAX_CODES = 64  # of dead letters: twice what the worker knows

SeriesKey = tuple[str, str]
"""Variant and channel."""


@dataclass(frozen=True, slots=True)
class Life:
    """An alert from its beginning to its end, or to the present. Ids are None where the alert is about the model."""

    name: str
    severity: str
    starts_ms: int
    ends_ms: int | None
    variant_id: str | None
    channel_id: str | None
    summary: str
    value: float | None
    threshold: float | None

    def concerns(self, series: SeriesStatus) -> bool:
        """Say whether a series is what the alert is about, or a part of it."""
        return self.variant_id in {None, series.variant_id} and self.channel_id in {None, series.channel_id}


@dataclass(slots=True)
class History:
    """One model's, as long as the topics hold it.

    Args:
        model_id: of the model; records of others must not be handed in.
    """

    model_id: str
    status: ModelStatus | None = None
    adaptations: deque[Adaptation] = field(default_factory=lambda: deque(maxlen=MAX_HELD))
    adaptation_count: int = 0
    older_alerts: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0
    _lives: dict[str, Life] = field(default_factory=dict)
    _forgotten_ms: int | None = None  # the latest beginning of an alert that is only counted
    _panes: dict[SeriesKey, dict[int, PaneFigures]] = field(default_factory=dict)
    _evidence: dict[SeriesKey, deque[tuple[int, float, float]]] = field(default_factory=dict)

    def take_status(self, status: ModelStatus) -> None:
        """Remember the panes of a status, the newer of two alike; the newest status is the present."""
        is_newest = self.status is None or parse_time(status.at) >= parse_time(self.status.at)
        if is_newest:
            self.status = status
            # a status names every series there is: the others' panes would never be shown
            keys = [*map(key_of, status.series)]
            self._panes = {key: self._panes.get(key, {}) for key in keys}
            self._evidence = {key: self._evidence.get(key, deque(maxlen=MAX_PANES)) for key in keys}
        for series in status.series:
            if series.drift is not None and is_newest:
                watched = series.drift.data.evidence, series.drift.performance.evidence
                self._evidence[key_of(series)].append((parse_time(status.at), *watched))
            held = self._panes.get(key_of(series), {})
            for pane in series.panes:
                start = parse_time(pane.starts_at)
                if is_newest or start not in held:
                    held[start] = pane
            if len(held) > MAX_PANES:
                for start in sorted(held)[: len(held) - MAX_PANES]:
                    del held[start]

    def take_alert(self, alert: Alert) -> None:
        """Remember what an alert says of its life; when there are too many, the ones that began first are counted."""
        starts_ms = parse_time(alert.starts_at)
        if alert.alert_id not in self._lives and self._forgotten_ms is not None and starts_ms <= self._forgotten_ms:
            return  # one of those that were counted
        ends_ms = None if alert.ends_at is None else parse_time(alert.ends_at)
        self._lives[alert.alert_id] = Life(
            name=alert.labels["alertname"],
            severity=alert.labels["severity"],
            starts_ms=starts_ms,
            ends_ms=starts_ms if ends_ms is None and alert.status is AlertStatus.RESOLVED else ends_ms,
            variant_id=alert.labels.get("variant_id"),
            channel_id=alert.labels.get("channel_id"),
            summary=alert.annotations.get("summary", ""),
            value=alert.value,
            threshold=alert.threshold,
        )
        if len(self._lives) > 2 * MAX_HELD:
            self._forget()

    def take_adaptation(self, adaptation: Adaptation) -> None:
        """Remember an adaptation; of too many the first are counted."""
        self.adaptations.append(adaptation)
        self.adaptation_count += 1

    def take_refusal(self, code: str) -> None:
        """Count a dead letter of the model."""
        self.refused[code if code in self.refused or len(self.refused) < MAX_CODES else "others"] += 1

    def panes(self, series: SeriesStatus, *, since_ms: int | None) -> list[tuple[int, PaneFigures]]:
        """Return when each pane began and what it holds, oldest first."""
        held = self._panes.get(key_of(series), {})
        return [(start, held[start]) for start in sorted(held) if since_ms is None or start >= since_ms]

    def evidence(self, series: SeriesStatus, *, since_ms: int | None) -> list[tuple[int, float, float]]:
        """Return the evidence for drift at each status, of the data and of the performance, oldest first."""
        held = self._evidence.get(key_of(series), ())
        return [point for point in held if since_ms is None or point[0] >= since_ms]

    def lives(self, *, since_ms: int | None) -> tuple[list[Life], int]:
        """Return the alerts, newest first, and how many older ones are only counted.

        An alert that fires by the newest status, but whose record the topic no longer holds, is among them.
        """
        found = sorted((*self._lives.values(), *self._unheard()), key=lambda life: (-life.starts_ms, life.name))
        if since_ms is not None:
            found = [life for life in found if life.ends_ms is None or life.ends_ms >= since_ms]
        return found[:MAX_HELD], len(found[MAX_HELD:]) + self.older_alerts

    def _forget(self) -> None:
        oldest = sorted(self._lives, key=lambda name: self._lives[name].starts_ms)[:-MAX_HELD]
        self._forgotten_ms = self._lives[oldest[-1]].starts_ms
        self.older_alerts += len(oldest)
        for name in oldest:
            del self._lives[name]

    def _unheard(self) -> list[Life]:
        known = {(life.name, life.starts_ms, life.variant_id, life.channel_id) for life in self._lives.values()}
        return [
            _opened(series, alert, parse_time(alert.starts_at))
            for series in (self.status.series if self.status is not None else ())
            for alert in series.open_alerts
            if alert.stage == "firing"
            and alert.starts_at is not None
            and known.isdisjoint(_names(series, alert, parse_time(alert.starts_at)))
        ]


def key_of(series: SeriesStatus) -> SeriesKey:
    """Return what tells a series from the others of its model."""
    return series.variant_id, series.channel_id


def _names(series: SeriesStatus, alert: OpenAlert, starts_ms: int) -> list[tuple[str, int, str | None, str | None]]:
    """Return under which names an open alert may stand on the topic: as one of the series, or of the model."""
    own = (alert.alertname, starts_ms)
    return [
        (*own, *key_of(series)),
        (*own, series.variant_id, None),
        (*own, None, series.channel_id),
        (*own, None, None),
    ]


def _opened(series: SeriesStatus, alert: OpenAlert, starts_ms: int) -> Life:
    return Life(
        name=alert.alertname,
        severity=Severity(alert.severity).value,
        starts_ms=starts_ms,
        ends_ms=None,
        variant_id=series.variant_id,
        channel_id=series.channel_id,
        summary="",
        value=alert.value,
        threshold=alert.threshold,
    )
