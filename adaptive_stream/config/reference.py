"""A drift reference from a file: rows of training data, or of a good week.

Owns how such a file is read and what is wrong with it. Never judges what the rows say. Called by the loader, so that a
worker with a bad file refuses to start.
"""

from __future__ import annotations

import csv
import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from adaptive_stream.config.family import Family

MOST_ROWS = 65_000  # what a reference can count; of more, evenly spaced ones are taken
MOST_TOLD = 10  # mistakes of one file
OUTPUT, CONFIDENCE = "output", "confidence"  # columns beside the features
PARQUET = ".parquet"
NOTHING = "", "nan", "null", "none"  # texts that are a missing value, in any case


class Reference(NamedTuple):
    """Rows as predictions would bring them; a column that the file does not have is None."""

    features: list[list[float | str | None]]
    outputs: list[float | str | None] | None
    confidences: list[float | None] | None


class UnfitError(Exception):
    """The file is no reference. ``mistakes`` lists what is wrong with it."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("; ".join(self.mistakes))


class _Rows(NamedTuple):
    names: list[str]
    rows: Sequence[tuple[int, Sequence[Any]]]  # with the line, or the number, of each
    total: int  # rows of the file, taken or not


def read_reference(path: Path, family: Family) -> Reference:
    """Return the rows of a CSV file with a header, or of a Parquet file.

    Args:
        path: of the file; one that ends in .parquet is read as such.
        family: whose features the columns are named after; ``output`` and ``confidence`` may be there, too.

    Raises:
        UnfitError: it cannot be read, or is no reference for this family.
    """
    found = _parquet(path) if path.suffix == PARQUET else _csv(path)
    names = [feature.name for feature in family.features]
    mistakes = [f"{path}: there is no column {name!r}" for name in names if name not in found.names]
    least = family.drift.reference_predictions
    if found.total < least:
        mistakes.append(f"{path}: reference_predictions wants {least:,} rows, there are {found.total:,}")
    if mistakes:
        raise UnfitError(mistakes)
    place = {name: found.names.index(name) for name in (*names, OUTPUT, CONFIDENCE) if name in found.names}
    is_text = {feature.name: feature.kind == "categorical" for feature in family.features}
    is_text[OUTPUT] = family.task == "multiclass"
    columns: dict[str, list[Any]] = {name: [] for name in place}
    for line, row in found.rows:
        for name, at in place.items():
            try:
                columns[name].append(_cell(row[at], is_text=is_text.get(name, False)))
                _check(name, columns[name][-1], family)
            except IndexError:
                mistakes.append(f"{path}:{line}: {name}: the row ends before this column")
            except ValueError as error:
                mistakes.append(f"{path}:{line}: {name}: {error}")
    if mistakes:
        more = [f"{path}: and {len(mistakes) - MOST_TOLD:,} more"] if len(mistakes) > MOST_TOLD else []
        raise UnfitError(mistakes[:MOST_TOLD] + more)
    features = [list(row) for row in zip(*(columns[name] for name in names), strict=True)]
    return Reference(features or [[] for _ in found.rows], columns.get(OUTPUT), columns.get(CONFIDENCE))


def _cell(value: Any, *, is_text: bool) -> float | str | None:  # noqa: ANN401 - what a file holds
    if value is None or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    if is_text:
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no number; missing values are empty") from None
    return None if math.isnan(number) else number


def _check(name: str, value: float | str | None, family: Family) -> None:
    """Refuse what no prediction of the family could bring."""
    if value is None:
        return
    if name == OUTPUT and family.task == "multiclass" and value not in family.classes:
        raise ValueError(f"{value!r} is none of the classes")
    is_share = name == CONFIDENCE or (name == OUTPUT and family.task == "binary")
    if is_share and not (isinstance(value, float) and 0 <= value <= 1):
        raise ValueError(f"{value!r} is not from 0 to 1")


def _evenly(count: int) -> Iterator[int]:
    """Yield the places of the rows that are taken."""
    taken = min(count, MOST_ROWS)
    return (number * count // taken for number in range(taken))


def _csv(path: Path) -> _Rows:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            count = sum(1 for row in csv.reader(file) if row) - 1
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            names = next((row for row in reader if row), [])
            wanted = _evenly(count) if count > 0 else iter(())
            rows, turn, due = [], 0, next(wanted, None)
            for row in reader:
                if not row:
                    continue
                if turn == due:
                    rows.append((reader.line_num, row))
                    due = next(wanted, None)
                turn += 1
    except OSError as error:
        raise UnfitError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnfitError([f"{path}: is no CSV file in UTF-8: {error}"]) from error
    return _Rows(names, rows, max(count, 0))


def _parquet(path: Path) -> _Rows:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and large
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        why = f"{path}: Parquet needs pyarrow: pip install 'adaptive-stream[parquet]', or write it as CSV"
        raise UnfitError([why]) from error
    try:
        table = parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UnfitError([f"{path}: cannot be read as Parquet: {error}"]) from error
    places = list(_evenly(table.num_rows)) if table.num_rows else []
    columns: Mapping[str, list[Any]] = table.take(places).to_pydict()
    rows = list(zip(itertools.count(1), zip(*columns.values(), strict=True), strict=False))
    return _Rows(list(columns), rows, table.num_rows)
