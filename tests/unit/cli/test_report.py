"""The page about a model: what stands on it, that it is whole, harmless and small, and how it reaches its place."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
import pytest
from typer.testing import CliRunner

from adaptive_stream.cli import app
from adaptive_stream.cli.page import History, write_page
from adaptive_stream.cli.page.document import LIMIT_BYTES, MAX_SERIES
from adaptive_stream.cli.page.history import MAX_HELD, MAX_PANES
from adaptive_stream.cli.report import replace
from adaptive_stream.contracts.drift import DriftState, PastDrift
from adaptive_stream.contracts.events import CalibrationBin, Estimate, ModelStatus, OpenAlert, PaneFigures
from adaptive_stream.contracts.field import Severity
from tests.unit.cli.story import (
    START_MS,
    adaptation,
    alert,
    at,
    bare,
    drift,
    estimates,
    moved,
    pane,
    series,
    status,
    watch,
)

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script>\"'&]]>\x1b[31m\u202e\ud800"
VOID = {"meta", "br", "hr", "link", "img", "input"}


def told(*statuses: ModelStatus) -> History:
    history = History(statuses[0].model_id)
    for each in statuses:
        history.take_status(each)
    return history


def parsed(page: str) -> ET.Element:
    """Return the page's tree; it is XML as well as HTML, so nothing is mended on the way."""
    assert page.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(page)  # noqa: S314 - the page under test


def words(page: str) -> str:
    return " ".join(" ".join(parsed(page).itertext()).split())


def check_harmless(page: str) -> None:
    """Check that the page runs nothing, loads nothing, and is small."""
    tree = parsed(page)
    for node in tree.iter():
        assert node.tag not in {"script", "iframe", "object", "embed", "link", "img", "image", "use", "base", "form"}
        for name, value in node.attrib.items():
            assert not name.startswith("on"), name
            assert name not in {"src", "srcset", "xlink:href"}
            assert name != "href" or re.fullmatch(r"#\w+", value)
    assert not re.search(r"://|url\(|@import|javascript:", re.sub(r">[^<]*<", "><", page))
    style = tree.findtext(".//style") or ""
    assert not re.search(r"//|url\(|@import|<", style)
    ids = [node.attrib["id"] for node in tree.iter() if "id" in node.attrib]
    assert len(ids) == len(set(ids))
    assert len(page.encode()) < LIMIT_BYTES


class Balance(HTMLParser):
    """Check that an HTML parser sees the same tree as an XML parser does."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Leave nothing open: for an empty element outside SVG a browser would ignore the slash."""
        assert tag in VOID | {"path", "rect", "circle"}, f"<{tag}/> is not closed in HTML: {attrs}"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_figure_of_the_status_stands_on_the_page() -> None:
    history = told(status(series()))
    history.take_alert(alert(1, hours=10, ends=12, name="FeedbackSilent"))
    history.take_adaptation(adaptation(5))
    for _ in range(3):
        history.take_refusal("invalid_event")
    page = write_page(history)
    check_harmless(page)
    said = words(page)
    for name, estimate in estimates().items():
        row = f"{name} {estimate.value:.4f} {estimate.low:.4f} to {estimate.high:.4f} {estimate.n:,}"
        assert row in said
    for figure in ("0.7123", "0.6912 to 0.7334", "0.8321", "0.7251", "0.8061", "0.6671", "0.0417", "19.25", "0.7777"):
        assert figure in said, figure
    for phrase in (
        "fair",
        "0.1198 below its baseline of 0.8321",
        "declining over the last 10 panes",
        "ordered, n 1,000, version 4, set 1 Jun 2013, 03:00 UTC",
        "1.5 of 3 points: accuracy 0, latency ½, errors 1",
        "Estimated (no labels; blind to concept drift)",
        "AccuracyDegraded firing high",
        "acknowledged",
        "silenced until 2013-06-05 03:00 UTC",
        "FeedbackSilent",
        "promoted drift v12 → v13 n 5200, gain 0.0417, number 5",
        "invalid_event 3",
        "orphan 44",
        "1,312 predictions wait",
        "memory_usage_mb 512.0",
        "1,500 83 %",
        "on time 1,500 (83.3 %) 301 (16.7 %)",
    ):
        assert phrase in said, phrase


def test_html_and_xml_parsers_see_the_same_page() -> None:
    page = write_page(told(status(series(), bare())))
    balance = Balance()
    balance.feed(page)
    assert balance.open == []


