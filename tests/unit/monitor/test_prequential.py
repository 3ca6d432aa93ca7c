"""How good each series is: scores in panes, baselines, and the windows that end at a look."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptive_stream.config.tree import Alerts, Family, Monitor
from adaptive_stream.monitor.prequential import Prequential, Windows
from adaptive_stream.stats.interval import confidence_sequence

PANE_MS = 60_000
START_MS = 1_000 * PANE_MS


def monitor(*, series: int = 1, task: str = "binary", tolerance: float = 1.0, **settings: object) -> Prequential:
    settings = {"pane_s": 60, "panes": 4, "baseline_labels": 10, **settings}
    family = Family.model_validate(
        {
            "match": ["*"],
            "task": task,
            "tolerance": tolerance,
            "monitor": Monitor.model_validate(settings),
            "alerts": Alerts(min_labels=5),
        }
    )
    made = Prequential(family)
    for number in range(series):
        made.add(("m", f"v{number}", "web"), row=0)
    return made


def score(
    made: Prequential, *scores: float, pane: int = 0, came: int | None = None, series: int | list[int] = 0
) -> None:
    """Credit scores to a pane, counted from the start; their labels come in the pane ``came``."""
    count = len(scores)
    made.score(
        np.full(count, series) if isinstance(series, int) else np.array(series),
        np.array(scores, float),
        np.full(count, START_MS + pane * PANE_MS + 5),
        np.full(count, START_MS + (pane if came is None else came) * PANE_MS + 9),
    )


def window(made: Prequential, *, pane: int, series: int = 0) -> Windows:
    """Return the window that ends with a pane."""
    return made.windows(np.array([series]), now_ms=START_MS + (pane + 1) * PANE_MS)


def test_a_window_holds_the_mean_of_its_panes_with_an_interval() -> None:
    made = monitor()
    score(made, 1, 1, 0, pane=0)
    score(made, 1, pane=1)
    found = window(made, pane=1)
    assert (found.n.tolist(), found.mean.tolist()) == ([4], [0.75])
    low, high = confidence_sequence(found.n, found.mean)
    assert (found.low.tolist(), found.high.tolist()) == (low.tolist(), high.tolist())
    assert found.low[0] < 0.75 < found.high[0]


def test_an_empty_window_has_no_mean_and_excludes_nothing() -> None:
    found = window(monitor(), pane=0)
    assert found.n[0] == 0
    assert math.isnan(found.mean[0])
    assert (found.low[0], found.high[0]) == (0, 1)


def test_the_window_slides_pane_by_pane() -> None:
    made = monitor()
    for pane in range(10):
        score(made, *[1.0] * (pane + 1), pane=pane)
        expected = sum(range(max(1, pane - 2), pane + 2))  # four panes, this one included
        assert window(made, pane=pane).n[0] == expected
    assert [int(window(made, pane=pane).n[0]) for pane in range(9, 14)] == [34, 27, 19, 10, 0]
    assert made.series.col["labelled"][0] == 55, "the total forgets nothing"


def test_a_window_that_ends_on_the_edge_of_a_pane_leaves_the_next_pane_out() -> None:
    made = monitor()
    score(made, 1, pane=0)
    edge = START_MS + 4 * PANE_MS
    assert made.windows(np.array([0]), now_ms=edge).n[0] == 1
    assert made.windows(np.array([0]), now_ms=edge + 1).n[0] == 0


def test_a_late_label_counts_in_the_pane_of_its_prediction() -> None:
    made = monitor()
    score(made, 1, 1, pane=3)
    score(made, 0, pane=1, came=3)
    assert window(made, pane=3).mean[0] == pytest.approx(2 / 3)
    assert window(made, pane=5).mean[0] == 1, "the pane of the late label has left the window, with the label"


def test_a_label_too_late_for_its_pane_counts_in_the_totals_alone() -> None:
    made = monitor()
    score(made, 1, pane=4)
    score(made, 0, 0, pane=0, came=4)
    assert made.expired == 2
    assert (window(made, pane=4).n[0], window(made, pane=4).mean[0]) == (1, 1)
    assert (made.series.col["labelled"][0], made.series.col["score_sum"][0]) == (3, 1)
    score(made, 0, pane=1, came=4)
    assert made.expired == 2
    assert window(made, pane=4).n[0] == 2


def test_one_call_may_span_panes_that_share_a_place() -> None:
    made = monitor()
    panes = np.array([0, 0, 4, 4, 4])
    made.score(np.zeros(5, int), np.ones(5), START_MS + panes * PANE_MS, START_MS + panes * PANE_MS)
    assert window(made, pane=4).n[0] == 3


def test_series_do_not_mix() -> None:
    made = monitor(series=3)
    score(made, 1, 0, 1, 1, series=[0, 1, 0, 2])
    assert [window(made, pane=0, series=s).mean[0] for s in range(3)] == [1, 0, 1]
    assert [int(window(made, pane=0, series=s).n[0]) for s in range(3)] == [2, 1, 1]


@pytest.mark.parametrize("cut", [1, 3, 7, 25])
def test_the_first_labels_make_the_baseline_however_they_come(cut: int) -> None:
    made = monitor()
    scores = [1.0] * 7 + [0.0] * 3 + [0.0] * 15
    for start in range(0, 25, cut):
        score(made, *scores[start : start + cut], pane=start)
    col = made.series.col
    assert (col["baseline"][0], col["baseline_count"][0], col["baseline_version"][0]) == (0.7, 10, 1)
    tenth = 9 // cut * cut  # the pane in which the tenth label came
    assert col["baseline_at"][0] == START_MS + tenth * PANE_MS + 9


def test_until_enough_labels_came_there_is_no_baseline() -> None:
    made = monitor(series=2)
    score(made, *[1.0] * 19, series=[0] * 9 + [1] * 10)
    assert math.isnan(made.series.col["baseline"][0])
    assert made.series.col["baseline"][1] == 1


def test_a_stated_objective_is_the_baseline_from_the_start() -> None:
    made = monitor(baseline=0.9)
    assert made.series.col["baseline"][0] == 0.9
    score(made, *[0.0] * 30)
    assert (made.series.col["baseline"][0], made.series.col["baseline_count"][0]) == (0.9, 0)


def test_an_error_is_stated_and_shown_in_the_units_of_the_label() -> None:
    made = monitor(task="regression", tolerance=20.0, baseline=5.0)
    assert made.series.col["baseline"][0] == 0.75
    assert made.figure(0.75) == 5.0
    assert [made.score_of_figure(made.figure(s)) for s in (0.0, 0.25, 1.0)] == [0.0, 0.25, 1.0]
    assert made.score_of_figure(1_000.0) == 0, "an error beyond the tolerance counts as it"


def test_a_baseline_that_is_ordered_replaces_the_one_there_is() -> None:
    made = monitor(series=2)
    score(made, *[1.0] * 10)
    made.set_baseline(np.array([0]), np.array([0.6]), now_ms=77)
    col = made.series.col
    assert (col["baseline"][0], col["baseline_at"][0], col["baseline_version"][0]) == (0.6, 77, 2)
    assert math.isnan(col["baseline"][1])
    score(made, *[0.0] * 50)
    assert col["baseline"][0] == 0.6


def test_ratings_are_summed_as_shares_of_their_scale() -> None:
    made = monitor(series=2)
    made.rate(np.array([0, 0, 1]), np.array([0.25, 0.5, 1.0]))
    assert made.series.col["rating_count"][:2].tolist() == [2, 1]
    assert made.series.col["rating_sum"][:2].tolist() == [0.75, 1.0]


@pytest.mark.parametrize(
    ("scores", "is_fired"),
    [
        ([0.0] * 4, False),  # fewer labels than min_labels
        ([1.0] * 89 + [0.0] * 11, False),  # a drop of 0.01
        ([1.0] * 7 + [0.0] * 13, False),  # a deep drop, and an interval that does not exclude chance
        ([0.0] * 400, True),
    ],
)
def test_a_drop_needs_labels_size_and_evidence(scores: list[float], is_fired: bool) -> None:  # noqa: FBT001
    made = monitor(baseline=0.9)
    score(made, *scores)
    looked, found, turns = made.look(now_ms=START_MS + PANE_MS)
    assert looked.tolist() == [0]
    assert found.n.tolist() == [len(scores)]
    assert turns.fired.tolist() == ([0] if is_fired else [])


def test_only_series_with_news_or_a_life_under_way_are_looked_at() -> None:
    made = monitor(series=3, baseline=0.9)
    score(made, *[0.0] * 400, series=1)
    score(made, 1.0, series=2)
    assert made.look(now_ms=START_MS + PANE_MS)[0].tolist() == [1, 2]
    assert made.look(now_ms=START_MS + 2 * PANE_MS)[0].tolist() == [1], "it is firing"
    score(made, *[1.0] * 4_000, pane=2, series=1)
    _, _, turns = made.look(now_ms=START_MS + 3 * PANE_MS)
    assert turns.resolved.tolist() == [0]
    assert made.series.col["stage"][1] == 3
    for expected in ([1], []):
        assert made.look(now_ms=START_MS + 4 * PANE_MS)[0].tolist() == expected
