"""One guarded Kafka for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.security.fortress import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.security.fortress import Fortress


@pytest.fixture(scope="package")
def fortress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fortress]:
    made = build(tmp_path_factory.mktemp("fortress"))
    with made.kafka:
        yield made
