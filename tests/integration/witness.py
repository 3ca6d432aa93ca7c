"""A worker that kills itself with SIGKILL at a given place of its work; run as a script.

``witness.py PLACE DUMP CONFIG``. A place is ``what:side:count``: before or after the count-th time that something
happens; ``what:side:count:SIGSTOP`` stands still there. On SIGUSR1 the state of all tasks is written to DUMP, and the
process kills itself.
"""

# ruff: noqa: ANN401 - it wraps methods of the product, whatever they take
from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptive_stream.config import load
from adaptive_stream.core.fleets import Fleets
from adaptive_stream.runtime import worker as worker_module
from adaptive_stream.runtime.journal import Snapshotter
from adaptive_stream.runtime.restore import Restore
from adaptive_stream.runtime.session import Session
from adaptive_stream.runtime.task import Task
from adaptive_stream.runtime.telemetry import configure_logging
from adaptive_stream.runtime.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def die(number: signal.Signals = signal.SIGKILL) -> None:
    """End as by a power cut, or stand still: nothing is flushed, closed or said."""
    os.kill(os.getpid(), number)


class Place:
    """Where the process dies."""

    def __init__(self, text: str) -> None:
        self.what, self.side, count, *sent = text.split(":")
        self.left = int(count)
        self.signal = signal.Signals[sent[0]] if sent else signal.SIGKILL

    def pass_by(self, what: str, side: str) -> None:
        """Note that the work is here."""
        if (what, side) != (self.what, self.side):
            return
        self.left -= 1
        if self.left == 0:
            die(self.signal)


def arm(place: Place) -> None:
    """Let the work tell where it is. Calls of the session: fence, begin, produce, offsets, commit."""
    call: Callable[..., Awaitable[Any]] = Session._call
    step, due, cut = Fleets.step, Snapshotter.due, Task.next_batch
    replay, committed_one = Restore._replay, Task._committed_one

    async def watched_call(self: Session, what: str, awaitable: Awaitable[Any]) -> Any:
        place.pass_by(what, "before")
        result = await call(self, what, awaitable)
        place.pass_by(what, "after")
        return result

    def watched_step(self: Fleets, slice_: Any) -> Any:
        stepped = step(self, slice_)
        place.pass_by("step", "after")
        return stepped

    def watched_due(self: Snapshotter, max_bytes: int) -> Any:
        records, checkpoint = due(self, max_bytes)
        if records:
            what = "chunks" if checkpoint is None else "checkpoint"
            # the transaction that carries them is committed, or dies with the process in the middle of it
            place.pass_by(what, "before")
            armed.append(what)
        return records, checkpoint

    armed: list[str] = []

    def watched_cut(self: Task) -> Any:
        batch = cut(self)
        if batch is not None:
            place.pass_by("cut", "after")
        return batch

    async def watched_replay(self: Restore, *args: Any) -> None:
        place.pass_by("replay", "before")
        await replay(self, *args)
        place.pass_by("replay", "after")

    def watched_committed(self: Task, *args: Any) -> None:
        if armed:
            place.pass_by(armed.pop(0), "after")
        committed_one(self, *args)

    Session._call = watched_call  # type: ignore[method-assign]
    Fleets.step = watched_step  # type: ignore[method-assign]
    Snapshotter.due = watched_due  # type: ignore[method-assign]
    Task.next_batch = watched_cut  # type: ignore[method-assign]
    Restore._replay = watched_replay  # type: ignore[method-assign]
    Task._committed_one = watched_committed  # type: ignore[method-assign]


def main() -> None:
    """Work until killed."""
    place, target, file = sys.argv[1:]
    arm(Place(place))
    config = load([Path(file)], {})
    configure_logging(config)

    class Dumping(Worker):
        async def run(self) -> int:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.write)
            return await super().run()

        def write(self) -> None:
            """Write the state of every task, then die."""
            states = {
                str(partition): base64.b64encode(task.memory.fleets.dump()).decode()
                for partition, task in sorted(self.tasks.items())
                if task.memory is not None
            }
            Path(target).write_text(json.dumps(states), encoding="utf-8")
            die()

    worker_module.Worker = Dumping  # type: ignore[misc]
    sys.exit(asyncio.run(worker_module.serve(config)))


if __name__ == "__main__":
    main()
