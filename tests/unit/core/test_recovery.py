"""When a risen loss is back: which labels are asked, and what they must say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive_stream.config import load
from adaptive_stream.contracts.drift import DriftedStream
from adaptive_stream.core.finding import Alarmed, further
from adaptive_stream.core.recovery import ENOUGH, back
from adaptive_stream.monitor.monitor import Monitor

PANE_MS, PANES = 60_000, 10
ALARM_MS = 1_000 * PANE_MS + 1  # just inside a pane


def monitor(series: int = 1) -> Monitor:
    overrides = ["match=[m*]", "monitor.pane_s=60", f"monitor.panes={PANES}"]
    made = Monitor(load([], {}, [f"families.f.{text}" for text in overrides]).families["f"])
    for number in range(series):
        made.add(("m", "v", f"c{number}"), row=0)
    return made


def label(made: Monitor, pane: int, misses: list[int] | np.ndarray, count: int) -> None:
    """Label so many predictions of every series, with so many misses each, in a pane after the alarm's."""
    series = np.repeat(np.arange(len(misses)), count)
    hits = (np.arange(count) >= np.asarray(misses)[:, None]).ravel()
    at_ms = np.full(len(series), ALARM_MS + pane * PANE_MS)
    made.label(series, np.ones(len(series)), hits.astype(np.float64), times_ms=at_ms, now_ms=at_ms)


def alarm(before: float = 0.1, risen: float = 0.3, worth: float = 1.0, series: int = 0) -> Alarmed:
    return Alarmed(
        series=series, is_performance=True, is_gain=False, kind="performance", severity="high", at_ms=ALARM_MS,
        affected=[], streams=[DriftedStream(name="loss", share=1.0, change="up")], numbers=[], before=before,
        risen=risen, worth=worth, counted_ms=ALARM_MS,
    )  # fmt: skip


def is_back(one: Alarmed, made: Monitor, pane: int) -> bool:
    return bool(back([one], made, now_ms=ALARM_MS + pane * PANE_MS))


@pytest.mark.parametrize(
    ("panes", "is_over"),
    [
        ([], False),
        ([(0, 2_000, 0.1)], False),  # the alarm's own pane holds labels from before it
        ([(1, 2_000, 0.1)], True),
        ([(1, 2_000, 0.3)], False),
        ([(1, 2_000, 0.15)], False),  # a quarter of the rise is left, but .05 of the loss
        ([(1, 20, 0.0)], False),  # a few good ones are no evidence
        ([(1, 2_000, 0.3), (2, 2_000, 0.1)], True),  # what was bad is no debt
        ([(1, 500, 0.1), (2, 2_000, 0.3)], False),
        ([(pane, 200, 0.1) for pane in range(1, 7)], True),  # panes add up
    ],
)
def test_the_labels_since_the_alarm_say_so(panes: list[tuple[int, int, float]], *, is_over: bool) -> None:
    made = monitor()
    for pane, count, loss in panes:
        label(made, pane, [round(count * loss)], count)
    assert is_back(alarm(), made, 7) == is_over


def test_a_small_rise_and_labels_that_are_worth_less_need_more_of_them() -> None:
    made = monitor()
    label(made, 1, [200], 2_000)
    assert is_back(alarm(), made, 2)
    assert not is_back(alarm(risen=0.15), made, 2)
    assert not is_back(alarm(worth=0.2), made, 2)


def test_a_loss_of_nothing_or_of_all_has_its_evidence_too() -> None:
    good, bad = monitor(), monitor()
    label(good, 1, [0], 2_000)
    label(bad, 1, [2_000], 2_000)
    for before, risen in ((0.0, 0.2), (0.5, 1.0), (0.99, 1.0)):
        assert is_back(alarm(before, risen), good, 2)
        assert not is_back(alarm(before, risen), bad, 2)


def test_a_sparse_series_is_back_after_more_panes_than_a_window_has() -> None:
    made, one = monitor(), alarm()
    over = None
    for pane in range(1, 200):
        label(made, pane, [pane % 4 == 0], 5)  # one miss in twenty
        if is_back(one, made, pane + 1):
            over = pane
            break
    assert over is not None
    assert over > PANES


def test_a_pane_counts_once_however_often_it_is_looked_at() -> None:
    made, often, once = monitor(), alarm(), alarm()
    for pane in range(1, 4):
        label(made, pane, [10], 100)
        for tenth in range(10):
            back([often], made, now_ms=ALARM_MS + pane * PANE_MS + tenth * PANE_MS // 10)
    made_of_both = [back([one], made, now_ms=ALARM_MS + 4 * PANE_MS) for one in (often, once)]
    assert made_of_both == [[], []]
    assert often.score == pytest.approx(once.score)
    assert 0 < often.score < math.log(ENOUGH)
    assert not back([often], made, now_ms=ALARM_MS + 90 * PANE_MS), "silence says nothing"
    assert often.score == pytest.approx(once.score)


@pytest.mark.slow
def test_a_loss_that_stays_where_it_rose_to_is_never_back_and_one_at_a_third_seldom() -> None:
    dice, series, panes, count = np.random.default_rng(3), 400, 200, 50
    for before, risen in ((0.1, 0.15), (0.1, 0.3), (0.4, 0.5)):
        third = before + min((risen - before) / 3, 0.05)
        for loss, most in ((risen, 0), (third, series * panes / ENOUGH)):
            made = monitor(series)
            col = made.series.col
            opened = [alarm(before, risen, series=number) for number in range(series)]
            for pane in range(1, panes + 1):
                number = ALARM_MS // PANE_MS + pane
                slot = number % PANES
                col["arrived_pane"][:series, slot], col["arrived_n"][:series, slot] = number, count
                col["arrived_score"][:series, slot] = dice.binomial(count, 1 - loss, series)
                over = {one.series for one in back(opened, made, now_ms=ALARM_MS + (pane + 1) * PANE_MS)}
                opened = [one for one in opened if one.series not in over]
            assert series - len(opened) <= most, (before, loss)


def test_a_further_rise_begins_the_evidence_anew_and_tells_the_whole_of_it() -> None:
    opened = alarm(before=0.1, risen=0.3)
    opened.score, opened.is_dated, opened.severity = 5.0, True, "low"
    found = further(opened, alarm(before=0.3, risen=0.6))
    assert (found.before, found.risen, found.score, found.severity) == (0.1, 0.6, 0.0, "high")
    [stream] = found.streams
    assert (stream.share_since, stream.effect_unit) == (0.6, "of the loss")
    assert stream.effect == pytest.approx(0.5)
    assert found.is_dated, "its since is that of the first"
