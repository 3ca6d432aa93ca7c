"""A drift reference from a file: rows of training data, or of a good week.

Owns how such a file is read and what is wrong with it. Never judges what the rows say. Called by the loader, so that a
worker with a bad file refuses to start.
"""

from __future__ import annotations

import csv
import itertools
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
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
    names = [feature.name for feature in family.features]
    known = {*names, OUTPUT, CONFIDENCE}
    found = _parquet(path, known) if path.suffix == PARQUET else _csv(path)
    mistakes = [f"{path}: there is no column {name!r}" for name in names if name not in found.names]
    mistakes += _doubled(path, found.names, known)
    if not names and known.isdisjoint(found.names):
        mistakes.append(f"{path}: the family has no features, so there must be a column {OUTPUT!r} or {CONFIDENCE!r}")
    least = family.drift.reference_predictions
    if found.total < least:
        mistakes.append(f"{path}: reference_predictions wants {least:,} rows, there are {found.total:,}")
    if mistakes:
        raise UnfitError(mistakes)
    place = {name: found.names.index(name) for name in (*names, OUTPUT, CONFIDENCE) if name in found.names}
    levels = {feature.name: frozenset(feature.levels) for feature in family.features if feature.kind == "categorical"}
    if family.task == "multiclass":
        levels[OUTPUT] = frozenset(family.classes)
    columns: dict[str, list[Any]] = {name: [] for name in place}
    for line, row in found.rows:
        if len(row) > len(found.names):  # its cells are not where the header says
            what = f"the row has {len(row)} columns, the header {len(found.names)}"
            mistakes.append(f"{path}:{line}: {what}: quote a text with a comma, and write decimals with a point")
            continue
        for name, at in place.items():
            try:
                columns[name].append(_level(row[at], levels[name]) if name in levels else _number(row[at]))
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


def _number(value: Any) -> float | None:  # noqa: ANN401 - what a file holds
    if value is None or _is_nothing(value):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no number; missing values are empty") from None
    return None if math.isnan(number) else number


def _level(value: Any, known: frozenset[str]) -> str | None:  # noqa: ANN401 - what a file holds
    """Return the level that a prediction with this value has: what looks missing may be the name of one."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if math.isnan(value):
            return None
        # as the core writes a number; a long one, which it shortens, is a level of predictions that bring texts
        short, whole = f"{float(value):g}", str(value)
        return whole if whole in known and short not in known else short
    if value is None or (value not in known and _is_nothing(value)):
        return None
    return str(value)


def _is_nothing(value: Any) -> bool:  # noqa: ANN401 - what a file holds
    return isinstance(value, str) and value.strip().lower() in NOTHING


def _check(name: str, value: float | str | None, family: Family) -> None:
    """Refuse what no prediction of the family could bring."""
    if value is None:
        return
    if name == OUTPUT and family.task == "multiclass" and value not in family.classes:
        raise ValueError(f"{value!r} is none of the classes")
    is_share = name == CONFIDENCE or (name == OUTPUT and family.task == "binary")
    if is_share and not (isinstance(value, float) and 0 <= value <= 1):
        raise ValueError(f"{value!r} is not from 0 to 1")


def _doubled(path: Path, names: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the mistakes of a header: of two columns of one name nobody can say which is meant."""
    return [
        f"{path}: {names.count(name)} columns are named {name!r}: keep one of them, or name the others otherwise"
        for name in dict.fromkeys(names)
        if name in known and names.count(name) > 1
    ]


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
    except ValueError as error:  # a path with a NUL, or with half a character
        raise UnfitError([f"{str(path)!r}: no file can be named so"]) from error
    return _Rows(names, rows, max(count, 0))


def _parquet(path: Path, known: Collection[str]) -> _Rows:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and large
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        why = f"{path}: Parquet needs pyarrow: pip install 'adaptive-stream[parquet]', or write it as CSV"
        raise UnfitError([why]) from error
    try:
        file = parquet.ParquetDataset(path)
        names = file.schema.names
        doubled = _doubled(path, names, known)  # then none of them can be read
        if doubled:
            raise UnfitError(doubled)
        table = file.read(columns=[name for name in names if name in known])
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UnfitError([f"{path}: cannot be read as Parquet: {error}"]) from error
    places = list(_evenly(table.num_rows)) if table.num_rows else []
    columns: dict[str, list[Any]] = table.take(places).to_pydict()
    rows = list(zip(itertools.count(1), zip(*columns.values(), strict=True), strict=False))
    return _Rows(list(columns), rows, table.num_rows)
