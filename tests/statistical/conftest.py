"""What the statistical tests share: their marker, and the figures that they leave in results.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.statistical.figure import Figures

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.statistical)


@pytest.fixture(scope="session")
def figures() -> Iterator[Figures]:
    """Every figure that a test measures, met or not; each process of the suite writes its part when it ends."""
    measured = Figures()
    yield measured
    measured.write(HERE / f"results.{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}.part")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        for part in HERE.glob("results.*.part"):  # of a run that was killed
            part.unlink()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Put the parts together, in the process that the others answer to."""
    parts = sorted(HERE.glob("results.*.part"))
    if parts and not hasattr(session.config, "workerinput"):
        figures = [figure for part in parts for figure in json.loads(part.read_text(encoding="utf-8"))]
        (HERE / "results.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        for part in parts:
            part.unlink()
