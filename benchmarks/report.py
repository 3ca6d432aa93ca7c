"""What was measured: a plain table, and a file for programs.

Owns the layout. Called by ``python -m benchmarks``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

RESULTS = Path(__file__).with_name("results.json")


class Figure(TypedDict):
    """One figure; ``met`` is None where there is no goal."""

    name: str
    value: float
    unit: str
    goal: float | None
    met: bool | None


class Report:
    """The figures of one run."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def add(self, name: str, value: float, unit: str, *, goal: float | None = None, is_most: bool = False) -> None:
        """Add a figure and print it.

        Args:
            name: of the figure.
            value: measured.
            unit: of the value.
            goal: at least this, or at most where ``is_most``.
            is_most: the goal is a ceiling.
        """
        met = None if goal is None else (value <= goal if is_most else value >= goal)
        self.figures.append(Figure(name=name, value=value, unit=unit, goal=goal, met=met))
        sign = "<=" if is_most else ">="
        verdict = "" if goal is None else f"{sign} {goal:g}  {'met' if met else 'NOT met'}"
        print(f"{name:38} {value:14,.4g} {unit:6} {verdict}", flush=True)

    def save(self) -> None:
        """Write the file."""
        RESULTS.write_text(json.dumps(self.figures, indent=2) + "\n", encoding="utf-8")
