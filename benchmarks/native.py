"""What a native decoder would bring: a slice's predictions from bytes to columns, as the worker does it and in C.

Both give the same columns, which is checked. Left out on both sides: keys and places of records, the ring, the monitor.
"""

from __future__ import annotations

import ctypes
import random
import subprocess
import sysconfig
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from adaptive_stream.config import load
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core import bulk
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.core.slice import Slice
from benchmarks.stage import FEATURES, START_MS, prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptive_stream.core.fleet import Fleet
    from benchmarks.report import Report

MODELS, SLICE, ROUNDS = 10, 1_000, 300


class Columns(NamedTuple):
    """What the ring takes of a slice's predictions."""

    series: NDArray[np.int64]
    ids: list[str]
    outputs: NDArray[np.float64]
    features: NDArray[np.float64]


async def native(report: Report, _bootstrap: str, folder: Path) -> None:
    """Measure both ways in turn, with no Kafka."""
    dice, codec = random.Random(1), Codec()
    fleet = known(dice, codec)
    bodies = [codec.encode(prediction(number, MODELS, dice)) for number in range(MODELS, MODELS + SLICE)]
    series_of = {f"m{number}".encode(): number for number in range(MODELS)}
    decode = compiled(folder)
    ways = {"python": lambda: python_way(bodies, codec, fleet), "native": lambda: native_way(bodies, decode, series_of)}
    for one, other in zip(*(way() for way in ways.values()), strict=True):
        assert np.array_equal(one, other), "both give the same columns, to the bit"
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.process_time()
            way()
            seconds[name].append(time.process_time() - started)
    ours, theirs = (median(some) / SLICE * 1e6 for some in seconds.values())
    report.add("decode_to_columns_per_event", ours, "µs")
    report.add("decode_to_columns_per_event_in_c", theirs, "µs")


def known(dice: random.Random, codec: Codec) -> Fleet:
    """Return a fleet that has seen every model."""
    features = ", ".join(f"{{name: f{number}}}" for number in range(FEATURES))
    fleets = Fleets(load([], {}, ['families.f.match=["m*"]', f"families.f.features=[{features}]"]))
    events = [codec.decode(Topic.PREDICTIONS, codec.encode(prediction(n, MODELS, dice))) for n in range(MODELS)]
    count = len(events)
    fleets.step(Slice([Topic.PREDICTIONS] * count, list(range(count)), [START_MS] * count, events))
    return fleets.fleets[0]


def python_way(bodies: list[bytes], codec: Codec, fleet: Fleet) -> Columns:
    """Return the columns as the worker makes them."""
    count = len(bodies)
    events = codec.decode_many([Topic.PREDICTIONS] * count, bodies, [()] * count)
    part = bulk.part(fleet, events, list(range(count)))
    assert part is not None, "the slice is plain"
    assert part.features is not None, "the family keeps features"
    return Columns(part.series, [prediction_id for _, prediction_id in part.new], part.outputs, part.features)


def native_way(bodies: list[bytes], decode: ctypes._CFuncPtr, series_of: dict[bytes, int]) -> Columns:
    """Return the columns as the prototype makes them."""
    count = len(bodies)
    series, outputs = np.empty(count, dtype=np.int64), np.empty(count)
    ids, features = [""] * count, np.empty((count, FEATURES))
    done = decode(bodies, series_of, series.ctypes.data, ids, outputs.ctypes.data, features.ctypes.data, FEATURES)
    assert done == count, "the slice is plain"
    new = dict.fromkeys(zip(series.tolist(), ids, strict=True))  # as the ring wants it, and the other way makes it, too
    assert len(new) == count, "no id comes twice"
    return Columns(series, ids, outputs, features)


def compiled(folder: Path) -> ctypes._CFuncPtr:
    """Compile the prototype and return its function."""
    library = folder / "native.so"
    include = sysconfig.get_paths()["include"]
    source = Path(__file__).with_name("native.c")
    command = ["cc", "-O2", "-shared", "-fPIC", f"-I{include}", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    decode = ctypes.PyDLL(str(library)).decode
    pointer = ctypes.c_void_p
    decode.argtypes = [
        ctypes.py_object, ctypes.py_object, pointer, ctypes.py_object, pointer, pointer, ctypes.c_long,
    ]  # fmt: skip
    decode.restype = ctypes.py_object
    return decode
