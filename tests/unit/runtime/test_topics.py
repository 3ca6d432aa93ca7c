"""The check of the topics against an administration client that answers as it is told."""

# ruff: noqa: ANN401 - the fake takes what aiokafka takes
from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from adaptive_stream.contracts.topics import COMPACTED, Topic
from adaptive_stream.runtime import topics
from adaptive_stream.runtime.failure import EX_CONFIG, Fatal
from tests.unit.runtime.records import config

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG = config()
DENIED = 29


class FakeAdmin:
    """Has all topics, with these policies; None where they may not be seen."""

    policies: Mapping[Topic, str | None]

    def __init__(self, **_: Any) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def list_topics(self) -> list[str]:
        return [CONFIG.topics.name(topic) for topic in Topic]

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [{}] * 3} for name in names]

    async def describe_configs(self, resources: list[Any]) -> list[Any]:
        assert [resource.name for resource in resources] == [CONFIG.topics.name(topic) for topic in COMPACTED]
        told = [(CONFIG.topics.name(topic), policy) for topic, policy in self.policies.items()]
        return [
            SimpleNamespace(resources=[(DENIED, "denied", 2, name, [])])
            if policy is None
            else SimpleNamespace(resources=[(0, None, 2, name, [("cleanup.policy", policy, False, 1, False, [])])])
            for name, policy in told
        ]


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeAdmin.policies = dict.fromkeys(COMPACTED, "compact")
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", FakeAdmin)


async def test_topics_as_they_are_made_are_accepted() -> None:
    assert await topics.check(CONFIG) == dict.fromkeys(Topic, 3)


@pytest.mark.parametrize("topic", COMPACTED)
@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
async def test_a_topic_that_forgets_what_was_said_last_is_refused(topic: Topic, policy: str) -> None:
    FakeAdmin.policies = {**FakeAdmin.policies, topic: policy}
    with pytest.raises(Fatal, match=rf"{CONFIG.topics.name(topic)} has cleanup.policy '{policy}'") as refused:
        await topics.check(CONFIG)
    assert refused.value.exit_code == EX_CONFIG


async def test_settings_that_may_not_be_seen_are_not_judged() -> None:
    FakeAdmin.policies = dict.fromkeys(COMPACTED)
    assert await topics.check(CONFIG) == dict.fromkeys(Topic, 3)
