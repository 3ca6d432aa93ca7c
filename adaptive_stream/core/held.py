"""Events that were taken in and that nobody has measured yet, as columns.

Owns the arrays until they are taken. Never looks at them. Called by the fleet.

A pass of the monitor and of the detectors over few events costs nearly what one over thousands does, and between two
points of the grid it changes nothing how events are cut into passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MOST = 8_192  # events that are held: a pass over so many takes some 30 ms


class Held:
    """Runs of events with the same columns, in order."""

    def __init__(self) -> None:
        self._parts: list[Mapping[str, NDArray[Any]]] = []
        self._count = 0

    def add(self, part: Mapping[str, NDArray[Any]]) -> None:
        """Append a run."""
        count = len(next(iter(part.values())))
        if count:
            self._parts.append(part)
            self._count += count

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return not self._count

    @property
    def is_full(self) -> bool:
        """Whether it is time to take what is there."""
        return self._count >= MOST

    def take(self) -> dict[str, NDArray[Any]]:
        """Return the columns of all runs, and forget them."""
        parts, self._parts, self._count = self._parts, [], 0
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
