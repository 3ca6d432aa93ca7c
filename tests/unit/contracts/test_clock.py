from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_stream.contracts.clock import format_time, parse_time
from tests.unit.contracts.generated import YEAR_1_MS, YEAR_9999_MS


@given(st.integers(YEAR_1_MS, YEAR_9999_MS))
def test_every_millisecond_of_the_calendar_is_written_and_read_back(time_ms: int) -> None:
    assert parse_time(format_time(time_ms)) == time_ms


@given(
    instant=st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)),  # noqa: DTZ001 - hypothesis adds the zone
    offset_min=st.integers(-1439, 1439),
)
def test_an_offset_moves_the_clock_face_and_not_the_instant(instant: dt.datetime, offset_min: int) -> None:
    there = instant.replace(tzinfo=dt.timezone(dt.timedelta(minutes=offset_min)))
    since = there - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert parse_time(there.isoformat()) == since // dt.timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00z", 0),
        ("1970-01-01 00:00:00+00:00", 0),
        ("1970-01-01T00:00:00-00:00", 0),
        ("1970-01-01T00:00:00.5Z", 500),
        ("1970-01-01T00:00:00.0019Z", 1),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("1969-12-31T23:59:59.999Z", -1),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("2012-02-29T00:00:00Z", 1_330_473_600_000),
    ],
)
def test_an_instant_is_cut_to_whole_milliseconds(text: str, time_ms: int) -> None:
    assert parse_time(text) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2013-06-01",
        "2013-06-01T00:00Z",
        "2013-06-01T00:00:00",
        "20130601T000000Z",
        "2013-W22-6T00:00:00Z",
        "2013-06-01T00:00:00,5Z",
        "2013-06-01T00:00:00.Z",
        "2013-06-01T00:00:00+0200",
        "2013-06-01T00:00:00+02",
        "2013-06-01T00:00:00Z ",
        "2013-06-01T00:00:00Z\n",
        " 2013-06-01T00:00:00Z",
        "2013-06-31T00:00:00Z",
        "2013-02-29T00:00:00Z",
        "2013-06-01T24:00:01Z",
        "2013-06-01T00:60:00Z",
        "2013-06-30T23:59:60Z",
        "2013-06-01T00:00:00+24:00",
        "0000-01-01T00:00:00Z",
        "٢٠١٣-06-01T00:00:00Z",
        "2013-06-01T00:00:00.1234567890Z",
        "1370044800",
    ],
)
def test_what_is_no_instant_is_refused_in_the_same_words_whatever_it_is(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not an RFC 3339 date and time with offset, such as 2013-06-01T00:00:00Z$"):
        parse_time(text)
