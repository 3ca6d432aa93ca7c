"""The demo: a real Kafka, one worker process, one app process, and somebody who watches.

Owns the processes, their ports and the folder, and leaves none of them behind. Nothing is shared between the two
processes but Kafka. Called by ``adaptive-stream demo``.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptive_stream.config import Config, load
from adaptive_stream.contracts.clock import parse_time
from adaptive_stream.demo.summary import Summary, progress, summarise
from adaptive_stream.demo.watch import Watcher
from adaptive_stream.embedded import EmbeddedKafka
from adaptive_stream.embedded.child import start_child, stop_children
from adaptive_stream.runtime import topics

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from adaptive_stream.demo.screen import Screen

CONFIG = Path(__file__).with_name("worker.yaml")
YEAR_MS = (parse_time("2013-01-01T10:00:00Z"), parse_time("2014-01-01T05:00:00Z"))
KILLS = ((0.1, 0.3), (0.4, 0.6), (0.7, 0.9))  # shares of the year; the seed chooses within each
SILENCE_S = 120.0  # without any progress, on a machine that is busy with other things


class DemoFailed(Exception):  # noqa: N818 - says what became of the demo
    """The demo cannot go on. The message says why, with the end of the log."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose.

    Args:
        seed: of the model's training sample, of the delays of feedback and of the kills.
        speed: event time runs so many times faster than real time; 0 is as fast as it goes.
        is_killed: kill the worker on the way.
        is_kept: leave all running at the end, until Ctrl-C.
    """

    seed: int
    speed: float
    is_killed: bool
    is_kept: bool


def run(options: Options, screen: Screen, report: Callable[[Summary], None]) -> Summary:
    """Run the demo and return its summary; ``report`` gets it before everything is stopped.

    Raises:
        DemoFailed: a process ended, or nothing happened for too long.
        EmbeddedKafkaError: Kafka does not start.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a script it would be ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    folder = Path(tempfile.mkdtemp(prefix="adaptive-stream-demo-"))
    try:
        screen.say("starting Kafka (the first time, 43 MB are fetched)")
        with EmbeddedKafka() as kafka:
            port = _free_port()
            settings = [f"kafka.bootstrap={kafka.bootstrap}", f"http.port={port}", "http.host=127.0.0.1"]
            return asyncio.run(_Demo(options, screen, folder, settings).play(report))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Demo:
    def __init__(self, options: Options, screen: Screen, folder: Path, settings: list[str]) -> None:
        self._options = options
        self._screen = screen
        self._folder = folder
        self._settings = settings
        self._config: Config = load([CONFIG], {}, settings)
        self._worker: subprocess.Popen[bytes] | None = None
        self._app: subprocess.Popen[bytes] | None = None
        self._progress: tuple[float, object] = (time.monotonic(), None)
        dice = random.Random(options.seed)  # noqa: S311 - chooses when to kill
        self._kills = [dice.uniform(*span) for span in KILLS] if options.is_killed else []
        self._killed = 0

    async def play(self, report: Callable[[Summary], None]) -> Summary:
        """Run from the topics to the summary."""
        try:
            await topics.create(self._config)
            self._start_worker()
            async with Watcher(self._config, port=self._config.http.port) as watcher:
                started = time.monotonic()
                self._start_app()
                await self._watch(watcher)
                elapsed_s = time.monotonic() - started
                summary = await summarise(
                    self._config,
                    watcher.picture,
                    seed=self._options.seed,
                    elapsed_s=elapsed_s,
                    killed=self._killed,
                )
            report(summary)
            if self._options.is_kept:
                await self._keep()
            return summary
        finally:
            stop_children([process for process in (self._worker, self._app) if process])

    async def _watch(self, watcher: Watcher) -> None:
        """Watch until everything that the app has sent is stepped and all that came of it is read."""
        picture = watcher.picture
        while True:
            is_all_sent = self._app is not None and self._app.poll() == 0
            for alert in await watcher.look():
                self._screen.tell(alert)
            share = progress(picture, first_ms=YEAR_MS[0], last_ms=YEAR_MS[1])
            self._screen.draw(picture, share=share)
            if is_all_sent and picture.lag == 0:
                break
            self._check((picture.stepped, sum(picture.ends.values())))
            if self._kills and share >= self._kills[0]:
                self._kills.pop(0)
                self._kill(share)
        for alert in await watcher.finish():
            self._screen.tell(alert)
        self._screen.draw(picture, share=1.0)

    def _check(self, progress: object) -> None:
        """Fail rather than wait for what cannot come."""
        for name, process in (("worker", self._worker), ("app", self._app)):
            code = process.poll() if process else None
            if code or (code == 0 and name == "worker"):
                raise DemoFailed(f"the {name} ended with code {code}:\n{self._tail(name)}")
        if progress != self._progress[1]:
            self._progress = (time.monotonic(), progress)
        elif self._options.speed == 0 and time.monotonic() - self._progress[0] > SILENCE_S:
            raise DemoFailed(f"nothing happened for {SILENCE_S:g} s:\n{self._tail('worker')}")

    def _kill(self, share: float) -> None:
        assert self._worker is not None, "started before"
        self._worker.kill()
        self._worker.wait()
        self._killed += 1
        self._screen.say(
            f"the worker is killed (SIGKILL) at {share:.0%} of the year, and started again", style="yellow"
        )
        self._start_worker()

    def _start_worker(self) -> None:
        settings = [part for setting in self._settings for part in ("--set", setting)]
        command = [sys.executable, "-m", "adaptive_stream.cli", "run", "--config", str(CONFIG), *settings]
        self._worker = start_child(command, self._folder / "worker.log")

    def _start_app(self) -> None:
        command = [sys.executable, "-m", "adaptive_stream.demo.app", "--bootstrap", self._config.kafka.bootstrap]
        command += ["--prefix", self._config.topics.prefix]
        command += ["--seed", str(self._options.seed), "--speed", str(self._options.speed)]
        self._app = start_child(command, self._folder / "app.log")

    async def _keep(self) -> None:
        bootstrap, port = self._config.kafka.bootstrap, self._config.http.port
        for line in (
            "Kafka and the worker keep running until Ctrl-C. In another terminal:",
            f"  adaptive-stream status late-flights --set kafka.bootstrap={bootstrap}",
            f"  adaptive-stream tail alerts --set kafka.bootstrap={bootstrap}",
            f"  http://127.0.0.1:{port}/status and /metrics",
        ):
            self._screen.say(line)
        while True:
            self._check(time.monotonic())
            await asyncio.sleep(1.0)

    def _tail(self, name: str) -> str:
        path = self._folder / f"{name}.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