def test_every_picture_has_a_name_a_description_and_its_figures_in_a_table() -> None:
    tree = parsed(write_page(told(status(series()))))
    pictures = tree.findall(".//svg")
    assert len(pictures) == 6
    for picture in pictures:
        assert picture.attrib["role"] == "img"
        named = [picture.find(f"./*[@id='{name}']") for name in picture.attrib["aria-labelledby"].split()]
        assert all(node is not None and node.text for node in named)
    assert len(tree.findall(".//details//table")) == 3
    for table in tree.findall(".//table"):
        assert table.findtext("caption")
        columns = len(table.findall("./thead/tr/th"))
        assert {len(row) for row in table.findall("./tbody/tr")} <= {columns}


def test_drift_is_told_in_words_with_its_evidence_over_time_and_what_moved() -> None:
    watched = [
        status(msgspec.structs.replace(series(), drift=drift(data=watch(evidence=number / 2))), hours=28 + number)
        for number in range(4)
    ]
    history = told(*watched, status(msgspec.structs.replace(series(), drift=drift())))
    page = write_page(history)
    check_harmless(page)
    said = words(page)
    for phrase in (
        "Inputs and outputs: drifted since the alarm of 2 Jun 2013, 16:00 UTC; evidence 10^6.5, alarm at 10^6.0",
        "Performance: watching 5,300 since its reference",
        "temp 71 % down -0.8321 sd 0.6150 → 0.3825 2 Jun 2013, 06:00",
        "KS 0.4100 (p < 0.0001)",
        "wind_speed",
        "data 10^6.5",
    ):
        assert phrase in said, phrase
    tree = parsed(page)
    assert len(tree.findall(".//svg")) == 8, "the evidence, and one histogram"
    bars = [node.attrib["d"].count("V") for node in tree.iter("path") if node.attrib.get("class") in {"was", "is"}]
    assert bars == [32, 16]
    [evidence] = [each for each in tree.findall(".//svg") if "evidence for drift" in (each.findtext("title") or "")]
    assert evidence.find("./path[@class='span info']") is not None, "the interval of the change"
    assert "data: since 2 Jun 2013, 06:00" in [node.text for node in evidence.findall("./path/title")]


def test_the_line_of_the_evidence_reaches_the_alarm_between_two_statuses() -> None:
    alarmed = drift(
        data=watch(evidence=0.5, streams=[]), history=[PastDrift(at=at(41), kind="label", name="output", change="up")]
    )
    page = parsed(
        write_page(told(*(status(msgspec.structs.replace(series(), drift=alarmed), hours=n) for n in (40, 42))))
    )
    [evidence] = [each for each in page.findall(".//svg") if "evidence for drift" in (each.findtext("title") or "")]
    [line] = [node.attrib["d"] for node in evidence.findall("./path") if node.attrib["class"] == "measured"]
    heights = [float(corner.split(",")[1]) for corner in line[1:].split("L")]
    assert heights[0] == heights[2] > heights[1]
    [level] = [node.attrib["d"] for node in evidence.findall("./path") if node.attrib["class"] == "baseline"]
    assert heights[1] == float(level.split(",")[1].split("H")[0])


def test_a_categorical_stream_is_drawn_by_its_levels_and_one_without_a_part_not_at_all() -> None:
    levels = ["EWR", "JFK", "", "", "", "", "", "other"]
    origin = moved("origin", edges=[], levels=levels, before=[5, 4, *[0] * 5, 1], since_counts=[1, 4, *[0] * 5, 5])
    page = write_page(told(status(msgspec.structs.replace(
        series(), drift=drift(data=watch(streams=[origin, moved("wind", share=0.004)]))
    ))))  # fmt: skip
    check_harmless(page)
    said = words(page)
    assert "EWR JFK other before (grey), since (blue): share by level" in said
    assert "wind:" not in said


def test_a_detector_that_has_no_reference_yet_says_how_far_it_is() -> None:
    waits = watch(state=DriftState.GATHERING, seen=120, wanted=2000, evidence=0.0)
    page = write_page(told(status(msgspec.structs.replace(bare(), drift=drift(data=waits, history=[])))))
    check_harmless(page)
    assert "Inputs and outputs: gathering its reference, 120 of 2,000." in words(page)


def test_a_series_that_knows_nothing_is_shown_as_such() -> None:
    page = write_page(told(status(bare())))
    check_harmless(page)
    assert "No label in the window yet" in words(page)
    assert "health unknown" in words(page)
    assert "<svg" not in page


