"""What a status and an alert say about drift.

Owns the words for a change: what moved, which way, how far, since when, and how sure that is. Never computes one.
A part of the model's status.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from adaptive_stream.contracts.field import Event, Timestamp

Count = Annotated[int, Meta(ge=0)]


class DriftState(StrEnum):
    """Where a detector is: without a reference nothing is watched."""

    OFF = "off"
    GATHERING = "gathering"
    WATCHING = "watching"
    DRIFTED = "drifted"


class DriftTest(Event, frozen=True, kw_only=True):
    """One of the four classic tests on what came since the change: it explains, it raises no alarm.

    ``p_value`` is adjusted for the number of tests and streams (Holm), not for the choice of the moment.
    """

    test: str
    statistic: float
    p_value: float


class DriftedStream(Event, frozen=True, kw_only=True):
    """One watched quantity: a feature, the output, the confidence, a projection of all features, or the loss.

    ``change`` is up, down, wider, narrower, or what became of the missing values or of a level. ``effect`` is in the
    units that ``effect_unit`` names. ``share_before`` and ``share_since`` are of the level or of the missing values; of
    the loss they are its mean. ``before`` and ``since_counts`` are counts in the bins between ``edges``, or of the
    ``levels``, of which the last stands for all others.
    """

    name: str
    share: float
    change: str
    level: str | None = None
    effect: float | None = None
    effect_unit: str | None = None
    share_before: float | None = None
    share_since: float | None = None
    events: Count = 0
    since: Timestamp | None = None
    since_low: Timestamp | None = None
    since_high: Timestamp | None = None
    tests: list[DriftTest] = []
    edges: list[float] = []
    levels: list[str] = []
    before: list[int] = []
    since_counts: list[int] = []


class PastDrift(Event, frozen=True, kw_only=True):
    """An alarm that is over."""

    at: Timestamp
    kind: str
    name: str
    change: str


class DriftWatch(Event, frozen=True, kw_only=True):
    """One detector: of the data (inputs, output, confidence), or of the performance (the loss).

    ``evidence`` is the logarithm to base 10 of what speaks for a change, ``alarm_line`` that of an alarm: a false one
    comes at most once in ``10 ** alarm_line`` events on average.
    """

    state: DriftState
    seen: Count
    wanted: Count
    evidence: float
    alarm_line: float
    reference_at: Timestamp | None = None
    reference_version: Count = 0
    alarmed_at: Timestamp | None = None
    autocorrelation: float | None = None
    streams: list[DriftedStream] = []


class DriftStatus(Event, frozen=True, kw_only=True):
    """What is known of a series' drift."""

    data: DriftWatch
    performance: DriftWatch
    history: list[PastDrift] = []
