"""What an alarm says: what changed, how, how much, since when, and what the four tests make of it.

Owns the words of a finding and the limits of its severity. Never keeps state: it is made from the table when somebody
asks. Called by the drift of a fleet after an alarm, and for a status.

The p-values compare what came before the estimated change with what came since. The window was chosen because it looks
changed, so they describe how clear a change is; that there is one is told by the evidence alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from adaptive_stream.drift.layout import BINS, LOCATION, Direction
from adaptive_stream.drift.performance import BLOCK, DATED, SHIFTS
from adaptive_stream.drift.since import STEPS
from adaptive_stream.stats import two_sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptive_stream.drift.data import Data
    from adaptive_stream.drift.layout import Layout
    from adaptive_stream.drift.performance import Performance
    from adaptive_stream.stats.rows import Rows
    from adaptive_stream.stats.two_sample import Moments, Tested

    Array = NDArray[np.float64]

TESTS = "kolmogorov_smirnov", "mann_whitney", "welch_t", "variance"
ALL_OTHERS = "other"  # the levels that a family does not name, and those that are too many to watch one by one
TOLD = 5  # findings of a verdict: whoever wants more asks for one stream
LEVEL = 0.05  # of Holm's p-values, at which a feature counts as affected
# The argmax of a walk with drift I and variance 2 I is within 5.5 / I of the truth in 95 % (Bai, "Estimating multiple
# breaks one at a time", Econometric Theory 13, 1997: 11 in units of variance over squared drift). A score that has led
# to an alarm overstates I: 5.5 covered a change of +.5 sd in .89 of 199 runs, 7 in .95 of the same.
SPREAD = 7.0
# medium and high: Romano et al. 2006 for Cliff's delta; Cohen 1988, ch. 6, for the arcsine difference of shares (small
# and medium there); a variance by half and by more than twice; a loss by the product's own alerts
DELTA, SHARES, LOG_RATIO, LOSS = (0.147, 0.33), (0.2, 0.5), (math.log(1.5), math.log(2.25)), (0.05, 0.10)
# Cliff's delta, large for Romano et al.: from it on the middle moved. Values that are all beyond the reference pay a
# bet on their spread most, and nobody would call them wider.
MOVED = 0.474
# Of the log evidence for another spread: where the spread alone changes evidence for a move has a fourth, where the
# mean moves by 2 sd and more a half.
ALSO = 0.4


class Kind(StrEnum):
    """Which distribution changed."""

    COVARIATE = "covariate"
    LABEL = "label"
    PERFORMANCE = "performance"


class Severity(StrEnum):
    """How large the change is; whether anybody should be woken is for the alert's rule to say."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one stream; ``p_value`` is Holm's over all tests and columns."""

    name: str
    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Effect:
    """How large a change is; None where that does not apply.

    Args:
        shift: of the mean, in standard deviations of what came before.
        cliff_delta: chance of being higher than before less that of being lower.
        variance_ratio: variance since over variance before; infinite where it was constant.
        before: share of the level, or of what is missing; or mean loss.
        since: the same since the change.
    """

    shift: float | None = None
    cliff_delta: float | None = None
    variance_ratio: float | None = None
    before: float | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What is seen in one stream."""

    stream: str
    direction: Direction
    level: str | None
    log10_evidence: float  # its part of what is compared with the alarm line
    effect: Effect
    since: int  # number of the event, counted from the series' first
    since_low: int
    since_high: int
    correlation: float  # of neighbours, which the evidence was tempered for
    tests: tuple[Test, ...] = ()
    edges: tuple[float, ...] = ()  # of the bins of a numeric column
    levels: tuple[str, ...] = ()  # of a categorical one, the last for all others
    before: tuple[int, ...] = ()  # values in each bin, or of each level, before the change
    counts: tuple[int, ...] = ()  # and since


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one kind of drift of one series."""

    kind: Kind
    log10_evidence: float
    log10_line: float
    at: int  # number of the last event that is judged
    findings: tuple[Finding, ...]  # the strongest first
    affected: tuple[str, ...]  # columns of which a test says so
    watched: int
    severity: Severity
    reference_version: int
    reference_at: int

    @property
    def is_alarm(self) -> bool:
        """Whether the evidence has reached the budget."""
        return self.log10_evidence >= self.log10_line


def log10(evidence: float) -> float:
    """Return the logarithm of evidence; that of none is far below."""
    return math.log10(max(evidence, 1e-12))


def severity(effect: Effect) -> Severity:
    """Return how large an effect is: the largest that any of its sizes says."""
    rank = 0
    if effect.before is not None and effect.since is not None:
        distance = abs(2 * math.asin(math.sqrt(effect.since)) - 2 * math.asin(math.sqrt(effect.before)))
        rank = max(rank, _grade(distance, SHARES))
    if effect.cliff_delta is not None:
        rank = max(rank, _grade(abs(effect.cliff_delta), DELTA))
    if effect.variance_ratio is not None:
        is_finite = 0 < effect.variance_ratio < math.inf  # else it was constant before, or has become so
        log_ratio = abs(math.log(effect.variance_ratio)) if is_finite else math.inf
        rank = max(rank, _grade(log_ratio, LOG_RATIO))
    return tuple(Severity)[rank]


def _grade(size: float, limits: tuple[float, float]) -> int:
    return (size >= limits[0]) + (size >= limits[1])


def kind_of(layout: Layout, stream: str) -> Kind:
    """Return which distribution a stream speaks of: the outputs stand for the labels that are not known yet."""
    return Kind.LABEL if stream == layout.names[layout.features] else Kind.COVARIATE


class Samples:
    """Before and since of every column of one series.

    Args:
        data: the streams.
        table: of the series.
        series: whose.
    """

    def __init__(self, data: Data, table: Rows, series: int) -> None:
        self._layout = layout = data.layout
        col, numeric = table.col, len(layout.numeric)
        pool, levels = (
            col["pool"][series].astype(np.float64)[:, :numeric],
            col["pool_levels"][series].astype(np.float64),
        )
        self.recent = col["recent"][series].astype(np.float64)
        self.recent_levels = col["recent_levels"][series].astype(np.float64)
        halved = np.concatenate([pool[0:BINS:2] + pool[1:BINS:2], pool[BINS:]])
        is_within = data.learns(int(col["pooled"][series]))  # what came since is a part of the pool
        self.before = np.maximum(halved - self.recent * is_within, 0)
        self.before_levels = np.maximum(levels - self.recent_levels * is_within, 0)
        sums, recent_sums = (col[name][series].astype(np.float64) for name in ("sums", "recent_sums"))
        pooled = two_sample.moments(pool[:BINS].sum(axis=0), sums)
        old = two_sample.moments(self.before[:-1].sum(axis=0), sums[:2] - recent_sums * is_within)
        new = two_sample.moments(self.recent[:-1].sum(axis=0), recent_sums)
        self.old, self.new = (one._replace(kurtosis=pooled.kurtosis) for one in (old, new))

    def tests(self) -> list[Tested]:
        """Return the four tests of the numeric columns."""
        return four(self.before[:-1].T, self.recent[:-1].T, self.old, self.new)

    def missing(self) -> Tested:
        """Return Fisher's test of what is missing, of every column."""
        layout = self._layout
        found = [np.empty(layout.columns) for _ in range(4)]
        for columns, parts in (
            (layout.numeric, (self.before, self.recent)),
            (layout.categorical, (self.before_levels, self.recent_levels)),
        ):
            for place, counts in enumerate(parts):
                found[2 * place][columns], found[2 * place + 1][columns] = counts[-1], counts.sum(axis=0)
        return two_sample.fisher(*found)

    def shares(self) -> Tested:
        """Return Fisher's test of the share of each level, (LEVELS, categorical)."""
        before, since = self.before_levels[:-1], self.recent_levels[:-1]
        return two_sample.fisher(before, before.sum(axis=0), since, since.sum(axis=0))