def test_a_model_without_a_series_has_a_page() -> None:
    assert "No variant of this model has been seen predicting" in words(write_page(told(status())))


def test_ids_and_texts_of_anybody_are_only_text() -> None:
    hostile = msgspec.structs.replace(
        series(HOSTILE, HOSTILE),
        metric=HOSTILE,
        metrics={HOSTILE: Estimate(n=1, value=0.5)},
        reported={HOSTILE: Estimate(n=1, value=0.5)},
        values={HOSTILE: 1.0},
        classes=[HOSTILE, "b"],
        drift=drift(data=watch(streams=[moved(HOSTILE, level=HOSTILE)])),
        open_alerts=[OpenAlert(alertname=HOSTILE, stage=HOSTILE, severity=Severity.HIGH, since=at(1), starts_at=at(1))],
    )
    history = told(
        msgspec.structs.replace(status(hostile, bare(HOSTILE), model=HOSTILE), family=HOSTILE, feedback={HOSTILE: 1})
    )
    history.take_alert(alert(1, hours=1, name=HOSTILE, summary=HOSTILE))
    history.take_adaptation(adaptation(1, to=HOSTILE))
    history.take_refusal(HOSTILE)
    page = write_page(history)
    check_harmless(page)
    said = words(page)
    assert "<script>alert(1)</script>" in said
    assert all(char.isprintable() or char == "\n" for char in page)


def test_panes_of_all_statuses_make_one_history_and_the_newest_wins() -> None:
    mended = msgspec.structs.replace(pane(47), value=0.9999)
    last = msgspec.structs.replace(series(panes=range(24, 72)), panes=[mended, *map(pane, range(48, 72))])
    history = told(status(series(), hours=48), status(last, hours=72))
    found = history.panes(last, since_ms=None)
    assert [start for start, _ in found] == [START_MS + number * 3_600_000 for number in range(72)]
    assert found[47][1].value == 0.9999
    history.take_status(status(series(), hours=48))  # sent again by somebody
    assert history.panes(last, since_ms=None) == found
    assert history.status is not None
    assert history.status.at == at(72)
    assert [start for start, _ in history.panes(last, since_ms=START_MS + 70 * 3_600_000)] == [
        START_MS + number * 3_600_000 for number in (70, 71)
    ]


def test_panes_of_a_series_that_is_gone_are_not_held() -> None:
    history = told(status(series("old")), status(series("new")))
    assert history.panes(series("old"), since_ms=None) == []


