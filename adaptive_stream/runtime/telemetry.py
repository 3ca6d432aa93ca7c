"""What the worker tells its operators: metrics and logs.

Owns the names of the metrics and the shape of the logs. Never influences what is computed. Called from the loop; the
HTTP thread only reads.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter as Tally
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from adaptive_stream.runtime.writing import TOPIC_OF

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from adaptive_stream.config import Config
    from adaptive_stream.contracts.topics import Topic
    from adaptive_stream.core.fleets import Fleets
    from adaptive_stream.runtime.stepping import Advanced

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
MAX_CLIENT_LINES, CLIENT_WINDOW_S = 20, 10.0  # aiokafka writes 10,000 lines a second while a broker is gone


class Telemetry:
    """All metrics of one worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix = "adaptive_stream_"
        registry = self.registry
        self.consumed = Counter(
            prefix + "records_consumed", "Records whose batch is committed", ["topic"], registry=registry
        )
        self.rejected = Counter(
            prefix + "records_rejected", "Records refused, by error code", ["code"], registry=registry
        )
        self.produced = Counter(prefix + "records_produced", "Output records committed", ["topic"], registry=registry)
        self.dead_letters = Counter(prefix + "dead_letters", "Dead letters committed", ["code"], registry=registry)
        self.moved = Counter(
            prefix + "records_repartitioned", "Records moved to their right partition", registry=registry
        )
        self.rebalances = Counter(prefix + "rebalances", "Assignments received from the group", registry=registry)
        self.failures = Counter(
            prefix + "task_failures", "Failures of tasks, by disposition", ["disposition"], registry=registry
        )
        self.step_failures = Counter(
            prefix + "step_failures", "Steps that raised; their record is searched for", registry=registry
        )
        self.history_lost = Counter(
            prefix + "history_lost", "Times that a task went on without what it needed", ["topic"], registry=registry
        )
        self.offsets_behind = Counter(
            prefix + "offsets_behind",
            "Restores that found the group's offsets without the last committed transaction",
            registry=registry,
        )
        self.batch_seconds = Histogram(prefix + "batch_seconds", "Stepping a batch", buckets=SECONDS, registry=registry)
        self.commit_seconds = Histogram(
            prefix + "commit_seconds", "One transaction", buckets=SECONDS, registry=registry
        )
        self.lag = Gauge(prefix + "lag_records", "Records not yet stepped, by topic", ["topic"], registry=registry)
        self.tasks = Gauge(prefix + "tasks", "Tasks, by stage", ["stage"], registry=registry)
        self.restore_remaining = Gauge(
            prefix + "restore_remaining_records", "Records still to be re-read", registry=registry
        )
        self.buffer_bytes = Gauge(prefix + "buffer_bytes", "Bytes fetched and not yet stepped", registry=registry)
        self.registry.register(self)  # for the levels that live in the tasks' state
        self._levels: dict[int, tuple[dict[str, dict[str, int]], dict[str, int]]] = {}
        self._beats: dict[str, float] = {}
        self._news = asyncio.Event()

    def count_batch(self, topics: Sequence[Topic], advanced: Advanced) -> None:
        """Count a committed batch."""
        for topic, count in Tally(topics).items():
            self.consumed.labels(str(topic)).inc(count)
        for kind, count in Tally(type(event) for event in advanced.outputs).items():
            self.produced.labels(str(TOPIC_OF[kind])).inc(count)
        for code, count in Tally(str(refused.reject.code) for refused in advanced.refused).items():
            self.rejected.labels(code).inc(count)
            self.dead_letters.labels(code).inc(count)
        if advanced.misplaced:
            self.moved.inc(len(advanced.misplaced))

    def take_levels(self, partition: int, fleets: Fleets) -> None:
        """Copy the counters and gauges that live in a task's state."""
        self._levels = {**self._levels, partition: (fleets.counters(), fleets.gauges())}

    def drop_levels(self, partition: int) -> None:
        """Forget a task that went elsewhere."""
        self._levels = {p: levels for p, levels in self._levels.items() if p != partition}

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield what is read from the state of the tasks; prometheus_client calls this on the HTTP thread."""
        joined = CounterMetricFamily(
            "adaptive_stream_feedback_joined", "Feedback by its outcome; early is a level", labels=["outcome"]
        )
        dropped = CounterMetricFamily("adaptive_stream_dropped", "What bounded containers dropped", labels=["what"])
        totals: dict[str, Tally[str]] = {"join": Tally(), "dropped": Tally(), "gauges": Tally()}
        for counters, gauges in self._levels.values():
            totals["join"].update(counters.get("join", {}))
            totals["dropped"].update(counters.get("dropped", {}))
            totals["gauges"].update(gauges)
        for outcome, count in totals["join"].items():
            joined.add_metric([outcome], count)
        for what, count in totals["dropped"].items():
            dropped.add_metric([what], count)
        yield joined
        yield dropped
        names = {"waiting": "predictions_waiting", "early": "feedback_waiting", "ring_bytes": "join_bytes"}
        for name, count in totals["gauges"].items():
            full = "adaptive_stream_" + names.get(name, name)
            yield GaugeMetricFamily(full, f"{name}, over the tasks of this worker", value=count)

    def describe(self) -> list[CounterMetricFamily]:
        """Name nothing in advance: the names depend on the state."""
        return []

    def beat(self, who: str) -> None:
        """Note that a loop made progress."""
        self._beats[who] = time.monotonic()

    def silence_s(self, who: str) -> float:
        """Return the seconds since a loop's last progress; 0 before its first."""
        return time.monotonic() - self._beats.get(who, time.monotonic())

    def wake(self) -> None:
        """Tell the worker's loop that a commit is done: another batch may be due."""
        self._news.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait for news, a little while at most."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            return
        finally:
            self._news.clear()

    def set_stages(self, stages: Mapping[str, int]) -> None:
        """Set the number of tasks in each stage."""
        for stage, count in stages.items():
            self.tasks.labels(stage).set(count)


class RateLimit(logging.Filter):
    """Let a client library write a bounded number of lines in a while, and say how many it held back."""

    def __init__(self) -> None:
        super().__init__()
        self._window_at = 0.0
        self._lines = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide over one line."""
        if record.created - self._window_at > CLIENT_WINDOW_S:
            held, self._window_at, self._lines = self._lines - MAX_CLIENT_LINES, record.created, 0
            if held > 0:
                record.msg, record.args = f"{record.getMessage()} ({held} lines held back)", ()
        self._lines += 1
        return self._lines <= MAX_CLIENT_LINES


def configure_logging(config: Config) -> None:
    """Log to standard error: JSON, unless it is a terminal or the configuration says otherwise."""
    is_console = config.log.format == "console" or (config.log.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    client_handler = logging.StreamHandler(sys.stderr)
    client_handler.setFormatter(handler.formatter)
    client_handler.addFilter(RateLimit())
    logging.basicConfig(level=config.log.level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    client = logging.getLogger("aiokafka")
    client.handlers, client.propagate = [client_handler], False
    client.setLevel(max(logging.WARNING, logging.getLevelName(config.log.level.upper())))
