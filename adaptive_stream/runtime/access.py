"""What a worker must be allowed to do, what this identity may do, and the commands that grant the difference.

Owns the list of permissions. Never changes anything on the cluster: topics are asked for their authorized operations;
the group and the transactional ids get a request of a member and of a producer that cannot exist, which Kafka
authorizes before it looks for either. Called by ``validate --connect`` and at a worker's start.
"""

from __future__ import annotations

import base64
import json
import shlex
import ssl
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from aiokafka import errors as kafka_errors
from aiokafka.conn import collect_hosts
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from adaptive_stream.contracts.topics import CO_PARTITIONED, INPUTS, OUTPUTS, Topic
from adaptive_stream.runtime.connection import NoToken, close_probe, connection, explain, open_probe
from adaptive_stream.runtime.failure import EX_CONFIG, EX_UNAVAILABLE, Fatal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adaptive_stream.config import Config
    from adaptive_stream.runtime.connection import Probe


UNTOLD = -(2**31)  # authorized operations of a broker that does not tell them


class Operation(Enum):
    """What may be allowed, with Kafka's own number (org.apache.kafka.common.acl.AclOperation)."""

    READ = 3
    WRITE = 4

    def __str__(self) -> str:
        return self.name.capitalize()


class Resource(Enum):
    """On what, as the option of ``kafka-acls.sh`` calls it."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONAL_ID = "transactional-id"

    def __str__(self) -> str:
        return self.value.replace("-", " ")


@dataclass(frozen=True, slots=True)
class Permission:
    """One thing that a worker must be allowed, and for what."""

    operation: Operation
    resource: Resource
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.operation} on {self.resource} {self.name} ({self.why})"


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found: permissions that are missing, and topics that are not there."""

    missing: Sequence[Permission]
    absent: Sequence[str]


def needed(config: Config, partitions: int) -> list[Permission]:
    """Return everything that a worker must be allowed; Describe comes with each of them."""
    name, group = config.topics.name, config.kafka.group
    read, write, topic = Operation.READ, Operation.WRITE, Resource.TOPIC
    wanted = [Permission(read, topic, name(role), "an input") for role in INPUTS]
    moved = "a record on the wrong partition is published again on the right one"
    wanted += [Permission(write, topic, name(role), moved) for role in INPUTS]
    wanted += [Permission(write, topic, name(role), "an output") for role in (*OUTPUTS, Topic.DEAD_LETTERS)]
    wanted += [
        Permission(read, topic, name(Topic.STATE), "a restore"),
        Permission(write, topic, name(Topic.STATE), "journal and snapshots"),
        Permission(read, Resource.GROUP, group, "the consumer group"),
    ]
    wanted += [
        Permission(write, Resource.TRANSACTIONAL_ID, f"{group}-{partition}", "a task's transactions")
        for partition in range(partitions)
    ]
    return wanted


async def check(config: Config) -> Findings:
    """Find out what is missing, without side effects.

    Raises:
        Fatal: the cluster cannot be reached (69), or refuses the identity (78).
    """
    failure = await explain(config)
    if failure is not None:
        raise failure
    return await _findings(config)


async def require(config: Config) -> None:
    """Refuse to go on without a permission: found in the middle of the work, it would be one at a time.

    Raises:
        Fatal: with every one that is missing.
    """
    missing = (await _findings(config)).missing
    if missing:
        advice = "`adaptive-stream validate FILE --connect` prints the commands that grant them"
        named = "; ".join(str(permission) for permission in missing)
        raise Fatal(f"not allowed: {named}. {advice}", exit_code=EX_CONFIG)


def commands(config: Config, missing: Iterable[Permission], *, principal: str) -> list[str]:
    """Return the commands that grant what is missing, one for each resource.

    Args:
        config: for the bootstrap address and the group.
        missing: as ``check`` found it.
        principal: as Kafka names the identity.
    """
    wanted: dict[tuple[str, ...], list[str]] = {}
    for permission in missing:
        where = [f"--{permission.resource.value}", permission.name]
        if permission.resource is Resource.TRANSACTIONAL_ID:  # one for all tasks, however many there will be
            where = [f"--{permission.resource.value}", f"{config.kafka.group}-", "--resource-pattern-type", "prefixed"]
        operations = wanted.setdefault(tuple(where), [])
        if str(permission.operation) not in operations:
            operations.append(str(permission.operation))
    start = ["kafka-acls.sh", "--bootstrap-server", config.kafka.bootstrap, "--command-config", "admin.properties"]
    return [
        shlex.join(
            [*start, "--add", "--allow-principal", principal]
            + [word for operation in operations for word in ("--operation", operation)]
            + [*where]
        )
        for where, operations in wanted.items()
    ]


