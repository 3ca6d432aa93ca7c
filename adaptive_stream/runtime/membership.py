"""A worker's place in its consumer group: what the client knows of it and tells only who asks.

Owns every look into the group consumer's private parts (docs/decisions/aiokafka.md). Never fetches, and never decides
what to do with a partition. Called by the worker.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka import errors as kafka_errors

from adaptive_stream.runtime.failure import EX_CONFIG, EX_UNAVAILABLE, Fatal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiokafka import AIOKafkaConsumer, TopicPartition

# The client takes 300 s without a fetch for a hung application, leaves the group, and joins again only after another
# fetch. A worker does not fetch while no task of it runs: in a long restore, or without a broker. /livez is its watch.
NO_POLL_LIMIT_MS = 2**31 - 1
CLOSE_S = 1.0  # for each part of a consumer that could not be stopped as a whole
REFUSED = (
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.InconsistentGroupProtocolError,
    kafka_errors.InvalidGroupIdError,
    kafka_errors.InvalidSessionTimeoutError,
)


class Membership:
    """One consumer's place in its group.

    Args:
        consumer: of the group.
        patience_s: how long the group may fail before the process ends and its supervisor starts another.
    """

    def __init__(self, consumer: AIOKafkaConsumer, *, patience_s: float) -> None:
        self._consumer = consumer
        self._patience_s = patience_s
        self._failing_since: float | None = None
        self._log = structlog.get_logger()

    def check(self) -> bool:
        """Say whether all is well with the group; where it is not, join again.

        The client does nothing more for the group after an error until it has told somebody, and it never again
        starts heartbeats that an error has ended.

        Raises:
            Fatal: the group refuses this worker, or has failed for longer than the patience.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 - getmany() would ask, but with tasks to fetch for only
        try:
            coordinator.check_errors()
        except REFUSED as error:
            raise Fatal(f"the group refuses this worker: {error!r}", exit_code=EX_CONFIG) from error
        except kafka_errors.KafkaError as error:
            now = time.monotonic()
            if self._failing_since is None:
                self._failing_since = now
            is_over = coordinator._coordination_task.done()  # noqa: SLF001 - it ends with an error that it repeats
            if is_over or now - self._failing_since > self._patience_s:
                raise Fatal(f"the group cannot be joined: {error!r}", exit_code=EX_UNAVAILABLE) from error
            self._log.warning("group_failed", reason=repr(error))
            coordinator.request_rejoin()
            return False
        return True

    def joined(self) -> None:
        """Take note of an assignment: whatever failed before has passed."""
        self._failing_since = None

    async def leave(self, *, limit_s: float) -> None:
        """Stop the consumer, within a limit: it waits for the answer to a join, and that for the other members."""
        if not await _ended(self._consumer.stop(), limit_s=limit_s):
            for part in (self._consumer._fetcher, self._consumer._client):  # noqa: SLF001 - what stop() did not come to
                if part is not None:
                    await _ended(part.close(), limit_s=CLOSE_S)

    def position(self, tp: TopicPartition) -> int | None:
        """Return the offset up to which records were fetched, markers included; None while unknown."""
        state = self._fetched(tp)
        return int(state.position) if state is not None and state.has_valid_position else None

    def behind(self, tp: TopicPartition) -> int | None:
        """Return the records between the fetched position and the end, as of the last fetch; None while unknown."""
        position, state = self.position(tp), self._fetched(tp)
        if position is None or state.lso is None or state.lso < 0:
            return None
        return max(0, int(state.lso) - position)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on from an offset; where the end is must be fetched again."""
        self._consumer.seek(tp, offset)
        state = self._fetched(tp)
        if state is not None:
            state.lso = None

    def _fetched(self, tp: TopicPartition) -> Any:  # noqa: ANN401 - aiokafka ships no types
        assignment = self._consumer._subscription.subscription.assignment  # noqa: SLF001 - position() is a coroutine
        return assignment.state_value(tp) if assignment is not None and tp in assignment.tps else None


async def _ended(call: Coroutine[Any, Any, None], *, limit_s: float) -> bool:
    """Await a call, no longer than the limit, and its cancellation no longer than a part. Say whether it went well."""
    ending = asyncio.create_task(call)
    await asyncio.wait([ending], timeout=limit_s)
    if not ending.done():
        ending.cancel()
        await asyncio.wait([ending], timeout=CLOSE_S)
    # whatever it says: without a broker the client ends with the cancellation of its own fetches
    return ending.done() and not ending.cancelled() and ending.exception() is None
