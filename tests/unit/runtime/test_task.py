from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import structlog

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.errors import ErrorCode, Reject
from adaptive_stream.contracts.topics import INPUTS, Topic
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.monitor.monitor import Monitor
from adaptive_stream.runtime import journal
from adaptive_stream.runtime import task as module
from adaptive_stream.runtime.failure import Disposition, Fatal, Fenced, TaskFailure
from adaptive_stream.runtime.intake import Refused
from adaptive_stream.runtime.lane import Batch
from adaptive_stream.runtime.restore import Memory
from adaptive_stream.runtime.task import MOVES, Move, Stage, Suspect, Task
from adaptive_stream.runtime.telemetry import Telemetry
from tests.unit.runtime.records import START_MS, config, prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from aiokafka import TopicPartition
    from numpy.typing import NDArray

    from adaptive_stream.core.slice import Slice, Stepped
    from adaptive_stream.runtime.session import Write

COUNT = 20  # records of a batch


def task(partition: int = 3) -> Task:
    async def committed(_: int) -> dict[Topic, int | None]:
        raise AssertionError("these tests never take a partition over")

    return Task(
        config(),
        partition=partition,
        partitions=dict.fromkeys(Topic, 6),
        codec=Codec(),
        telemetry=Telemetry(),
        committed=committed,
        version="1",
    )


def reachable(start: Stage) -> set[Stage]:
    found, new = {start}, {start}
    while new:
        new = {after for stage in new for after in MOVES[stage].values()} - found
        found |= new
    return found


def test_every_stage_can_be_reached_from_the_assignment() -> None:
    assert reachable(Stage.ASSIGNED) == set(Stage)
    assert set(MOVES) == set(Stage)


def test_only_closed_has_no_exit_and_everything_leads_there() -> None:
    assert [stage for stage in Stage if not MOVES[stage]] == [Stage.CLOSED]
    assert all(Stage.CLOSED in reachable(stage) for stage in Stage)


def test_every_move_is_used() -> None:
    assert {move for moves in MOVES.values() for move in moves} == set(Move)


def test_whatever_fails_can_run_again() -> None:
    assert all(Stage.RUNNING in reachable(stage) for stage in Stage if stage is not Stage.CLOSED)


def test_failing_and_closing_are_possible_anywhere_but_at_the_end() -> None:
    for stage, moves in MOVES.items():
        if stage is not Stage.CLOSED:
            assert moves[Move.CLOSE] is Stage.CLOSED
        if stage not in (Stage.CLOSED, Stage.POISONED):
            assert moves[Move.FAIL] is Stage.POISONED


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("move", Move)
def test_a_task_makes_the_moves_of_the_table_and_no_others(stage: Stage, move: Move) -> None:
    one = task()
    one.stage = stage
    if move in MOVES[stage]:
        one.move(move)
        assert one.stage is MOVES[stage][move]
    else:
        with pytest.raises(AssertionError, match=f"{move.value} is not a move in {stage.value}"):
            one.move(move)


def test_the_transactional_id_belongs_to_the_partition_and_not_to_its_owner() -> None:
    assert task(3)._session._transactional_id == "g-3"
    assert task(3)._session._transactional_id == task(3)._session._transactional_id


def test_a_failure_drops_the_memory_and_the_first_one_counts() -> None:
    one = task()
    one.stage = Stage.RUNNING
    first = Fenced("gone")
    one.fail(first)
    one.fail(Fatal("later"))
    assert (one.stage, one.memory, one.failure) == (Stage.POISONED, None, first)


async def test_a_closed_task_does_not_fail_and_closes_twice_without_harm() -> None:
    one = task()
    await one.close()
    await one.close()
    one.fail(TaskFailure("late"))
    assert (one.stage, one.failure) == (Stage.CLOSED, None)


def test_a_task_without_records_has_no_batch() -> None:
    one = task()
    assert one.next_batch() is None
    one.stage = Stage.RUNNING
    assert one.next_batch() is None


def test_dispositions_say_what_the_loop_does() -> None:
    assert TaskFailure("").disposition is Disposition.RESTORE
    assert Fenced("").disposition is Disposition.REJOIN
    assert Fatal("").disposition is Disposition.EXIT