def test_the_panes_held_are_bounded_and_the_oldest_go() -> None:
    history = told(
        status(series(panes=range(MAX_PANES // 2))), status(series(panes=range(MAX_PANES // 2, MAX_PANES + 9)))
    )
    found = history.panes(series(), since_ms=None)
    assert len(found) == MAX_PANES
    assert found[0][0] == START_MS + 9 * 3_600_000


def test_an_alert_is_one_life_from_its_firing_to_its_end() -> None:
    history = told(status(bare()))
    history.take_alert(alert(1, hours=5))
    history.take_alert(alert(1, hours=5, ends=9))
    lives, older = history.lives(since_ms=None)
    assert [(life.starts_ms, life.ends_ms) for life in lives] == [(START_MS + 5 * 3_600_000, START_MS + 9 * 3_600_000)]
    assert older == 0
    assert history.lives(since_ms=START_MS + 10 * 3_600_000)[0] == []


def test_an_alert_that_fires_is_shown_once_though_the_topic_has_it_or_has_lost_it() -> None:
    history = told(status(series()))
    assert [life.name for life in history.lives(since_ms=None)[0]] == ["AccuracyDegraded"]
    history.take_alert(alert(1, hours=40))
    assert len(history.lives(since_ms=None)[0]) == 1


@pytest.mark.slow
def test_24_000_alerts_and_adaptations_are_counted_and_the_newest_shown() -> None:
    history = told(status(series(panes=range(600)), hours=24_000))
    for number in range(24_000):
        history.take_alert(alert(number, hours=number))
        history.take_alert(alert(number, hours=number, ends=number + 0.5, summary="<script>" + "long " * 700))
        history.take_adaptation(adaptation(number))
    history.take_alert(alert(3, hours=3))  # notified anew: counted already
    lives, older = history.lives(since_ms=None)
    assert len(lives) == MAX_HELD
    assert len(lives) + older == 24_001  # and the one that the status alone knows
    assert lives[0].starts_ms == START_MS + 23_999 * 3_600_000
    page = write_page(history)
    check_harmless(page)
    said = words(page)
    shown = page.count("AccuracyDegraded</td>") - 1  # the table of open alerts names it in a heading
    assert shown >= 200
    assert re.search(r"and 2\d,\d{3} more", said)


@pytest.mark.parametrize("count", [500, 5_000])
def test_600_points_of_many_panes_stay_small_and_keep_every_peak(count: int) -> None:
    panes = [pane(number) for number in range(count)]
    panes[count // 2] = msgspec.structs.replace(panes[count // 2], latency_ms=99.0)
    page = write_page(told(status(msgspec.structs.replace(series(), panes=panes))))
    check_harmless(page)
    tree = parsed(page)
    lines = [node.attrib["d"] for node in tree.iter("path") if node.attrib.get("class") == "measured"]
    assert max(line.count("L") for line in lines) < 600
    assert len(tree.findall(".//svg")) == 6


@pytest.mark.slow
def test_at_every_bound_at_once_the_page_is_still_small() -> None:
    name = "\u00e9<" * 128  # the longest id, and each character costs
    many = {f"{number}{name}"[:256]: Estimate(n=10**15, value=0.123456, low=0.1, high=0.2) for number in range(256)}
    wide = [
        msgspec.structs.replace(
            series(f"{number}{name}"[:256], name, panes=range(60)),
            metrics=many,
            arrived=many,
            estimated=many,
            reported=many,
            values=dict.fromkeys(many, 1e-300),
            classes=list(many)[:64],
            confusion=[[number] * 64 for number in range(64)],
            calibration=[CalibrationBin(n=9, predicted=0.5, observed=0.5)] * 256,
            drift=drift(data=watch(streams=[moved(name, change=name, level=name)] * 256)),
            open_alerts=[
                OpenAlert(alertname=name, stage="firing", severity=Severity.HIGH, since=at(1), starts_at=at(1))
            ]
            * 256,
        )
        for number in range(MAX_SERIES + 5)
    ]
    history = told(msgspec.structs.replace(status(*wide, model=name), feedback=dict.fromkeys(many, 10**17)))
    for number in range(MAX_HELD):
        history.take_alert(alert(number, hours=number, name=name, summary=name * 40))
        history.take_adaptation(adaptation(number, to=name))
        history.take_refusal(f"{number}{name}")
    page = write_page(history)
    check_harmless(page)
    assert "5 more series are not shown" in words(page)
    assert len(parsed(page).findall(".//section")) == MAX_SERIES + 1


@pytest.mark.slow
def test_20_series_of_500_panes_and_1_000_alerts_are_a_small_page() -> None:
    history = told(status(*(series(f"v{number}", panes=range(500)) for number in range(MAX_SERIES)), hours=500))
    for number in range(MAX_HELD):
        history.take_alert(alert(number, hours=number / 2, ends=number / 2 + 1))
    page = write_page(history)
    check_harmless(page)
    assert [page.count(f'id="s{number}-metric-t"') for number in range(MAX_SERIES)] == [1] * MAX_SERIES
    assert all(f'href="#s{number}"' in page for number in range(MAX_SERIES))


def test_extreme_figures_are_written_and_not_drawn_outside() -> None:
    wild = [1e308, -1e308, float("inf"), float("nan"), 5e-324, 0.0]
    panes = [
        PaneFigures(
            starts_at=at(number), labelled=1, value=value, low=value, high=value, arrived_value=value, latency_ms=value
        )
        for number, value in enumerate(wild)
    ]
    page = write_page(told(status(msgspec.structs.replace(series(), panes=panes, baseline=Estimate(n=1, value=1e308)))))
    check_harmless(page)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', page, re.IGNORECASE)
    assert "1.00e+308" in page


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_and_keeps_its_rights(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    file.chmod(0o640)
    link = tmp_path / "link.html"
    link.symlink_to(file)
    replace(link, b"new")
    assert link.is_symlink()
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "report.html"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        replace(tmp_path / "gone" / "report.html", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "/no/such/folder/report.html"], "there is no folder /no/such/folder"),
        (["-o", "/"], "is a folder"),
        (["--since", "yesterday"], "'yesterday' is neither a time ago"),
    ],
    ids=str,
)
def test_a_mistake_is_named_before_anything_is_read(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["report", "m", *arguments])
    assert done.exit_code == 2
    assert said in done.stderr