def four(before: Array, since: Array, old: Moments, new: Moments) -> list[Tested]:
    """Return the four tests, in the order of TESTS, from counts (..., bins) and moments (...)."""
    return [
        two_sample.kolmogorov_smirnov(before, since),
        two_sample.mann_whitney(before, since),
        two_sample.welch(old, new),
        two_sample.log_variance_ratio(old, new),
    ]


def data_verdict(data: Data, table: Rows, series: int) -> Verdict:
    """Return what is known of the drift of a series' inputs and outputs."""
    layout, col = data.layout, table.col
    weighed = data.weighed(col["evidence"][series][None])
    by_stream = layout.by_stream(weighed)[0]
    samples = Samples(data, table, series)
    tested = samples.tests()
    adjusted = two_sample.holm(np.stack([one.p_value for one in tested]))
    strongest = np.argsort(-by_stream, kind="stable")[:TOLD].tolist()
    findings = []
    for stream in strongest:
        bet = _leading(layout, weighed[0], stream, samples)
        part = float(by_stream[stream])
        findings.append(
            _finding(data, table, series, bet, evidence=part, samples=samples, tested=tested, adjusted=adjusted)
        )
    leading = findings[0]
    # what a projection is nobody can say: how large its change is, the features say that moved with it
    sized = next((one for one in findings if one.effect != Effect()), leading)
    total = float(data.total(col["evidence"][series][None])[0])
    return Verdict(
        kind=kind_of(layout, leading.stream),
        log10_evidence=log10(total),
        log10_line=log10(data.line),
        at=int(col["events"][series]),
        findings=tuple(findings),
        affected=tuple(layout.names[layout.numeric[place]] for place in np.flatnonzero((adjusted < LEVEL).any(axis=0))),
        watched=len(layout.names),
        severity=severity(sized.effect),
        reference_version=int(col["reference_version"][series]),
        reference_at=int(col["reference_at"][series]),
    )


