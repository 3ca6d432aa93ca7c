"""Measured figures, beside what they should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scipy.special import betaincinv

if TYPE_CHECKING:
    from pathlib import Path


class Figures:
    """What the suite measured, in the order of the tests."""

    def __init__(self) -> None:
        self._all: list[dict[str, Any]] = []

    def add(self, name: str, value: float, *, low: float, high: float, goal: str, met: bool) -> bool:
        """Keep one figure with its interval, and return whether its goal is met."""
        figure = {"name": name, "value": value, "low": low, "high": high, "goal": goal, "met": met}
        self._all.append({key: float(one) if key in {"value", "low", "high"} else one for key, one in figure.items()})
        return met

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self._all, indent=1) + "\n", encoding="utf-8")


def share(hits: int, trials: int) -> tuple[float, float, float]:
    """Return a share and its 95 % interval (Clopper, Pearson, Biometrika 26, 1934)."""
    low = betaincinv(hits, trials - hits + 1, 0.025) if hits else 0.0
    high = betaincinv(hits + 1, trials - hits, 0.975) if hits < trials else 1.0
    return hits / trials, float(low), float(high)
