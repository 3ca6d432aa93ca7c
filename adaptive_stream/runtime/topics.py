"""The topics on the cluster: made as they must be, and checked before any work.

Owns the settings of each topic. Never deletes and never alters. Called by the worker at its start and by the verbs
``topics create`` and ``topics check``.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from adaptive_stream.contracts.topics import CO_PARTITIONED, COMPACTED, Topic
from adaptive_stream.runtime.connection import connection, explain
from adaptive_stream.runtime.failure import EX_CONFIG, EX_UNAVAILABLE, Fatal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptive_stream.config import Config

PATIENCE_S = 30.0  # how long a start waits for a broker; a supervisor starts the process again after that
DEAD_LETTER_BYTES = 4_000_000  # a dead letter is a whole input record plus its headers


def settings(config: Config, topic: Topic) -> dict[str, str]:
    """Return the topic-level settings of a topic."""
    if topic is Topic.STATE:
        # small segments, cleaned early: a restore reads what is left of this topic whole
        return {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.2",
            "segment.bytes": str(16 * 1024 * 1024),
            "segment.ms": str(600_000),
        }
    if topic in COMPACTED:
        return {"cleanup.policy": "compact"}
    made = {"cleanup.policy": "delete"}
    if config.topics.retention_ms is not None:
        made["retention.ms"] = str(config.topics.retention_ms)
    if topic is Topic.DEAD_LETTERS:
        made["max.message.bytes"] = str(DEAD_LETTER_BYTES)
    return made


async def create(config: Config) -> list[str]:
    """Create the topics that are missing; the others are left as they are.

    Returns:
        The names of those created.

    Raises:
        Fatal: Kafka could not be reached, or refuses.
    """
    client = await _connect(config)
    try:
        there = set(await client.list_topics())
        missing = [topic for topic in Topic if config.topics.name(topic) not in there]
        new = [
            NewTopic(
                name=config.topics.name(topic),
                num_partitions=config.topics.partitions,
                replication_factor=config.topics.replication_factor,
                topic_configs=settings(config, topic),
            )
            for topic in missing
        ]
        if new:
            response = await client.create_topics(new)
            for name, code, *_ in response.topic_errors:
                if code and kafka_errors.for_code(code) is not kafka_errors.TopicAlreadyExistsError:
                    raise Fatal(f"topic {name}: {kafka_errors.for_code(code).__name__}", exit_code=EX_CONFIG)
            await _until_visible(client, {topic.name for topic in new})
        return [topic.name for topic in new]
    except (kafka_errors.KafkaError, OSError) as error:
        raise await _failure(config, error) from error
    finally:
        await client.close()


async def check(config: Config) -> dict[Topic, int]:
    """Check that the topics are there, partitioned together, and compacted where a key's newest value must stay.

    Returns:
        The number of partitions of each topic.

    Raises:
        Fatal: with every mistake, and what to do.
    """
    client = await _connect(config)
    try:
        names = {config.topics.name(topic): topic for topic in Topic}
        there = set(await client.list_topics())
        described = await client.describe_topics([name for name in names if name in there])
        policies = await _policies(client, [name for name in names if name in there and names[name] in COMPACTED])
    except (kafka_errors.KafkaError, OSError) as error:
        raise await _failure(config, error) from error
    finally:
        await client.close()
    counts = {names[found["topic"]]: len(found["partitions"]) for found in described}
    mistakes = [f"{name} is missing" for name, topic in names.items() if topic not in counts]
    together = {counts[topic] for topic in CO_PARTITIONED if topic in counts}
    if len(together) > 1:
        mistakes += [f"{config.topics.name(t)} has {counts[t]} partitions" for t in CO_PARTITIONED if t in counts]
        mistakes.append("the input topics and the state topic must have the same number of partitions")
    mistakes += [
        f"{name} has cleanup.policy {policy!r} and must have 'compact', or what was said last of a model vanishes"
        for name, policy in policies.items()
        if policy != "compact"
    ]
    if mistakes:
        prefix = config.topics.prefix
        advice = f"run `adaptive-stream topics create`, or mend them; they are found by topics.prefix {prefix!r}"
        advice += "; `adaptive-stream validate FILE --connect` tells whether this identity may see them"
        raise Fatal("topics: " + "; ".join(mistakes) + ". " + advice, exit_code=EX_CONFIG)
    return counts


async def _policies(client: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, str]:
    """Return the cleanup policy of each topic; without those whose settings this identity may not see."""
    if not names:
        return {}
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, {"cleanup.policy": ""}) for name in names]
    return {
        name: value
        for answer in await client.describe_configs(asked)
        for code, _, _, name, entries in answer.resources
        if not code
        for _, value, *_ in entries
    }


async def _connect(config: Config) -> AIOKafkaAdminClient:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        client = AIOKafkaAdminClient(**connection(config))
        try:
            await client.start()
        except (kafka_errors.KafkaError, OSError) as error:
            await client.close()
            failure = await _failure(config, error)
            if failure.exit_code == EX_CONFIG or time.monotonic() > deadline:
                raise failure from error
            await asyncio.sleep(1.0)
        else:
            return client


async def _failure(config: Config, error: Exception) -> Fatal:
    """Return why the cluster could not be asked; the client says no more than that it failed."""
    reason = await explain(config)
    code = reason.exit_code if reason is not None else EX_UNAVAILABLE
    where = f"Kafka at {config.kafka.bootstrap} cannot be reached"
    return Fatal(f"{where}: {reason or repr(error)}", exit_code=code)


async def _until_visible(client: AIOKafkaAdminClient, names: set[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not names <= set(await client.list_topics()) and time.monotonic() < deadline:  # noqa: ASYNC110 - polls a broker
        await asyncio.sleep(0.05)
