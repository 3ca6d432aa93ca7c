"""The demo's data, its model and its summary, without a broker."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Alert, AlertStatus, Correction, Prediction
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.demo import app, flights, model
from adaptive_stream.demo.summary import grouped, iso_week, life

if TYPE_CHECKING:
    from adaptive_stream.demo.flights import Flights

MONTHS = {"02": 0.77, "04": 0.72, "06": 0.69, "07": 0.68, "09": 0.87, "12": 0.68}  # of January's model


@pytest.fixture(scope="module")
def year() -> Flights:
    return flights.load()


def test_the_year_is_whole_and_in_order(year: Flights) -> None:
    assert len(year.ts_s) == 336_776
    assert (np.diff(year.ts_s) >= 0).all()
    assert int((year.label >= 0).sum()) == 327_346


def test_an_outcome_is_known_after_its_departure_or_never(year: Flights) -> None:
    known = year.label >= 0
    assert (year.label_ts_s[known] > year.ts_s[known] - 3600 * 2).all()  # a flight may leave before its schedule
    assert (year.label_ts_s[~known] == 0).all()


def test_what_is_missing_is_nan_and_never_a_number(year: Flights) -> None:
    assert np.isnan(year.numbers["temp"]).any()
    assert not any((column == flights.MISSING).any() for column in year.numbers.values())


def test_the_model_of_january_does_by_month_what_the_demo_tells(year: Flights) -> None:
    probability = model.fit(year, seed=1).predict(year)
    known = year.label >= 0
    month = np.array(year.ts_s, dtype="datetime64[s]").astype("datetime64[M]").astype(str)
    right = (probability >= 0.5) == (year.label == 1)
    for number, expected in MONTHS.items():
        found = right[known & (month == f"2013-{number}")].mean()
        assert found == pytest.approx(expected, abs=0.011), number


def test_no_flight_after_january_is_seen_by_the_fit(year: Flights) -> None:
    later = year.ts_s >= model.JANUARY_ENDS_S
    label = year.label.copy()
    label[later] = 1 - label[later]
    other = flights.Flights(
        ts_s=year.ts_s,
        label_ts_s=year.label_ts_s,
        label=label,
        numbers=year.numbers,
        codes=year.codes,
        levels=year.levels,
    )
    assert (model.fit(year, seed=1).weights == model.fit(other, seed=1).weights).all()


def test_the_app_publishes_each_flight_once_in_order_and_as_the_contract_says(year: Flights) -> None:
    few = slice(0, 3000)
    small = flights.Flights(
        ts_s=year.ts_s[few],
        label_ts_s=year.label_ts_s[few],
        label=year.label[few],
        numbers={name: column[few] for name, column in year.numbers.items()},
        codes={name: column[few] for name, column in year.codes.items()},
        levels=year.levels,
    )
    codec, predicted, corrected, before = Codec(), [], [], -math.inf
    for until_s, predictions, corrections in app.chunks(small, seed=1, is_paced=True):
        times = [time_ms for _, time_ms in (*predictions, *corrections)]
        assert before < min(times)
        assert max(times) == until_s * 1000
        before = max(times)
        for topic, events in ((Topic.PREDICTIONS, predictions), (Topic.FEEDBACK, corrections)):
            for event, _ in events:
                assert codec.decode(topic, codec.encode(event)) == event
        predicted += [event.prediction_id for event, _ in predictions if isinstance(event, Prediction)]
        corrected += [event.prediction_id for event, _ in corrections if isinstance(event, Correction)]
    assert len(predicted) == len(set(predicted)) == 3000
    assert len(corrected) == len(set(corrected)) == int((small.label >= 0).sum())


def test_days_are_summed_not_averaged() -> None:
    days = {"2013-06-01T00:00:00Z": (1, 1), "2013-06-02T00:00:00Z": (3, 0), "2013-07-01T00:00:00Z": (2, 1)}
    assert grouped(days, lambda day: day[:7]) == [("2013-06", 4, 0.25), ("2013-07", 2, 0.5)]


def test_weeks_are_those_of_iso_8601() -> None:
    assert iso_week("2013-12-30T00:00:00Z") == "2014-W01"
    assert iso_week("2013-06-03T00:00:00Z") == "2013-W23"


def test_an_alert_is_told_by_its_last_word_and_its_first_instant() -> None:
    def alert(status: AlertStatus, severity: str, ends_at: str | None = None) -> Alert:
        return Alert(
            alert_id="a",
            status=status,
            labels={"alertname": "AccuracyDegraded", "severity": severity, "model_id": "m"},
            annotations={},
            value=0.6,
            threshold=0.7,
            evidence={},
            starts_at="2013-06-01T00:00:00Z",
            ends_at=ends_at,
        )

    firing, resolved = AlertStatus.FIRING, AlertStatus.RESOLVED
    ended = life([alert(firing, "medium"), alert(firing, "high"), alert(resolved, "high", "2013-08-01T00:00:00Z")])
    assert ended == {
        "alertname": "AccuracyDegraded",
        "severity": "high",
        "status": "resolved",
        "starts_at": "2013-06-01T00:00:00Z",
        "resolved_at": "2013-08-01T00:00:00Z",
    }
    assert life([alert(firing, "medium")])["resolved_at"] is None
