"""The frozen configuration tree: every setting with its unit, its range and the reason for its default.

Owns what is legal. Never reads a file or the environment; ``load`` does. Read by every layer.
"""

from __future__ import annotations

import re
from pathlib import Path  # noqa: TC003 - pydantic needs it at run time
from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from adaptive_stream.config.family import Family  # noqa: TC001 - pydantic needs it at run time
from adaptive_stream.config.node import ClashError, Name, Setting, Tree, unless
from adaptive_stream.config.provider import load_provider
from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.topics import Topic  # noqa: TC001 - part of the public signature


class Security(Tree):
    """How to prove who we are, and who the broker is."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed the brokers' certificates; None: the system's"
    )
    cert_file: Path | None = Field(None, description="PEM file of the client's certificate")
    key_file: Path | None = Field(None, description="PEM file of the client's key")
    key_password: SecretStr | None = None
    key_password_file: Path | None = None
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = Field(None, description="read whenever a client starts; a rotated one needs a restart")
    token_provider: str | None = Field(
        None,
        description="of OAUTHBEARER: package.module:factory, which makes an aiokafka.abc.AbstractTokenProvider",
    )

    def secret_password(self) -> str | None:
        """Return the SASL password, from its file if that is set."""
        return _secret(self.password, self.password_file)

    def secret_key_password(self) -> str | None:
        """Return the password of the client's key, from its file if that is set."""
        return _secret(self.key_password, self.key_password_file)

    @field_validator("token_provider")
    @classmethod
    def _provided(cls, value: str | None) -> str | None:
        if value is not None:
            load_provider(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Security:
        has_password = self.password is not None or self.password_file is not None
        proof: list[Setting] = ["protocol", "mechanism", "token_provider", "username", "password", "password_file"]
        if self.mechanism == "OAUTHBEARER":
            if self.token_provider is None or self.username is not None or has_password:
                raise ClashError(("OAUTHBEARER needs token_provider, and neither username nor password", proof))
        elif self.token_provider is not None:
            raise ClashError(("token_provider belongs to mechanism: OAUTHBEARER", proof[1:3]))
        elif self.protocol.startswith("SASL") and not (self.mechanism and self.username and has_password):
            why = (
                f"{self.protocol} needs mechanism, username and password (or password_file); OAUTHBEARER token_provider"
            )
            raise ClashError((why, proof))
        if self.mechanism is not None and not self.protocol.startswith("SASL"):
            why = f"mechanism belongs to SASL_SSL or SASL_PLAINTEXT, the protocol is {self.protocol}"
            raise ClashError((why, proof[:2]))
        if (self.cert_file is None) != (self.key_file is None):
            raise ClashError(("cert_file and key_file go together", ["cert_file", "key_file"]))
        for name in ("ca_file", "cert_file", "key_file", "key_password_file", "password_file"):
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_file():
                raise ClashError((f"the file {path} does not exist", [name]))
        if (self.ca_file or self.cert_file) and not self.protocol.endswith("SSL"):
            why = f"certificates belong to SSL or SASL_SSL, the protocol is {self.protocol}"
            raise ClashError((why, ["protocol", "ca_file", "cert_file"]))
        return self


class Kafka(Tree):
    """The cluster and the consumer group."""

    bootstrap: str = Field("127.0.0.1:9092", min_length=1, description="host:port, several separated by commas")
    group: Name = Field("adaptive-stream", description="consumer group; also the prefix of the transactional ids")
    client_id: Name = "adaptive-stream"
    group_instance_id: Name | None = Field(None, description="static membership: a restart moves no partition")
    session_timeout_ms: int = Field(
        45_000, ge=1_000, le=1_800_000, description="a step bounded in examples may take seconds"
    )
    rebalance_timeout_ms: int = Field(60_000, ge=1_000, le=1_800_000, description="time to finish a batch")
    heartbeat_interval_ms: int = Field(3_000, ge=100, le=600_000, description="at most a third of the session")
    request_timeout_ms: int = Field(90_000, ge=1_000, le=1_800_000, description="above the rebalance timeout")
    transaction_timeout_ms: int = Field(
        60_000, ge=1_000, le=900_000, description="the broker's default maximum is 900 s"
    )
    call_timeout_ms: int = Field(30_000, ge=500, le=600_000, description="limit of each transactional call")
    fetch_max_wait_ms: int = Field(
        10, ge=1, le=10_000, description="a fetch waits for all topics; 500 starves the thick"
    )
    max_partition_fetch_bytes: int = Field(1_048_576, ge=65_536, le=67_108_864)
    metadata_max_age_ms: int = Field(30_000, ge=1_000, le=3_600_000, description="finds a moved leader soon")
    security: Security = Security()

    @field_validator("bootstrap")
    @classmethod
    def _hosts(cls, value: str) -> str:
        for part in value.split(","):
            if re.fullmatch(r"\s*(\[[0-9A-Fa-f:]+\]|[^\s:,]+):\d{1,5}\s*", part) is None:
                raise ValueError(f"{part.strip()!r} is not host:port")
        return value

    @model_validator(mode="after")
    def _timeouts(self) -> Kafka:
        mistakes: list[tuple[str, list[Setting]]] = []
        if self.heartbeat_interval_ms * 3 > self.session_timeout_ms:
            why = "heartbeat_interval_ms must be at most a third of session_timeout_ms"
            mistakes.append((why, ["heartbeat_interval_ms", "session_timeout_ms"]))
        if self.request_timeout_ms <= max(self.session_timeout_ms, self.rebalance_timeout_ms):
            why = "request_timeout_ms must be above session_timeout_ms and rebalance_timeout_ms"
            mistakes.append((why, ["request_timeout_ms", "session_timeout_ms", "rebalance_timeout_ms"]))
        return unless(mistakes, self)


class Topics(Tree):
    """The topics: their prefix and how they are created."""

    prefix: str = Field("adaptive.", max_length=200, pattern=r"^[A-Za-z0-9._-]*$")
    partitions: int = Field(6, ge=1, le=10_000, description="divides by 1, 2, 3 and 6 workers")
    replication_factor: int = Field(1, ge=1, le=16, description="3 in production; 1 runs on one broker")
    retention_ms: int | None = Field(None, ge=-1, description="None: the broker's default; -1: for ever")

    def name(self, topic: Topic) -> str:
        """Return the name of a topic on the cluster."""
        return self.prefix + topic.value


class BatchSettings(Tree):
    """When a batch is cut and how it is stepped."""

    max_batch_records: int = Field(20_000, ge=1, le=1_000_000, description="about 150 ms of work")
    slice_records: int = Field(1_000, ge=1, le=100_000, description="about 6 ms between two turns of the loop")
    commit_interval_ms: int = Field(200, ge=10, le=60_000, description="back-to-back transactions wait for markers")
    max_task_idle_ms: int = Field(2_000, ge=0, le=600_000, description="patience with an input that is behind")
    max_buffer_bytes: int = Field(64 * 2**20, ge=65_536, le=2**34, description="fetched and not stepped, a task")
    max_record_bytes: int = Field(65_536, ge=256, le=16_000_000, description="most bytes of a record's body")
    max_depth: int = Field(16, ge=2, le=100, description="deepest nesting of a record's body")


class TimeLimits(Tree):
    """Which timestamps are believable."""

    earliest: str = Field("2000-01-01T00:00:00Z", description="catches 1970, the time of a clock that was never set")
    max_future_skew_s: int = Field(3_600, ge=0, le=86_400, description="a record this far ahead is refused")

    @field_validator("earliest")
    @classmethod
    def _instant(cls, value: str) -> str:
        parse_time(value)
        return value


class State(Tree):
    """The journal, the snapshots and what to do when the log does not hold what a restore needs."""

    snapshot_interval_s: float = Field(30, ge=0.1, le=86_400, description="bounds what a restore steps again")
    journal_ring: int = Field(4_096, ge=16, le=1_000_000, description="entries kept; a snapshot is forced at half")
    commit_bytes: int = Field(4 * 2**20, ge=4_096, le=2**30, description="snapshot bytes written by one commit")
    record_bytes: int = Field(900_000, ge=1_024, le=900_000, description="below the broker's limit of 1 MiB")
    on_lost_history: Literal["refuse", "continue"] = Field("refuse", description="inputs no longer retained")
    on_offset_mismatch: Literal["refuse", "trust_journal"] = Field("refuse", description="the group's offsets moved")
    close_timeout_s: float = Field(20, ge=1, le=600, description="below the 30 s that Kubernetes gives")


class Join(Tree):
    """How long and how much the join waits."""

    window_s: int = Field(604_800, ge=1, le=31_536_000, description="a label may come a week after its prediction")
    max_bytes: int = Field(256 * 2**20, ge=65_536, le=2**36, description="waiting predictions, a task and family")
    early_window_s: int = Field(3_600, ge=0, le=31_536_000, description="feedback waits this long for its prediction")
    max_early: int = Field(10_000, ge=1, le=1_000_000, description="feedback that waits")
    max_feedback_ids: int = Field(1_000_000, ge=64, le=100_000_000, description="remembered to find duplicates")
    entity_limit: int = Field(100, ge=0, le=1_000_000, description="feedbacks of one entity and window; 0: no limit")
    entity_window_s: int = Field(86_400, ge=1, le=31_536_000)
    max_entities: int = Field(100_000, ge=1, le=10_000_000, description="entities counted; further ones are not capped")


class Http(Tree):
    """Probes, status and metrics."""

    enabled: bool = True
    host: str = Field("0.0.0.0", min_length=1)  # noqa: S104 - probes come from outside the container
    port: int = Field(8080, ge=0, le=65_535, description="0 takes any free one and logs it")


class Log(Tree):
    """The worker's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = Field("auto", description="auto: JSON unless on a terminal")


class Config(Tree):
    """The whole configuration of a worker."""

    seed: int = Field(0, ge=0, lt=2**63, description="of everything random")
    kafka: Kafka = Kafka()
    topics: Topics = Topics()
    batch: BatchSettings = BatchSettings()
    time: TimeLimits = TimeLimits()
    state: State = State()
    join: Join = Join()
    http: Http = Http()
    log: Log = Log()
    families: dict[Name, Family] = Field(min_length=1, description="the first whose pattern matches a model wins")

    @model_validator(mode="after")
    def _together(self) -> Config:
        mistakes: list[tuple[str, list[Setting]]] = []
        interval: Setting = ("batch", "commit_interval_ms")
        batches = self.state.snapshot_interval_s * 1000 / self.batch.commit_interval_ms
        if self.state.journal_ring < 4 * batches:
            why = (
                f"state.journal_ring must be at least {int(4 * batches)}: four times the batches between two snapshots"
            )
            mistakes.append((why, [("state", "journal_ring"), ("state", "snapshot_interval_s"), interval]))
        if self.batch.commit_interval_ms * 4 > self.kafka.transaction_timeout_ms:
            why = "kafka.transaction_timeout_ms must be at least four times batch.commit_interval_ms"
            mistakes.append((why, [("kafka", "transaction_timeout_ms"), interval]))
        seen: dict[str, str] = {}
        for name, family in self.families.items():
            mistakes += [
                (
                    f"families.{name}: the pattern {pattern!r} is taken by family {seen[pattern]!r} before",
                    [("families", name, "match"), ("families", seen[pattern], "match")],
                )
                for pattern in family.match
                if seen.get(pattern, name) != name
            ]
            seen |= {pattern: name for pattern in family.match if pattern not in seen}
        return unless(mistakes, self)


def _secret(value: SecretStr | None, path: Path | None) -> str | None:
    if path is not None:
        return path.read_text().strip()
    return value.get_secret_value() if value is not None else None