def _leading(layout: Layout, weighed: Array, stream: int, samples: Samples) -> int:
    """Return the bet that says how a stream changed: the strongest, or the strongest on its place if that moved."""
    found = int(np.argmax(np.where(layout.stream_of == stream, weighed, -1.0)))
    if layout.direction(found)[0] not in SPREAD_WORDS:
        return found
    place = int(np.flatnonzero(layout.stream_names == stream)[0])
    moves = np.arange(len(LOCATION)) * layout.streams + place
    strongest = int(moves[np.argmax(weighed[moves])])
    if log10(weighed[strongest]) >= ALSO * log10(weighed[found]):
        return strongest
    if stream >= layout.columns:  # of a projection there is no sample
        return found
    delta = two_sample.mann_whitney(samples.before[:-1, place], samples.recent[:-1, place]).statistic
    if not abs(delta) >= MOVED:  # NaN: there is no sample yet
        return found
    moves = moves[LOCATION > 0 if delta > 0 else LOCATION < 0]
    return int(moves[np.argmax(weighed[moves])])


def _finding(
    data: Data,
    table: Rows,
    series: int,
    bet: int,
    *,
    evidence: float,
    samples: Samples,
    tested: list[Tested],
    adjusted: Array,
) -> Finding:
    layout, col = data.layout, table.col
    stream = int(layout.stream_of[bet])
    direction, level = layout.direction(bet)
    name, effect, tests = None, Effect(), []
    edges, before, counts = (), (), ()
    levels: tuple[str, ...] = ()
    if stream < layout.columns:
        is_level = bool(layout.levels[stream])
        place = int(np.flatnonzero((layout.categorical if is_level else layout.numeric) == stream)[0])
        if is_level:
            levels = _levels(layout.levels[stream], col["levels"][series][:, place])
            name = (levels[level] or ALL_OTHERS) if level >= 0 else None
        effect = _effect(samples, place, direction, level, is_level=is_level)
        held = (samples.before_levels, samples.recent_levels) if is_level else (samples.before, samples.recent)
        before, counts = (tuple(one[:-1, place].astype(int).tolist()) for one in held)
        if not is_level:
            # two bins are one here: every second edge is between two of them
            edges = tuple(col["edges"][series][1::2, place].astype(float).tolist())
            tests = [
                Test(test, float(one.statistic[place]), float(p))
                for test, one, p in zip(TESTS, tested, adjusted[:, place], strict=True)
            ]
    since, low, high = _since(data, table, series, bet)
    return Finding(
        layout.names[stream], direction, name, log10(evidence), effect, since, low, high,
        data.correlation(table, series, stream, is_missing=direction in MISSING), tuple(tests), edges, levels,
        before, counts,
    )  # fmt: skip


def _levels(known: Sequence[str], codes: NDArray[np.float32]) -> tuple[str, ...]:
    """Return the names of the levels that are watched one by one, empty where there are fewer, and of all others."""
    named = {-1: "", **dict(enumerate(known))}
    return (*(named.get(int(code), ALL_OTHERS) for code in codes), ALL_OTHERS)


