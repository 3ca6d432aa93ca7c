"""The watching of real streams: shuffled they do not drift, whatever their distributions.

What is stated here is quoted in docs/decisions/drift.md.
"""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from scipy.stats import chi2

from adaptive_stream.config.drift import DriftConfig
from adaptive_stream.config.family import Feature
from adaptive_stream.contracts.events import Correction
from adaptive_stream.demo import flights as year
from adaptive_stream.demo import model as serving
from adaptive_stream.drift.drift import Drift
from tests.unit.core.scene import Scene, alerts, prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.contracts.events import Alert, InputEvent
    from adaptive_stream.drift.drift import Alarm
    from tests.statistical.figure import Figures

    Array = NDArray[np.float64]

DATA = "ADAPTIVE_STREAM_DATA"
NUMBERS = ("AGEP", "SCHL")  # the others of the census are codes
ORDERS = 72  # shuffles of each stream, side by side
STEP = 500
STRETCH = 1_000.0  # rows that are worth one: those of an institution come together, at most 11,300
BUDGET = 1e6


class Stream(NamedTuple):
    """Rows of a real stream, in its order."""

    features: list[Feature]
    values: Array
    outputs: Array
    losses: Array  # NaN where there is no label


def flights() -> Stream:
    whole = year.load()
    outputs = serving.fit(whole, seed=1).predict(whole)
    features = [Feature(name=name) for name in whole.numbers]
    features += [Feature(name=name, kind="categorical", levels=whole.levels[name]) for name in ("carrier", "origin")]
    columns = [*whole.numbers.values(), *(whole.codes[name].astype(float) for name in ("carrier", "origin"))]
    losses = np.where(whole.label < 0, np.nan, (outputs >= 0.5) != (whole.label == 1))
    return Stream(features, np.stack(columns, axis=1), outputs, losses)


