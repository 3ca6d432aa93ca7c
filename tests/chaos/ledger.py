"""What an app sends and what exactly that must cause: numbered, seeded, known before the first record is sent.

Owns the stream, the app that sends it while the workers are under fire, and the audit afterwards. Never touches a
worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient

from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.events import Action, Control, Metrics, ModelStatus
from adaptive_stream.contracts.topics import INPUTS, OUTPUTS, Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.runtime.intake import Intake, home
from adaptive_stream.runtime.lane import order
from adaptive_stream.runtime.stepping import Stepper
from adaptive_stream.runtime.writing import Writer
from tests.integration.scene import START_MS, Scene, correction, prediction, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from aiokafka import ConsumerRecord

PARTITIONS = 6
MODELS = 24
FEEDBACKS = 50_000
STEP_MS = 200  # stream time between two predictions
LABEL_MS = 30_001  # and between a prediction and its truth
PORTIONS = 60
AHEAD = 4  # portions that the app is ahead of the workers: they always have work, and always work left
LOOK_S = 300  # stream time between two looks at a model, and between two of its statuses
SETTLE_MS = 2 * LOOK_S * 1_000  # after the last record: every model says its last word
PAUSE_S = 0.1  # between two looks at what the group has committed


@dataclass(frozen=True, slots=True)
class Sent:
    """One record as the app sends it."""

    topic: Topic
    key: bytes
    value: bytes
    time_ms: int


@dataclass(slots=True)
class Account:
    """What a model must have been told, in the end."""

    predictions: int = 0
    joined: int = 0
    duplicates: int = 0
    waiting: int = 0
    orders: int = 0


class Ledger:
    """The stream of one seed and the effects that it must have, each exactly once."""

    def __init__(self, seed: int, *, feedbacks: int = FEEDBACKS) -> None:
        dice = np.random.default_rng(seed)
        self._codec = Codec()
        self.accounts: dict[str, Account] = defaultdict(Account)
        self.orders: list[str] = []
        self.letters: dict[bytes, str] = {}  # body > error code
        self.records: list[Sent] = []
        is_bad_third = range(feedbacks // 3, feedbacks * 2 // 3)
        number = joined = 0
        while joined < feedbacks:
            model, at = f"m{int(dice.integers(MODELS))}", START_MS + STEP_MS * number
            account = self.accounts[model]
            self._add(Topic.PREDICTIONS, prediction(number, model=model), at)
            account.predictions += 1
            if dice.random() < 0.02:  # its truth never comes
                account.waiting += 1
            else:
                joined += 1
                is_right = dice.random() < (0.6 if joined in is_bad_third else 0.95)
                told = correction(number, model=model, label=float(is_right))
                self._add(Topic.FEEDBACK, told, at + LABEL_MS)
                account.joined += 1
                if dice.random() < 0.01:  # the app tells it twice
                    self._add(Topic.FEEDBACK, told, at + LABEL_MS + int(dice.integers(1, 60_000)))
                    account.duplicates += 1
            if number % 100 == 99:
                action = Action.FREEZE if number % 200 == 99 else Action.RESUME
                order_ = Control(command_id=f"order-{number}", action=action, model_id=model)
                self._add(Topic.CONTROL, order_, at + 7)
                self.orders.append(order_.command_id)
                account.orders += 1
            if number % 500 == 250:
                self._spoil(number, model, at + 11)
            number += 1
        self.records.sort(key=lambda sent: sent.time_ms)
        self.end_ms = self.records[-1].time_ms + SETTLE_MS
        assert {home(model.encode(), PARTITIONS) for model in self.accounts} == set(range(PARTITIONS))

    def portions(self) -> Iterator[list[Sent]]:
        """Cut the stream into what is sent together."""
        size = -(-len(self.records) // PORTIONS)
        for start in range(0, len(self.records), size):
            yield self.records[start : start + size]

    def end(self) -> list[Sent]:
        """Return what lets every model say its last word."""
        ends = [(model, Metrics(model_id=model, accuracy=0.5)) for model in sorted(self.accounts)]
        return [Sent(Topic.METRICS, m.encode(), self._codec.encode(end), self.end_ms) for m, end in ends]

    def _add(self, topic: Topic, event: Any, time_ms: int) -> None:  # noqa: ANN401 - any input event
        self.records.append(Sent(topic, event.model_id.encode(), self._codec.encode(event), time_ms))

    def _spoil(self, number: int, model: str, at: int) -> None:
        """Plant a bad record; each body is another one."""
        kinds: list[tuple[str, str, dict[str, Any] | None]] = [
            ("not_json", model, None),
            ("invalid_event", model, {"prediction_id": f"bad-{number}", "model_id": model}),
            ("key_mismatch", model, {"prediction_id": f"bad-{number}", "model_id": "m-other", "output": 0.5}),
            ("unknown_model", "stranger", {"prediction_id": f"bad-{number}", "model_id": "stranger", "output": 0.5}),
        ]
        code, key, body = kinds[number // 500 % len(kinds)]
        value = f'{{"broken": {number}'.encode() if body is None else json.dumps(body).encode()
        self.letters[value] = code
        self.records.append(Sent(Topic.PREDICTIONS, key.encode(), value, at))


@dataclass
class App:
    """Send a ledger's records while the workers work: never more than a few portions ahead of them.

    Args:
        scene: its topics and the workers' group.
        ledger: what to send.
    """

    scene: Scene
    ledger: Ledger
    done: int = 0  # records committed by the group, as of the last look
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[App]:
        """Send in the background; at the end of the block everything is sent and committed."""
        looking, sending = asyncio.create_task(self._look()), asyncio.create_task(self._send())
        try:
            yield self
            await sending
            await until(
                lambda: looking.done() or self.done >= len(self.ledger.records),
                what="every record is committed",
                limit_s=180,
            )
            assert not looking.done(), looking.exception()
        finally:
            for task in (looking, sending):
                task.cancel()
            await asyncio.gather(looking, sending, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        """Send nothing inside the block, and have nothing on its way."""
        async with self._sending:
            yield

    async def reached(self, share: float) -> None:
        """Wait until the group has committed this share of the stream."""
        wanted = float(share) * len(self.ledger.records)
        await until(lambda: self.done >= wanted, what=f"{share:.0%} is committed, {self.done} are", limit_s=240)

    async def moved(self, records: int = 1) -> None:
        """Wait until the group has committed more than it has."""
        wanted = min(self.done + records, len(self.ledger.records))
        await until(lambda: self.done >= wanted, what=f"{wanted} records are committed, {self.done} are", limit_s=240)

    async def finish(self) -> None:
        """Send the end of the stream."""
        await self._publish(self.ledger.end())

    async def _send(self) -> None:
        sent = 0
        for portion in self.ledger.portions():
            while sent - self.done > AHEAD * len(portion):  # noqa: ASYNC110 - what changes it is a broker
                await asyncio.sleep(PAUSE_S)
            async with self._sending:
                await self._publish(portion)
            sent += len(portion)

    async def _publish(self, portion: Sequence[Sent]) -> None:
        prefix = self.scene.prefix
        batches: dict[TopicPartition, list[Any]] = defaultdict(list)
        producer = AIOKafkaProducer(
            bootstrap_servers=self.scene.bootstrap, enable_idempotence=True, request_timeout_ms=120_000
        )
        await producer.start()
        try:
            for sent in sorted(portion, key=lambda sent: INPUTS.index(sent.topic)):
                mine = batches[TopicPartition(prefix + sent.topic.value, home(sent.key, PARTITIONS))]
                record = {"timestamp": sent.time_ms, "key": sent.key, "value": sent.value, "headers": []}
                if not mine or mine[-1].append(**record) is None:
                    mine.append(producer.create_batch())
                    mine[-1].append(**record)
            futures = [
                await producer.send_batch(batch, tp.topic, partition=tp.partition)
                for tp, mine in batches.items()
                for batch in mine
            ]
            await asyncio.gather(*futures)
        finally:
            await producer.stop()

    async def _look(self) -> None:
        """Keep ``done`` true, whatever happens to the brokers."""
        while True:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.scene.bootstrap, request_timeout_ms=5_000)
            try:
                await admin.start()
                while True:
                    found = await admin.list_consumer_group_offsets(self.scene.name)
                    self.done = max(self.done, sum(max(0, offset.offset) for offset in found.values()))
                    await asyncio.sleep(PAUSE_S)
            except (kafka_errors.KafkaError, OSError, TimeoutError):
                await asyncio.sleep(PAUSE_S)
            finally:
                await admin.close()


# -- the audit ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Replayed:
    """What the journalled batches lead to when nothing disturbs them."""

    states: dict[int, bytes]
    outputs: dict[tuple[Topic, int], list[tuple[Any, ...]]]


async def replay(scene: Scene) -> Replayed:
    """Step every journalled range in order, at its own cut time, from nothing: no checkpoint, no restore."""
    config = scene.config()
    found = await scene.read(*INPUTS)
    made = Replayed({}, defaultdict(list))
    inputs: dict[tuple[Topic, int], dict[int, ConsumerRecord]] = defaultdict(dict)
    for topic, records in found.items():
        for record in records:
            inputs[topic, record.partition][record.offset] = record
    codec = Codec(max_record_bytes=config.batch.max_record_bytes, max_depth=config.batch.max_depth)
    names = {config.topics.name(topic): topic for topic in Topic}
    for partition, entries in sorted((await scene.journals()).items()):
        fleets = Fleets(config)
        intake = Intake(codec, partition=partition, partitions=PARTITIONS)
        stepper = Stepper(config, intake, earliest_ms=parse_time(config.time.earliest))
        writer = Writer(config, codec, partition=partition, partitions=dict.fromkeys(Topic, PARTITIONS))
        for entry in entries:
            lanes = {
                topic: [inputs[topic, partition][offset] for offset in range(*entry.ranges[topic.value])]
                for topic in INPUTS
                if topic.value in entry.ranges
            }
            batch = order(lanes, cut_ms=entry.cut_ms, limits_ms=stepper.limits_ms(entry.cut_ms))
            advanced = await stepper.advance(fleets, batch, skipped=set())
            writes = [
                writer.output(event, batch=entry.batch, index=index, cut_ms=entry.cut_ms)
                for index, event in enumerate(advanced.outputs)
            ]
            writes += [writer.dead_letter(refused, cut_ms=entry.cut_ms) for refused in advanced.refused]
            for write in writes:
                what = (write.key, write.value, write.time_ms, *map(tuple, write.headers))
                made.outputs[names[write.topic], write.partition].append(what)
        made.states[partition] = fleets.dump()
    return made


async def audit(scene: Scene, ledger: Ledger, states: dict[int, bytes]) -> None:
    """Check every effect against the ledger, every batch against the inputs, every byte against a replay.

    Args:
        scene: whose workers have stopped, or have nothing left to do.
        ledger: what was sent.
        states: the whole state of each partition, as the last owner held it.
    """
    found = await scene.read(*INPUTS, *OUTPUTS, Topic.DEAD_LETTERS)
    sent = Counter((s.topic, s.key, s.value) for s in [*ledger.records, *ledger.end()])
    there = Counter((topic, record.key, record.value) for topic in INPUTS for record in found[topic])
    assert there == sent, "the app itself sent everything once"
    check_effects(found, ledger)
    await scene.check_journals()
    undisturbed = await replay(scene)
    committed: dict[tuple[Topic, int], list[tuple[Any, ...]]] = defaultdict(list)
    for topic in (*OUTPUTS, Topic.DEAD_LETTERS):
        for record in found[topic]:
            what = (record.key, record.value, record.timestamp, *map(tuple, record.headers))
            committed[topic, record.partition].append(what)
    assert committed.keys() == undisturbed.outputs.keys()
    for place, records in committed.items():
        assert records == undisturbed.outputs[place], different(place, records, undisturbed.outputs[place])
    assert states.keys() == undisturbed.states.keys()
    differ = [partition for partition, state in states.items() if state != undisturbed.states[partition]]
    assert not differ, f"partitions {differ}: not the state of an undisturbed run"


def different(place: object, found: Sequence[object], wanted: Sequence[object]) -> str:
    """Say how what was published differs from what an undisturbed run publishes."""
    lost, doubled = Counter(map(repr, wanted)), Counter(map(repr, found))
    lost, doubled = lost - doubled, doubled - lost
    first = next((n for n, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), "the end")
    return (
        f"{place}: {len(found)} of {len(wanted)}, from record {first} on; lost {list(lost)}, too many {list(doubled)}"
    )


def check_effects(found: dict[Topic, list[ConsumerRecord]], ledger: Ledger) -> None:
    """Check what the ledger knows by itself: orders, dead letters, counts."""
    answered = Counter(order_ for r in found[Topic.ADAPTATIONS] for order_ in msgspec.json.decode(r.value)["caused_by"])
    orders = Counter(ledger.orders)
    assert answered == orders, f"not once: unanswered {orders - answered}, too often {answered - orders}"
    letters = Counter((r.value, dict(r.headers)["as_error_code"].decode()) for r in found[Topic.DEAD_LETTERS])
    assert letters == Counter(ledger.letters.items()), "each bad record is in the dead letters once"
    last: dict[str, ModelStatus] = {}
    for record in found[Topic.MODEL_STATUS]:
        status = msgspec.json.decode(record.value, type=ModelStatus)
        last[status.model_id] = status
    counted = {
        model: Account(
            predictions=sum(series.predictions for series in status.series),
            joined=status.feedback["joined"],
            duplicates=status.feedback["duplicate"],
            waiting=status.waiting,
            orders=status.adaptations,
        )
        for model, status in last.items()
    }
    assert counted == dict(ledger.accounts), "the last statuses count to one"
    for model, status in last.items():
        assert sum(series.labelled for series in status.series) == ledger.accounts[model].joined
        others = {outcome: n for outcome, n in status.feedback.items() if outcome not in {"joined", "duplicate"}}
        assert not any(others.values()), (model, others)
    states = Counter(msgspec.json.decode(r.value)["status"] for r in found[Topic.ALERTS])
    assert states["firing"] > 0 < states["resolved"], "the stream has alerts that come and go"
