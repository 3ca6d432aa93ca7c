"""Send dead letters back to where they came from, each at most once.

Owns the transaction of a replay: the record and the mark that says so, both or neither. Never reads the topic. Called
by ``dlq replay``. Why a letter is never sent twice: docs/decisions/dead-letters.md.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from adaptive_stream.client.letters import REPLAYED_HEADER
from adaptive_stream.contracts.topics import Topic
from adaptive_stream.runtime.session import Session, Write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptive_stream.client.letters import Letter, Return
    from adaptive_stream.config import Config

MAX_RECORDS, MAX_BYTES = 500, 1_000_000  # of one transaction: about one produce request for each partition


class Replay:
    """The right to send letters again: one holder for each dead-letter topic.

    Args:
        config: of the cluster and the topics.
    """

    def __init__(self, config: Config) -> None:
        self.sent = 0
        self._config = config
        self._letters = config.topics.name(Topic.DEAD_LETTERS)
        # named after the topic and not after a group, so that operators with other configurations exclude each other
        self._session = Session(config, transactional_id=f"{self._letters}-replay")
        self._pending: list[tuple[Letter, Return]] = []
        self._pending_bytes = 0

    async def take_over(self) -> None:
        """Fence the former holder: what it had open is aborted, and it can commit no more. Read the marks after this.

        Raises:
            TaskFailure: Kafka could not be reached, or refuses.
        """
        await self._session.fence()

    async def add(self, letter: Letter, back: Return) -> None:
        """Send a letter, together with those before and behind it; ``flush`` sends the last.

        Raises:
            Fenced: another replay has taken over; ``sent`` letters were sent.
            TaskFailure: the outcome of the last transaction is unknown; the marks tell.
        """
        self._pending.append((letter, back))
        self._pending_bytes += letter.size_bytes
        if len(self._pending) >= MAX_RECORDS or self._pending_bytes >= MAX_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Commit what was added. Raises as ``add``."""
        if self._pending:
            pending, self._pending, self._pending_bytes = self._pending, [], 0
            await self._session.commit(self._writes(pending), {}, group=self._config.kafka.group)
            self.sent += len(pending)

    async def close(self) -> None:
        """Let go of the producer."""
        await self._session.discard()

    def _writes(self, pending: Sequence[tuple[Letter, Return]]) -> list[Write]:
        now_ms = time.time_ns() // 1_000_000
        records = [
            Write(
                topic=back.topic,
                partition=back.partition,
                key=back.key,
                value=back.value,
                time_ms=back.time_ms,
                headers=back.headers,  # type: ignore[arg-type]  # a header without a value is written as it was read
            )
            for _, back in pending
        ]
        marks = [
            Write(
                topic=self._letters,
                partition=letter.place.partition,  # behind its letter: retention takes the letter first
                key=letter.key,
                value=None,
                time_ms=now_ms,
                headers=[(REPLAYED_HEADER, str(letter.place).encode())],
            )
            for letter, _ in pending
        ]
        return [*records, *marks]
