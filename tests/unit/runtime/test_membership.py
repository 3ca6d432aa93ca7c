"""What the client knows of its group and tells only who asks: the fake stands where its coordinator does."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.consumer.subscription_state import SubscriptionState

from adaptive_stream.runtime import membership as module
from adaptive_stream.runtime.failure import Fatal
from adaptive_stream.runtime.membership import REFUSED, Membership

PATIENCE_S = 10.0
TP, OTHER = TopicPartition("in", 0), TopicPartition("in", 1)
FAILING = kafka_errors.KafkaError("the coordinator is unwell")


class Coordinator:
    """In place of the client's: tells an error once, as ``check_errors`` does, or its own end at every look."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.rejoins = 0
        self._coordination_task: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def check_errors(self) -> None:
        if self._coordination_task.done():
            self._coordination_task.result()
        error, self.error = self.error, None
        if error is not None:
            raise error

    def request_rejoin(self) -> None:
        self.rejoins += 1

    def end(self, error: BaseException) -> None:
        self._coordination_task.set_exception(error)


class Clock:
    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def a_member() -> tuple[Membership, Coordinator]:
    coordinator = Coordinator()
    return Membership(SimpleNamespace(_coordinator=coordinator), patience_s=PATIENCE_S), coordinator


async def test_a_group_that_is_well_is_left_alone() -> None:
    member, coordinator = a_member()
    assert member.check()
    assert coordinator.rejoins == 0


async def test_an_error_is_told_and_answered_with_a_rejoin_because_the_client_starts_no_heartbeats_again() -> None:
    member, coordinator = a_member()
    coordinator.error = FAILING
    with structlog.testing.capture_logs() as logs:
        assert not member.check()
    assert coordinator.rejoins == 1
    assert [(line["event"], line["reason"]) for line in logs] == [("group_failed", repr(FAILING))]
    assert member.check(), "an error is told once"


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: error.__name__)
async def test_a_group_that_refuses_is_for_the_operator(error: type[Exception]) -> None:
    member, coordinator = a_member()
    coordinator.error = error()
    with pytest.raises(Fatal, match=f"the group refuses this worker: {error.__name__}") as refused:
        member.check()
    assert refused.value.exit_code == 78
    assert coordinator.rejoins == 0


async def test_a_group_that_fails_for_longer_than_the_patience_ends_the_worker(clock: Clock) -> None:
    member, coordinator = a_member()
    for clock.now_s in (0.0, 1.0, PATIENCE_S):
        coordinator.error = FAILING
        assert not member.check()
        assert member.check(), "that nothing more was told is no sign that the group is well"
    clock.now_s = PATIENCE_S + 0.1
    coordinator.error = FAILING
    with pytest.raises(Fatal, match="the group cannot be joined") as refused:
        member.check()
    assert refused.value.exit_code == 69


async def test_an_assignment_ends_a_failure_and_the_patience_begins_anew(clock: Clock) -> None:
    member, coordinator = a_member()
    for _ in range(10):
        coordinator.error = FAILING
        assert not member.check()
        member.joined()
        clock.now_s += PATIENCE_S
    assert coordinator.rejoins == 10


async def test_a_client_that_has_given_its_group_up_is_not_waited_for() -> None:
    member, coordinator = a_member()
    coordinator.end(FAILING)
    with pytest.raises(Fatal, match="the group cannot be joined") as refused:
        member.check()
    assert refused.value.exit_code == 69
    assert coordinator.rejoins == 0


async def test_a_defect_is_not_taken_for_a_failure_of_the_group() -> None:
    member, coordinator = a_member()
    coordinator.error = AttributeError("planted")
    with pytest.raises(AttributeError, match="planted"):
        member.check()


# -- the end -----------------------------------------------------------------------------------------------------


class Part:
    """Something of the client's that ends, fails to end, or never does."""

    def __init__(self, fault: BaseException | None = None, *, is_stuck: bool = False) -> None:
        self.closed = 0
        self._fault, self._is_stuck = fault, is_stuck

    async def close(self) -> None:
        self.closed += 1
        await asyncio.sleep(0)
        if self._is_stuck:
            await asyncio.Event().wait()
        if self._fault is not None:
            raise self._fault


@pytest.mark.parametrize(
    ("whole", "closed"),
    [
        (Part(), 0),
        (Part(is_stuck=True), 1),
        (Part(FAILING), 1),
        (Part(asyncio.CancelledError()), 1),
    ],
    ids=["well", "stuck", "failing", "cancelled"],
)
async def test_of_a_consumer_that_cannot_be_stopped_each_part_is_closed(
    whole: Part, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.01)
    fetcher, client = Part(is_stuck=True), Part()
    consumer = SimpleNamespace(stop=whole.close, _fetcher=fetcher, _client=client)
    async with asyncio.timeout(30):
        await Membership(consumer, patience_s=PATIENCE_S).leave(limit_s=0.01)
    assert (whole.closed, fetcher.closed, client.closed) == (1, closed, closed)


async def test_a_part_that_does_not_even_end_when_it_is_cancelled_is_left_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CLOSE_S", 0.01)
    may_end, cancelled = asyncio.Event(), []

    async def stop() -> None:
        try:
            await may_end.wait()
        except asyncio.CancelledError:
            cancelled.append("stop")
            await may_end.wait()

    client = Part()
    consumer = SimpleNamespace(stop=stop, _fetcher=None, _client=client)
    async with asyncio.timeout(30):
        await Membership(consumer, patience_s=PATIENCE_S).leave(limit_s=0.01)
    assert (cancelled, client.closed) == (["stop"], 1)
    may_end.set()
    await asyncio.sleep(0)


async def test_a_consumer_that_never_came_to_fetch_has_no_fetcher_to_close() -> None:
    client = Part()
    consumer = SimpleNamespace(stop=Part(FAILING).close, _fetcher=None, _client=client)
    await Membership(consumer, patience_s=PATIENCE_S).leave(limit_s=30)
    assert client.closed == 1


# -- positions ---------------------------------------------------------------------------------------------------


def fetching() -> tuple[Membership, SubscriptionState]:
    """A member with the client's own record of what it was assigned and has fetched."""
    state = SubscriptionState()
    state.assign_from_user({TP})
    return Membership(SimpleNamespace(_subscription=state, seek=state.seek), patience_s=PATIENCE_S), state


async def test_before_the_first_fetch_the_end_is_not_known() -> None:
    member, _ = fetching()
    assert (member.position(TP), member.behind(TP)) == (None, None)
    member.seek(TP, 5)
    assert (member.position(TP), member.behind(TP)) == (5, None)


async def test_a_partition_of_somebody_else_has_no_position() -> None:
    member, _ = fetching()
    assert (member.position(OTHER), member.behind(OTHER)) == (None, None)


@pytest.mark.parametrize(("end", "behind"), [(5, 0), (9, 4), (3, 0), (-1, None)])
async def test_what_is_behind_is_counted_up_to_the_end_of_what_is_committed(end: int, behind: int | None) -> None:
    member, state = fetching()
    member.seek(TP, 5)
    state.subscription.assignment.state_value(TP).lso = end
    assert member.behind(TP) == behind


async def test_after_a_seek_the_end_must_be_fetched_again() -> None:
    member, state = fetching()
    member.seek(TP, 5)
    state.subscription.assignment.state_value(TP).lso = 9
    member.seek(TP, 2)
    assert (member.position(TP), member.behind(TP)) == (2, None)
