"""The guide's code runs, and what an app needs is exported."""

# ruff: noqa: ANN401 - an app's own values
from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest

from adaptive_stream import client
from adaptive_stream.contracts.codec import CARRIES, Codec
from adaptive_stream.contracts.schema import EXAMPLES
from adaptive_stream.contracts.topics import Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE = (Path(__file__).parents[3] / "docs" / "guide" / "client.md").read_text(encoding="utf-8")


def block(number: int) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[number], names)  # noqa: S102 - the guide's own code
    return names


async def test_the_loop_that_publishes_goes_on_after_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[dict[str, Any]] = []

    async def predicted(**event: Any) -> None:
        if event["prediction_id"] == "r-1":
            raise client.Reject(client.ErrorCode.NON_FINITE, "not finite", path="$.output")
        sent.append(event)

    async def requests() -> AsyncIterator[tuple[str, list[float]]]:
        for number in range(3):
            yield f"r-{number}", [1.0]

    await block(0)["serve"](SimpleNamespace(predicted=predicted), requests(), sum)
    assert [event["prediction_id"] for event in sent] == ["r-0", "r-2"]
    assert capsys.readouterr().out == "non_finite $.output not finite\n"


async def test_the_loop_that_follows_hands_on_alerts_with_their_ids() -> None:
    (alert,) = EXAMPLES[Topic.ALERTS]
    headers = Codec().headers(alert, source="/s", event_id="e-1", time_ms=0)

    class Subscriber:
        def __init__(self, _: str, *topics: Topic, group: str) -> None:
            assert (topics, group) == ((Topic.ALERTS,), "pager")

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None: ...

        async def events(self) -> AsyncIterator[tuple[Any, Any]]:
            yield SimpleNamespace(headers=headers), alert

    told: list[tuple[bytes, Any]] = []

    async def handle(event_id: bytes, event: Any) -> None:
        told.append((event_id, event))

    names = block(1)
    names["Subscriber"] = Subscriber
    await names["follow"](handle)
    assert told == [(b"e-1", alert)]


def test_every_event_is_exported() -> None:
    kinds = {kind for carried in CARRIES.values() for kind in getattr(carried, "__args__", (carried,))}
    assert {kind.__name__ for kind in kinds} <= set(client.__all__)
    assert all(hasattr(client, name) for name in client.__all__)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)", PAGE))
def test_every_link_of_the_guide_leads_somewhere(link: str) -> None:
    assert (Path(__file__).parents[3] / "docs" / "guide" / link).exists()
