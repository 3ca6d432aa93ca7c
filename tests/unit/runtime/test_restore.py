"""The reader of a restore against a client that passes markers: the fake stands at the client's boundary."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka import errors as kafka_errors

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.runtime import journal
from adaptive_stream.runtime import restore as module
from adaptive_stream.runtime.failure import Fatal, RestoreFailed
from adaptive_stream.runtime.intake import Intake
from adaptive_stream.runtime.restore import Memory, Reader, Restore
from adaptive_stream.runtime.stepping import Stepper
from tests.unit.runtime.records import config, record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka import ConsumerRecord, TopicPartition


P, F = Topic.PREDICTIONS, Topic.FEEDBACK


class Fetches:
    """In place of the consumer: each look brings some records and moves the position."""

    def __init__(self, *looks: tuple[Sequence[int], int]) -> None:
        self._looks = list(looks)
        self._position = 0
        self._client = self.cluster = self
        self.leader = 1
        self.longest_ms = 0

    def leader_for_partition(self, _: TopicPartition) -> int:
        return self.leader

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def getmany(self, tp: TopicPartition, *, timeout_ms: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        await asyncio.sleep(0)
        self.longest_ms = max(self.longest_ms, timeout_ms)
        if not self._looks:
            return {}
        offsets, self._position = self._looks.pop(0)
        return {tp: [record(offset) for offset in offsets]} if offsets else {}


def read(fetches: Fetches, *ends: int) -> list[list[int]]:
    """Read up to each end in turn and return the offsets of each part."""

    async def parts() -> list[list[int]]:
        reader = Reader(config("kafka.call_timeout_ms=500"), 0, [Topic.STATE])
        reader._consumer = fetches
        return [[one.offset async for run in aiter(reader.until(Topic.STATE, end)) for one in run] for end in ends]

    return asyncio.run(parts())


def test_everything_up_to_the_end_is_read() -> None:
    assert read(Fetches(([0, 1], 2), ([2, 3], 4)), 4) == [[0, 1, 2, 3]]


def test_what_was_fetched_beyond_an_end_is_kept_for_the_next_part() -> None:
    assert read(Fetches(([0, 1, 2, 3], 4), ([4], 5)), 2, 3, 5) == [[0, 1], [2], [3, 4]]


def test_no_run_is_empty_where_a_part_ends_with_what_was_fetched_before_it() -> None:
    async def runs() -> list[int]:
        reader = Reader(config(), 0, [Topic.STATE])
        reader._consumer = Fetches(([0, 1, 2, 3], 4))
        return [len(run) for end in (2, 2, 2, 4) async for run in reader.until(Topic.STATE, end)]

    assert asyncio.run(runs()) == [2, 2]


def test_what_was_fetched_ahead_is_one_fetch_at_most() -> None:
    async def most() -> int:
        reader = Reader(config(), 0, [Topic.STATE])
        reader._consumer = Fetches(*((range(first, first + 10), first + 10) for first in range(0, 200, 10)))
        held = [
            len(reader._ahead[Topic.STATE]) for end in range(3, 200, 7) async for _ in reader.until(Topic.STATE, end)
        ]
        return max(held)

    assert asyncio.run(most()) == 9


def test_a_marker_at_the_end_is_passed_without_a_record() -> None:
    assert read(Fetches(([0, 1], 2), ([], 3)), 3) == [[0, 1]]


def test_a_range_of_nothing_but_aborted_records_is_passed() -> None:
    assert read(Fetches(([], 40), ([], 80), ([80], 81)), 81) == [[80]]


def test_a_look_is_short_because_markers_move_the_position_without_ending_it() -> None:
    fetches = Fetches(([0], 1), ([], 2))
    read(fetches, 2)
    assert fetches.longest_ms <= 1000


def test_an_empty_range_needs_no_look() -> None:
    assert read(Fetches(), 0) == [[]]


def test_a_log_that_stalls_before_its_end_fails_the_restore_within_the_limit() -> None:
    with pytest.raises(RestoreFailed, match=r"nothing came for 0.5 s before offset 9"):
        read(Fetches(([0, 1], 2)), 9)


# -- the consumers that it makes ---------------------------------------------------------------------------------


class Client:
    """In place of the client: notes what is made, how it is started and how it ends."""

    made: list[Client]
    fault: BaseException | None

    def __init__(self, *, isolation_level: str, **_: object) -> None:
        self.isolation_level = isolation_level
        self.calls: list[str] = []
        self.made.append(self)

    def assign(self, _: Sequence[TopicPartition]) -> None:
        self.calls.append("assign")

    async def start(self) -> None:
        self.calls.append("start")
        if self.fault is not None:
            raise self.fault
        await asyncio.Event().wait()

    async def stop(self) -> None:
        await asyncio.sleep(0)
        self.calls.append("stop")


class Answering(Client):
    """One that starts, and knows the ends."""

    async def start(self) -> None:
        self.calls.append("start")

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return dict.fromkeys(tps, 7 if self.isolation_level == "read_uncommitted" else 3)


def clients(monkeypatch: pytest.MonkeyPatch, kind: type[Client], fault: BaseException | None = None) -> list[Client]:
    Client.made, Client.fault = [], fault
    monkeypatch.setattr(module, "AIOKafkaConsumer", kind)
    return Client.made


async def test_the_true_end_is_asked_by_a_reader_of_uncommitted_records_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = clients(monkeypatch, Answering)
    async with Reader(config(), 0, [Topic.STATE]) as reader:
        assert await reader.ends() == {Topic.STATE: 7}
    assert [one.isolation_level for one in made] == ["read_committed", "read_uncommitted"]
    assert [one.calls for one in made] == [["assign", "start", "stop"]] * 2


@pytest.mark.parametrize("fault", [kafka_errors.KafkaConnectionError(), OSError(), asyncio.CancelledError()])
async def test_a_consumer_whose_start_fails_is_stopped(fault: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clients(monkeypatch, Client, fault)
    with pytest.raises(type(fault)):
        async with Reader(config(), 0, [Topic.STATE]):
            pass
    assert [one.calls for one in made] == [["assign", "start", "stop"]]


async def test_a_consumer_whose_start_is_cancelled_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    made = clients(monkeypatch, Client)
    starting = asyncio.create_task(Reader(config(), 0, [Topic.STATE]).__aenter__())
    async with asyncio.timeout(30):
        while not (made and "start" in made[0].calls):  # noqa: ASYNC110 - the fake notes its calls, it sets no event
            await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert made[0].calls == ["assign", "start", "stop"]


async def test_what_waiting_does_not_mend_ends_the_restore_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    clients(monkeypatch, Client, kafka_errors.TopicAuthorizationFailedError("adaptive.state"))
    with pytest.raises(Fatal, match=r"partition 0: TopicAuthorizationFailedError\('adaptive.state'\); waiting"):
        await restoring().run({})


async def test_a_partition_that_no_broker_leads_is_named() -> None:
    fetches = Fetches(([0, 1], 2))
    fetches.leader = -1
    with pytest.raises(RestoreFailed, match=r"nothing came for .* no broker leads adaptive.state-0: .* lost its disk"):
        await asyncio.to_thread(read, fetches, 9)


def restoring(*settings: str) -> Restore:
    intake, tree = Intake(Codec(), partition=0, partitions=1), config(*settings)
    stepper = Stepper(tree, intake, earliest_ms=0)
    return Restore(tree, partition=0, intake=intake, stepper=stepper, on_remaining=print)


def held() -> Memory:
    return Memory(
        fleets=Fleets(config()),
        batch=3,
        positions={P: 5, F: 3},
        snapshotter=journal.Snapshotter({}, record_bytes=1000),
        checkpoint_batch=0,
    )


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        ({P: 9, F: 3}, "moved the group's offsets ahead, or the state topic lost its newest batches"),
        ({P: 2, F: 3}, "reset the group's offsets. Set them back"),
        ({P: 9, F: 1}, "reset the group's offsets. Set them back"),
    ],
)
def test_offsets_ahead_of_the_journal_may_be_those_of_batches_that_it_lost(
    theirs: dict[Topic, int | None], said: str
) -> None:
    memory = held()
    with pytest.raises(Fatal, match=f"the journal ends at .*{said}"):
        restoring()._agree(memory, theirs, [])


def test_an_input_that_goes_on_behind_what_retention_took_has_its_offset_committed() -> None:
    memory = held()
    restore = restoring("state.on_lost_history=continue")
    restore._skip_lost(memory, {}, {P: 5, F: 9})
    assert (memory.positions, memory.behind) == ({P: 5, F: 9}, {F})
    assert [topic for topic, _ in restore.lost] == [F]


# -- offsets that stand one batch behind -------------------------------------------------------------------------


def entry(batch: int, **ranges: tuple[int, int]) -> journal.Entry:
    return journal.Entry(
        batch=batch, cut_ms=batch, ranges={Topic(name): span for name, span in ranges.items()}, version=""
    )


@pytest.mark.parametrize(
    ("known", "committed", "is_one"),
    [
        ([entry(1, predictions=(0, 5), feedback=(0, 3))], {P: 0, F: 0}, True),
        ([entry(2), entry(1, predictions=(0, 5), feedback=(0, 3))], {P: 0, F: 0}, True),  # an idle batch came after
        ([entry(2, feedback=(3, 4)), entry(1, predictions=(0, 5), feedback=(0, 3))], {P: 0, F: 4}, True),
        ([entry(2, predictions=(5, 9)), entry(1, feedback=(0, 3))], {P: 9, F: 0}, True),
        ([entry(1, predictions=(0, 5), feedback=(0, 3))], {P: 0, F: 3}, False),  # a transaction is whole
        ([entry(1, predictions=(0, 5), feedback=(0, 3))], {P: 2, F: 0}, False),
        ([entry(2, predictions=(5, 9)), entry(1, predictions=(0, 5))], {P: 0}, False),  # two batches behind
        ([entry(2), entry(1, feedback=(0, 3))], {P: 7, F: 3}, False),  # of an input that no batch had
    ],
)
def test_offsets_one_batch_behind_their_inputs_are_told_from_moved_ones(
    known: list[journal.Entry], committed: dict[Topic, int | None], *, is_one: bool
) -> None:
    ends: dict[Topic, int] = {}
    for one in reversed(known):
        ends |= {Topic(topic): end for topic, (_, end) in one.ranges.items()}
    moved = {t: (ends.get(t, 8), offset) for t, offset in committed.items() if offset != ends.get(t, 8)}
    assert module._lacks_one(known, committed, moved) is is_one
