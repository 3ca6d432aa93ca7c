"""False alarms and delays of the watching, many series at once: each column of a step is one independent stream.

What is stated here is quoted in docs/decisions/drift.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from scipy.stats import chi2

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.config.family import Feature
from adaptive_stream.drift.drift import Drift
from tests.statistical.figure import share

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from adaptive_stream.drift.verdict import Verdict
    from tests.statistical.figure import Figures

    Array = NDArray[np.float64]
    Draw = Callable[[np.random.Generator, int, int], Array]

WIDTH = 20
STEP = 50  # events of every series that are fed at once
RUNS = 200
BEFORE = 5_000  # the reference and 3,000 events more
LEVELS = [f"l{number}" for number in range(10)]


class Seen(NamedTuple):
    """One alarm: whose, after which event of the series, and what it said."""

    series: int
    at: int
    verdict: Verdict


def features(categorical: int = 0) -> list[Feature]:
    numeric = [Feature(name=f"f{number}") for number in range(WIDTH - categorical)]
    return numeric + [Feature(name=f"c{number}", kind="categorical", levels=LEVELS) for number in range(categorical)]


def made(series: int, *, categorical: int = 0, stated: float | None = None, **settings: Any) -> Drift:  # noqa: ANN401
    drift = Drift(DriftConfig(**settings), features=features(categorical), stated_loss=stated)
    for number in range(series):
        drift.add((f"m{number}", "v", "c"))
    return drift


def feed(drift: Drift, draw: Draw, dice: np.random.Generator, *, start: int, stop: int) -> list[Seen]:
    """Feed events ``start`` to ``stop`` of every series; ``draw`` returns (events, series, features)."""
    count, found = drift.table.count, []
    for first in range(start, stop, STEP):
        values = draw(dice, STEP, count).reshape(STEP * count, -1)
        outputs = dice.beta(2, 5, len(values))
        absent = np.full(len(values), np.nan)
        now_ms = np.repeat(np.arange(first, first + STEP), count)
        alarms = drift.observe(np.tile(np.arange(count), STEP), values, outputs, absent, now_ms=now_ms)
        found += [Seen(alarm.series, int(now_ms[alarm.place]) + 1, alarm.verdict) for alarm in alarms]
    return found


def normal(dice: np.random.Generator, events: int, series: int) -> Array:
    return dice.standard_normal((events, series, WIDTH))


def lognormal(dice: np.random.Generator, events: int, series: int) -> Array:
    return np.exp(2 * normal(dice, events, series))


def tied(dice: np.random.Generator, events: int, series: int) -> Array:
    """Counts, most of them nothing."""
    return dice.poisson(0.3, (events, series, WIDTH)).astype(float)


def gappy(dice: np.random.Generator, events: int, series: int) -> Array:
    values = normal(dice, events, series)
    values[dice.random(values.shape) < 0.1] = np.nan
    return values


def rate(alarms: int, events: float) -> tuple[float, float, float]:
    """Return alarms in 1e5 events, and the 95 % interval of their rate (Garwood, Biometrika 28, 1936)."""
    low = float(chi2.ppf(0.025, 2 * alarms)) / 2 if alarms else 0.0
    high = float(chi2.ppf(0.975, 2 * alarms + 2)) / 2
    return alarms / events * 1e5, low / events * 1e5, high / events * 1e5


def mean(values: Array) -> tuple[float, float, float]:
    radius = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - radius), float(values.mean() + radius)


@pytest.mark.parametrize("law", [normal, lognormal, tied, gappy])
@pytest.mark.parametrize("budget", [1e5, 1e6])
def test_stationary_streams_alarm_no_more_often_than_the_dial_says(law: Draw, budget: float, figures: Figures) -> None:
    series, events = (200, 12_000) if budget < 1e6 else (800, 12_000)
    drift = made(series, budget_events=budget)
    alarms = feed(drift, law, np.random.default_rng([1, int(budget)]), start=0, stop=events)
    watched = series * (events - drift.config.reference_predictions)
    value, low, high = rate(len(alarms), watched)
    name = f"drift: false alarms in 1e5, {law.__name__}, dial {budget:.0e}, {watched:.1e} events"
    assert figures.add(name, value, low=low, high=high, goal=f"<= {1e5 / budget:g}", met=value <= 1e5 / budget)


CHANGES: dict[str, tuple[Callable[[Array], Array], float]] = {
    "+.5 sd": (lambda x: x + 0.5, 165),
    "+.25 sd": (lambda x: x + 0.25, 560),
    "variance x1.5": (lambda x: x * 1.5**0.5, 540),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_one_feature_in_twenty_is_found_soon_and_named(name: str, figures: Figures) -> None:
    change, goal = CHANGES[name]

    def changed(dice: np.random.Generator, events: int, series: int) -> Array:
        values = normal(dice, events, series)
        values[..., 7] = change(values[..., 7])
        return values

    dice = np.random.default_rng(2)
    drift = made(RUNS, budget_events=1e6)
    early = {seen.series for seen in feed(drift, normal, dice, start=0, stop=BEFORE)}
    first: dict[int, Seen] = {}
    for seen in feed(drift, changed, dice, start=BEFORE, stop=BEFORE + 3_000):
        if seen.series not in early:
            first.setdefault(seen.series, seen)
    delays = np.array([seen.at - BEFORE for seen in first.values()])
    value, low, high = mean(delays)
    met = figures.add(
        f"drift: mean delay, {name} of one of 20", value, low=low, high=high, goal=f"<= {goal}", met=value <= goal
    )
    assert len(first) + len(early) == RUNS
    leading = [seen.verdict.findings[0] for seen in first.values()]
    named = sum(finding.stream == "f7" for finding in leading)
    value, low, high = share(named, len(leading))
    met &= figures.add(
        f"drift: right feature first, {name}", value, low=low, high=high, goal=">= 0.95", met=value >= 0.95
    )
    held = sum(finding.since_low <= BEFORE <= finding.since_high for finding in leading)
    value, low, high = share(held, len(leading))
    met &= figures.add(
        f"drift: change inside its interval, {name}", value, low=low, high=high, goal=">= 0.9", met=value >= 0.9
    )
    assert met


def bernoulli(
    drift: Drift, dice: np.random.Generator, *, start: int, stop: int, error: float, rho: float = 0.0
) -> list[Seen]:
    """Feed 0/1 losses; each repeats the one before with probability ``rho``."""
    count, found = drift.table.count, []
    last = dice.random(count) < error
    for first in range(start, stop, STEP):
        losses = np.empty((STEP, count))
        for row in losses:
            last = np.where(dice.random(count) < rho, last, dice.random(count) < error)
            row[:] = last
        now_ms = np.repeat(np.arange(first, first + STEP), count)
        alarms = drift.losses(np.tile(np.arange(count), STEP), losses.ravel(), now_ms=now_ms)
        found += [Seen(alarm.series, int(now_ms[alarm.place]) + 1, alarm.verdict) for alarm in alarms]
    return found


@pytest.mark.parametrize(
    ("error", "stated", "rho", "budget", "what", "goal"),
    [
        (0.20, None, 0.0, 1e6, "delay", 260),
        (0.15, None, 0.0, 1e6, "delay", 980),
        (0.12, None, 0.0, 1e6, "share", 0.45),
        (0.12, 0.10, 0.0, 1e6, "share", 0.95),
        (0.20, None, 0.5, 1e5, "delay", 600),
    ],
)
def test_a_rise_of_the_error_is_found_soon(
    *, error: float, stated: float | None, rho: float, budget: float, what: str, goal: float, figures: Figures
) -> None:
    dice, runs = np.random.default_rng(3), 400
    drift = made(runs, budget_events=budget, stated=stated)
    early = {seen.series for seen in bernoulli(drift, dice, start=0, stop=BEFORE, error=0.10, rho=rho)}
    first: dict[int, Seen] = {}
    for seen in bernoulli(drift, dice, start=BEFORE, stop=BEFORE + 10_000, error=error, rho=rho):
        if seen.series not in early:
            first.setdefault(seen.series, seen)
    assert len(early) <= runs * BEFORE / budget + 3 * np.sqrt(runs * BEFORE / budget)
    name = f"drift: error .10 > {error:.2f}, {'stated' if stated else 'learned'}, rho {rho:g}"
    if what == "share":
        value, low, high = share(len(first), runs - len(early))
        assert figures.add(f"{name}, found", value, low=low, high=high, goal=f">= {goal}", met=value >= goal)
    else:
        assert len(first) >= 0.99 * (runs - len(early))
        value, low, high = mean(np.array([seen.at - BEFORE for seen in first.values()]))
        assert figures.add(f"{name}, delay", value, low=low, high=high, goal=f"<= {goal}", met=value <= goal)


@pytest.mark.parametrize(("rho", "budget", "goal"), [(0.0, 1e5, 1.0), (0.0, 1e6, 0.1), (0.5, 1e5, 2.0)])
def test_an_error_that_stays_alarms_no_more_often_than_the_dial_says(
    rho: float, budget: float, goal: float, figures: Figures
) -> None:
    series, events = 400, 25_000
    drift = made(series, budget_events=budget)
    alarms = bernoulli(drift, np.random.default_rng(4), start=0, stop=events, error=0.10, rho=rho)
    value, low, high = rate(len(alarms), series * events)
    name = f"drift: false alarms in 1e5, error .10, rho {rho:g}, dial {budget:.0e}, {series * events:.0e} labels"
    assert figures.add(name, value, low=low, high=high, goal=f"<= {goal}", met=value <= goal)


def test_mixed_changes_are_found_within_ten_thousand_events(figures: Figures) -> None:
    """200 series with 12 numeric and 8 categorical features, each with a change of one of eight kinds."""
    kinds, dice = 8, np.random.default_rng(5)
    drift = made(RUNS, categorical=8, budget_events=1e6)
    kind = np.arange(RUNS) % kinds
    size = dice.uniform(1, 2, RUNS)  # of the change, over the least of its kind
    shares = np.arange(10, 0, -1) / 55
    clock = {"now": 0}

    def draw(dice: np.random.Generator, events: int, series: int) -> Array:
        values = np.empty((events, series, WIDTH))
        values[..., :12] = dice.standard_normal((events, series, 12))
        values[..., 12:] = dice.choice(10, (events, series, 8), p=shares)
        over = clock["now"] + np.arange(events) - BEFORE
        clock["now"] += events
        is_on = over >= 0
        slope = np.clip(over / 2_000, 0, 1)[:, None]
        for number in range(kinds if is_on.any() else 0):
            mine = np.flatnonzero(kind == number)
            by = size[mine]
            part = values[:, mine]
            if number == 0:  # abrupt shift
                part[..., 0] += 0.25 * by * is_on[:, None]
            elif number == 1:  # gradual shift
                part[..., 1] += 0.3 * by * slope
            elif number == 2:  # wider
                part[..., 2] *= 1 + 0.2 * by * is_on[:, None]
            elif number == 3:  # narrower
                part[..., 3] /= 1 + 0.25 * by * is_on[:, None]
            elif number == 4:  # a level becomes more frequent
                part[..., 12][(dice.random(part.shape[:2]) < 0.05 * by) & is_on[:, None]] = 2
            elif number == 5:  # a level disappears for another
                part[..., 13][(part[..., 13] == 3) & (dice.random(part.shape[:2]) < 0.5 * by) & is_on[:, None]] = 9
            elif number == 6:  # missing
                part[..., 4][(dice.random(part.shape[:2]) < 0.02 * by) & is_on[:, None]] = np.nan
            else:  # several features, each a little
                part[..., 5:9] += 0.15 * by[:, None] * is_on[:, None, None]
            values[:, mine] = part
        return values

    early = {seen.series for seen in feed(drift, draw, dice, start=0, stop=BEFORE)}
    found = {seen.series for seen in feed(drift, draw, dice, start=BEFORE, stop=BEFORE + 10_000)}
    hits, trials = len(found - early), RUNS - len(early)
    value, low, high = share(hits, trials)
    assert len(early) <= 3
    name = f"drift: found within 10,000 of {trials} mixed changes"
    assert figures.add(name, value, low=low, high=high, goal="> 0.95", met=value > 0.95)


def test_classes_that_come_more_often_are_drift_of_the_label(figures: Figures) -> None:
    count, dice, found = RUNS, np.random.default_rng(6), {}
    drift = Drift(DriftConfig(), features=[], classes=4)
    for number in range(count):
        drift.add((f"m{number}", "v", "c"))
    for first in range(0, BEFORE + 10_000, STEP):
        shares = [0.4, 0.3, 0.2, 0.1] if first < BEFORE else [0.3, 0.3, 0.2, 0.2]
        outputs = dice.choice(4, STEP * count, p=shares).astype(float)
        now_ms = np.repeat(np.arange(first, first + STEP), count)
        series, none = np.tile(np.arange(count), STEP), np.full(STEP * count, np.nan)
        for alarm in drift.observe(series, np.empty((STEP * count, 0)), outputs, none, now_ms=now_ms):
            found.setdefault(alarm.series, alarm.verdict.kind)
    value, low, high = share(sum(kind == "label" for kind in found.values()), count)
    name = "drift: label drift found and named"
    assert figures.add(name, value, low=low, high=high, goal="> 0.95", met=value > 0.95)
