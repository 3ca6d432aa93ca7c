"""Which topics the cluster has, and how they are partitioned.

Owns a question to the cluster. Never creates anything. Called by the subscriber and by ``send``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

SHARED_OPTIONS = frozenset(
    {
        "bootstrap_servers",
        "client_id",
        "request_timeout_ms",
        "metadata_max_age_ms",
        "security_protocol",
        "ssl_context",
        "sasl_mechanism",
        "sasl_plain_username",
        "sasl_plain_password",
        "sasl_oauth_token_provider",
    }
)
"""What aiokafka's consumer and its administration client both take."""


async def partition_counts(options: Mapping[str, Any], names: Collection[str]) -> dict[str, int]:
    """Return how many partitions each topic has; a consumer says so only of topics that it subscribes to.

    Args:
        options: of a consumer or producer; those about the connection are used.
        names: of the topics.

    Raises:
        LookupError: one is missing.
    """
    admin = AIOKafkaAdminClient(**{name: value for name, value in options.items() if name in SHARED_OPTIONS})
    try:
        await admin.start()
        described = await admin.describe_topics(list(names))
    finally:
        await admin.close()
    missing = sorted(found["topic"] for found in described if found["error_code"])
    if missing:
        raise LookupError(f"there is no topic {', '.join(missing)}; `adaptive-stream topics create` makes them")
    return {found["topic"]: len(found["partitions"]) for found in described}
