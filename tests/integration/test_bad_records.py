"""1,000 bad records and 200 mutants among 10,000 good ones, through a worker process: none is lost, none does harm."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec
from aiokafka import AIOKafkaProducer
from hypothesis import given, settings

from adaptive_stream.client.letters import Letter, read_record
from adaptive_stream.contracts.errors import ErrorCode
from adaptive_stream.contracts.events import Metrics
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.runtime.intake import home
from tests.integration.scene import START_MS, Scene, correction, prediction, until
from tests.property.mutation import FAMILIES, NOT_A_RECORDS_FAULT, Headers, Mutant, bad_records, bent, flipped
from tests.property.test_mutation import verdict

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiokafka import ConsumerRecord

    from tests.integration.worker import WorkerProcess

SEED = 4_001
GOOD, BAD, FLIPPED, BENT = 5_000, 1_000, 100, 100  # good: so many predictions, and as many corrections
MODELS = 20
PARTITIONS = 3
MUTANTS_KEY = "many-mutants"  # of no family that is measured: a mutant that is good still changes no count below
FAMILY = (
    *FAMILIES,
    "families.f.monitor.status_interval_s=3600",
    "families.f.monitor.evaluate_every_s=3600",
    f'families.mutants.match=["{MUTANTS_KEY}"]',
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A record as it is sent. ``expected`` is None for one that must have its effect."""

    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    time_ms: int
    expected: tuple[ErrorCode, str] | None


def good(number: int) -> tuple[Sent, Sent]:
    """Return a prediction and its correction, which is right for three of four."""
    model = f"m{number % MODELS}"
    told = prediction(number, model=model)
    known = msgspec.structs.replace(told, features=[float(number), None, "x"])
    label = correction(number, model=model, label=float(number % 4 > 0))
    key = model.encode()
    at = START_MS + number * 10
    return (
        Sent(Topic.PREDICTIONS, home(key, PARTITIONS), key, msgspec.json.encode(known), (), at, None),
        Sent(Topic.FEEDBACK, home(key, PARTITIONS), key, msgspec.json.encode(label), (), at + 5, None),
    )


def bad(rng: random.Random) -> list[Sent]:
    """Return the bad records, their times spread over those of the good ones unless the time is what is bad."""
    made = []
    for one in bad_records(rng, BAD):
        partition = (home(one.key or b"", PARTITIONS) + one.is_misplaced) % PARTITIONS
        time_ms = START_MS + rng.randrange(GOOD * 10) if one.time_ms == START_MS else one.time_ms
        made.append(Sent(one.topic, partition, one.key, one.value, one.headers, time_ms, (one.code, one.path)))
    return made


def mutants(rng: random.Random) -> list[Sent]:
    """Return the mutants, each with what the intake and the core say of it by itself."""
    found: list[Mutant] = [flipped(rng, model=MUTANTS_KEY) for _ in range(FLIPPED)]

    @settings(max_examples=BENT, database=None)
    @given(bent(model=MUTANTS_KEY))
    def collect(mutant: Mutant) -> None:
        found.append(mutant)

    collect()
    partition = home(MUTANTS_KEY.encode(), PARTITIONS)
    made = []
    for one in found[: FLIPPED + BENT]:
        said = verdict(
            one.topic,
            one.value,
            one.key,
            headers=one.headers,
            time_ms=START_MS,
            partition=partition,
            families=FAMILY,
        )
        made.append(Sent(one.topic, partition, one.key, one.value, one.headers, START_MS, said))
    return made


def full() -> list[Sent]:
    """Return one record for each task that fills the family whose limit the bad records meet."""
    made: dict[int, Sent] = {}
    number = 0
    while len(made) < PARTITIONS:
        model = f"full-{number}"
        number += 1
        partition = home(model.encode(), PARTITIONS)
        value = msgspec.json.encode(Metrics(model_id=model, accuracy=0.5))
        made.setdefault(partition, Sent(Topic.METRICS, partition, model.encode(), value, (), START_MS - 60_000, None))
    return list(made.values())


