from __future__ import annotations

import pytest

from adaptive_stream.contracts.codec import Codec
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.failure import Disposition, Fatal, Fenced, TaskFailure
from adaptive_stream.runtime.task import MOVES, Move, Stage, Task
from adaptive_stream.runtime.telemetry import Telemetry
from tests.unit.runtime.records import config


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