MISSING = Direction.MORE_MISSING, Direction.FEWER_MISSING
SPREAD_WORDS = Direction.WIDER, Direction.NARROWER


def _effect(samples: Samples, place: int, direction: Direction, level: int, *, is_level: bool) -> Effect:
    before, since = (samples.before_levels, samples.recent_levels) if is_level else (samples.before, samples.recent)
    shares = []
    for counts in (before[:, place], since[:, place]):
        if direction in MISSING:
            hits, total = counts[-1], counts.sum()
        else:
            hits, total = counts[level], counts[:-1].sum()
        shares.append(float(hits / total) if total else None)
    if is_level or direction in MISSING:
        return Effect(before=shares[0], since=shares[1])
    old, new = samples.old, samples.new
    if old.n[place] < 2 or new.n[place] < 2:
        return Effect()
    sd, variance = math.sqrt(old.variance[place]), float(new.variance[place])
    delta = two_sample.mann_whitney(before[:-1, place], since[:-1, place]).statistic
    return Effect(
        shift=float((new.mean[place] - old.mean[place]) / sd) if sd else None,
        cliff_delta=float(delta),
        variance_ratio=variance / float(old.variance[place]) if sd else math.inf if variance > 0 else None,
    )


def _since(data: Data, table: Rows, series: int, bet: int) -> tuple[int, int, int]:
    """Return when the score of a bet was last nothing, and an interval around it."""
    layout, col = data.layout, table.col
    end, begun = int(col["events"][series]) - data.waiting(table, series), int(col["begun"][series])
    if data.is_classic:  # somewhere in this window or the one before, which did not see it
        window = int(col["recent_blocks"][series, 0]) * data.b
        return end - window, max(begun, end - 2 * window), end
    stream, scores = layout.stream_of[bet], col["score"][series]
    if stream < layout.columns:
        is_alike = np.array(
            [
                layout.stream_of[one] == stream and layout.direction(one) == layout.direction(bet)
                for one in layout.dated.tolist()
            ]
        )
    else:  # a projection moves because features do: the one that moves most dates it
        is_alike = (layout.dated < layout.at_missing) & (layout.stream_of[layout.dated] < layout.features)
    ages = col["age"][series]  # of scores that have ended alike the youngest grew fastest
    place = max(np.flatnonzero(is_alike).tolist(), key=lambda one: (scores[one], -int(ages[one])))
    events = int(ages[place]) * data.b
    score = float(scores[place] / STEPS)
    radius = SPREAD * events / score + data.b if score > 0 else math.inf  # a block is the grain of all dates
    since = end - events
    low = begun if radius > since - begun else round(since - radius)
    high = end if radius > end - since else round(since + radius)
    return since, low, high


def performance_verdict(performance: Performance, table: Rows, series: int) -> Verdict:
    """Return what is known of the drift of a series' losses."""
    col = table.col
    evidence = col["loss_evidence"][series]
    total = float(performance.total(evidence[None])[0])
    is_worse = performance.is_worse(evidence)
    at = int(col["labels"][series]) - performance.waiting(table, series)
    before, since = performance.losses(table, series)
    alike = [place for place, bet in enumerate(DATED) if (SHIFTS[bet] > 0) == is_worse]
    place = max(alike, key=col["loss_score"][series].__getitem__)
    start, score = int(col["loss_clear"][series, place]), float(col["loss_score"][series, place])
    radius = SPREAD * (at - start) / score + BLOCK if score > 0 else math.inf
    begun = int(col["labels_begun"][series])
    finding = Finding(
        stream="loss",
        direction=Direction.UP if is_worse else Direction.DOWN,
        level=None,
        log10_evidence=log10(total),
        effect=Effect(before=before, since=since),
        since=start,
        since_low=begun if radius > start - begun else round(start - radius),
        since_high=at if radius > at - start else round(start + radius),
        correlation=float(col["loss_lag"][series]),
    )
    rise = since - before if since is not None and before is not None and is_worse else 0.0
    return Verdict(
        kind=Kind.PERFORMANCE,
        log10_evidence=log10(total),
        log10_line=log10(performance.line),
        at=at,
        findings=(finding,),
        affected=(),
        watched=1,
        severity=tuple(Severity)[_grade(rise, LOSS)],
        reference_version=int(col["losses_version"][series]),
        reference_at=int(col["losses_at"][series]),
    )