def census() -> Stream:
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"{DATA} does not name the folder with employment_ma.csv.gz")
    with gzip.open(Path(folder) / "employment_ma.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    table = {name: np.array(column) for name, column in zip(header, zip(*rows, strict=True), strict=True)}
    features, columns = [], []
    for name in header[1:17]:
        if name in NUMBERS:
            features.append(Feature(name=name))
            columns.append(table[name].astype(float))
        else:
            levels, codes = np.unique(table[name], return_inverse=True)
            features.append(Feature(name=name, kind="categorical", levels=levels.tolist()))
            columns.append(codes.astype(float))
    losses = (table["prediction"] != table["employed"]).astype(float)
    return Stream(features, np.stack(columns, axis=1), table["predicted_probability"].astype(float), losses)


def watched(stream: Stream, orders: list[NDArray[np.int64]], **settings: float) -> tuple[list[Alarm], list[Alarm]]:
    """Return the alarms of data and of performance over all orders of the rows, each a series."""
    drift = Drift(DriftConfig(budget_events=BUDGET, **settings), features=stream.features)
    for number in range(len(orders)):
        drift.add(("m", "v", f"c{number}"))
    data, performance = [], []
    series = np.tile(np.arange(len(orders)), STEP)
    for start in range(0, len(stream.values) - STEP, STEP):
        rows = np.stack([order[start : start + STEP] for order in orders], axis=1).ravel()
        now_ms = np.repeat(np.arange(start, start + STEP), len(orders))
        absent = np.full(len(rows), np.nan)
        data += drift.observe(series, stream.values[rows], stream.outputs[rows], absent, now_ms=now_ms)
        is_known = ~np.isnan(stream.losses[rows])
        performance += drift.losses(series[is_known], stream.losses[rows][is_known], now_ms=now_ms[is_known])
    return data, performance


@pytest.mark.parametrize("name", ["flights", "census"])
def test_a_real_stream_that_is_shuffled_alarms_no_more_often_than_the_dial_says(name: str, figures: Figures) -> None:
    stream = flights() if name == "flights" else census()
    dice = np.random.default_rng(17)
    orders = [dice.permutation(len(stream.values)) for _ in range(ORDERS)]
    data, performance = watched(stream, orders)
    events = ORDERS * len(stream.values)
    for what, alarms in (("data", data), ("performance", performance)):
        count, each = len(alarms), BUDGET / events
        low, high = chi2.ppf(0.025, 2 * count) / 2 * each if count else 0.0, chi2.ppf(0.975, 2 * count + 2) / 2 * each
        figures.add(
            f"{name}, shuffled: alarms of {what} in 1e6 events", count * each, low=low, high=high, goal="<= 1",
            met=count * each <= 1,
        )  # fmt: skip
        assert low <= 1, "no more than the dial says, as far as so many events can tell"


def in_order(stream: Stream, figures: Figures, *, goal: str, **settings: float) -> tuple[list[Alarm], list[Alarm]]:
    found = watched(stream, [np.arange(len(stream.values))], **settings)
    for what, alarms in zip(("data", "performance"), found, strict=True):
        told = [f"{one.verdict.at}: {one.verdict.findings[0].stream}" for one in alarms]
        count = float(len(alarms))
        name = f"census in order {settings or ''}: alarms of {what} ({'; '.join(told)})"
        figures.add(name, count, low=count, high=count, goal=goal, met=goal != "<= 1" or count <= 1)
    return found


def test_the_census_in_order(figures: Figures) -> None:
    _, performance = in_order(census(), figures, goal="reported")
    worse = [one for one in performance if one.verdict.findings[0].direction == "up"]
    assert len(worse) <= 1, "11,300 people in group quarters in a row, on whom the model is wrong more often"


def test_the_census_in_order_is_quiet_once_it_is_told_how_long_its_stretches_are(figures: Figures) -> None:
    stream = census()
    data, performance = in_order(stream, figures, goal="<= 1", design_effect=STRETCH)
    assert len(data) <= 1
    assert len(performance) <= 1
    age, half = [feature.name for feature in stream.features].index("AGEP"), len(stream.values) // 2
    stream.values[half:, age] += stream.values[:, age].std()
    [alarm, *_] = watched(stream, [np.arange(len(stream.values))], design_effect=STRETCH)[0]
    assert alarm.verdict.at > half, "and it still sees what lasts"
    assert alarm.verdict.findings[0].stream == "AGEP"


def told(stream: Stream, *, row_s: float) -> list[Alert]:
    """Return the alerts of a model that serves a row each ``row_s`` seconds, labelled at once; default settings."""
    features = [
        f"{{name: {one.name}}}"
        if one.kind == "numeric"
        else f"{{name: {one.name}, kind: categorical, levels: [{', '.join(repr(level) for level in one.levels)}]}}"
        for one in stream.features
    ]
    looks = ".monitor.evaluate_every_s=300", ".monitor.status_interval_s=3600"
    scene = Scene(f".features=[{', '.join(features)}]", *looks)
    levels = [one.levels if one.kind == "categorical" else None for one in stream.features]
    labels = (stream.outputs >= 0.5) != (stream.losses == 1)
    found: list[Alert] = []
    for start in range(0, len(stream.values), STEP):
        events: list[InputEvent] = []
        for row in range(start, min(start + STEP, len(stream.values))):
            values = [
                value if names is None else names[int(value)]
                for names, value in zip(levels, stream.values[row].tolist(), strict=True)
            ]
            events.append(prediction(f"p{row}", float(stream.outputs[row]), features=values))
            events.append(
                Correction(feedback_id=f"f{row}", prediction_id=f"p{row}", model_id="m", label=float(labels[row]))
            )
        found += alerts(scene.after(STEP * row_s, *events))
    assert not scene.dropped
    return found


@pytest.mark.parametrize("row_s", [0.1, 1, 10])
def test_of_the_census_in_order_one_incident_is_more_than_information(row_s: float, figures: Figures) -> None:
    """By default: the group quarters on which the model fails. Whatever else is above information is of that time."""
    found = told(census(), row_s=row_s)
    serious = [alert for alert in found if alert.labels["severity"] != "info"]
    drifts = {alert.starts_at: alert for alert in serious if alert.labels["alertname"] == "PerformanceDrift"}
    ends = [alert.ends_at for alert in serious if alert.labels["alertname"] == "PerformanceDrift" and alert.ends_at]
    notices = len({alert.alert_id for alert in found} - {alert.alert_id for alert in serious})
    name = f"census in order, a row in {row_s:g} s, default rules:"
    named = ", ".join(sorted({alert.labels["alertname"] for alert in serious}))
    figures.add(
        f"{name} incidents ({named})", len(drifts), low=len(drifts), high=len(drifts), goal="<= 1", met=len(drifts) <= 1
    )
    figures.add(f"{name} notices", notices, low=notices, high=notices, goal="reported", met=True)
    assert len(drifts) == len(ends) == 1, "told once, and over when the model is right as often as before"
    [begun], [end] = drifts, ends
    others = [alert for alert in serious if alert.labels["alertname"] != "PerformanceDrift"]
    named_ids = {alert.alert_id for alert in others if alert.labels["alertname"] == "DataDrift"}
    assert {alert.labels["alertname"] for alert in others} <= {"DataDrift", "AccuracyDegraded"}
    ended = {alert.alert_id: alert.ends_at for alert in others if alert.ends_at is not None}
    assert {alert.alert_id for alert in others} == {*ended}
    assert all(begun <= ended[one] <= end for one in named_ids), "of the same incident, and not longer"
    assert all(begun <= alert.starts_at <= end for alert in others if alert.alert_id not in named_ids)
