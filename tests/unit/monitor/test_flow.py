"""How records come: ages, the volume of whole windows, dead letters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.monitor.measured import SETTINGS, Measured, ms

WINDOW_S = SETTINGS["pane_s"] * SETTINGS["panes"]


def volumes(*counts: int, cut: int = 10**9) -> Measured:
    """Serve so many predictions in each window, the first of them from its middle on."""
    made = Measured()
    for window, count in enumerate(counts):
        at_s = (window + 0.5) * WINDOW_S
        for start in range(0, count, cut):
            made.serve([0.9] * min(cut, count - start), at_s=at_s)
    return made


def test_feedback_ages_from_the_last_label_while_predictions_wait() -> None:
    made = Measured()
    assert math.isnan(made.figure("feedback_age_s")[1])
    made.serve([0.9], at_s=10)
    assert made.figure("feedback_age_s", now_s=40) == (1, 30), "from the first prediction where there is no label yet"
    made.label([0.9], [1], at_s=10, came_s=50)
    assert made.figure("feedback_age_s", now_s=90)[1] == 0, "nothing waits"
    made.serve([0.9], at_s=100)
    assert made.figure("feedback_age_s", now_s=120) == (2, 70)


def test_of_several_first_predictions_the_first_counts() -> None:
    made = Measured()
    made.monitor.flow.predicted(made.monitor.series, np.zeros(3, int), np.array([ms(5), ms(6), ms(7)]))
    assert made.held("first_ms") == ms(5)


def test_predictions_age_by_stream_time_and_by_the_clock_while_idle() -> None:
    made = Measured()
    assert math.isnan(made.figure("predictions_age_s")[1])
    made.serve([0.9, 0.9], at_s=10)
    assert made.figure("predictions_age_s", now_s=25) == (2, 15)
    assert made.figure("predictions_age_s", now_s=25, idle_s=100) == (2, 115)


def test_the_volume_is_known_after_three_whole_windows() -> None:
    for counts in ((5, 20, 20), (5, 20, 20, 20), (5, 20, 20, 20, 60)):
        assert math.isnan(volumes(*counts).figure("volume_fold")[1]), "of the last one nobody knows whether it is over"
    assert volumes(5, 20, 20, 20, 60, 1).held("volume_fold") == 3
    assert volumes(5, 20, 20, 20, 10, 1).held("volume_fold") == 2, "as many times less is as unusual"


def test_the_first_window_begins_somewhere_inside_and_says_nothing_of_the_usual_volume() -> None:
    assert volumes(1, 30, 1).held("volume_mean") == 30


def test_the_usual_volume_is_the_mean_of_the_windows_before() -> None:
    assert volumes(1, 10, 20, 60, 1).held("volume_mean") == pytest.approx(30)


@pytest.mark.parametrize("cut", [1, 7])
def test_the_volume_is_the_same_however_predictions_come(cut: int) -> None:
    whole, parts = volumes(3, 20, 20, 20, 31, 8), volumes(3, 20, 20, 20, 31, 8, cut=cut)
    for name in ("volume_fold", "volume_mean", "volume_count", "volume_windows"):
        assert whole.held(name) == parts.held(name)


def test_dead_letters_are_a_share_of_all_that_came_in_the_window() -> None:
    made = Measured()
    made.serve([0.9] * 6, at_s=10)
    made.monitor.refuse(np.array([0]), np.array([ms(11)]))
    made.monitor.refuse(np.array([0]), np.array([ms(12)]))
    assert made.figure("refused_rate", now_s=60) == (8, 0.25)
    assert made.figure("refused_rate", now_s=WINDOW_S * 2)[0] == 0
