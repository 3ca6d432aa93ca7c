"""When a risen loss is back: which labels are asked, and how many."""

from __future__ import annotations

import numpy as np
import pytest

from adaptive_stream.config import load
from adaptive_stream.contracts.drift import DriftedStream
from adaptive_stream.core.finding import Alarmed
from adaptive_stream.core.recovery import is_back
from adaptive_stream.monitor.monitor import Monitor

PANE_MS, PANES = 60_000, 10
ALARM_MS = 1_000 * PANE_MS + 1  # just inside a pane


def monitor(*losses: tuple[int, int, float]) -> Monitor:
    """Return a monitor whose series have so many labels, of such a mean loss, in each pane after the alarm."""
    overrides = ["match=[m*]", "monitor.pane_s=60", f"monitor.panes={PANES}"]
    made = Monitor(load([], {}, [f"families.f.{text}" for text in overrides]).families["f"])
    made.add(("m", "v", "c"), row=0)
    for pane, count, loss in losses:
        hits = np.arange(count) >= round(count * loss)
        at_ms = np.full(count, ALARM_MS + pane * PANE_MS)
        labels = hits.astype(np.float64)
        made.label(np.zeros(count, dtype=np.int64), np.ones(count), labels, times_ms=at_ms, now_ms=at_ms)
    return made


def alarm(before: float = 0.1, risen: float = 0.3, worth: float = 1.0) -> Alarmed:
    return Alarmed(
        series=0, is_performance=True, is_gain=False, kind="performance", severity="high", at_ms=ALARM_MS, affected=[],
        streams=[DriftedStream(name="loss", share=1.0, change="up")], numbers=[], before=before, risen=risen,
        worth=worth,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("losses", "is_over"),
    [
        ([], False),
        ([(0, 500, 0.1)], False),  # the alarm's own pane holds labels from before it
        ([(1, 500, 0.1)], True),
        ([(1, 500, 0.12)], True),  # nine tenths of the rise are gone
        ([(1, 500, 0.13)], False),
        ([(1, 250, 0.1)], False),  # too few to tell .1 from .3 apart
        ([(1, 500, 0.3), (2, 500, 0.1)], True),  # the newest that are enough
        ([(1, 500, 0.1), (2, 500, 0.3)], False),
        ([(1, 5_000, 0.3), (2, 200, 0.1)], False),  # with a pane before, where one has too few
        ([(1, 200, 0.1), (2, 200, 0.1)], True),
    ],
)
def test_the_newest_labels_since_the_alarm_say_so(losses: list[tuple[int, int, float]], *, is_over: bool) -> None:
    made = monitor(*losses)
    [found] = is_back([alarm()], made, now_ms=ALARM_MS + 3 * PANE_MS)
    assert found == is_over


def test_a_small_rise_needs_more_labels() -> None:
    made = monitor((1, 5_000, 0.1))
    now_ms = ALARM_MS + 2 * PANE_MS
    assert is_back([alarm(risen=0.2)], made, now_ms=now_ms).all()
    assert not is_back([alarm(risen=0.12)], made, now_ms=now_ms).any()


def test_labels_that_are_worth_less_than_one_must_be_more() -> None:
    made = monitor((1, 500, 0.1))
    assert not is_back([alarm(worth=0.5)], made, now_ms=ALARM_MS + 2 * PANE_MS).any()


def test_the_whole_window_is_enough_once_the_alarm_is_older() -> None:
    made = monitor(*((pane, 10, 0.1) for pane in range(1, 21)))
    few = [alarm(risen=0.2)]
    assert not is_back(few, made, now_ms=ALARM_MS + 9 * PANE_MS).any()
    assert is_back(few, made, now_ms=ALARM_MS + 20 * PANE_MS).all()
    assert not is_back(few, made, now_ms=ALARM_MS + 90 * PANE_MS).any(), "no labels say nothing"
