"""Whether a core was this process's own while something was timed.

A neighbour on the same hardware slows a core down to half, and no counter of this system shows it: a loop of fixed work
takes either its shortest time or nearly twice that, for seconds on end. So the loop is timed before and after each
batch, which counts as undisturbed where both were near the shortest of the run: that is for the loop to say, never for
the batch's own time. Where the neighbour never rests all batches look undisturbed, and only the shortest loop, compared
with that of other runs, tells. Called by the benchmarks of the core.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LOOP = 20_000  # rounds, about a millisecond
NEAR = 1.2  # of the shortest
MOST = 10  # times as many batches as are wanted, where the neighbour does not rest


class Paced(NamedTuple):
    """Medians of one batch, in seconds of CPU."""

    undisturbed: float
    any_pace: float
    share: float  # of the batches that were undisturbed
    loop: float  # the shortest


def paced(batch: Callable[[], float], *, wanted: int) -> Paced:
    """Run batches until so many were undisturbed.

    Args:
        batch: runs one and returns its seconds of CPU.
        wanted: undisturbed batches; the run ends at ``MOST`` times as many, whatever they were.

    Returns:
        The medians; a goal is for that of all. Where no batch was undisturbed, that stands for both.
    """
    seconds, loops = list[float](), [_loop()]
    while len(seconds) < MOST * wanted:
        seconds.append(batch())
        loops.append(_loop())
        if len(seconds) >= wanted and len(_undisturbed(seconds, loops)) >= wanted:
            break
    quiet = _undisturbed(seconds, loops)
    return Paced(median(quiet or seconds), median(seconds), len(quiet) / len(seconds), min(loops))


def _undisturbed(seconds: list[float], loops: list[float]) -> list[float]:
    limit = NEAR * min(loops)
    return [one for one, before, after in zip(seconds, loops, loops[1:], strict=False) if max(before, after) <= limit]


def _loop() -> float:
    started, total = time.process_time(), 0
    for number in range(LOOP):
        total += number * number
    return time.process_time() - started
