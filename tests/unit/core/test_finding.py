"""Findings in words: what moved, which way, how far, and what to look at first."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from adaptive_stream.core.finding import Alarmed, advice, said, streams_of
from adaptive_stream.drift.layout import Direction
from adaptive_stream.drift.verdict import Effect, Finding, Kind, Severity, Verdict

OUTPUTS, FOLLOW = "the outputs moved, not one input", "Then let the reference follow"
CLASSES = ["cat", "bird"]


def verdict(stream: str, direction: Direction, *, level: str | None = None, **effect: float | None) -> Verdict:
    kind = Kind.LABEL if stream == "output" else Kind.PERFORMANCE if stream == "loss" else Kind.COVARIATE
    found = Finding(
        stream, direction, level, log10_evidence=6.5, effect=Effect(**effect), since=90, since_low=80, since_high=95,
        correlation=0.0,
    )  # fmt: skip
    return Verdict(
        kind=kind, log10_evidence=6.5, log10_line=6.0, at=100, findings=(found,), affected=(), watched=4,
        severity=Severity.LOW, reference_version=1, reference_at=0,
    )  # fmt: skip


def advised(stream: str, direction: Direction, *, level: str | None = None) -> str:
    found = verdict(stream, direction, level=level)
    return advice(Alarmed(
        series=0, is_performance=False, is_gain=False, kind=found.kind.value, severity="low", at_ms=0, affected=[],
        streams=streams_of(found, CLASSES), numbers=[],
    ))  # fmt: skip


UP, DOWN, WIDER, NARROWER = Direction.UP, Direction.DOWN, Direction.WIDER, Direction.NARROWER
MORE, FEWER = Direction.MORE_MISSING, Direction.FEWER_MISSING
OFTEN, SELDOM = Direction.MORE_FREQUENT, Direction.LESS_FREQUENT


@pytest.mark.parametrize(
    ("stream", "direction", "effect", "words"),
    [
        ("temp", UP, {"shift": 1.234}, "temp up by 1.23 sd"),
        ("temp", DOWN, {"shift": -2.0}, "temp down by 2 sd"),
        ("temp", WIDER, {"variance_ratio": 2.25}, "temp wider, with 2.25 times the variance"),
        ("temp", NARROWER, {"variance_ratio": 0.371}, "temp narrower, with 0.371 times the variance"),
        ("temp", MORE, {"before": 0.1, "since": 0.3}, "temp missing more often by 0.2 of the share"),
        ("temp", FEWER, {"before": 0.3, "since": 0.1}, "temp missing less often by 0.2 of the share"),
        ("output", MORE, {"before": 0.0, "since": 0.4}, "the model fails more often by 0.4 of the share"),
        ("output", FEWER, {"before": 0.4, "since": 0.0}, "the model fails less often by 0.4 of the share"),
        ("loss", UP, {"before": 0.1, "since": 0.3}, "loss up by 0.2"),
        ("projection_1", UP, {}, "projection_1 up"),
    ],
)
def test_a_change_is_said_with_its_size(stream: str, direction: Direction, effect: dict[str, Any], words: str) -> None:
    [found] = streams_of(verdict(stream, direction, **effect), CLASSES)
    assert said(found) == words


@pytest.mark.parametrize(
    ("direction", "effect"),
    [
        (UP, {"shift": -0.3}),
        (DOWN, {"shift": 0.3}),
        (UP, {"shift": 0.0}),
        (UP, {"shift": math.nan}),
        (NARROWER, {"variance_ratio": 1.8}),
        (WIDER, {"variance_ratio": 0.9}),
        (WIDER, {"variance_ratio": math.inf}),
        (FEWER, {"before": 0.0, "since": 0.0}),
        (MORE, {"before": 0.2, "since": 0.1}),
    ],
)
def test_a_size_that_contradicts_the_direction_is_left_out(direction: Direction, effect: dict[str, Any]) -> None:
    [found] = streams_of(verdict("temp", direction, **effect), CLASSES)
    assert (found.effect, found.effect_unit) == (None, None)
    assert " by " not in said(found)
    assert "times" not in said(found)


@pytest.mark.parametrize(
    ("stream", "direction", "level", "words"),
    [
        ("wall", OFTEN, "brick", "wall brick more frequent"),
        ("wall", SELDOM, "other", "wall other less frequent"),
        ("output", SELDOM, "1", "output bird less frequent"),
    ],
)
def test_a_level_is_said_with_its_name(stream: str, direction: Direction, level: str, words: str) -> None:
    [found] = streams_of(verdict(stream, direction, level=level), CLASSES)
    assert said(found) == words


@pytest.mark.parametrize(
    ("stream", "direction", "level", "words"),
    [
        ("temp", MORE, None, "look at what delivers temp: its values are missing more often"),
        ("temp", FEWER, None, "look at what delivers temp: its values are missing less often"),
        ("output", MORE, None, "the model fails more often: look at its errors"),
        ("output", FEWER, None, "the model fails less often: if it is to stay, let the reference follow"),
        ("wall", OFTEN, "brick", "look at wall: brick became more frequent"),
        ("wall", SELDOM, "brick", "look at wall: brick became less frequent"),
        ("wall", OFTEN, "other", "look at wall: other became more frequent; a new category belongs into levels"),
        ("wall", SELDOM, "other", "look at wall: other became less frequent"),
        ("output", SELDOM, "1", f"{OUTPUTS}: bird became less frequent; was the model exchanged? {FOLLOW}"),
        ("output", UP, None, f"{OUTPUTS}: was the model exchanged? Then recalibrate, or move the threshold"),
        ("temp", UP, None, "while the labels show no loss, let the reference follow; else retrain on what came since"),
    ],
)  # fmt: skip
def test_the_advice_says_what_moved_which_way(stream: str, direction: Direction, level: str | None, words: str) -> None:
    assert advised(stream, direction, level=level) == words


def test_the_levels_of_a_picture_are_named_as_people_know_them() -> None:
    made = verdict("output", SELDOM, level="1")
    [finding] = made.findings
    moved = replace(made, findings=(replace(finding, levels=("1", "0", "", "other")),))
    [found] = streams_of(moved, CLASSES)
    assert (found.level, found.levels) == (CLASSES[1], [CLASSES[1], CLASSES[0], "", "other"])


INF, LEVELS = math.inf, (5, 6, 7, 8)


@pytest.mark.parametrize(
    ("edges", "counts", "finite", "between"),
    [
        ((1.0, 2.0, 3.0), (4, 5, 6, 7), [1.0, 2.0, 3.0], [4, 5, 6, 7]),
        ((1.0, 2.0, INF, INF), (4, 5, 6, 1, 9), [1.0, 2.0], [4, 5, 16]),
        ((-INF, -INF, 1.0, 2.0), (3, 1, 4, 5, 6), [1.0, 2.0], [8, 5, 6]),
        ((-INF, 1.0, INF), (3, 4, 5, 6), [1.0], [7, 11]),
        ((-INF, INF), (3, 4, 5), [], [12]),
        ((math.nan, math.nan), (0, 0, 0), [], [0]),
        ((), LEVELS, [], [*LEVELS]),
    ],
)
def test_there_is_one_bin_more_than_edges_however_large_the_values(
    edges: tuple[float, ...], counts: tuple[int, ...], finite: list[float], between: list[int]
) -> None:
    made = verdict("temp", UP)
    [finding] = made.findings
    moved = replace(made, findings=(replace(finding, edges=edges, before=counts, counts=counts),))
    [found] = streams_of(moved, CLASSES)
    assert (found.edges, found.before, found.since_counts) == (finite, between, between)
