"""Workers for the tests: in the test's own event loop, or as processes that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from adaptive_stream.runtime.telemetry import Telemetry
from adaptive_stream.runtime.worker import Worker
from tests.integration.scene import LIMIT_S, until

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator

    from adaptive_stream.config import Config
    from tests.integration.scene import Scene

WITNESS = Path(__file__).with_name("witness.py")
ROOT = Path(__file__).parents[2]


@contextlib.asynccontextmanager
async def working(config: Config, *, telemetry: Telemetry | None = None) -> AsyncIterator[Worker]:
    """Run a worker in this event loop until the block ends; it must leave with code 0."""
    worker = Worker(config, telemetry or Telemetry())
    life = asyncio.create_task(worker.run())
    try:
        await until(lambda: life.done() or (worker.is_ready and bool(worker.tasks)), what="the worker runs its tasks")
        assert not life.done(), f"the worker left with {life.result()} before it ran"
        yield worker
    finally:
        worker.stop()
        code = await life
    assert code == 0, f"the worker left with {code}"


def dump(worker: Worker) -> dict[int, bytes]:
    """Return the whole state of each task as canonical bytes."""
    return {
        partition: task.memory.fleets.dump()
        for partition, task in sorted(worker.tasks.items())
        if task.memory is not None
    }


class WorkerProcess:
    """A worker as a child process.

    Args:
        scene: its topics and its group.
        folder: for its configuration and its log.
        number: of the worker in the test; names its files.
        kill_at: a place of the witness at which the process ends itself with SIGKILL; empty: the plain command line.
        settings: further ones, separated by spaces.
    """

    def __init__(self, scene: Scene, *, folder: Path, number: int, kill_at: str = "", settings: str = "") -> None:
        self.config = scene.config(*settings.split())
        self.log = folder / f"worker-{number}.log"
        self.dumped = folder / f"worker-{number}.dump"
        file = folder / f"worker-{number}.yaml"
        file.write_text(yaml.safe_dump(self.config.model_dump(mode="json")), encoding="utf-8")
        run = [str(WITNESS), kill_at, str(self.dumped), str(file)] if kill_at else RUN_VERB
        if not kill_at:
            run = [*run, "--config", str(file)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *run],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code; negative: the signal that ended it; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it with SIGKILL and reap it. Safe to call twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    async def ended(self, *, limit_s: float = LIMIT_S) -> int:
        """Wait for its end and return its exit code."""
        await until(lambda: self.code is not None, what=f"the worker ends; its log: {self.log}", limit_s=limit_s)
        code = self.code
        assert code is not None
        return code

    async def said(self, event: str) -> dict[str, Any]:
        """Wait until its log has a line of this event and return the line."""
        found: list[dict[str, Any]] = []

        def has_line() -> bool:
            found[:] = [line for line in self.lines() if line.get("event") == event]
            assert found or self.code is None, f"the worker ended with {self.code}: {self.log.read_text()}"
            return bool(found)

        await until(has_line, what=f"the log has {event}")
        return found[0]

    def lines(self) -> list[dict[str, Any]]:
        """Return its log, without what is not JSON."""
        made = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                made.append(json.loads(line))
        return [line for line in made if isinstance(line, dict)]


RUN_VERB = ["-m", "adaptive_stream.cli", "run"]
