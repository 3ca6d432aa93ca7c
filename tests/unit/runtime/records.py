"""Records as the client hands them over, and a configuration to read them with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord

from adaptive_stream.config import Config, load
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Prediction

if TYPE_CHECKING:
    from collections.abc import Sequence

START_MS = 1_700_000_000_000
LIMITS_MS = (0, 2**62)


def config(*settings: str) -> Config:
    return load([], {}, ['families.f.match=["m*"]', "kafka.group=g", *settings])


def record(
    offset: int,
    time_ms: int = START_MS,
    *,
    value: bytes | None = b"{}",
    key: bytes | None = b"m0",
    topic: str = "adaptive.predictions",
    partition: int = 0,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> ConsumerRecord:
    return ConsumerRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=time_ms,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key or b""),
        serialized_value_size=len(value or b""),
        headers=tuple(headers),
    )


def prediction(offset: int, time_ms: int = START_MS, *, model: str = "m0", output: float = 0.9) -> ConsumerRecord:
    event = Prediction(prediction_id=f"p{offset}", model_id=model, output=output)
    return record(offset, time_ms, value=Codec().encode(event), key=model.encode())