async def principal(config: Config) -> str:
    """Return the name that a broker with default settings gives to the configured identity.

    Brokers may map names otherwise (ssl.principal.mapping.rules, sasl.oauthbearer.sub.claim.name).
    """
    security = config.kafka.security
    if security.username is not None and security.protocol.startswith("SASL"):
        return f"User:{security.username}"
    if security.token_provider is not None:
        return f"User:{await _subject_of_token(config) or 'SUBJECT-OF-THE-TOKEN'}"
    if security.cert_file is not None:
        return f"User:{_subject_of_certificate(str(security.cert_file)) or 'SUBJECT-OF-THE-CERTIFICATE'}"
    return "User:ANONYMOUS"


# -- asking ------------------------------------------------------------------------------------------------------------


class _MetadataResponse(Response):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", String()), ("port", Int32), ("rack", String()))),
        ("cluster_id", String()),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String()),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc]  # aiokafka ships no types
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", Array(String())),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _Metadata(Request[_MetadataStruct]):  # type: ignore[misc]  # aiokafka ships no types
    """Metadata with the authorized operations; aiokafka's own stops at version 5."""

    API_KEY = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = list(topics)

    def build(self, request_struct_class: type[_MetadataStruct]) -> _MetadataStruct:
        return request_struct_class(self._topics, False, False, True)


async def _findings(config: Config) -> Findings:
    try:
        probe = await _open(config)
        try:
            return await _ask(config, probe)
        finally:
            await close_probe(probe)
    except (kafka_errors.KafkaError, OSError) as error:
        raise Fatal(f"Kafka at {config.kafka.bootstrap}: {error!r}", exit_code=EX_UNAVAILABLE) from error


async def _open(config: Config) -> Probe:
    """Return a connection to the first broker that answers."""
    options = connection(config)
    failed: Exception | None = None
    for host, port, _ in collect_hosts(config.kafka.bootstrap):
        try:
            return await open_probe(host, port, options)
        except (kafka_errors.KafkaError, OSError) as error:
            failed = error
    assert failed is not None, "the configuration names at least one address"
    raise failed


async def _ask(config: Config, probe: Probe) -> Findings:
    names = [config.topics.name(topic) for topic in Topic]
    try:
        metadata = await probe.send(_Metadata(names))
    except NotImplementedError as error:  # how aiokafka says that the broker lacks a version of the request
        raise Fatal("this Kafka is older than 2.3 and cannot tell what is allowed") from error
    allowed: dict[str, int] = {}
    absent: list[str] = []
    counts: dict[str, int] = {}
    for code, name, _, found, operations in metadata.topics:
        match kafka_errors.for_code(code):
            case kafka_errors.UnknownTopicOrPartitionError:
                absent.append(name)
            case kafka_errors.TopicAuthorizationFailedError:
                allowed[name] = 0
            case _:
                allowed[name] = operations
                counts[name] = len(found)
    tasks = [counts[name] for topic in CO_PARTITIONED if (name := config.topics.name(topic)) in counts]
    missing = []
    for permission in needed(config, max(tasks, default=config.topics.partitions)):
        if permission.resource is Resource.TOPIC:
            operations = UNTOLD if permission.name in absent else allowed[permission.name]
            is_allowed = operations == UNTOLD or bool(operations >> permission.operation.value & 1)
        elif permission.resource is Resource.GROUP:
            answer = await probe.send(HeartbeatRequest(permission.name, -1, "nobody"))
            is_allowed = answer.error_code != kafka_errors.GroupAuthorizationFailedError.errno
        else:
            answer = await probe.send(EndTxnRequest(permission.name, -1, -1, False))
            is_allowed = answer.error_code != kafka_errors.TransactionalIdAuthorizationFailed.errno
        if not is_allowed:
            missing.append(permission)
    return Findings(missing=missing, absent=sorted(absent))


# -- names -------------------------------------------------------------------------------------------------------------


async def _subject_of_token(config: Config) -> str | None:
    """Return the ``sub`` claim of a token; None when it is no JSON Web Token."""
    provider: Any = connection(config)["sasl_oauth_token_provider"]
    try:
        _, claims, *_ = (await provider.token()).split(".")
        subject = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    except (NoToken, ValueError, LookupError, TypeError):
        return None
    return str(subject)


def _subject_of_certificate(path: str) -> str | None:
    """Return the subject of the first certificate in a PEM file as Java writes it (RFC 2253): the last part first."""
    short = {
        "commonName": "CN",
        "organizationalUnitName": "OU",
        "organizationName": "O",
        "localityName": "L",
        "stateOrProvinceName": "ST",
        "countryName": "C",
    }
    # the standard library decodes certificates for its own tests, and of a peer; `cryptography` is no dependency
    decode = getattr(getattr(ssl, "_ssl", None), "_test_decode_cert", None)
    if decode is None:
        return None
    parts = []
    for (key, value), *further in reversed(decode(path)["subject"]):
        if key not in short or further:
            return None
        parts.append(f"{short[key]}={_escaped(value)}")
    return ",".join(parts)


def _escaped(value: str) -> str:
    return "".join(f"\\{character}" if character in ',+"\\<>;' else character for character in value)
