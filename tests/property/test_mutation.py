"""Bad bytes by the thousand, without a broker: a refusal comes of them, the expected one, and nothing else."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings

from adaptive_stream.config import load
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.events import Metrics
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.core.slice import Slice
from adaptive_stream.runtime.intake import Intake, home
from tests.property.mutation import FAMILIES, NOT_A_RECORDS_FAULT, START_MS, Mutant, bad_records, bent, flipped, good
from tests.unit.contracts.example import strict_json
from tests.unit.runtime.records import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import InputEvent

SEED = 20_240
PARTITIONS = 3
FLIPS = 20_000
LIMITS_MS = (946_684_800_000, 2**62)  # time.earliest, by default
CODEC = Codec()


@cache
def configured(families: tuple[str, ...]) -> Config:
    return load([], {}, families)


def full_fleets(families: Sequence[str]) -> Fleets:
    """Fleets whose family ``full`` holds as many models as it may."""
    fleets = Fleets(configured(tuple(families)))
    stepped = fleets.step(_slice(Topic.METRICS, Metrics(model_id="full-0", accuracy=0.5)))
    assert not stepped.rejected
    return fleets


def _slice(topic: Topic, event: InputEvent) -> Slice:
    return Slice(topics=[topic], offsets=[0], times_ms=[START_MS], events=[event])


def verdict(
    topic: Topic,
    value: bytes | None,
    key: bytes | None,
    *,
    headers: tuple[tuple[str, bytes | None], ...],
    time_ms: int,
    partition: int,
    families: Sequence[str] = FAMILIES,
) -> tuple[ErrorCode, str] | None:
    """Return what a worker's intake and core say of one record by itself; None when it is accepted."""
    intake = Intake(CODEC, partition=partition, partitions=PARTITIONS)
    raw = record(0, time_ms, value=value, key=key, headers=headers, partition=partition)
    parsed = intake.parse([topic], [raw], limits_ms=LIMITS_MS, skipped=set())
    assert not parsed.misplaced
    if parsed.refused:
        return parsed.refused[0].reject.code, parsed.refused[0].reject.path
    rejected = full_fleets(families).step(parsed.slice).rejected
    return (rejected[0][1].code, rejected[0][1].path) if rejected else None


@pytest.mark.slow
def test_every_bad_record_is_refused_with_the_code_and_the_path_it_was_made_for() -> None:
    made = bad_records(random.Random(SEED), 1_000)  # noqa: S311 - a seed, no secret
    for bad in made:
        partition = (home(bad.key or b"", PARTITIONS) + bad.is_misplaced) % PARTITIONS
        given_ = verdict(bad.topic, bad.value, bad.key, headers=bad.headers, time_ms=bad.time_ms, partition=partition)
        assert given_ == (bad.code, bad.path), bad
    shares = Counter(bad.code for bad in made)
    assert set(shares) == set(ErrorCode) - NOT_A_RECORDS_FAULT
    assert min(shares.values()) >= 1_000 // len(ErrorCode), "every code has its share"


@pytest.mark.slow
def test_what_the_makers_spoil_is_good_before() -> None:
    rng = random.Random(SEED)  # noqa: S311 - a seed, no secret
    for _ in range(200):
        for topic in INPUTS:
            body = msgspec.json.encode(good(rng, topic))
            assert verdict(topic, body, b"m0", headers=(), time_ms=START_MS, partition=home(b"m0", PARTITIONS)) is None


def check(mutant: Mutant) -> bool:
    """Decode a mutant; say whether it is accepted. Nothing but a refusal may be raised."""
    try:
        event = CODEC.decode(mutant.topic, mutant.value, mutant.headers)
    except Reject as refused:
        reject = refused
    else:
        reject = None
    if reject is not None:
        assert reject.path.startswith("$")
        assert reject.message.isprintable(), "a message holds nothing of the payload"
        return False
    # what is accepted is an event that every other reader of the contract takes as well
    again = CODEC.decode(mutant.topic, CODEC.encode(event))
    assert again == event
    assert CODEC.decode(mutant.topic, CODEC.encode_msgpack(event), (("content-type", b"application/msgpack"),)) == event
    if not mutant.headers:
        strict_json(mutant.value)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_flipped_bytes_are_refused_or_they_are_an_event(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a seed, no secret
    accepted = sum(check(flipped(rng, model="m0")) for _ in range(FLIPS))
    assert 0.01 < accepted / FLIPS < 0.5, "both sides of the line are reached"


@pytest.mark.slow
@settings(max_examples=500)
@given(bent(model="m0"))
def test_bent_structures_are_refused_or_they_are_an_event(mutant: Mutant) -> None:
    check(mutant)


@pytest.mark.slow
@settings(max_examples=200)
@given(bent(model="m0"))
def test_the_core_refuses_or_takes_what_the_codec_has_accepted(mutant: Mutant) -> None:
    partition = home(mutant.key, PARTITIONS)
    verdict(mutant.topic, mutant.value, mutant.key, headers=mutant.headers, time_ms=mutant.time_ms, partition=partition)
