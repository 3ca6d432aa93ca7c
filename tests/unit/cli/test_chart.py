"""The pictures: whatever the panes hold, all ink stays inside and every number is one."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptive_stream.cli.page.axis import DAY_MS, HOUR_MS, Scale, extent, is_drawable, time_ticks, value_ticks
from adaptive_stream.cli.page.chart import Scene, figure_chart, metric_chart, volume_chart
from adaptive_stream.cli.page.history import Life
from adaptive_stream.cli.page.plot import LEFT, RIGHT, WIDTH, runs, thinned
from adaptive_stream.cli.page.square import MAX_CLASSES, calibration_chart, confusion_chart, folded
from adaptive_stream.contracts.clock import format_time
from adaptive_stream.contracts.events import CalibrationBin, Estimate, PaneFigures, SeriesStatus
from tests.unit.cli.story import START_MS, pane, series

LAST_MS = 253_402_300_799_000  # the last second of year 9999
FIRST_MS = -62_135_596_800_000
ANY = st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1) | st.none()
TIMES = st.integers(FIRST_MS, LAST_MS) | st.integers(START_MS, START_MS + 100 * HOUR_MS)
COUNTS = st.integers(0, 10**20)
LIVES = st.builds(
    Life,
    name=st.text(min_size=1),
    severity=st.sampled_from(["high", "medium", "info", "else"]),
    starts_ms=TIMES,
    ends_ms=st.none() | TIMES,
    variant_id=st.none(),
    channel_id=st.none(),
    summary=st.just(""),
    value=st.none(),
    threshold=st.none(),
)
PANES = st.builds(
    PaneFigures,
    starts_at=st.just(""),
    labelled=COUNTS,
    predictions=COUNTS,
    failed=COUNTS,
    value=ANY,
    low=ANY,
    high=ANY,
    arrived_value=ANY,
    estimated=ANY,
    latency_ms=ANY,
    confidence=ANY,
)
PATH = re.compile(r"([MLHVhvZ])((?:-?[\d.]+(?:e[+-]?\d+)?,?)*)")


def scene(
    panes: list[tuple[int, PaneFigures]],
    *,
    of: SeriesStatus | None = None,
    lives: list[Life] | None = None,
    points: int = 600,
) -> Scene:
    return Scene("s", of or series(), panes, lives or [], START_MS, points)


def check_inside(picture: str | None) -> None:
    """Check that the picture is XML and that each of its coordinates is a number inside its view."""
    if picture is None:
        return
    tree = ET.fromstring(picture)  # noqa: S314 - the picture under test
    svg = tree if tree.tag == "svg" else tree.find("svg")
    assert svg is not None
    left, top, width, height = map(float, svg.attrib["viewBox"].split())
    assert (left, top) == (0, 0)
    for node in svg.iter():
        for name in ("x", "cx", "width"):
            assert 0 <= float(node.attrib.get(name, "0")) <= width, ET.tostring(node)
        for name in ("y", "cy", "height"):
            assert 0 <= float(node.attrib.get(name, "0")) <= height, ET.tostring(node)
        assert float(node.attrib.get("x", "0")) + float(node.attrib.get("width", "0")) <= width + 0.2
        if "d" in node.attrib:
            for x, y in corners(node.attrib["d"]):
                assert -0.2 <= x <= width + 0.2, node.attrib["d"]
                assert -0.2 <= y <= height + 0.2, node.attrib["d"]


def corners(path: str) -> list[tuple[float, float]]:
    """Return where a path goes; it must be of the few commands that are used."""
    assert "".join(command + numbers for command, numbers in PATH.findall(path)) == path
    x = y = 0.0
    made = []
    for command, said in PATH.findall(path):
        numbers = [float(number) for number in said.split(",") if number]
        assert all(map(math.isfinite, numbers))
        match command, numbers:
            case ("M" | "L", [x, y]):
                pass
            case ("H", [x]):
                pass
            case ("V", [y]):
                pass
            case ("h", [by]):
                x += by
            case ("v", [by]):
                y += by
            case ("Z", []):
                pass
            case other:
                pytest.fail(f"not a path: {other}")
        made.append((x, y))
    return made


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    panes=st.dictionaries(TIMES, PANES, max_size=30),
    lives=st.lists(LIVES, max_size=12),
    baseline=ANY,
    points=st.integers(20, 600),
)
def test_any_panes_are_drawn_inside(
    panes: dict[int, PaneFigures], lives: list[Life], baseline: float | None, points: int
) -> None:
    of = SeriesStatus(
        variant_id="v",
        channel_id="c",
        metric="accuracy",
        predictions=0,
        labelled=0,
        window=Estimate(n=0),
        total=Estimate(n=0),
        baseline=Estimate(n=1, value=baseline),
        baselines={} if baseline is None else {"latency_ms": baseline},
    )
    made = scene(sorted(panes.items()), of=of, lives=lives, points=points)
    check_inside(metric_chart(made))
    check_inside(volume_chart(made))
    check_inside(figure_chart(made, lambda pane: pane.latency_ms, name="latency_ms", unit="ms"))
    check_inside(figure_chart(made, lambda pane: pane.confidence, name="confidence", unit=""))


@settings(max_examples=100, deadline=None)
@given(
    bins=st.lists(st.builds(CalibrationBin, n=COUNTS, predicted=st.floats(), observed=st.floats()), max_size=60),
    counts=st.lists(st.lists(COUNTS, max_size=14), max_size=14),
    classes=st.lists(st.text(min_size=1), max_size=14),
)
def test_any_bins_and_any_matrix_are_drawn_inside(
    bins: list[CalibrationBin], counts: list[list[int]], classes: list[str]
) -> None:
    check_inside(calibration_chart(bins, name="c"))
    check_inside(confusion_chart(classes, counts, name="m"))


@settings(deadline=None)
@given(st.lists(st.floats().filter(is_drawable), max_size=8), st.booleans())
def test_value_ticks_stand_on_their_axis_in_order_and_few(values: list[float], is_from_zero: bool) -> None:  # noqa: FBT001
    low, high = extent(values, is_from_zero=is_from_zero)
    ticks = value_ticks(low, high, about=4)
    assert 2 <= len(ticks) <= 9
    assert all(low - (high - low) * 1e-6 <= tick.at <= high + (high - low) * 1e-6 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)
    assert all(
        Scale(low, high, 0, 100)(value) in range(101) or 0 <= Scale(low, high, 0, 100)(value) <= 100 for value in values
    )


@settings(deadline=None)
@given(TIMES, st.integers(1000, 10_000 * 365 * DAY_MS))
def test_time_ticks_stand_on_their_axis_and_are_few(start: int, span: int) -> None:
    end = min(start + span, LAST_MS)
    ticks = time_ticks(start, end)
    assert len(ticks) <= 9
    assert all(start <= tick.at <= end for tick in ticks)


@pytest.mark.parametrize(
    ("hours", "labels", "contexts"),
    [
        (6, ["00:00", "01:00", "02:00", "03:00", "04:00", "05:00", "06:00"], ["1 Jun 2013"]),
        (72, ["00:00", "12:00", "00:00", "12:00", "00:00", "12:00", "00:00"],
         ["1 Jun 2013", "2 Jun 2013", "3 Jun 2013", "4 Jun 2013"]),
        (24 * 28, ["3 Jun", "10 Jun", "17 Jun", "24 Jun"], ["2013"]),
        (24 * 200, ["Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], ["2013"]),
        (24 * 365 * 5, ["2014", "2015", "2016", "2017", "2018"], []),
    ],
)  # fmt: skip
def test_time_is_told_in_natural_units(hours: int, labels: list[str], contexts: list[str]) -> None:
    ticks = time_ticks(START_MS, START_MS + hours * HOUR_MS)
    assert [tick.label for tick in ticks] == labels
    assert [tick.context for tick in ticks if tick.context] == contexts


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.floats(-1e9, 1e9)), min_size=60, max_size=200, unique_by=lambda p: p[0]
    )
)
def test_a_thinned_line_keeps_its_extremes_and_its_order(points: list[tuple[int, float]]) -> None:
    line = [(float(at), value) for at, value in sorted(points)]
    (kept,) = thinned([line], 40)
    assert len(kept) <= 40
    assert kept == sorted(set(kept) & set(line))
    assert {max(v for _, v in kept), min(v for _, v in kept)} == {max(v for _, v in line), min(v for _, v in line)}


def test_a_gap_in_the_panes_is_a_gap_in_the_line_however_it_is_thinned() -> None:
    panes = [(START_MS + n * HOUR_MS, pane(n)) for n in (*range(400), *range(500, 1500))]
    picture = metric_chart(scene(panes, points=100))
    assert picture is not None
    lines = re.findall(r'<path d="[^"]*" class="measured"/>', picture)
    assert len(lines) == 2
    assert sum(line.count("L") for line in lines) <= 100
    assert [len(run) for run in runs([(0, 1.0), (1, 1.0), (9, 1.0)], max_gap_ms=2)] == [2, 1]


def test_labels_at_the_lines_never_touch() -> None:
    same = PaneFigures(
        starts_at="", labelled=1, value=0.8321, low=0.8, high=0.85, arrived_value=0.8321, estimated=0.8321
    )
    picture = metric_chart(scene([(START_MS, same), (START_MS + HOUR_MS, same)]))
    assert picture is not None
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="label', picture))
    assert len(heights) == 4
    assert all(after - before >= 14.9 for before, after in pairwise(heights))


def test_names_of_alerts_never_overlap() -> None:
    lives = [
        Life(f"Alert{n}", "high", START_MS + n * HOUR_MS, START_MS + (n + 3) * HOUR_MS, None, None, "", None, None)
        for n in range(9)
    ]
    picture = metric_chart(scene([(START_MS + n * HOUR_MS, pane(n)) for n in range(100)], lives=lives))
    assert picture is not None
    places = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="name high">([^<]*)', picture)
    assert places
    for x, y, words in places:
        assert LEFT <= float(x) <= WIDTH - RIGHT
        assert [other for other in places if other[1] == y and abs(float(other[0]) - float(x)) < 6 * len(words)] == [
            (x, y, words)
        ]


def test_volume_is_summed_and_its_totals_are_told() -> None:
    panes = [(START_MS + n * HOUR_MS, pane(n)) for n in range(24 * 60)]
    picture = volume_chart(scene(panes))
    assert picture is not None
    assert "count per 12 hours" in picture
    assert f"predictions {sum(p.predictions for _, p in panes):,}" in picture
    assert f"labelled {sum(p.labelled for _, p in panes):,}" in picture
    assert f"failed {sum(p.failed for _, p in panes):,}" in picture


def test_of_many_classes_the_largest_are_shown_and_nothing_is_lost() -> None:
    classes = [f"c{n}" for n in range(40)]
    counts = [[row * 7 + column for column in range(40)] for row in range(40)]
    names, cells = folded(classes, counts)
    assert names == [*(f"c{n}" for n in range(31, 40)), "31 others"]
    assert len(cells) == MAX_CLASSES
    assert sum(map(sum, cells)) == sum(map(sum, counts))


def test_a_matrix_shows_counts_and_shares_of_the_true_class() -> None:
    picture = confusion_chart(["no", "yes"], [[30, 10], [5, 15]], name="m")
    assert picture is not None
    assert re.findall(r">([\d]+(?: %)?)</text>", picture) == ["30", "75 %", "10", "25 %", "5", "25 %", "15", "75 %"]


def test_without_figures_there_is_no_picture() -> None:
    empty = scene([(START_MS, PaneFigures(starts_at=format_time(START_MS), labelled=0))])
    assert metric_chart(empty) is None
    assert volume_chart(empty) is None
    assert figure_chart(empty, lambda pane: pane.latency_ms, name="latency_ms", unit="ms") is None
    assert calibration_chart([CalibrationBin(n=0, predicted=0.5, observed=0.5)], name="c") is None
    assert confusion_chart(["a", "b"], [[0, 0], [0, 0]], name="m") is None
    assert confusion_chart([], [], name="m") is None
