"""The findings of the detectors in words: what moved, which way, how far, and what to look at first.

Owns how a finding is said in a status and in an alert. Never dates anything and never keeps state. Called by the drift
of a fleet.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from adaptive_stream.config.reference import OUTPUT
from adaptive_stream.contracts.drift import DriftedStream, DriftTest
from adaptive_stream.drift.layout import Direction
from adaptive_stream.drift.verdict import ALL_OTHERS, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptive_stream.drift.verdict import Effect, Finding, Verdict


class Alarmed(msgspec.Struct, kw_only=True):
    """An alarm until it is over: its successor's reference is complete, or a risen loss is back or accepted.

    Args:
        before: mean loss before the first rise; None where nothing rose.
        risen: the highest that it was found to have risen to.
        worth: of a label, in independent ones.
        score: evidence that the loss is back, a logarithm, of the panes before ``counted_ms``.
    """

    series: int
    is_performance: bool
    is_gain: bool
    kind: str
    severity: str
    at_ms: int
    affected: list[str]
    streams: list[DriftedStream]
    numbers: list[tuple[int, int, int]]  # of the events of each stream's since, since_low and since_high
    is_dated: bool = False
    before: float | None = None
    risen: float = 0.0
    worth: float = 1.0
    score: float = 0.0
    counted_ms: int = 0


def further(opened: Alarmed, made: Alarmed) -> Alarmed:
    """Return an open alarm of a risen loss with one that says it rose further: since the first, by all of it."""
    assert opened.before is not None
    [stream] = opened.streams
    effect = made.risen - opened.before
    whole = msgspec.structs.replace(stream, share_since=made.risen, effect=effect, effect_unit=OF_LOSS)
    return msgspec.structs.replace(
        opened,
        severity=max(opened.severity, made.severity, key=[*Severity].index),
        streams=[whole],
        risen=made.risen,
        score=0.0,
        counted_ms=made.at_ms,
    )


FAILS = "the model fails"  # where its output is missing
# A change of a share as it stands in a sentence
MISSING = {Direction.MORE_MISSING: "more often", Direction.FEWER_MISSING: "less often"}
FREQUENT = {Direction.MORE_FREQUENT: "more frequent", Direction.LESS_FREQUENT: "less frequent"}
GROWTHS = Direction.UP, Direction.WIDER, Direction.MORE_MISSING, Direction.MORE_FREQUENT
VARIANCES = Direction.WIDER, Direction.NARROWER
OF_LOSS = "of the loss"


def _size(effect: Effect, change: Direction) -> tuple[float | None, str | None]:
    """Return the size of an effect with its unit; nothing where it contradicts the direction.

    Bets are on ranks: most of them may rise while the mean falls, or draw together while the variance grows.
    """
    size: float | None
    nothing = 0.0
    if effect.before is not None and effect.since is not None:
        size, unit = effect.since - effect.before, "of the share" if change in (*MISSING, *FREQUENT) else OF_LOSS
    elif change in VARIANCES:
        size, unit, nothing = _finite(effect.variance_ratio), "times the variance", 1.0
    else:
        size, unit = _finite(effect.shift), "sd"
    if size is None or size == nothing or (size > nothing) != (change in GROWTHS):
        return None, None
    return size, unit


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def said(stream: DriftedStream) -> str:
    """Return a stream's change in a few words, for a summary."""
    change = Direction(stream.change)
    if change in MISSING:
        moved = f"{FAILS if stream.name == OUTPUT else f'{stream.name} missing'} {MISSING[change]}"
    elif change in FREQUENT:
        moved = f"{stream.name} {stream.level} {FREQUENT[change]}"
    else:
        moved = f"{stream.name} {change}"
    if stream.effect is None:
        return moved
    if change in VARIANCES:
        return f"{moved}, with {stream.effect:.3g} {stream.effect_unit}"
    unit = f" {stream.effect_unit}" if stream.effect_unit != OF_LOSS else ""  # the stream's own
    return f"{moved} by {abs(stream.effect):.3g}{unit}"


def numbers(verdict: Verdict) -> list[tuple[int, int, int]]:
    """Return the numbers of the events between which each finding began: since, and its interval."""
    return [(finding.since, finding.since_low, finding.since_high) for finding in verdict.findings]


def streams_of(verdict: Verdict, classes: Sequence[str]) -> list[DriftedStream]:
    """Return a verdict's findings in words; their dates are found later."""
    total = sum(10**finding.log10_evidence for finding in verdict.findings) or 1.0
    return [
        _stream(finding, verdict, classes, share=10**finding.log10_evidence / total) for finding in verdict.findings
    ]


def _stream(finding: Finding, verdict: Verdict, classes: Sequence[str], *, share: float) -> DriftedStream:
    size, unit = _size(finding.effect, finding.direction)

    def named(level: str) -> str:
        is_class = finding.stream == OUTPUT and level.isdigit() and int(level) < len(classes)
        return classes[int(level)] if is_class else level

    return DriftedStream(
        name=finding.stream,
        share=min(1.0, share),
        change=finding.direction.value,
        level=named(finding.level) if finding.level is not None else None,
        effect=size,
        effect_unit=unit,
        share_before=_finite(finding.effect.before),
        share_since=_finite(finding.effect.since),
        events=max(0, verdict.at - finding.since),
        tests=[
            DriftTest(test=test.name, statistic=test.statistic, p_value=test.p_value)
            for test in finding.tests
            if math.isfinite(test.statistic) and math.isfinite(test.p_value)
        ],
        edges=[edge for edge in finding.edges if math.isfinite(edge)],
        levels=[named(level) for level in finding.levels],
        before=_between(finding.edges, finding.before),
        since_counts=_between(finding.edges, finding.counts),
    )


def _between(edges: Sequence[float], counts: Sequence[int]) -> list[int]:
    """Return the counts between the finite edges; those of levels, which have no edges, as they are.

    An edge is infinite where values are beyond the largest float32: what is behind it counts in the outer bin.
    """
    finite = [place for place, edge in enumerate(edges) if math.isfinite(edge)]
    if len(finite) == len(edges):
        return list(counts)
    if not finite:
        return [sum(counts)]
    first, last = finite[0], finite[-1]
    return [sum(counts[: first + 1]), *counts[first + 1 : last + 1], sum(counts[last + 1 :])]


def advice(alarm: Alarmed) -> str:
    """Return what to look at first, by what moved."""
    leading = alarm.streams[0]
    if alarm.is_performance:
        if alarm.is_gain:
            return (
                "if it is to stay, make it the baseline (set_baseline); if nobody knows why, look for labels that leak"
            )
        return "retrain on what came since, or switch to a variant that was better"
    change = Direction(leading.change)
    if change in MISSING and leading.name == OUTPUT:
        then = "look at its errors" if change in GROWTHS else "if it is to stay, let the reference follow"
        return f"{FAILS} {MISSING[change]}: {then}"
    if change in MISSING:
        return f"look at what delivers {leading.name}: its values are missing {MISSING[change]}"
    if change in FREQUENT and alarm.kind == "label":
        became = f"{leading.level} became {FREQUENT[change]}"
        return f"the outputs moved, not one input: {became}; was the model exchanged? Then let the reference follow"
    if change in FREQUENT:
        is_new = leading.level == ALL_OTHERS and change in GROWTHS
        then = "; a new category belongs into levels" if is_new else ""
        return f"look at {leading.name}: {leading.level} became {FREQUENT[change]}{then}"
    if alarm.kind == "label":
        return "the outputs moved, not one input: was the model exchanged? Then recalibrate, or move the threshold"
    return "while the labels show no loss, let the reference follow; else retrain on what came since"
