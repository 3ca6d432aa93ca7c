"""What the cluster says of a topic, and what that means for whoever asked."""

# ruff: noqa: ANN401 - the fake takes what aiokafka takes
from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient

from adaptive_stream.client import partitions
from adaptive_stream.client.partitions import SHARED_OPTIONS, partition_counts

if TYPE_CHECKING:
    from aiokafka.protocol.metadata import MetadataRequest

MISSING, NO_LEADER, DENIED, INVALID = 3, 5, 29, 17


class FakeClient:
    """Answers each request with the next of what is planned; the last one again and again."""

    answers: list[dict[str, int]]  # error codes by topic
    made: list[FakeClient]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.requests: list[MetadataRequest] = []
        self.is_closed = False
        self.made.append(self)

    async def bootstrap(self) -> None: ...

    async def close(self) -> None:
        self.is_closed = True

    def get_random_node(self) -> int:
        return 1

    async def send(self, _: int, request: MetadataRequest) -> Any:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        topics = [{"topic": name, "error_code": code, "partitions": [{}] * 3} for name, code in answer.items()]
        return SimpleNamespace(to_object=lambda: {"topics": topics})


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClient.made = []
    monkeypatch.setattr(partitions, "AIOKafkaClient", FakeClient)
    monkeypatch.setattr(partitions, "TURN_S", 0.0)
    monkeypatch.setattr(partitions, "SETTLE_S", 0.01)


async def ask(*answers: dict[str, int], **options: Any) -> dict[str, int]:
    FakeClient.answers = list(answers)
    try:
        return await partition_counts({"bootstrap_servers": "host:1", "linger_ms": 5}, ["a", "b"], **options)
    finally:
        assert FakeClient.made[0].is_closed


async def test_asking_makes_no_topic_and_uses_only_what_is_about_the_connection() -> None:
    assert await ask({"a": 0, "b": 0}) == {"a": 3, "b": 3}
    (client,) = FakeClient.made
    assert client.options == {"bootstrap_servers": "host:1"}
    (request,) = client.requests
    assert request._allow_auto_topic_creation is False


def test_every_option_about_the_connection_is_used() -> None:
    clients = (AIOKafkaClient, AIOKafkaProducer, AIOKafkaConsumer)
    shared = set.intersection(*(set(inspect.signature(client).parameters) for client in clients))
    assert shared - {"loop", "api_version"} == SHARED_OPTIONS


async def test_a_topic_that_is_missing_is_named_and_the_others_are_not() -> None:
    with pytest.raises(LookupError, match="there is no topic b;"):
        await ask({"a": 0, "b": MISSING})


async def test_a_permission_that_is_missing_is_no_missing_topic() -> None:
    with pytest.raises(kafka_errors.TopicAuthorizationFailedError, match="may not see a, b"):
        await ask({"a": DENIED, "b": DENIED})


async def test_what_has_no_answer_is_left_out_at_once_where_a_part_is_enough() -> None:
    assert await ask({"a": 0, "b": DENIED, "c": NO_LEADER}, is_partial=True) == {"a": 3}
    assert len(FakeClient.made[0].requests) == 1


async def test_a_missing_topic_is_told_where_a_part_is_enough_too() -> None:
    with pytest.raises(LookupError, match="there is no topic a;"):
        await ask({"a": MISSING, "b": DENIED}, is_partial=True)


async def test_a_topic_without_a_leader_is_asked_for_again() -> None:
    assert await ask({"a": NO_LEADER, "b": 0}, {"a": NO_LEADER, "b": 0}, {"a": 0, "b": 0}) == {"a": 3, "b": 3}
    assert len(FakeClient.made[0].requests) == 3


@pytest.mark.parametrize("is_partial", [False, True])
async def test_a_topic_that_another_broker_has_just_made_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, *, is_partial: bool
) -> None:
    monkeypatch.setattr(partitions, "SETTLE_S", 60.0)
    answers = [{"a": MISSING, "b": 0}, {"a": 0, "b": 0}]
    assert await ask(*answers, is_partial=is_partial) == {"a": 3, "b": 3}


async def test_a_leader_that_never_comes_is_told_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "PATIENCE_S", 0.02)
    with pytest.raises(kafka_errors.LeaderNotAvailableError, match="asked about a"):
        await ask({"a": NO_LEADER, "b": 0})
    assert len(FakeClient.made[0].requests) > 1


async def test_any_other_error_is_told_by_its_name_at_once() -> None:
    with pytest.raises(kafka_errors.InvalidTopicError, match="asked about b"):
        await ask({"a": 0, "b": INVALID})
    assert len(FakeClient.made[0].requests) == 1
