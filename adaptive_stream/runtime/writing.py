"""From what a batch decided to the records that its transaction writes.

Owns the shape of output records and of dead letters, and their deterministic ids. Never talks to Kafka. Called by the
task when a batch is complete.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.events import Adaptation, Alert, ModelCommand, ModelStatus, OutputEvent
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.intake import MOVED_HEADER, home
from adaptive_stream.runtime.session import Write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import ConsumerRecord

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.codec import Codec
    from adaptive_stream.runtime.intake import Refused

NAMESPACE = uuid.UUID("8f1d2c56-3f0e-5d0a-9b1e-6a1f6f0c7a11")  # of the ids of output events; any constant would do
TOPIC_OF: dict[type, Topic] = {
    Alert: Topic.ALERTS,
    Adaptation: Topic.ADAPTATIONS,
    ModelCommand: Topic.MODEL_COMMANDS,
    ModelStatus: Topic.MODEL_STATUS,
}


class Writer:
    """Make the records of one task's transactions.

    Args:
        config: the worker's configuration.
        codec: from events to bytes.
        partition: the task's partition number.
        partitions: of each topic that is written.
    """

    def __init__(self, config: Config, codec: Codec, *, partition: int, partitions: Mapping[Topic, int]) -> None:
        self._name = config.topics.name
        self._codec = codec
        self._partition = partition
        self._partitions = partitions
        self._source = f"/{config.kafka.group}/{partition}"

    def output(self, event: OutputEvent, *, batch: int, index: int, cut_ms: int) -> Write:
        """Return the record of an output event: JSON, CloudEvents binary, keyed by model."""
        topic = TOPIC_OF[type(event)]
        key = event.model_id.encode()
        event_id = str(uuid.uuid5(NAMESPACE, f"{self._source}/{batch}/{index}"))
        return Write(
            topic=self._name(topic),
            partition=home(key, self._partitions[topic]),
            key=key,
            value=self._codec.encode(event),
            time_ms=cut_ms,
            headers=self._codec.headers(
                event, source=self._source, event_id=event_id, time_ms=_event_time_ms(event, cut_ms)
            ),
        )

    def dead_letter(self, refused: Refused, *, cut_ms: int) -> Write:
        """Return the dead letter of a record: key, value and headers byte for byte, and why."""
        record, reject = refused.record, refused.reject
        reasons = {
            "as_error_code": str(reject.code),
            "as_error_message": reject.message,
            "as_error_path": reject.path,
            "as_source_topic": record.topic,
            "as_source_partition": str(record.partition),
            "as_source_offset": str(record.offset),
            "as_source_timestamp": str(record.timestamp),
        }
        return Write(
            topic=self._name(Topic.DEAD_LETTERS),
            partition=self._partition % self._partitions[Topic.DEAD_LETTERS],
            key=record.key,
            value=record.value,
            time_ms=cut_ms,
            headers=[*record.headers, *((name, value.encode()) for name, value in reasons.items())],
        )

    def moved(self, misplaced: Sequence[tuple[Topic, int, ConsumerRecord]]) -> list[Write]:
        """Return records that were on the wrong partition, addressed to the right one, marked as moved."""
        return [
            Write(
                topic=self._name(topic),
                partition=partition,
                key=record.key,
                value=record.value,
                time_ms=record.timestamp,
                headers=[*record.headers, (MOVED_HEADER, b"1")],
            )
            for topic, partition, record in misplaced
        ]

    def state(self, key: bytes, value: bytes, *, cut_ms: int) -> Write:
        """Return a record of the task's own state partition."""
        return Write(topic=self._name(Topic.STATE), partition=self._partition, key=key, value=value, time_ms=cut_ms)


def _event_time_ms(event: OutputEvent, cut_ms: int) -> int:
    match event:
        case Alert():
            return parse_time(event.ends_at or event.starts_at)
        case Adaptation() | ModelStatus():
            return parse_time(event.at)
        case _:
            return cut_ms
