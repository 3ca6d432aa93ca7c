"""Which topics the cluster has, and how they are partitioned.

Owns a question to the cluster. Never creates anything. Called by whoever is about to read or publish.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.metadata import MetadataRequest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SHARED_OPTIONS = frozenset(
    {
        "bootstrap_servers",
        "client_id",
        "request_timeout_ms",
        "metadata_max_age_ms",
        "connections_max_idle_ms",
        "retry_backoff_ms",
        "security_protocol",
        "ssl_context",
        "sasl_mechanism",
        "sasl_plain_username",
        "sasl_plain_password",
        "sasl_kerberos_service_name",
        "sasl_kerberos_domain_name",
        "sasl_oauth_token_provider",
    }
)
"""What aiokafka's consumer, its producer and its bare client all take."""


PATIENCE_S = 5.0  # a topic that was made just now has no leader for a moment
SETTLE_S = 1.0  # and the other brokers of a cluster, or one that has just started, do not know it yet
TURN_S = 0.1


async def partition_counts(
    options: Mapping[str, Any], names: Collection[str], *, is_partial: bool = False
) -> dict[str, int]:
    """Return how many partitions each topic has; a consumer says so only of topics that it subscribes to.

    Args:
        options: of a consumer or producer; those about the connection are used.
        names: of the topics.
        is_partial: only a missing one is an error; others without an answer, as those that this identity may not see
            or that have no leader, are left out.

    Raises:
        LookupError: one is missing. It was not created by asking, whatever the broker's auto.create.topics.enable.
        TopicAuthorizationFailedError: this identity may not see one.
        KafkaError: the cluster cannot be reached, or has had no answer for seconds.
    """
    client = AIOKafkaClient(**{name: value for name, value in options.items() if name in SHARED_OPTIONS})
    try:
        await client.bootstrap()
        began_at = time.monotonic()
        while True:
            request = MetadataRequest(list(names), allow_auto_topic_creation=False)
            described = (await client.send(client.get_random_node(), request)).to_object()["topics"]
            errors = {found["topic"]: kafka_errors.for_code(found["error_code"]) for found in described}
            waited_s = time.monotonic() - began_at
            if all(waited_s >= _patience_s(error, is_partial=is_partial) for error in errors.values()):
                break
            await asyncio.sleep(TURN_S)
    finally:
        await client.close()
    _complain(errors, is_partial=is_partial)
    return {found["topic"]: len(found["partitions"]) for found in described if not found["error_code"]}


def _patience_s(error: type[kafka_errors.BrokerResponseError], *, is_partial: bool) -> float:
    """Return for how long an answer is worth another question."""
    if error is kafka_errors.UnknownTopicOrPartitionError:
        return SETTLE_S
    return PATIENCE_S if error.retriable and not is_partial else 0.0


def _complain(errors: Mapping[str, type[kafka_errors.BrokerResponseError]], *, is_partial: bool) -> None:
    named: dict[type[kafka_errors.BrokerResponseError], list[str]] = {}
    for name, error in sorted(errors.items()):
        named.setdefault(error, []).append(name)
    named.pop(kafka_errors.NoError, None)
    missing = named.pop(kafka_errors.UnknownTopicOrPartitionError, None)
    if missing:
        raise LookupError(f"there is no topic {', '.join(missing)}; `adaptive-stream topics create` makes them")
    if is_partial:
        return
    hidden = named.pop(kafka_errors.TopicAuthorizationFailedError, None)
    if hidden:
        raise kafka_errors.TopicAuthorizationFailedError(f"this identity may not see {', '.join(hidden)}")
    for error, names in named.items():
        raise error(f"asked about {', '.join(names)}")