async def send(scene: Scene, records: list[Sent]) -> dict[tuple[str, int, int], Sent]:
    """Send everything in this order; return it by topic, partition and offset."""
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap, linger_ms=5)
    await producer.start()
    try:
        futures: list[asyncio.Future[ConsumerRecord]] = [
            await producer.send(
                scene.prefix + one.topic.value,
                one.value,
                key=one.key,
                headers=list(one.headers),
                partition=one.partition,
                timestamp_ms=one.time_ms,
            )
            for one in records
        ]
        placed = [await future for future in futures]
    finally:
        await producer.stop()
    return {(at.topic, at.partition, at.offset): one for at, one in zip(placed, records, strict=True)}


async def test_every_bad_record_is_kept_whole_and_every_good_one_has_its_effect(
    kafka: str, names: str, start_worker: Callable[..., WorkerProcess]
) -> None:
    scene = Scene(bootstrap=kafka, name=names, family=FAMILY, settings=("batch.slice_records=100",))
    await scene.open()
    rng = random.Random(SEED)  # noqa: S311 - a seed, no secret
    spoilt = [*bad(rng), *mutants(rng)]
    assert {one.expected[0] for one in spoilt if one.expected} >= set(ErrorCode) - NOT_A_RECORDS_FAULT
    assert len(spoilt) == BAD + FLIPPED + BENT
    records = [one for number in range(GOOD) for one in good(number)]
    for one in spoilt:  # anywhere among the good ones
        records.insert(rng.randrange(len(records)), one)
    sent = {**await send(scene, full()), **await send(scene, records)}
    refused = {place: one for place, one in sent.items() if one.expected}

    worker = start_worker(scene)
    await worker.said("worker_started")
    await scene.drained()
    letters = [read_record(record) for record in (await scene.read(Topic.DEAD_LETTERS))[Topic.DEAD_LETTERS]]
    told: dict[tuple[str, int, int], Letter] = {}
    for letter in letters:
        assert isinstance(letter, Letter)
        place = (letter.source_topic, letter.source_partition, letter.source_offset)
        assert place not in told, "a letter for each refused record, not two"
        told[place] = letter
    for place, one in refused.items():
        assert place in told, one
        letter = told[place]
        assert (letter.key, letter.value, letter.headers) == (one.key, one.value, one.headers)
        assert ((letter.code, letter.path), letter.source_time_ms) == (one.expected, one.time_ms), one
        assert letter.message.isprintable()
    assert set(told) == set(refused), "a good record is nobody's dead letter"
    assert len(refused) >= BAD + (FLIPPED + BENT) // 2

    port = (await worker.said("http_listening"))["port"]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for number in range(MODELS):
            status = (await client.get(f"/status/m{number}")).json()
            share = GOOD // MODELS
            assert {name: count for name, count in status["feedback"].items() if count} == {"joined": share}
            (series,) = status["series"]
            assert (series["predictions"], series["labelled"], status["waiting"]) == (share, share, 0)
            assert series["total"]["value"] == (0.0 if number % 4 == 0 else 1.0)
        expected = Counter(str(one.expected[0]) for one in refused.values() if one.expected)

        async def counts_all() -> bool:
            lines = (await client.get("/metrics")).text.splitlines()
            return {f'adaptive_stream_dead_letters_total{{code="{c}"}} {n}.0' for c, n in expected.items()} <= set(
                lines
            )

        await until(counts_all, what=f"the letters are counted by their codes: {expected}")
    assert worker.code is None
    assert not {line["event"] for line in worker.lines()} & {"step_failed", "task_failed"}
    found = await scene.read(*INPUTS)
    assert sum(map(len, found.values())) == len(sent), "nothing was moved: a bad record is refused where it lies"
