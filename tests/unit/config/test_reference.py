"""A drift reference from a file: what is read, and what is refused with its line."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from adaptive_stream.config import ConfigError, load
from adaptive_stream.config.reference import MOST_ROWS, PARQUET

if TYPE_CHECKING:
    from pathlib import Path

    from adaptive_stream.config.reference import Reference

ROWS = 600
HEADER = "origin,temp,output,note\n"
FAMILY = (
    'families.f.match=["m*"]',
    "families.f.features=[{name: temp}, {name: origin, kind: categorical, levels: [EWR, JFK]}]",
    "families.f.drift.reference_predictions=600",
)


def loaded(file: Path, *overrides: str) -> Reference:
    config = load([], {}, [*FAMILY, *overrides, f"families.f.drift.reference_file={file}"])
    rows = config.families["f"].drift.rows
    assert rows is not None
    return rows


def mistakes(file: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        loaded(file, *overrides)
    assert all(str(mistake).startswith("--set families.f.drift.reference_file") for mistake in refused.value.mistakes)
    return [mistake.message.replace(str(file), "FILE") for mistake in refused.value.mistakes]


def written(folder: Path, *lines: str, header: str = HEADER, count: int = ROWS) -> Path:
    file = folder / "reference.csv"
    good = "JFK,1.5,0.25,x"
    file.write_text(header + "\n".join([*lines, *[good] * (count - len(lines))]) + "\n", encoding="utf-8")
    return file


def test_columns_are_found_by_name_and_what_is_empty_is_missing(tmp_path: Path) -> None:
    rows = loaded(written(tmp_path, "EWR,-2,0,y", ",NaN,,", "LAX, 3 ,1,"))
    assert rows.features[:4] == [[-2.0, "EWR"], [None, None], [3.0, "LAX"], [1.5, "JFK"]]
    assert rows.outputs is not None
    assert rows.outputs[:4] == [0.0, None, 1.0, 0.25]
    assert rows.confidences is None
    assert len(rows.features) == ROWS


def test_a_parquet_file_says_the_same(tmp_path: Path) -> None:
    text = loaded(written(tmp_path, "EWR,-2,0,y", ",NaN,,"))
    file = tmp_path / f"reference{PARQUET}"
    columns = {
        "temp": [-2.0, math.nan] + [1.5] * (ROWS - 2),
        "origin": ["EWR", None] + ["JFK"] * (ROWS - 2),
        "output": [0.0, None] + [0.25] * (ROWS - 2),
    }
    parquet.write_table(pa.table(columns), file)
    assert loaded(file) == text


LEVELS = "[none, 'NaN', '1', '2.5', '1234567']"
LIKE_NUMBERS = f"families.f.features=[{{name: temp}}, {{name: origin, kind: categorical, levels: {LEVELS}}}]"


def test_a_level_whose_name_looks_missing_is_that_level(tmp_path: Path) -> None:
    rows = loaded(written(tmp_path, "none,nan,0.5,", "NaN,null,,", "nan,1,,", "null,1,,", ",1,,"), LIKE_NUMBERS)
    assert rows.features[:5] == [[None, "none"], [None, "NaN"], [1.0, None], [1.0, None], [1.0, None]]


def test_a_class_whose_name_looks_missing_is_that_class(tmp_path: Path) -> None:
    file = written(tmp_path, "EWR,1,none,", "EWR,1,null,", *["EWR,1,low,"] * (ROWS - 2))
    rows = loaded(file, "families.f.task=multiclass", "families.f.classes=[low, none]")
    assert rows.outputs is not None
    assert rows.outputs[:3] == ["none", None, "low"]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([1.0, 2.5, math.nan], ["1", "2.5", None]),
        ([1, 7_654_321, None], ["1", "7.65432e+06", None]),
        ([Decimal("1.0"), Decimal("2.5"), None], ["1", "2.5", None]),
        ([1_234_567, 3, 1], ["1234567", "3", "1"]),  # only a text can be the first of these levels
        (["none", "1.0", "nan"], ["none", "1.0", None]),
        ([True, False, None], ["True", "False", None]),
    ],
)
def test_numbers_of_a_categorical_column_are_the_levels_that_predictions_have(
    tmp_path: Path, stored: list[Any], expected: list[str | None]
) -> None:
    file = tmp_path / f"reference{PARQUET}"
    parquet.write_table(pa.table({"temp": [1.5] * ROWS, "origin": stored + stored[:1] * (ROWS - 3)}), file)
    assert [row[1] for row in loaded(file, LIKE_NUMBERS).features[:3]] == expected


def test_a_number_of_a_class_is_its_name(tmp_path: Path) -> None:
    file = tmp_path / f"reference{PARQUET}"
    columns = {"temp": [1.5] * ROWS, "origin": ["EWR"] * ROWS, "output": [0.0, 1.0] * (ROWS // 2)}
    parquet.write_table(pa.table(columns), file)
    rows = loaded(file, "families.f.task=multiclass", "families.f.classes=['0', '1']")
    assert rows.outputs is not None
    assert rows.outputs[:2] == ["0", "1"]


def test_of_a_large_file_evenly_spaced_rows_are_taken(tmp_path: Path) -> None:
    count = 2 * MOST_ROWS
    file = tmp_path / "large.csv"
    file.write_text("temp,origin\n" + "".join(f"{number},EWR\n" for number in range(count)), encoding="utf-8")
    temps = [row[0] for row in loaded(file).features]
    assert temps == [float(number) for number in range(0, count, 2)]


def test_every_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    assert mistakes(written(tmp_path, "EWR,hot,0.5,", "EWR,1,1.5,", "EWR")) == [
        "FILE:2: temp: 'hot' is no number; missing values are empty",
        "FILE:3: output: 1.5 is not from 0 to 1",
        "FILE:4: temp: the row ends before this column",
        "FILE:4: output: the row ends before this column",
    ]


def test_a_row_that_is_longer_than_the_header_is_refused(tmp_path: Path) -> None:
    assert mistakes(written(tmp_path, "JFK,1,5,0.25,x", "JFK,hot,,")) == [
        "FILE:2: the row has 5 columns, the header 4: quote a text with a comma, and write decimals with a point",
        "FILE:3: temp: 'hot' is no number; missing values are empty",
    ]


def test_of_two_columns_of_one_name_nobody_can_say_which_is_meant(tmp_path: Path) -> None:
    expected = ["FILE: 2 columns are named 'temp': keep one of them, or name the others otherwise"]
    assert mistakes(written(tmp_path, header="origin,temp,temp,note\n")) == expected
    file = tmp_path / f"reference{PARQUET}"
    columns = [pa.array(["EWR"] * ROWS), pa.array([1.0] * ROWS), pa.array([2.0] * ROWS)]
    parquet.write_table(pa.table(columns, names=["origin", "temp", "temp"]), file)
    assert mistakes(file) == expected


def test_columns_that_nobody_asks_for_may_share_a_name(tmp_path: Path) -> None:
    assert len(loaded(written(tmp_path, header="origin,temp,,\n")).features) == ROWS
    file = tmp_path / f"reference{PARQUET}"
    columns = [pa.array(["EWR"] * ROWS), pa.array([1.0] * ROWS), *[pa.array([2.0] * ROWS)] * 2]
    parquet.write_table(pa.table(columns, names=["origin", "temp", "note", "note"]), file)
    assert loaded(file).features == [[1.0, "EWR"]] * ROWS


@pytest.mark.parametrize("name", ["reference.csv", f"reference{PARQUET}"])
def test_a_file_in_which_nothing_is_watched_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("note\n" + "x\n" * ROWS, encoding="utf-8")
    if name.endswith(PARQUET):
        parquet.write_table(pa.table({"note": ["x"] * ROWS}), tmp_path / name)
    assert mistakes(tmp_path / name, "families.f.features=[]") == [
        "FILE: the family has no features, so there must be a column 'output' or 'confidence'"
    ]


@pytest.mark.parametrize("name", ["output", "confidence", "projection_12"])
def test_a_feature_cannot_be_named_as_what_is_watched_beside_the_features(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load([], {}, [*FAMILY, f"families.f.features=[{{name: temp}}, {{name: {name}}}]"])
    [mistake] = refused.value.mistakes
    assert mistake.path == "families.f"
    assert mistake.message == (
        f"no feature can be named '{name}', which is watched beside the features: name it last_{name}, for example"
    )


def test_many_mistakes_are_not_all_told(tmp_path: Path) -> None:
    told = mistakes(written(tmp_path, *["EWR,hot,,"] * 30))
    assert len(told) == 11
    assert told[-1] == "FILE: and 20 more"


@pytest.mark.parametrize(
    ("header", "count", "expected"),
    [
        ("temp,output\n", ROWS, ["FILE: there is no column 'origin'"]),
        ("", 0, ["FILE: there is no column 'temp'", "FILE: there is no column 'origin'",
                 "FILE: reference_predictions wants 600 rows, there are 0"]),
        (HEADER, ROWS - 1, ["FILE: reference_predictions wants 600 rows, there are 599"]),
    ],
)  # fmt: skip
def test_a_file_that_lacks_something_is_refused(tmp_path: Path, header: str, count: int, expected: list[str]) -> None:
    assert mistakes(written(tmp_path, header=header, count=count)) == expected


def test_a_class_that_the_family_does_not_have_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "EWR,1,maybe,", "EWR,1,high,", *["EWR,1,low,"] * (ROWS - 2))
    assert mistakes(file, "families.f.task=multiclass", "families.f.classes=[low, high]") == [
        "FILE:2: output: 'maybe' is none of the classes"
    ]


@pytest.mark.parametrize("name", ["nowhere.csv", f"nowhere{PARQUET}"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    [told] = mistakes(tmp_path / name)
    assert told.startswith("FILE: cannot be read")


@pytest.mark.parametrize("name", ["noise.csv", f"noise{PARQUET}"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    [told] = mistakes(tmp_path / name)
    assert told.startswith(("FILE: is no CSV file in UTF-8", "FILE: cannot be read as Parquet"))
