"""What the statistical tests share: their marker, and the figures that they leave in results.json."""

from __future__ import annotations

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
    """Every figure that a test measures; written when the last test ends, met or not."""
    measured = Figures()
    yield measured
    measured.write(HERE / "results.json")
