"""Step one batch, slice by slice, live and in a restore alike.

Owns the cut into slices, the turn of the event loop between them, and the search for the record on which the step
fails. Never commits. Called by the task and by the restore.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adaptive_stream.runtime.intake import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiokafka import ConsumerRecord

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.events import OutputEvent
    from adaptive_stream.contracts.topics import Topic
    from adaptive_stream.core.fleets import Fleets
    from adaptive_stream.runtime.intake import Intake
    from adaptive_stream.runtime.lane import Batch


class Poison(Exception):  # noqa: N818 - it names what was found, not what went wrong here
    """The step raised: the memory is spoilt, and the record is somewhere in ``batch`` from ``first`` to ``stop``."""

    def __init__(self, batch: Batch, first: int, stop: int, *, is_searched: bool) -> None:
        super().__init__(f"the step failed on {stop - first} records from place {first} of a batch")
        self.batch = batch
        self.first = first
        self.stop = stop
        self.is_searched = is_searched

    @property
    def culprit(self) -> tuple[Topic, ConsumerRecord] | None:
        """The one record, once the search has narrowed it down to one; without a search an earlier one may be it."""
        if not self.is_searched or self.stop - self.first != 1:
            return None
        return self.batch.topics[self.first], self.batch.records[self.first]


class Abandoned(Exception):  # noqa: N818 - it names what happened to the batch
    """The task lost its memory between two slices; the batch will be stepped again from the log."""


@dataclass(slots=True)
class Advanced:
    """What a batch led to."""

    outputs: list[OutputEvent] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    misplaced: list[tuple[Topic, int, ConsumerRecord]] = field(default_factory=list)


@contextlib.contextmanager
def _poison(batch: Batch, first: int, stop: int, *, is_searched: bool) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # exception means poison: one of the two broad catches of the project
        raise Poison(batch, first, stop, is_searched=is_searched) from error


class Stepper:
    """Step batches on fleets.

    Args:
        config: the worker's configuration.
        intake: from raw records to events.
    """

    def __init__(self, config: Config, intake: Intake, *, earliest_ms: int) -> None:
        self._slice_records = config.batch.slice_records
        self._max_future_skew_ms = config.time.max_future_skew_s * 1000
        self._earliest_ms = earliest_ms
        self._intake = intake

    def limits_ms(self, cut_ms: int) -> tuple[int, int]:
        """Return the earliest and the latest believable timestamp of a record in a batch cut at this time."""
        return self._earliest_ms, cut_ms + self._max_future_skew_ms

    async def advance(
        self,
        fleets: Fleets,
        batch: Batch,
        *,
        skipped: set[tuple[str, int]],
        search: tuple[int, int] | None = None,
        is_replay: bool = False,
        is_measured: bool = False,
        is_valid: Callable[[], bool] = lambda: True,
    ) -> Advanced:
        """Step a batch.

        Args:
            fleets: the memory to advance; spoilt when this raises.
            batch: ordered records.
            skipped: (topic, offset) of records that are known to be poison.
            search: places of the batch to be stepped one by one, to find the poison among them.
            is_replay: the batch is stepped again; all that it holds is measured, so that poison shows where it is.
            is_measured: a snapshot follows, which measures what is held: poison must show before it.
            is_valid: whether the memory still counts; asked after every turn of the loop.

        Raises:
            Poison: the step raised. The first time the places of a slice are known, in a search the very record.
            Abandoned: the memory does not count any more.
        """
        advanced = Advanced()
        is_searched = is_replay or search is not None
        if not batch.records:
            with _poison(batch, 0, 0, is_searched=is_searched):
                if batch.is_look:
                    advanced.outputs.extend(fleets.idle(batch.cut_ms))
                if is_measured:
                    fleets.measure()
        limits_ms = self.limits_ms(batch.cut_ms)
        for first, stop in self._slices(len(batch.records), search):
            parsed = self._intake.parse(
                batch.topics[first:stop],
                batch.records[first:stop],
                limits_ms=limits_ms,
                skipped=skipped,
                cut_ms=batch.cut_ms,
            )
            with _poison(batch, first, stop, is_searched=is_searched):
                stepped = fleets.step(parsed.slice)
                if is_searched or (is_measured and stop == len(batch.records)):
                    fleets.measure()
            advanced.outputs.extend(stepped.outputs)
            advanced.refused.extend(parsed.refused)
            advanced.refused.extend(
                Refused(parsed.slice.topics[place], parsed.records[place], reject) for place, reject in stepped.rejected
            )
            advanced.misplaced.extend(parsed.misplaced)
            await asyncio.sleep(0)  # a turn of the loop: fetches, heartbeats, other tasks' commits
            if not is_valid():
                raise Abandoned
        return advanced

    def _slices(self, count: int, search: tuple[int, int] | None) -> Iterator[tuple[int, int]]:
        # Stepping the suspected slice one by one costs one more restore; halving it would cost one for each halving.
        first = 0
        while first < count:
            is_searched = search is not None and search[0] <= first < search[1]
            stop = first + 1 if is_searched else first + self._slice_records
            if search is not None and first < search[0]:
                stop = min(stop, search[0])
            yield first, min(stop, count)
            first = stop