# -- poison ------------------------------------------------------------------------------------------------------


class Log:
    """In place of the session and the restore: what was committed, and the memory that a restore reads back.

    Args:
        position: of predictions, up to which a batch of somebody else was committed.
    """

    def __init__(self, *, position: int = 0) -> None:
        self.position = position
        self.restores = 0
        self.letters: list[bytes] = []
        self.skipped: set[tuple[str, int]] = set()

    async def fence(self) -> None: ...

    async def discard(self) -> None: ...

    async def commit(self, writes: Sequence[Write], offsets: Mapping[TopicPartition, int], *, group: str) -> None:
        assert group == "g"
        [self.position] = [offset for tp, offset in offsets.items() if tp.topic.endswith("predictions")]
        self.letters += [
            value for one in writes for name, value in one.headers if name == "as_source_offset" and value is not None
        ]

    def restore(self, tree: object, **_: object) -> SimpleNamespace:
        async def run(_: object) -> Memory:
            self.restores += 1
            return Memory(
                fleets=Fleets(tree),  # type: ignore[arg-type]  # the task hands its own configuration on
                batch=1,
                positions={**dict.fromkeys(INPUTS, 0), Topic.PREDICTIONS: self.position},
                snapshotter=journal.Snapshotter({}, record_bytes=1000),
                checkpoint_batch=0,
                skipped=set(self.skipped),
            )

        return SimpleNamespace(run=run, lost=[], is_offset_behind=False)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Offsets on which the step raises."""
    offsets: set[int] = set()
    step = Fleets.step

    def fail(self: Fleets, slice_: Slice) -> Stepped:
        if offsets & set(slice_.offsets):
            raise ZeroDivisionError("planted")
        return step(self, slice_)

    monkeypatch.setattr(Fleets, "step", fail)
    return offsets


@pytest.fixture
def owned(monkeypatch: pytest.MonkeyPatch) -> Callable[[Log], Task]:
    """Make a task on a log."""

    async def committed(_: int) -> dict[Topic, int | None]:
        return {}

    def make(log: Log) -> Task:
        monkeypatch.setattr(module, "Restore", log.restore)
        one = Task(
            config("batch.slice_records=4"),
            partition=0,
            partitions=dict.fromkeys(Topic, 1),
            codec=Codec(),
            telemetry=Telemetry(),
            committed=committed,
            version="1",
        )
        one._session = log  # type: ignore[assignment]
        one.stage = Stage.FENCING
        return one

    return make


def of_predictions(first: int, stop: int) -> Batch:
    records = [prediction(offset) for offset in range(first, stop)]
    return Batch(START_MS, [Topic.PREDICTIONS] * len(records), records, {Topic.PREDICTIONS: (first, stop)})


async def back(one: Task) -> None:
    """Bring a task back after a failure, as its life does."""
    one.move(Move.MEND)
    await one._take_over()


@pytest.mark.parametrize(("position", "owed"), [(0, [7]), (7, [7]), (8, []), (COUNT, [])])
async def test_poison_that_an_heir_has_committed_meanwhile_is_not_owed_again(
    position: int, owed: list[int], owned: Callable[[Log], Task]
) -> None:
    one = owned(Log(position=position))
    batch = of_predictions(7, 8)
    one._poison = [Refused(Topic.PREDICTIONS, batch.records[0], Reject(ErrorCode.POISON, "found before"))]
    one._suspect = Suspect(batch, None)
    await one._take_over()
    assert one.memory is not None
    assert [refused.record.offset for refused in one.memory.owed] == owed
    assert one.memory.skipped == {("predictions", offset) for offset in owed}


async def test_a_batch_of_nothing_but_poison_is_searched_record_by_record_and_committed(
    owned: Callable[[Log], Task], failing: set[int]
) -> None:
    log = Log()
    one = owned(log)
    await one._take_over()
    failing |= set(range(COUNT))
    batch = of_predictions(0, COUNT)
    with structlog.testing.capture_logs():  # forty traces
        while log.position < COUNT:
            await one.advance(batch)
            assert len(one._poison) <= COUNT
            if one.stage is Stage.POISONED:
                await back(one)
            else:
                await one._finish_commits()
    assert sorted(map(int, log.letters)) == list(range(COUNT)), "each has one letter"
    assert log.restores == 1 + 2 * COUNT, "for each record one that finds its slice, and one that finds it"
    assert one.memory is not None
    assert (one._poison, one.memory.owed, one.memory.skipped) == ([], [], set())


async def test_what_the_journal_names_as_poison_is_forgotten_once_it_is_passed(owned: Callable[[Log], Task]) -> None:
    log = Log()
    log.skipped = {("predictions", offset) for offset in (2, 5, COUNT)} | {("feedback", 3)}
    one = owned(log)
    await one._take_over()
    assert one.memory is not None
    seen = []
    for first in range(0, COUNT, 4):
        await one.advance(of_predictions(first, first + 4))
        await one._finish_commits()
        seen.append(sorted(offset for topic, offset in one.memory.skipped if topic == "predictions"))
    assert seen == [[5, COUNT], [COUNT], [COUNT], [COUNT], [COUNT]]
    assert ("feedback", 3) in one.memory.skipped, "of an input that has not come so far"
    assert sorted(map(int, log.letters)) == [2, 5]


@pytest.fixture
def unmeasurable(monkeypatch: pytest.MonkeyPatch) -> set[float]:
    """Outputs on which the measuring raises, which comes after the step."""
    outputs: set[float] = set()
    serve = Monitor.serve

    def fail(self: Monitor, series: object, columns: Mapping[str, NDArray[np.float64]], **options: object) -> object:
        if outputs & set(columns["output"].tolist()):
            raise FloatingPointError("planted")
        return serve(self, series, columns, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Monitor, "serve", fail)
    return outputs


async def test_poison_that_shows_only_in_a_snapshot_is_searched_and_ends_no_worker(
    owned: Callable[[Log], Task], unmeasurable: set[float]
) -> None:
    log = Log()
    one = owned(log)
    await one._take_over()
    unmeasurable.add(0.125)
    records = [prediction(offset, output=0.125 if offset == 6 else 0.9) for offset in range(COUNT)]
    batch = Batch(START_MS, [Topic.PREDICTIONS] * COUNT, records, {Topic.PREDICTIONS: (0, COUNT)})
    with structlog.testing.capture_logs() as logs:
        while log.position < COUNT:
            one._frozen_at = -math.inf
            await one.advance(batch)
            if one.stage is Stage.POISONED:
                await back(one)
            else:
                await one._finish_commits()
    assert log.letters == [b"6"]
    assert {line["event"] for line in logs} >= {"step_failed"}
    assert log.restores <= 4, "the last slice, its own slice, the record"


async def test_poison_that_shows_only_in_a_look_for_silence_leaves_the_task_to_a_restore(
    owned: Callable[[Log], Task], unmeasurable: set[float]
) -> None:
    one = owned(Log())
    await one._take_over()
    unmeasurable.add(0.125)
    records = [prediction(0, output=0.125)]
    await one.advance(Batch(START_MS, [Topic.PREDICTIONS], records, {Topic.PREDICTIONS: (0, 1)}))
    await one._finish_commits()
    with structlog.testing.capture_logs() as logs:
        await one.advance(Batch(START_MS + 400_000, [], [], {}))
    assert one.stage is Stage.POISONED
    assert one.failure is not None
    assert "a look for silence failed with FloatingPointError('planted')" in str(one.failure)
    assert (one.failure.disposition, one._suspect) == (Disposition.RESTORE, None)
    assert [line["event"] for line in logs] == ["step_failed", "task_failed"]


async def test_a_snapshot_forgets_the_pages_of_a_family_that_is_gone(owned: Callable[[Log], Task]) -> None:
    one = owned(Log())
    await one._take_over()
    assert one.memory is not None
    one.memory.snapshotter = journal.Snapshotter({"g/models/0": (0, 1, 0)}, record_bytes=100_000)
    one._frozen_at = -math.inf
    await one.advance(of_predictions(0, COUNT))
    await one._finish_commits()
    pages = one.memory.snapshotter.directory.keys()
    assert "g/models/0" not in pages
    assert {"head", "f/models/0"} <= pages
